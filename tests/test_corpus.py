"""Batches against a rebuild from the Arrow table, row by row."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tests.conftest import made_up_documents
from tgvae.data.batch import Batch
from tgvae.data.corpus import Corpus
from tgvae.data.schema import DOCUMENT, PreparedFolder
from tgvae.data.tokenizers import word_tokenize
from tgvae.errors import UserError

SEEDS = [None, 0, 10**12]


def rewritten(prepared: PreparedFolder, rows: list[dict[str, Any]], per_chunk: int) -> Corpus:
    """Other training documents in the place of those prepared, in record batches of ``per_chunk``."""
    table = pa.Table.from_pylist(rows, schema=DOCUMENT)
    batches = table.to_batches(max_chunksize=per_chunk)
    return Corpus(prepared, "train", pa.Table.from_batches(batches, schema=DOCUMENT))


@pytest.fixture(scope="module")
def gaps(prepared: PreparedFolder) -> Corpus:
    """A corpus with sentences and documents that are not modelled, in several record batches."""
    rows = prepared.split("train").to_pylist()[:60]
    for i, row in enumerate(rows):
        for j in range(len(row["tokens"])):
            if i % 10 == 3 or (i + j) % 4 == 0:
                row["tokens"][j], row["words"][j] = [], 0
    rows[5] |= {"sentences": [], "tokens": [], "topic_words": [], "words": []}
    rows[7]["topic_words"] = [[] for _ in rows[7]["sentences"]]
    return rewritten(prepared, rows, per_chunk=17)


@pytest.fixture(params=["whole", "gaps"])
def either(request: pytest.FixtureRequest, corpus: Corpus, gaps: Corpus) -> Corpus:
    return corpus if request.param == "whole" else gaps


def modelled(corpus: Corpus) -> list[tuple[int, int, dict[str, Any]]]:
    """(document, position, row) of every sentence that has tokens, in order."""
    rows = corpus.table.to_pylist()
    return [(d, j, row) for d, row in enumerate(rows) for j, ids in enumerate(row["tokens"]) if ids]


def bag(words: list[int], size: int) -> torch.Tensor:
    counts = Counter(words)
    return torch.tensor([float(counts[i]) for i in range(size)])


def test_modelled_sentences(either: Corpus) -> None:
    expected = modelled(either)
    assert either.sentences.tolist() == [[d, j] for d, j, _ in expected]
    assert either.lengths.tolist() == [len(row["tokens"][j]) for _, j, row in expected]
    assert [either.text(i) for i in range(len(expected))] == [row["sentences"][j] for _, j, row in expected]
    assert either.documents == either.table.num_rows


def test_bags_are_counts_of_topic_words(either: Corpus) -> None:
    rows, size = either.table.to_pylist(), len(either.folder.topic_vocabulary)
    index = np.arange(len(rows))[::-3]
    documents = either.gather_documents(index)
    assert documents.index.tolist() == index.tolist()
    for got, i in zip(documents.counts.dense(), index, strict=True):
        assert torch.equal(got, bag([w for words in rows[i]["topic_words"] for w in words], size))


def test_gather_is_a_rebuild_from_the_table(either: Corpus) -> None:
    expected, tokenizer = modelled(either), either.folder.tokenizer
    size = len(either.folder.topic_vocabulary)
    index = np.random.default_rng(0).permutation(len(expected))[:40]
    batch = either.gather(index)
    assert len(batch.documents.index.unique()) == len(batch.documents.index) < len(index)
    longest = max(len(expected[i][2]["tokens"][expected[i][1]]) for i in index) + 1
    assert batch.inputs.shape == batch.targets.shape == (len(index), longest)
    for row, i in enumerate(index):
        document, position, source = expected[i]
        ids, words = source["tokens"][position], source["topic_words"]
        padding = [tokenizer.pad_id] * (longest - len(ids) - 1)
        assert batch.targets[row].tolist() == [*ids, tokenizer.eos_id, *padding]
        assert batch.inputs[row].tolist() == [tokenizer.bos_id, *ids, *padding]
        assert batch.lengths[row] == len(ids) + 1
        assert batch.words[row] == source["words"][position] + 1
        assert batch.documents.index[batch.parent[row]] == document
        assert torch.equal(batch.sentence_bow.dense()[row], bag(words[position], size))
        others = words[:position] + words[position + 1 :]
        assert torch.equal(batch.context.dense()[row], bag(list(itertools.chain(*others)), size))


def test_documents_are_complete_whatever_sentences_are_drawn(either: Corpus) -> None:
    batch = either.gather([0])
    document = int(either.sentences[0, 0])
    assert torch.equal(batch.documents.counts.dense(), either.gather_documents([document]).counts.dense())
    assert batch.documents.index.tolist() == [document]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("tokens", [1, 60, 500, 10**6])
def test_sentence_batches_hold_every_sentence_once_within_the_budget(
    either: Corpus, tokens: int, seed: int | None
) -> None:
    batches = either.sentence_batches(tokens, seed)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(either.lengths)))
    for index in batches:
        padded = len(index) * (int(either.lengths[index].max()) + 1)
        assert padded <= tokens or len(index) == 1


def test_a_large_budget_is_used(corpus: Corpus) -> None:
    """Without a seed no two neighbouring batches would fit into one."""
    batches = corpus.sentence_batches(300)
    for a, b in itertools.pairwise(batches):
        assert (len(a) + 1) * (corpus.lengths[b[0]] + 1) > 300


@pytest.mark.parametrize("draw", ["sentence_batches", "document_batches"])
def test_batches_are_a_function_of_the_seed(corpus: Corpus, draw: str) -> None:
    def batches(seed: int | None) -> list[list[int]]:
        return [index.tolist() for index in getattr(corpus, draw)(60, seed)]

    assert batches(1) == batches(1)
    assert batches(1) != batches(2)
    assert batches(1) != batches(None) == batches(None)


@pytest.mark.parametrize("seed", SEEDS)
def test_document_batches_hold_every_document_once(corpus: Corpus, seed: int | None) -> None:
    batches = corpus.document_batches(32, seed)
    assert sorted(np.concatenate(batches).tolist()) == list(range(corpus.documents))
    assert {len(index) for index in batches[:-1]} == {32}


def test_iterators_pass_over_the_split_once(either: Corpus) -> None:
    seen = [
        (int(d), tuple(target.tolist()[:n]))
        for batch in map(either.gather, either.sentence_batches(400))
        for d, target, n in zip(batch.documents.index[batch.parent], batch.targets, batch.lengths.tolist(), strict=True)
    ]
    eos = either.folder.tokenizer.eos_id
    assert sorted(seen) == sorted((d, (*row["tokens"][j], eos)) for d, j, row in modelled(either))
    rows = torch.cat([documents.index for documents in either.each_documents(size=50)])
    assert rows.tolist() == list(range(either.documents))


def test_record_batches_do_not_matter(prepared: PreparedFolder, corpus: Corpus) -> None:
    again = rewritten(prepared, corpus.table.to_pylist(), per_chunk=7)
    assert again.table["tokens"].num_chunks > 1
    ours, theirs = again.gather([3, 99, 0]), corpus.gather([3, 99, 0])
    assert torch.equal(ours.targets, theirs.targets)
    assert torch.equal(ours.context.dense(), theirs.context.dense())
    assert (again.bags != corpus.bags).nnz == 0


@pytest.mark.parametrize("documents", [0, 3])
def test_a_split_without_sentences(prepared: PreparedFolder, documents: int) -> None:
    rows = prepared.split("train").to_pylist()[:documents]
    for row in rows:
        row |= {"tokens": [[] for _ in row["tokens"]], "words": [0 for _ in row["words"]]}
    empty = rewritten(prepared, rows, per_chunk=10)
    assert empty.documents == documents
    for ask in (empty.require_sentences, lambda: empty.sentence_batches(100, 0), lambda: empty.rows("sentence")):
        with pytest.raises(UserError, match="the train split has no sentence to model"):
            ask()


def test_batches_move_between_devices_whole(corpus: Corpus) -> None:
    batch = corpus.gather([0, 1]).to("meta")
    assert isinstance(batch, Batch)
    bags = (batch.sentence_bow, batch.context, batch.documents.counts)
    moved = [batch.inputs, batch.parent, *(getattr(bag, f.name) for bag in bags for f in fields(bag))]
    assert {x.device.type for x in moved} == {"meta"}


def test_sentences_of_the_corpus_as_a_corpus_of_their_own(corpus: Corpus) -> None:
    """The same tokens, words and bags as the folder has for them, each in a document by itself."""
    chosen = list(range(0, len(corpus.lengths), 9))
    texts = [corpus.text(i) for i in chosen]
    again = Corpus.of_sentences(corpus.folder, "valid", texts)
    assert (again.split, again.documents) == ("valid", len(chosen))
    assert again.sentences.tolist() == [[i, 0] for i in range(len(chosen))]
    assert [again.text(i) for i in range(len(chosen))] == texts
    ours, theirs = again.gather(range(len(chosen))), corpus.gather(chosen)
    for name in ("inputs", "targets", "lengths", "words"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert torch.equal(ours.sentence_bow.dense(), theirs.sentence_bow.dense())
    assert torch.equal(again.gather_documents(range(len(chosen))).counts.dense(), theirs.sentence_bow.dense())
    assert len(ours.context.counts) == 0, "a document of one sentence has no rest"
    assert set(again.table["label"].to_pylist()) == {None}


def test_sentences_without_a_token_are_not_modelled(corpus: Corpus) -> None:
    mixed = Corpus.of_sentences(corpus.folder, "train", ["", "The army saw a moon.", ""])
    assert mixed.documents == 3
    assert mixed.sentences.tolist() == [[1, 0]]
    assert mixed.text(0) == "The army saw a moon."
    for nothing in ([], [""]):
        with pytest.raises(UserError, match="the train split has no sentence to model"):
            Corpus.of_sentences(corpus.folder, "train", nothing).require_sentences()


def test_text_of_a_cut_sentence_is_what_is_modelled(tmp_path: Path) -> None:
    source = tmp_path / "d.jsonl"
    source.write_text("".join(json.dumps(d) + "\n" for d in made_up_documents(60)), encoding="utf-8")
    settings = PrepareSettings(
        vocabulary_size=400, min_document_words=3, max_sentence_words=9, long_sentences="cut", tokenizer="words"
    )
    corpus = Corpus(PreparedFolder.open(prepare(str(source), tmp_path / "out", settings, workers=1)), "train")
    whole = corpus.table["sentences"].to_pylist()
    texts = [corpus.text(i) for i in range(len(corpus.lengths))]
    given = [whole[document][position] for document, position in corpus.sentences]
    assert [word_tokenize(t) for t in texts] == [word_tokenize(g)[:9] for g in given]
    assert any(len(t) < len(g) for t, g in zip(texts, given, strict=True))
    assert any(t == g for t, g in zip(texts, given, strict=True))
