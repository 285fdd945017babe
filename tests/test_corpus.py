"""Batches against a rebuild from the Arrow table, row by row."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from tgvae.data.batch import Batch
from tgvae.data.corpus import Corpus
from tgvae.data.schema import DOCUMENT, PreparedFolder
from tgvae.errors import UserError

SEEDS = [None, 0, 10**12]


def rewritten(prepared: PreparedFolder, target: Path, rows: list[dict[str, Any]], per_chunk: int) -> Corpus:
    """The prepared folder with other training documents, in record batches of ``per_chunk``."""
    path = Path(shutil.copytree(prepared.path, target / "prepared"))
    with pa.ipc.new_file(path / "train.arrow", DOCUMENT) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT), max_chunksize=per_chunk)
    return Corpus(PreparedFolder.open(path), "train")


@pytest.fixture(scope="module")
def gaps(prepared: PreparedFolder, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus with sentences and documents that are not modelled, in several record batches."""
    rows = prepared.split("train").to_pylist()[:60]
    for i, row in enumerate(rows):
        for j in range(len(row["tokens"])):
            if i % 10 == 3 or (i + j) % 4 == 0:
                row["tokens"][j], row["words"][j] = [], 0
    rows[5] |= {"sentences": [], "tokens": [], "topic_words": [], "words": []}
    rows[7]["topic_words"] = [[] for _ in rows[7]["sentences"]]
    return rewritten(prepared, tmp_path_factory.mktemp("gaps"), rows, per_chunk=17)


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
    for got, i in zip(documents.counts, index, strict=True):
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
        assert torch.equal(batch.own[row], bag(words[position], size))
        others = words[:position] + words[position + 1 :]
        assert torch.equal(batch.context[row], bag(list(itertools.chain(*others)), size))


def test_documents_are_complete_whatever_sentences_are_drawn(either: Corpus) -> None:
    batch = either.gather([0])
    document = int(either.sentences[0, 0])
    assert torch.equal(batch.documents.counts, either.gather_documents([document]).counts)
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
        for batch in either.each_batch(tokens=400)
        for d, target, n in zip(batch.documents.index[batch.parent], batch.targets, batch.lengths.tolist(), strict=True)
    ]
    eos = either.folder.tokenizer.eos_id
    assert sorted(seen) == sorted((d, (*row["tokens"][j], eos)) for d, j, row in modelled(either))
    rows = torch.cat([documents.index for documents in either.each_documents(size=50)])
    assert rows.tolist() == list(range(either.documents))


def test_record_batches_do_not_matter(prepared: PreparedFolder, corpus: Corpus, tmp_path: Path) -> None:
    again = rewritten(prepared, tmp_path, corpus.table.to_pylist(), per_chunk=7)
    assert again.table["tokens"].num_chunks > 1
    ours, theirs = again.gather([3, 99, 0]), corpus.gather([3, 99, 0])
    assert torch.equal(ours.targets, theirs.targets)
    assert torch.equal(ours.context, theirs.context)
    assert (again.bags != corpus.bags).nnz == 0


@pytest.mark.parametrize("documents", [0, 3])
def test_a_split_without_sentences(prepared: PreparedFolder, tmp_path: Path, documents: int) -> None:
    rows = prepared.split("train").to_pylist()[:documents]
    for row in rows:
        row |= {"tokens": [[] for _ in row["tokens"]], "words": [0 for _ in row["words"]]}
    empty = rewritten(prepared, tmp_path, rows, per_chunk=10)
    assert empty.documents == documents
    for ask in (empty.require_sentences, lambda: empty.sentence_batches(100, 0), lambda: list(empty.each_batch())):
        with pytest.raises(UserError, match="the train split has no sentence to model"):
            ask()


def test_batches_move_between_devices_whole(corpus: Corpus) -> None:
    batch = corpus.gather([0, 1]).to("meta")
    assert isinstance(batch, Batch)
    assert {x.device.type for x in (batch.inputs, batch.own, batch.parent, batch.documents.counts)} == {"meta"}
    assert batch.context.shape == batch.own.shape
