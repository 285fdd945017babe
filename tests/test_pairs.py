"""Pairs of documents and summaries against a rebuild from the table; words that only the sources hold."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.conftest import named_documents
from tgvae.data.corpus import Corpus
from tgvae.data.open_vocabulary import OpenVocabulary
from tgvae.data.pairs import Pairs, target_field
from tgvae.data.schema import DOCUMENT, PreparedFolder
from tgvae.data.tokenizers import WordTokenizer, word_tokenize
from tgvae.errors import UserError
from tgvae.runs import load_summarizer

WORDS = ["the", "army", "won", "a", "battle", "."]
PAD, UNK, BOS, EOS = 0, 1, 2, 3

Rewrite = Callable[[dict[str, Any], int], None]


def with_words(tmp_path: Path, prepared: PreparedFolder, change: Rewrite) -> Corpus:
    """The training split with a word tokenizer of few words and rows changed."""
    path = Path(shutil.copytree(prepared.path, tmp_path / "prepared"))
    rows = prepared.split("train").to_pylist()[:6]
    for number, row in enumerate(rows):
        change(row, number)
    with pa.ipc.new_file(path / "train.arrow", DOCUMENT) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT), max_chunksize=4)
    folder = PreparedFolder.open(path)
    vars(folder)["tokenizer"] = WordTokenizer(WORDS)
    return Corpus(folder, "train")


def test_words_beyond_the_vocabulary_have_ids_and_come_back() -> None:
    tokenizer = WordTokenizer(WORDS)
    vocabulary, size = OpenVocabulary(tokenizer), len(tokenizer)
    source = vocabulary.encode_source(["The army of Ruritania won.", "Zenda, Ruritania"])
    assert vocabulary.words == ["of", "ruritania", "zenda", ","]
    assert source == [4, 5, size, size + 1, 6, 9, size + 2, size + 3, size + 1]
    assert vocabulary.decode(source[:6]) == "the army of ruritania won."
    target = vocabulary.encode_target("Ruritania won Strelsau, the battle.", source[:6])
    assert target == [size + 1, 6, UNK, UNK, 4, 8, 9], "a comma and a name that the source, as cut, lacks"
    assert vocabulary.words == ["of", "ruritania", "zenda", ","], "targets add no word"


def test_subwords_lack_nothing(prepared: PreparedFolder) -> None:
    vocabulary = OpenVocabulary(prepared.tokenizer)
    text = "The naïve 軍 won\u2028twice."
    ids = vocabulary.encode_source([text])
    assert ids == prepared.tokenizer.encode(text)
    assert vocabulary.words == []
    assert vocabulary.decode(ids) == "The naïve 軍 won twice."
    assert vocabulary.decode([]) == ""


KNOWN = [*WORDS, "UNK", "unk", "#", "U.S."]


@pytest.mark.parametrize(
    "words", [KNOWN, [*WORDS, "#"], [word.lower() for word in KNOWN]], ids=["cased", "few", "lower"]
)
def test_what_stands_for_a_rare_word_is_unk(words: list[str]) -> None:
    """Even where it is in the vocabulary; what only looks like it is a word like any other, and # is one."""
    tokenizer = WordTokenizer(words)
    vocabulary, size, number = OpenVocabulary(tokenizer), len(tokenizer), tokenizer.pieces.index("#")
    assert vocabulary.encode_source(["UNK the <unk> # <UNK> unk ."]) == [UNK, 4, UNK, number, UNK, UNK, 9]
    assert vocabulary.encode_target("UNK # , won", []) == [UNK, number, UNK, 6]
    assert vocabulary.words == []
    assert vocabulary.encode_source(["the UNK-like"]) == [4, size]
    assert vocabulary.decode([4, UNK, 6, UNK, 9, size]) == f"the <unk> won <unk>. {vocabulary.words[0]}"


@pytest.mark.parametrize(
    "text", ["u.s. {0} corp .", "`` {0} '' , ( {0} ) \" {0} \"", "it 's {0} 's u.s. {0}", "cannot {0} {0}"]
)
def test_words_beside_unk_are_parted_as_beside_any_word(text: str) -> None:
    vocabulary = OpenVocabulary(WordTokenizer(WORDS))
    ids = vocabulary.encode_source([text.format("UNK")])
    words = [*vocabulary.tokenizer.pieces, *vocabulary.words]
    assert [words[i] for i in ids] == [{"xyz": "<unk>"}.get(w, w) for w in word_tokenize(text.format("xyz"))]


def test_subwords_beside_unk_are_those_of_their_words(prepared: PreparedFolder) -> None:
    tokenizer = prepared.tokenizer
    vocabulary = OpenVocabulary(tokenizer)
    ids = vocabulary.encode_source(["UNK the army UNK <unk> saw #.# %, UNK"])
    encode = tokenizer.encode
    assert ids == [UNK, *encode("the army"), UNK, UNK, *encode("saw #.# %,"), UNK]
    assert vocabulary.decode(ids) == "<unk> the army <unk> <unk> saw #.# %, <unk>"
    assert vocabulary.encode_target("UNK", ids) == [UNK]
    assert vocabulary.encode_source(["(UNK) UNK-like"]) == encode("(UNK) UNK-like")


