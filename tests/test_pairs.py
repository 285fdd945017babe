"""Pairs of documents and summaries against a rebuild from the table; words that only the sources hold."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.conftest import named_documents
from tgvae.data.corpus import Corpus
from tgvae.data.extended_vocabulary import ExtendedVocabulary
from tgvae.data.pairs import Pairs, target_field
from tgvae.data.schema import DOCUMENT, PreparedFolder
from tgvae.data.tokenizers import WordTokenizer, split_sentences, word_tokenize
from tgvae.errors import UserError
from tgvae.models.base import Capability
from tgvae.runs import load_run

WORDS = ["the", "army", "won", "a", "battle", "."]
PAD, UNK, BOS, EOS = 0, 1, 2, 3

Rewrite = Callable[[dict[str, Any], int], None]


def with_words(prepared: PreparedFolder, change: Rewrite, rows: int = 6) -> Corpus:
    """The training split with a word tokenizer of few words and rows changed."""
    documents = prepared.split("train").to_pylist()[:rows]
    for number, row in enumerate(documents):
        change(row, number)
    batches = pa.Table.from_pylist(documents, schema=DOCUMENT).to_batches(max_chunksize=4)
    folder = PreparedFolder.open(prepared.path)
    vars(folder)["tokenizer"] = WordTokenizer(WORDS)
    vars(folder)["split"] = {"train": pa.Table.from_batches(batches, schema=DOCUMENT)}.__getitem__
    return Corpus(folder, "train")


def test_words_beyond_the_vocabulary_have_ids_and_come_back() -> None:
    tokenizer = WordTokenizer(WORDS)
    vocabulary, size = ExtendedVocabulary(tokenizer), len(tokenizer)
    source = vocabulary.encode_source(["The army of Ruritania won.", "Zenda, Ruritania"])
    assert vocabulary.words == ["of", "ruritania", "zenda", ","]
    assert source == [4, 5, size, size + 1, 6, 9, size + 2, size + 3, size + 1]
    assert vocabulary.decode(source[:6]) == "the army of ruritania won."
    (target,), (words,) = vocabulary.encode_targets([["Ruritania won Strelsau, the battle."]], [source[:6]])
    assert target == [size + 1, 6, UNK, UNK, 4, 8, 9], "a comma and a name that the source, as cut, lacks"
    assert words == 7
    assert vocabulary.words == ["of", "ruritania", "zenda", ","], "targets add no word"


def test_subwords_lack_nothing(prepared: PreparedFolder) -> None:
    vocabulary = ExtendedVocabulary(prepared.tokenizer)
    ids = vocabulary.encode_source(["The naïve 軍 won\u2028twice."])
    assert ids == prepared.tokenizer.encode("The naïve 軍 won twice.")
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
    vocabulary, size, number = ExtendedVocabulary(tokenizer), len(tokenizer), tokenizer.pieces.index("#")
    assert vocabulary.encode_source(["UNK the <unk> # <UNK> unk ."]) == [UNK, 4, UNK, number, UNK, UNK, 9]
    assert vocabulary.encode_targets([["UNK # , won"], ["<unk>"]], [[], []]) == ([[UNK, number, UNK, 6], [UNK]], [4, 1])
    assert vocabulary.words == []
    assert vocabulary.encode_source(["the UNK-like"]) == [4, size]
    assert vocabulary.decode([4, UNK, 6, UNK, 9, size]) == f"the <unk> won <unk>. {vocabulary.words[0]}"


@pytest.mark.parametrize(
    "text", ["u.s. {0} corp .", "`` {0} '' , ( {0} ) \" {0} \"", "it 's {0} 's u.s. {0}", "cannot {0} {0}"]
)
def test_words_beside_unk_are_parted_as_beside_any_word(text: str) -> None:
    vocabulary = ExtendedVocabulary(WordTokenizer(WORDS))
    ids = vocabulary.encode_source([text.format("UNK")])
    words = [*vocabulary.tokenizer.pieces, *vocabulary.words]
    assert [words[i] for i in ids] == [{"xyz": "<unk>"}.get(w, w) for w in word_tokenize(text.format("xyz"))]


def test_subwords_beside_unk_are_those_of_their_words(prepared: PreparedFolder) -> None:
    tokenizer = prepared.tokenizer
    vocabulary = ExtendedVocabulary(tokenizer)
    ids = vocabulary.encode_source(["UNK the army UNK <unk> saw #.# %, UNK"])
    encode = tokenizer.encode
    assert ids == [UNK, *encode("the army"), UNK, UNK, *encode("saw #.# %,"), UNK]
    assert vocabulary.decode(ids) == "<unk> the army <unk> <unk> saw #.# %, <unk>"
    assert vocabulary.encode_targets([["UNK", "<unk> can't"]], [ids]) == ([[UNK, UNK, *encode("can't")]], [4])
    assert vocabulary.encode_source(["(UNK) UNK-like"]) == encode("(UNK) UNK-like")


def test_encoding_does_not_hang_on_other_texts(prepared: PreparedFolder) -> None:
    texts = ["The army of UNK won.", "", "UNK", "A <unk> battle, won.", "the army won"]
    for tokenizer in (prepared.tokenizer, WordTokenizer([*WORDS, "of", ",", "UNK"])):
        vocabulary = ExtendedVocabulary(tokenizer)
        alone = [vocabulary.encode_source([text]) for text in texts]
        assert vocabulary.encode_source(texts) == [i for source in alone for i in source]
        documents = [[], texts[:2], texts[2:], []]
        assert vocabulary.encode_sources(documents) == [vocabulary.encode_source(d) for d in documents]
        targets, words = vocabulary.encode_targets(documents, sources := [alone[1], alone[4], alone[0], []])
        each = [vocabulary.encode_targets([d], [source]) for d, source in zip(documents, sources, strict=True)]
        assert (targets, words) == ([ids for (ids,), _ in each], [count for _, (count,) in each])


def test_summaries_never_hold_unk(summarizer_run: Path) -> None:
    """Of documents in which the name that a summary would copy is not known."""
    model = load_run(summarizer_run, require=Capability.SUMMARIES)
    texts = [d["text"].replace(d["title"].split()[0], name) for d in named_documents(12) for name in ("UNK", "<unk>")]
    digests = model.summarize_documents(texts, num=2)
    summaries = [summary.text for digest in digests for summary in digest.summaries]
    assert len(summaries) == 2 * len(texts)
    assert not [text for text in summaries if "unk" in text.lower()]
    assert [model.summarize([text], num=2)[0][0].text for text in texts[:4]] == summaries[:8:2], "alone or in a batch"
    assert summaries[0::4] == summaries[2::4], "both signs are the same to it"


def test_batches_are_a_rebuild_from_the_table(prepared: PreparedFolder) -> None:
    titles = ["The Ruritania army", None, "won won won", "", "zyx army", "the"]

    def change(row: dict[str, Any], number: int) -> None:
        row["title"] = titles[number]
        row["sentences"] = [f"The Ruritania {number} army won.", "A battle."] if number < 5 else []

    corpus = with_words(prepared, change)
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
    torch.testing.assert_close(batch.context.dense(), corpus.gather_documents([4, 0]).counts.dense())
    assert type(batch.to("cpu")) is type(batch)
    assert "3 documents with a title, 3 without, 3 longer" in pairs.description


def test_sources_hold_sentences_too_long_to_be_modelled(prepared: PreparedFolder) -> None:
    def change(row: dict[str, Any], number: int) -> None:
        row["title"], row["sentences"], row["tokens"] = "the army", ["the army", "won a battle"], [[4, 5], []]

    batch = Pairs(with_words(prepared, change), "title", 100).gather([0])
    assert batch.source.tolist() == [[4, 5, 6, 7, 8]]


def test_a_summary_is_cut_into_sentences_as_its_document_is(prepared: PreparedFolder) -> None:
    """So that the end of a sentence is the same token in both, and a word of its own."""
    text = "The army won. Ruritania won a battle.\n\nThe battle"

    def change(row: dict[str, Any], number: int) -> None:
        row["title"], row["sentences"] = text, split_sentences(text)

    batch = Pairs(with_words(prepared, change), "title", 100).gather([0])
    assert UNK not in batch.targets
    assert batch.targets[0, :-1].tolist() == batch.source[0].tolist()
    assert batch.words.tolist() == [4 + 5 + 2 + 1]
    words = [prepared.topic_vocabulary.words[i] for i in batch.sentence_bow.words]
    assert dict(zip(words, batch.sentence_bow.counts.tolist(), strict=True)) == {"army": 1, "battle": 2}, (
        "without full stops"
    )


def test_what_stands_for_a_rare_word_is_one_word(prepared: PreparedFolder) -> None:
    def change(row: dict[str, Any], number: int) -> None:
        row["title"], row["sentences"] = "<unk> won . UNK won .", ["<unk> won .", "UNK won ."]

    corpus = with_words(prepared, change)
    for tokenizer in (corpus.folder.tokenizer, prepared.tokenizer):
        vars(corpus.folder)["tokenizer"] = tokenizer
        batch = Pairs(corpus, "title", 100).gather([0])
        assert batch.words.tolist() == [6 + 1]
        assert batch.targets[0].tolist().count(UNK) == 2


def test_subwords_of_a_summary_have_no_line_end(prepared: PreparedFolder) -> None:
    """A sentence that goes on after a blank line, as after a formula, stays one: nupunkt sees no end there."""
    text = "The army won.\n\nA law says that\n\nis always true.\n\nNo end"
    encode = prepared.tokenizer.encode

    def change(row: dict[str, Any], number: int) -> None:
        row["title"], row["sentences"] = text, split_sentences(text)

    corpus = with_words(prepared, change)
    vars(corpus.folder)["tokenizer"] = prepared.tokenizer
    batch = Pairs(corpus, "title", 100).gather([0])
    expected = [*encode("The army won."), *encode("A law says that is always true."), *encode("No end")]
    assert batch.targets[0].tolist() == [*expected, EOS]
    assert batch.source[0].tolist() == expected
    assert not {prepared.tokenizer.pieces[i] for i in expected} & {"<0x0A>", "<0x0D>"}


ODD = ["", "...", "\u2581 \u2581 a \u2581", "\u0301 \u0301", "-- ( ) --", "e.g. it doesn't cannot", "UNKs,won", "軍 軍"]


def plain_pairs(corpus: Corpus, source_tokens: int) -> list[tuple[int, list[str], list[str], int, bool]]:
    """Number, source, target, words and whether it was cut of each, a document and a sentence at a time."""
    tokenizer = corpus.folder.tokenizer

    def pieces(sentence: str) -> list[str]:
        if isinstance(tokenizer, WordTokenizer):
            return word_tokenize(sentence.lower())
        return [tokenizer.pieces[i] for i in tokenizer.encode(sentence)]

    found = []
    for number, row in enumerate(corpus.table.to_pylist()):
        source = [piece for sentence in row["sentences"] for piece in pieces(sentence)]
        sentences = split_sentences(row["title"] or "")
        known = {*tokenizer.pieces[4:], *source[:source_tokens]}
        target = [piece if piece in known else "<unk>" for sentence in sentences for piece in pieces(sentence)]
        if source and target:
            words = 1 + sum(len(word_tokenize(sentence)) for sentence in sentences)
            found.append((number, source[:source_tokens], [*target, "<eos>"], words, len(source) > source_tokens))
    return found


@pytest.mark.parametrize("kind", ["words", "subwords"])
@pytest.mark.parametrize("source_tokens", [1, 4, 17, 1000])
def test_pairs_are_those_of_a_plain_loop(
    kind: str, source_tokens: int, prepared: PreparedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoded some at a time, and no further than is read."""
    rng = random.Random(0)

    def change(row: dict[str, Any], number: int) -> None:
        row["sentences"] = [*rng.choices(ODD, k=rng.randrange(4)), *row["sentences"], *rng.choices(ODD, k=2)]
        rng.shuffle(row["sentences"])
        row["title"] = rng.choice([None, "", "won. A battle.", " ".join(row["sentences"][:2]), "\u2581"])
        if number == 59:
            row["sentences"], row["title"] = ["\u2581"] * 30 + ["won"] * 30, "won"  # to sentencepiece a blank

    corpus = with_words(prepared, change, rows=60)
    if kind == "subwords":
        vars(corpus.folder)["tokenizer"] = prepared.tokenizer
    monkeypatch.setattr("tgvae.data.pairs.AT_ONCE", 7)
    pairs, expected = Pairs(corpus, "title", source_tokens), plain_pairs(corpus, source_tokens)
    names = [*corpus.folder.tokenizer.pieces, *pairs.vocabulary.words]
    assert 20 < len(expected) < 60
    assert pairs.index.tolist() == [number for number, *_ in expected]
    assert pairs.cut == sum(cut for *_, cut in expected)
    assert pairs.left_out == 60 - len(expected)
    assert pairs.lengths.tolist() == [len(source) + len(target) for _, source, target, *_ in expected]
    for i, (_, source, target, words, _) in enumerate(expected):
        batch = pairs.gather([i])
        assert [names[j] for j in batch.source[0].tolist()] == source
        assert [names[j] for j in batch.targets[0].tolist()] == target
        assert batch.words.tolist() == [words]


