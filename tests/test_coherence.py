"""Coherence by sliding windows against gensim, a plain count of windows, and cases worked out by hand."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from gensim.corpora import Dictionary
from gensim.models import CoherenceModel
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tgvae.data.corpus import Corpus
from tgvae.data.schema import DOCUMENT
from tgvae.errors import UserError
from tgvae.evaluation.coherence import Cooccurrence, Texts, c_v, npmi, npmi_at, running_texts

WORDS, TOPICS = 30, 4
Documents = list[list[int]]


def texts_of(documents: Documents) -> Texts:
    starts = np.cumsum([0, *map(len, documents)])
    return Texts(np.array([w for d in documents for w in d], dtype=np.int32), starts)


def plain_windows(documents: Documents, size: int) -> list[set[int]]:
    return [set(d[i : i + size]) for d in documents for i in range(max(len(d) - size, 0) + 1)]


def plain_probabilities(windows: list[set[int]], row: list[int]) -> list[list[float]]:
    return [[sum({v, w} <= window for window in windows) / len(windows) for w in row] for v in row]


@pytest.fixture(scope="module")
def repetitive() -> Documents:
    """Documents of 0 to 25 words with many repeats near each other; frequent words are low ids."""
    rng = np.random.default_rng(0)
    return [(rng.geometric(0.12, size=n).clip(max=WORDS) - 1).tolist() for n in rng.integers(0, 26, size=60)]


@pytest.fixture(scope="module")
def distinct() -> Documents:
    """Documents in which any 10 words in a row differ, and all pairs of words meet in some of these windows.

    gensim's sliding count forgets a word when one of its repeats leaves the window, so repeats would differ.
    """
    rng = np.random.default_rng(1)
    documents: Documents = [[], [3]]
    for length in rng.integers(1, 60, size=150):
        document: list[int] = []
        theme = rng.permutation(WORDS)
        for _ in range(length):
            free = [w for w in theme.tolist() if w not in document[-9:]]
            document.append(free[min(int(rng.geometric(0.15)), len(free)) - 1])
        documents.append(document)
    joint = np.array(plain_probabilities(plain_windows(documents, 10), list(range(WORDS))))
    assert joint.min() > 0
    return documents


@pytest.fixture(scope="module")
def top() -> NDArray[np.int64]:
    rng = np.random.default_rng(2)
    return np.stack([rng.permutation(WORDS)[:20] for _ in range(TOPICS)])


def gensims(documents: Documents, top: NDArray[np.int64], measure: str, window: int) -> list[float]:
    texts = [[f"w{w}" for w in d] for d in documents]
    oracle = CoherenceModel(
        topics=[[f"w{w}" for w in words] for words in top],
        texts=texts,
        dictionary=Dictionary(texts),
        coherence=measure,
        window_size=window,
        topn=top.shape[1],
        processes=1,
    )
    found = oracle.get_coherence_per_topic()
    assert np.ptp(found) > 0.002
    return found


def test_npmi_by_windows_is_gensims(distinct: Documents, top: NDArray[np.int64]) -> None:
    expected = gensims(distinct, top, "c_npmi", 10)
    np.testing.assert_allclose(npmi(top, Cooccurrence.by_windows(texts_of(distinct), top, 10)), expected, atol=1e-8)


@pytest.mark.parametrize("window", [4, 10, 110])
def test_c_v_is_gensims(distinct: Documents, top: NDArray[np.int64], window: int) -> None:
    expected = gensims(distinct, top[:, :8], "c_v", window)
    np.testing.assert_allclose(c_v(top[:, :8], texts_of(distinct), window), expected, atol=1e-8)


def test_c_v_is_gensims_with_repeats_in_a_window_of_a_whole_document(repetitive: Documents) -> None:
    top = np.array([[0, 1, 2, 3, 4, 5], [9, 2, 7, 0, 12, 4]])
    np.testing.assert_allclose(c_v(top, texts_of(repetitive)), gensims(repetitive, top, "c_v", 110), atol=1e-8)


@pytest.mark.parametrize("window", [1, 2, 3, 7, 10, 25, 1000])
def test_windows_are_counted_one_by_one(repetitive: Documents, window: int) -> None:
    top = np.array([[0, 1, 2, 3, 20], [4, 0, 9, 28, 2]])
    windows = plain_windows(repetitive, window)
    found = Cooccurrence.by_windows(texts_of(repetitive), top, window)
    assert found.windows == len(windows)
    expected = [plain_probabilities(windows, row) for row in top.tolist()]
    np.testing.assert_allclose(found.probabilities(top), expected, rtol=1e-12)


def test_windows_longer_than_every_document_count_documents(repetitive: Documents, top: NDArray[np.int64]) -> None:
    bags = np.stack([np.bincount(np.array(d, dtype=int), minlength=WORDS) for d in repetitive])
    assert not bags.sum(1).all()  # one is empty
    by_documents = Cooccurrence.by_documents(csr_array(bags), top)
    by_windows = Cooccurrence.by_windows(texts_of(repetitive), top, 25)
    assert by_documents.windows == by_windows.windows == len(repetitive)
    np.testing.assert_array_equal(by_documents.counts.toarray(), by_windows.counts.toarray())


def test_a_window_by_hand() -> None:
    """a b a c: the windows of two words are ab, ba, ac."""
    found = Cooccurrence.by_windows(texts_of([[0, 1, 0, 2]]), np.array([2, 0, 1]), 2)
    assert (found.words.tolist(), found.windows) == ([0, 1, 2], 3)
    assert found.counts.toarray().tolist() == [[3, 2, 1], [2, 2, 0], [1, 0, 1]]


def test_npmi_at_is_the_mean_of_separate_calls(repetitive: Documents, top: NDArray[np.int64]) -> None:
    reference = Cooccurrence.by_windows(texts_of(repetitive), top, 10)
    separate = [npmi(top[:, :size], reference) for size in (5, 10, 15, 20)]
    np.testing.assert_allclose(npmi_at(top, reference), np.mean(separate, axis=0), rtol=1e-12)
    few = top[:, :7]
    np.testing.assert_allclose(npmi_at(few, reference), (npmi(few[:, :5], reference) + 3 * npmi(few, reference)) / 4)


def test_coherence_does_not_depend_on_the_order_of_documents(repetitive: Documents, top: NDArray[np.int64]) -> None:
    texts, other = texts_of(repetitive), texts_of(repetitive[::-1])
    by_windows = [npmi_at(top, Cooccurrence.by_windows(t, top, 10)) for t in (texts, other)]
    np.testing.assert_allclose(by_windows[0], by_windows[1], rtol=1e-12)
    np.testing.assert_allclose(c_v(top, texts, 10), c_v(top, other, 10), rtol=1e-12)
    np.testing.assert_allclose(c_v(top, texts, 10), c_v(top[:, ::-1], texts, 10), rtol=1e-12)
    np.testing.assert_allclose(c_v(top, texts, 10)[::-1], c_v(top[::-1], texts, 10), rtol=1e-12)


def test_a_word_missing_from_the_reference_has_a_value() -> None:
    texts = texts_of([[0, 1], [0, 1, 2], [2], [2]])
    top = np.array([[0, 1, 9], [8, 9, 7]])
    reference = Cooccurrence.by_windows(texts, top, 10)
    np.testing.assert_allclose(npmi(top, reference), [(1 - 1 - 1) / 3, -1])
    np.testing.assert_allclose(c_v(top, texts), [2 / 3, 0])  # words 0 and 1 have the same vector
    np.testing.assert_allclose(npmi_at(top, reference, (3,), unseen=0.0), [1 / 3, 0])


@pytest.mark.parametrize("documents", [[], [[]], [[], []]])
def test_texts_without_words(documents: Documents) -> None:
    texts, top = texts_of(documents), np.array([[0, 1]])
    reference = Cooccurrence.by_windows(texts, top, 5)
    assert reference.windows == len(documents)
    assert npmi(top, reference).tolist() == [-1]
    assert c_v(top, texts).tolist() == [0]


def test_words_of_one_theme_cohere_more_than_words_of_several(corpus: Corpus) -> None:
    encode = corpus.folder.topic_vocabulary.encode
    top = np.array([encode(["army", "soldier", "battle", "fleet"]), encode(["army", "bread", "planet", "soup"])])
    texts = running_texts(corpus)
    for one, several in (npmi(top, Cooccurrence.by_windows(texts, top, 10)), c_v(top, texts), npmi(top, corpus.bags)):
        assert one > several + 0.2


def test_running_texts_are_the_words_of_documents_in_order(corpus: Corpus) -> None:
    texts = running_texts(corpus)
    found = [texts.words[i:j].tolist() for i, j in itertools.pairwise(texts.starts)]
    column = corpus.table["topic_words"].to_pylist()
    assert found == [list(itertools.chain.from_iterable(sentences)) for sentences in column]


def test_running_texts_of_chunks_slices_and_nothing() -> None:
    kind = DOCUMENT.field("topic_words").type
    first = pa.array([[[9], [9, 9]], [[0, 1], [], [2]], []], kind)
    second = pa.array([[[3]], [[], [4, 5]], [[9]]], kind)

    def texts(*chunks: pa.Array) -> Texts:
        table = {"topic_words": pa.chunked_array(chunks, kind)}
        return running_texts(SimpleNamespace(table=table))  # type: ignore[arg-type]

    several = texts(first.slice(1), second.slice(0, 2))
    assert (several.words.tolist(), several.starts.tolist()) == ([0, 1, 2, 3, 4, 5], [0, 3, 3, 4, 6])
    one = texts(first.slice(1))
    assert (one.words.tolist(), one.starts.tolist()) == ([0, 1, 2], [0, 3, 3])
    for none in (texts(), texts(first.slice(0, 0))):
        assert (none.words.tolist(), none.starts.tolist()) == ([], [0])


def test_c_v_by_hand() -> None:
    """Words 0 and 1 are independent: their vectors are (1, 0) and (0, 1), at 45 degrees to the sum."""
    texts = texts_of([[0, 1], [0], [1], []])
    np.testing.assert_allclose(c_v(np.array([[0, 1]]), texts), math.sqrt(0.5), atol=1e-9)


def test_mistakes_are_named(repetitive: Documents) -> None:
    texts, top = texts_of(repetitive), np.array([[0, 1]])
    with pytest.raises(UserError, match="at least 1 word, not 0"):
        Cooccurrence.by_windows(texts, top, 0)
    with pytest.raises(ValueError, match="two words per topic"):
        npmi(top[:, :1], Cooccurrence.by_windows(texts, top, 5))
    with pytest.raises(ValueError, match="two words per topic"):
        npmi_at(top, Cooccurrence.by_windows(texts, top, 5), sizes=(1, 5))
    with pytest.raises(KeyError, match=r"\[7\] were not counted"):
        npmi(np.array([[0, 7]]), Cooccurrence.by_windows(texts, top, 5))