def test_encoding_does_not_hang_on_other_texts(prepared: PreparedFolder) -> None:
    texts = ["The army of UNK won.", "", "UNK", "A <unk> battle, won.", "the army won"]
    for tokenizer in (prepared.tokenizer, WordTokenizer([*WORDS, "of", ",", "UNK"])):
        vocabulary = OpenVocabulary(tokenizer)
        assert vocabulary.encode_source(texts) == [i for text in texts for i in vocabulary.encode_source([text])]


def test_summaries_never_hold_unk(summarizer_run: Path) -> None:
    """Of documents in which the name that a summary would copy is not known."""
    model = load_summarizer(summarizer_run)
    texts = [d["text"].replace(d["title"].split()[0], name) for d in named_documents(12) for name in ("UNK", "<unk>")]
    digests = model.digest(texts, num=2)
    summaries = [summary.text for digest in digests for summary in digest.summaries]
    assert len(summaries) == 2 * len(texts)
    assert not [text for text in summaries if "unk" in text.lower()]
    assert [model.summarize([text], num=2)[0][0].text for text in texts[:4]] == summaries[:8:2], "alone or in a batch"
    assert summaries[0::4] == summaries[2::4], "both signs are the same to it"


def test_batches_are_a_rebuild_from_the_table(prepared: PreparedFolder, tmp_path: Path) -> None:
    titles = ["The Ruritania army", None, "won won won", "", "zyx army", "the"]

    def change(row: dict[str, Any], number: int) -> None:
        row["title"] = titles[number]
        row["sentences"] = [f"The Ruritania {number} army won.", "A battle."] if number < 5 else []

    corpus = with_words(tmp_path, prepared, change)
    pairs = Pairs(corpus, "title", source_tokens=5)
    assert pairs.index.tolist() == [0, 2, 4]
    assert (pairs.left_out, pairs.cut) == (3, 3)
    assert pairs.lengths.tolist() == [5 + 4, 5 + 4, 5 + 3]
    batch = pairs.gather([2, 0])
    names = {name: len(WORDS) + 4 + i for i, name in enumerate(pairs.vocabulary.words)}
    assert batch.source.tolist() == [[4, names["ruritania"], names[str(n)], 5, 6] for n in (4, 0)]
    assert batch.source_lengths.tolist() == [5, 5]
    assert batch.targets.tolist() == [[UNK, 5, EOS, PAD], [4, names["ruritania"], 5, EOS]]
    assert batch.inputs.tolist() == [[BOS, UNK, 5, PAD], [BOS, 4, names["ruritania"], 5]]
    assert batch.lengths.tolist() == [3, 4]
    assert batch.words.tolist() == [3, 4]
    assert batch.documents.index.tolist() == [4, 0]
    torch.testing.assert_close(batch.context, corpus.gather_documents([4, 0]).counts)
    assert type(batch.to("cpu")) is type(batch)
    assert "3 documents with a title, 3 without, 3 longer" in str(pairs)


def test_sources_hold_sentences_too_long_to_be_modelled(prepared: PreparedFolder, tmp_path: Path) -> None:
    def change(row: dict[str, Any], number: int) -> None:
        row["title"], row["sentences"], row["tokens"] = "the army", ["the army", "won a battle"], [[4, 5], []]

    batch = Pairs(with_words(tmp_path, prepared, change), "title", 100).gather([0])
    assert batch.source.tolist() == [[4, 5, 6, 7, 8]]


def test_every_pair_once_by_length_and_shuffled_by_seed(prepared: PreparedFolder, tmp_path: Path) -> None:
    def change(row: dict[str, Any], number: int) -> None:
        row["title"], row["sentences"] = "the army", ["the army won"] * (number + 1)

    pairs = Pairs(with_words(tmp_path, prepared, change), "title", 100)
    for seed in (None, 1, 1, 2):
        batches = pairs.sentence_batches(40, seed)
        assert sorted(np.concatenate(batches).tolist()) == list(range(6))
        assert all(len(b) * (pairs.lengths[b].max() + 1) <= 40 for b in batches if len(b) > 1)
    first, again = (np.concatenate(pairs.sentence_batches(40, 1)) for _ in range(2))
    assert first.tolist() == again.tolist()
    assert [int(b.lengths.sum()) for b in pairs.each_batch(40)] == [3 * len(b) for b in pairs.sentence_batches(40)]


def test_the_summary_is_taken_before_the_title(prepared: PreparedFolder, tmp_path: Path) -> None:
    def change(row: dict[str, Any], number: int) -> None:
        row["title"], row["summary"] = "title", "summary" if number == 3 else None

    corpus = with_words(tmp_path, prepared, change)
    assert target_field(corpus.folder) == "summary"
    assert target_field(corpus.folder, "title") == "title"
    assert Pairs(corpus, "auto", 100).index.tolist() == [3]
    assert target_field(prepared) == "title"


def test_a_corpus_without_summaries_is_refused_with_a_remedy(prepared: PreparedFolder) -> None:
    pairs = Pairs(Corpus(prepared, "valid"), "auto", 100)
    pairs.require_documents()
    for ask in (pairs.require_sentences, lambda: pairs.sentence_batches(100)):
        with pytest.raises(UserError, match=r"no document of the valid split has a title.*--fields\.title"):
            ask()
    assert sum(len(d.index) for d in pairs.each_documents()) == pairs.documents == pairs.left_out
