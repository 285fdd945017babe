"""Rows of every kind of data through one contract, and corruption on its way to the encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.test_models import build
from tgvae.data.corpus import Corpus
from tgvae.data.corruption import Corruption
from tgvae.data.dataset import Examples, Unit, shuffled
from tgvae.data.graphs import Graph, split_edges
from tgvae.data.pairs import Pairs
from tgvae.data.schema import PreparedFolder
from tgvae.data.vectors import open_vectors
from tgvae.errors import UserError

CHAIN = Graph([str(i) for i in range(60)], np.array([[i, i + 1] for i in range(59)]), "a chain")
KINDS: list[tuple[str, Unit]] = [
    ("corpus", "document"),
    ("corpus", "sentence"),
    ("pairs", "sentence"),
    ("pairs", "document"),
    ("vectors", "vector"),
    ("graph", "node"),
]


@pytest.fixture(scope="module")
def examples(prepared: PreparedFolder, titled: PreparedFolder) -> dict[str, Examples]:
    return {
        "corpus": Corpus(prepared, "valid"),
        "pairs": Pairs(Corpus(titled, "valid"), "title", 20),
        "vectors": open_vectors("digits").splits["valid"],
        "graph": split_edges(CHAIN)["valid"],
    }


@pytest.mark.parametrize(("kind", "unit"), KINDS)
def test_every_row_comes_once_and_says_what_it_counts(kind: str, unit: Unit, examples: dict[str, Examples]) -> None:
    rows = examples[kind].rows(unit)
    assert rows.unit == unit
    in_order, mixed = rows.batches(40, None), rows.batches(40, 3)
    found = np.sort(np.concatenate(in_order))
    np.testing.assert_array_equal(found, np.arange(len(found)))
    np.testing.assert_array_equal(np.sort(np.concatenate(mixed)), found)
    for index in in_order[:3]:
        batch = rows.gather(index).to("cpu")
        assert {name: len(count) for name, count in batch.sizes.items()} == dict.fromkeys(
            ("words", "tokens", "documents"), len(index)
        )
        names = rows.names(batch.sizes["documents"].unique().numpy())
        assert len(set(names)) == len(names) > 0


@pytest.mark.parametrize(("kind", "unit"), KINDS)
def test_a_seed_gives_the_same_batches_and_another_one_others(
    kind: str, unit: Unit, examples: dict[str, Examples]
) -> None:
    rows = examples[kind].rows(unit)
    one, same, other = (np.concatenate(rows.batches(40, seed)).tolist() for seed in (1, 1, 2))
    assert one == same
    assert (one == other) == (unit == "node"), "a graph is one batch, always the same"


def test_rows_that_a_split_does_not_have_are_refused(examples: dict[str, Examples]) -> None:
    for kind, unit in (("corpus", "vector"), ("pairs", "node"), ("vectors", "sentence"), ("graph", "document")):
        with pytest.raises(UserError, match=f"no {unit}s"):
            examples[kind].rows(unit)


def test_shuffled_covers_all() -> None:
    assert [part.tolist() for part in shuffled(5, 2)] == [[0, 1], [2, 3], [4]]
    assert sorted(np.concatenate(shuffled(5, 2, seed=0))) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("kind", "unit"), [("corpus", "document"), ("pairs", "sentence"), ("graph", "node")])
def test_what_cannot_be_corrupted_says_so(kind: str, unit: Unit, examples: dict[str, Examples]) -> None:
    rows = examples[kind].rows(unit)
    with pytest.raises(UserError, match="mask is a corruption of sentences or images"):
        rows.corrupt(rows.gather(rows.batches(40, None)[0]), Corruption("mask", 0.5))


@pytest.mark.parametrize("name", ["vae", "tgvae", "tgvae-jensen"])
def test_the_encoder_reads_the_corrupted_sentence_and_the_likelihood_scores_the_clean_one(
    name: str, prepared: PreparedFolder, corpus: Corpus
) -> None:
    model, rows = build(name, prepared).eval(), corpus.rows("sentence")
    clean = rows.gather(np.arange(8))
    torch.manual_seed(0)
    noisy = rows.corrupt(clean, Corruption("mask", 1.0))
    assert clean.encoder_inputs == (clean.targets, clean.lengths)
    words = torch.arange(clean.targets.shape[1]) < (clean.lengths - 1).unsqueeze(1)
    assert (noisy.encoder_inputs[0][words] == prepared.tokenizer.unk_id).all()
    torch.testing.assert_close(noisy.to("cpu").encoder_inputs[0], noisy.encoder_inputs[0])
    torch.manual_seed(1)
    read_clean = model.trace(clean)
    torch.manual_seed(1)
    read_noisy = model.trace(noisy)
    assert read_noisy.observed["tokens"].x is clean.targets
    assert not torch.allclose(read_noisy.latents["z"].q.mean, read_clean.latents["z"].q.mean)
    expected = model.sentence.posterior(*noisy.encoder_inputs)  # what is read is what corruption left
    torch.testing.assert_close(
        read_noisy.latents["z"].q.scale, expected.scale.expand_as(read_noisy.latents["z"].q.scale)
    )