def test_only_what_is_read_is_encoded(
    prepared: PreparedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of documents without a summary, and of a long one only its beginning."""
    encoded: list[str] = []

    def tokenize(sentence: str) -> list[str]:
        encoded.append(sentence)
        return word_tokenize(sentence)

    def change(row: dict[str, Any], number: int) -> None:
        row["title"] = "a battle" if number in (1, 3) else None
        row["sentences"] = [f"The army of {number} won." if number < 3 else "won"] * 50

    corpus = with_words(prepared, change)
    monkeypatch.setattr("tgvae.data.extended_vocabulary.word_tokenize", tokenize)
    pairs = Pairs(corpus, "title", 12)
    assert pairs.cut == len(pairs.index) == 2
    assert Counter(encoded) == {"the army of 1 won.": 4, "won": 13, "a battle": 2}


def test_every_pair_once_by_length_and_shuffled_by_seed(prepared: PreparedFolder) -> None:
    def change(row: dict[str, Any], number: int) -> None:
        row["title"], row["sentences"] = "the army", ["the army won"] * (number + 1)

    pairs = Pairs(with_words(prepared, change), "title", 100)
    for seed in (None, 1, 1, 2):
        batches = pairs.sentence_batches(40, seed)
        assert sorted(np.concatenate(batches).tolist()) == list(range(6))
        assert all(len(b) * (pairs.lengths[b].max() + 1) <= 40 for b in batches if len(b) > 1)
    first, again = (np.concatenate(pairs.sentence_batches(40, 1)) for _ in range(2))
    assert first.tolist() == again.tolist()
    assert all(int(pairs.gather(index).lengths.sum()) == 3 * len(index) for index in pairs.sentence_batches(40))


@pytest.mark.parametrize(
    ("summaries", "titles", "field"), [(1, 6, "title"), (4, 3, "summary"), (6, 6, "summary"), (1, 0, "summary")]
)
def test_what_more_documents_have_is_written(
    summaries: int, titles: int, field: str, prepared: PreparedFolder, tmp_path: Path
) -> None:
    """A stray summary among titled documents is no task to learn."""

    def change(row: dict[str, Any], number: int) -> None:
        row["summary"] = "the army" if number < summaries else None
        row["title"] = "a battle" if number < titles else None

    corpus = with_words(prepared, change)
    assert target_field(corpus.folder) == field
    assert target_field(corpus.folder, "title") == "title"
    assert target_field(corpus.folder, "summary") == "summary"
    pairs = Pairs(corpus, "auto", 100)
    assert (pairs.field, len(pairs.index)) == (field, {"summary": summaries, "title": titles}[field])
    assert target_field(prepared) == "title", "where no document has either"


def test_a_corpus_without_summaries_is_refused_with_a_remedy(prepared: PreparedFolder) -> None:
    pairs = Pairs(Corpus(prepared, "valid"), "auto", 100)
    pairs.rows("document")
    for ask in (pairs.require_sentences, lambda: pairs.sentence_batches(100)):
        with pytest.raises(UserError, match=r"no document of the valid split has a title.*--fields\.title"):
            ask()
    assert sum(map(len, pairs.rows("document").batches(7, None))) == pairs.documents == pairs.left_out


def test_own_words_are_those_of_the_summary_and_the_context_is_the_whole_document(titled: PreparedFolder) -> None:
    pairs = Pairs(Corpus(titled, "train"), "title", 100)
    index = [5, 0, 9]
    batch, words = pairs.gather(index), titled.topic_vocabulary.words
    for row, number in enumerate(pairs.index[index]):
        title = Counter(word_tokenize(pairs.table["title"][int(number)].as_py().lower()))
        assert {words[i]: int(n) for i, n in enumerate(batch.sentence_bow.dense()[row]) if n} == {
            word: n for word, n in title.items() if word in words
        }
    assert batch.sentence_bow.sizes.sum() > 0
    torch.testing.assert_close(batch.context.dense(), pairs.gather_documents(pairs.index[index]).counts.dense())
