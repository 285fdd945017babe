"""Topic coherence: how often the top words of a topic co-occur in a reference corpus.

Words co-occur in a document, or in a boolean sliding window over its topic words in running order: each window that
contains both words counts once. Shapes: T topics, N top words, D topic vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from tgvae.data.corpus import Corpus
from tgvae.errors import UserError

Ints = NDArray[np.int64]
Floats = NDArray[np.floating]

EPSILON = 1e-12


@dataclass(frozen=True, eq=False)
class Texts:
    """Topic words of documents in running order, sentences joined.

    Attributes:
        words: concatenated word ids of all documents, with shape (words,).
        starts: start of each document in ``words``, and the end of the last, with shape (documents + 1,).
    """

    words: NDArray[np.integer]
    starts: Ints


def running_texts(corpus: Corpus) -> Texts:
    """Return the topic words of every document of a split, in order and with repeats."""
    documents = corpus.table["topic_words"].combine_chunks()
    sentences = documents.values
    starts = sentences.offsets.to_numpy()[documents.offsets.to_numpy()]
    return Texts(sentences.values.to_numpy(), starts.astype(np.int64))


@dataclass(frozen=True, eq=False)
class Cooccurrence:
    """Number of windows that contain a word or a pair of words: p(w) and p(v, w) of a set of words.

    Attributes:
        words: the counted words, rising, with shape (U,).
        counts: windows that contain both words, sparse with shape (U, U); on the diagonal those that contain the word.
        windows: number of windows.

    Examples:
        >>> import numpy as np
        >>> from scipy.sparse import csr_array
        >>> found = Cooccurrence.by_documents(csr_array([[1, 1], [2, 0]]), np.array([0, 1]))
        >>> found.probabilities(np.array([[0, 1]])).tolist()
        [[[1.0, 0.5], [0.5, 0.5]]]
    """

    words: Ints
    counts: csr_array
    windows: int

    @classmethod
    def by_documents(cls, bags: csr_array, words: NDArray[np.integer]) -> Cooccurrence:
        """Count ``words`` (ids of any shape) with documents as windows; bags are counts (documents, D)."""
        chosen = np.unique(words)
        present = (csr_array(bags)[:, chosen] > 0).astype(np.int64)
        return cls(chosen, csr_array(present.T @ present), present.shape[0])

    @classmethod
    def by_windows(cls, texts: Texts, words: NDArray[np.integer], window: int) -> Cooccurrence:
        """Count ``words`` (ids of any shape) in windows of ``window`` words that slide by one within a document.

        As in gensim, a document that is not longer than the window (or empty) is one window, so a window as long as the
        longest document counts documents.

        Raises:
            UserError: the window is shorter than one word.
        """
        if window < 1:
            raise UserError(f"a window must have at least 1 word, not {window}")
        chosen = np.unique(words)
        upper = csr_array((len(chosen), len(chosen)), dtype=np.int64)
        for left, right, shared in _cooccurrences(texts, chosen, window):
            upper = upper + csr_array((shared, (left, right)), shape=upper.shape)
        counts = upper + upper.T - diags_array(upper.diagonal(), dtype=np.int64)
        return cls(chosen, csr_array(counts), int(_windows(texts, window).sum()))

    def probabilities(self, top: NDArray[np.integer]) -> Floats:
        """Return p(v, w) for the words of each row of ``top``, (T, N), with shape (T, N, N); p(w) on the diagonal.

        Raises:
            KeyError: a word was not counted.
        """
        unknown = np.setdiff1d(top, self.words)
        if len(unknown):
            raise KeyError(f"words {unknown.tolist()} were not counted")
        counts = [self.counts[row][:, row].toarray() for row in np.searchsorted(self.words, top)]
        return np.stack(counts) / max(self.windows, 1)


def npmi(top: NDArray[np.integer], reference: Cooccurrence | csr_array) -> Floats:
    """Return the mean normalised PMI of the pairs of top words of each topic, (T,) (Bouma 2009; Lau et al. 2014).

    NPMI = log(p(v,w) / p(v) p(w)) / -log p(v,w). The limits replace undefined values: -1 for a pair that never
    co-occurs (also if a word is missing from the reference), 1 for a pair that is in every window. No value is NaN.

    Args:
        top: word ids with shape (T, N), N >= 2.
        reference: co-occurrence counts, or bags with shape (documents, D) for co-occurrence in documents.

    Raises:
        ValueError: topics of fewer than two words.

    Examples:
        Words 0 and 1 always co-occur, in half of the documents; words 0 and 2 never do:

        >>> import numpy as np
        >>> from scipy.sparse import csr_array
        >>> bags = csr_array([[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]])
        >>> npmi(np.array([[0, 1], [0, 2]]), bags).tolist()
        [1.0, -1.0]
    """
    return npmi_at(top, reference, sizes=(top.shape[1],))


def npmi_at(
    top: NDArray[np.integer],
    reference: Cooccurrence | csr_array,
    sizes: Sequence[int] = (5, 10, 15, 20),
    unseen: float = -1.0,
) -> Floats:
    """Return the NPMI of the best 5, 10, 15 and 20 words of each topic, averaged over these sizes, with shape (T,).

    With windows of 10 words over the whole corpus and ``unseen=0`` for pairs that never co-occur (in place of the limit
    -1), this is the coherence reported for topic-guided language models (Lau et al. 2017, TDLM). ``top``, (T, N), has
    the best word first; a size larger than N is cut to N.

    Raises:
        ValueError: a size (or N) below two.

    Examples:
        >>> import numpy as np
        >>> from scipy.sparse import csr_array
        >>> bags = csr_array([[1, 1], [1, 1], [1, 0], [0, 1]])
        >>> found = npmi_at(np.array([[0, 1]]), bags, sizes=(2,))
        >>> round(found.item(), 4)  # log(1/2 / (3/4)^2) / -log 1/2
        -0.1699
    """
    if min(*sizes, top.shape[1]) < 2:
        raise ValueError(f"coherence needs two words per topic: {top.shape[1]} words, sizes {tuple(sizes)}")
    if not isinstance(reference, Cooccurrence):
        reference = Cooccurrence.by_documents(reference, top)
    values = _pair_npmi(reference.probabilities(top), unseen)
    pairs = [np.triu_indices(min(size, top.shape[1]), 1) for size in sizes]
    return np.mean([values[:, v, w].mean(1) for v, w in pairs], axis=0)


def c_v(top: NDArray[np.integer], texts: Texts, window: int = 110) -> Floats:
    """Coherence C_v of each topic, with shape (T,) (Röder et al. 2015), by gensim's formula.

    A word v has the context vector m(v, w) = log((p(v,w) + e) / p(v) p(w)) / -log(p(v,w) + e) over the top
    words w, e = 1e-12; C_v is the mean over v of the cosine between the vector of v and the sum of all.
    Where a word is missing from the texts m is 0, and the cosine of a zero vector is 0. (By the formula a
    word that is in every window has m(w, w) = -1.)

    Args:
        top: word ids with shape (T, N).
        texts: the reference.
        window: words of the boolean sliding window.

    Examples:
        Words that always meet, in half of the documents, have the same context:

        >>> import numpy as np
        >>> texts = Texts(np.array([0, 1, 2, 2]), starts=np.array([0, 2, 4]))
        >>> [round(value, 4) for value in c_v(np.array([[0, 1]]), texts).tolist()]
        [1.0]
    """
    joint = Cooccurrence.by_windows(texts, top, window).probabilities(top)
    independent = _independent(joint)
    seen = independent > 0
    context = np.zeros_like(joint)
    context[seen] = np.log((joint[seen] + EPSILON) / independent[seen]) / -np.log(joint[seen] + EPSILON)
    whole = context.sum(1, keepdims=True)
    length = np.linalg.norm(context, axis=2) * np.linalg.norm(whole, axis=2)
    cosine = np.divide((context * whole).sum(2), length, out=np.zeros_like(length), where=length > 0)
    return cosine.mean(1)


def _independent(joint: Floats) -> Floats:
    """p(v) p(w) from p(v, w), both with shape (T, N, N)."""
    single = np.diagonal(joint, axis1=1, axis2=2)
    return single[:, :, None] * single[:, None, :]


def _pair_npmi(joint: Floats, unseen: float) -> Floats:
    value = np.where(joint > 0, 1.0, unseen)
    seen = (joint > 0) & (joint < 1)
    value[seen] = np.log(joint[seen] / _independent(joint)[seen]) / -np.log(joint[seen])
    return value


def _windows(texts: Texts, window: int) -> Ints:
    """Return the number of windows of each document."""
    return np.maximum(np.diff(texts.starts) - window, 0) + 1


def _cooccurrences(texts: Texts, chosen: Ints, window: int) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Yield pairs of occurrences of chosen words (as indices into ``chosen``) and the number of windows they share.

    A window is identified by the position s of its first word. Each occurrence is assigned the windows in which it is
    the first occurrence of its word, an interval s in (low, high]. Then every window counts once per pair of words, and
    the number of windows that two occurrences share is the overlap of their intervals.
    """
    position = np.flatnonzero(np.isin(texts.words, chosen))
    word = np.searchsorted(chosen, texts.words[position])
    document = np.searchsorted(texts.starts, position, side="right") - 1
    first = texts.starts[document]
    high = np.minimum(position, first + _windows(texts, window)[document] - 1)
    reach = np.maximum(position - window, first - 1)  # the last window that is too early to contain the position
    low = np.maximum(reach, _previous(word, position))
    left = np.arange(len(position))
    # Compare occurrences with themselves, then with the next, the second next, ... until none is near enough: this is
    # vectorised over the whole corpus, where a loop over windows would be slow
    for lag in range(window):
        left = left[left < len(position) - lag]
        left = left[reach[left + lag] < high[left]]
        if not len(left):
            break
        shared = high[left] - np.maximum(low[left], low[left + lag])
        overlap = shared > 0
        yield word[left[overlap]], word[left[overlap] + lag], shared[overlap]


def _previous(word: Ints, position: Ints) -> Ints:
    """Return the position of the previous occurrence of the same word; -1 for the first."""
    order = np.argsort(word, kind="stable")
    again = np.flatnonzero(word[order[1:]] == word[order[:-1]])
    previous = np.full_like(position, -1)
    previous[order[again + 1]] = position[order[again]]
    return previous
