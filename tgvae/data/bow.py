"""Bags of words as a sparse matrix of counts, and its two products with dense tables.

Both products are sums of table rows, over documents forward and over words backward, so their cost depends on the words
that documents contain, not on the vocabulary.
Shape legend: U bags, N pairs of a bag and a word in it, D vocabulary, K columns of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor


@dataclass(frozen=True)
class BagOfWords:
    """Counts C (U, D) as (bag, word) pairs in the order of the bags.

    Attributes:
        counts: how often the word of each pair is in its bag, with shape (N,).
        words: word of each pair with shape (N,), at most once per bag.
        rows: bag of each pair with shape (N,), ascending.
        starts: first pair of each bag with shape (U,).
        by_word: the pairs in the order of their words, with shape (N,).
        word_starts: first position in ``by_word`` of each word, with shape (D,).

    Examples:
        >>> import torch
        >>> bags = BagOfWords.of(count_words([[0, 2, 2], [1]], size=3))
        >>> bags.dense().tolist(), bags.sizes.tolist()
        ([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]], [3.0, 1.0])
        >>> (bags @ torch.tensor([[1.0], [10.0], [100.0]])).tolist()
        [[201.0], [10.0]]
    """

    counts: Tensor
    words: Tensor
    rows: Tensor
    starts: Tensor
    by_word: Tensor
    word_starts: Tensor

    @classmethod
    def of(cls, counts: csr_array) -> BagOfWords:
        """Convert a matrix (U, D) without duplicate entries."""
        places = np.arange(counts.nnz)
        by_word = csr_array((places, counts.indices, counts.indptr), counts.shape).tocsc()
        rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        indices = (counts.indices, rows, counts.indptr[:-1], by_word.data, by_word.indptr[:-1])
        return cls(torch.from_numpy(counts.data.astype(np.float32)), *map(_index, indices))

    @property
    def sizes(self) -> Tensor:
        """Words in each bag, with repeats, with shape (U,)."""
        return self.total(torch.ones_like(self.counts))

    def __len__(self) -> int:
        return len(self.starts)

    def __matmul__(self, table: Tensor) -> Tensor:
        """Return C table with shape (U, K) for a table (D, K); gradients flow to the table."""
        return _Product.apply(self, table)

    def entries(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the entries of left right' at the pairs, with shape (N,), for tables (U, K) and (D, K)."""
        return _Entries.apply(self, left, right)

    def total(self, values: Tensor) -> Tensor:
        """Return sum_w c_w v_w of each bag with shape (U,), from one value per pair (N,)."""
        return values.new_zeros(len(self)).index_add(0, self.rows, self.counts * values)

    def log1p(self) -> BagOfWords:
        """Return log(1 + count); absent words stay at zero."""
        return replace(self, counts=self.counts.log1p())

    def dense(self) -> Tensor:
        """Return C with shape (U, D)."""
        empty = self.counts.new_zeros(len(self), len(self.word_starts))
        return empty.index_put((self.rows, self.words), self.counts)

    def to(self, device: torch.device | str) -> BagOfWords:
        return BagOfWords(*(getattr(self, f.name).to(device) for f in fields(self)))

    def rows_of(self, table: Tensor, weights: Tensor) -> Tensor:
        """Return sum_w weight_w table_w over the pairs of each bag, with shape (U, K), for a table (D, K)."""
        return _sums(self.words, table, self.starts, weights)

    def columns_of(self, table: Tensor, weights: Tensor) -> Tensor:
        """Return sum_u weight_u table_u over the pairs of each word, with shape (D, K), for a table (U, K)."""
        return _sums(self.rows[self.by_word], table, self.word_starts, weights[self.by_word])


def bag_matrix(words: NDArray[np.int32], starts: NDArray[np.int64], size: int) -> csr_array:
    """Return counts with shape (documents, ``size``) of concatenated documents that begin at ``starts``."""
    bags = csr_array((np.ones(len(words), dtype=np.float32), words, starts), shape=(len(starts) - 1, size))
    bags.sum_duplicates()
    return bags


def count_words(documents: Sequence[Sequence[int]], size: int) -> csr_array:
    """Return counts with shape (documents, ``size``) of documents given as ids of topic words.

    Examples:
        >>> count_words([[0, 2, 2], [1], []], size=3).toarray().tolist()
        [[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    words = np.fromiter(chain.from_iterable(documents), dtype=np.int32)
    return bag_matrix(words, np.cumsum([0, *map(len, documents)]), size)


class _Product(torch.autograd.Function):
    """C table."""

    @staticmethod
    def forward(ctx: Any, bags: BagOfWords, table: Tensor) -> Tensor:
        ctx.bags = bags
        return bags.rows_of(table, bags.counts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, ctx.bags.columns_of(gradient, ctx.bags.counts)


class _Entries(torch.autograd.Function):
    """left right' at the pairs."""

    @staticmethod
    def forward(ctx: Any, bags: BagOfWords, left: Tensor, right: Tensor) -> Tensor:
        ctx.bags = bags
        ctx.save_for_backward(left, right)
        return (F.embedding(bags.rows, left) * F.embedding(bags.words, right)).sum(-1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor]:
        left, right = ctx.saved_tensors
        return None, ctx.bags.rows_of(right, gradient), ctx.bags.columns_of(left, gradient)


def _sums(index: Tensor, table: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """Return weighted sums of the rows ``index`` of a table, from each start to the next."""
    table = table.contiguous()
    return F.embedding_bag(index, table, starts, mode="sum", per_sample_weights=weights.to(table.dtype))


def _index(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(values.astype(np.int64))
