"""ROUGE of summaries, and extracts of the document as baselines.

ROUGE (Lin 2004) is computed by the package rouge-score with a Unicode tokenizer in place of its own, which knows only
a-z and 0-9: it finds no words in other scripts, and splits words at accents. Both give the same words for ASCII text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from tgvae.data.tokenizers import word_tokenize
from tgvae.errors import UserError

LIMIT = 75
KINDS = ("rouge1", "rouge2", "rougeL")
MEASURES = (*KINDS, *(f"{kind}_{LIMIT}_bytes" for kind in KINDS))
_ASCII_WORD = re.compile("[a-z0-9]+")
# Thai, Lao, Burmese, Khmer, kana and Chinese characters: no spaces between words, so each letter counts as a word
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)

Reference = str | Sequence[str] | None
Score = Callable[[str, str], dict[str, Any]]


@dataclass(frozen=True)
class RougeScores:
    """ROUGE of a candidate for every document that has a reference, in the order of the documents.

    Attributes:
        values: for each of MEASURES the scores from 0 to 1, with shape (documents with a reference,). ``rouge1``,
            ``rouge2`` and ``rougeL`` are F1 (words, bigrams, longest common subsequence); ``..._75_bytes`` are recall
            of the candidate's first 75 bytes (DUC 2004) with the whole reference.
        left_out: number of documents without a reference.
    """

    values: dict[str, NDArray[np.float64]]
    left_out: int


def rouge(candidates: Sequence[str], references: Sequence[Reference], use_stemmer: bool = True) -> RougeScores:
    """Return the ROUGE of one candidate per document.

    A candidate without a word scores 0. With several references each measure takes the best one. Documents without a
    reference that has a word are left out and counted.

    Args:
        candidates: one text per document.
        references: for each document its reference, or several, or None.
        use_stemmer: compare English words of more than three letters by their Porter stems.

    Raises:
        UserError: there are not as many references as candidates, or rouge-score is not installed.
    """
    if len(candidates) != len(references):
        raise UserError(
            f"{len(candidates)} candidates for {len(references)} references; give one per candidate, or None"
        )
    score = _scorer(use_stemmer)
    pairs = [(text, kept) for text, given in zip(candidates, references, strict=True) if (kept := with_words(given))]
    rows = [
        _best(score, text, kept, "fmeasure") + _best(score, first_bytes(text, LIMIT), kept, "recall")
        for text, kept in pairs
    ]
    columns = np.array(rows, dtype=np.float64).reshape(-1, len(MEASURES)).T
    return RougeScores(dict(zip(MEASURES, columns, strict=True)), len(candidates) - len(pairs))


def rouge_words(text: str) -> list[str]:
    """Return the words that ROUGE compares: lower-cased runs of letters, their combining marks, and digits.

    Examples:
        >>> rouge_words("The 2nd naïve_test, हिन्दी! 日本")
        ['the', '2nd', 'naïve', 'test', 'हिन्दी', '日', '本']
    """
    text = text.lower()
    if text.isascii():
        return _ASCII_WORD.findall(text)
    words: list[str] = []
    inside = False  # re's \\w has no combining marks, which would split the words of Indic scripts
    for character in unicodedata.normalize("NFC", text):
        kind = unicodedata.category(character)[0]
        if kind not in "LMN" or (kind == "M" and not words):
            inside = False
        elif kind == "M" or (inside and not _UNSPACED.match(character)):
            words[-1] += character
        else:
            words.append(character)
            inside = not _UNSPACED.match(character)
    return words


def with_words(reference: Reference) -> list[str]:
    """Return the references that have at least one word."""
    texts = [reference] if isinstance(reference, str) else reference or []
    return [text for text in texts if rouge_words(text)]


def first_bytes(text: str, limit: int) -> str:
    """Return the longest beginning of a text with at most ``limit`` bytes in UTF-8, without a broken character.

    Examples:
        >>> first_bytes("naïve", 3)  # ï takes two bytes
        'na'
    """
    return text.encode()[:limit].decode(errors="ignore")


class _Tokenizer:
    """Tokenizer for rouge-score."""

    def __init__(self, use_stemmer: bool) -> None:
        from nltk.stem.porter import PorterStemmer

        self._stem = PorterStemmer().stem if use_stemmer else None

    def tokenize(self, text: str) -> list[str]:
        words = rouge_words(text)
        if self._stem is None:
            return words
        # Words of three letters or fewer are not stemmed, as in rouge-score
        return [self._stem(word) if len(word) > 3 and word.isascii() else word for word in words]


def _scorer(use_stemmer: bool) -> Score:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise UserError("ROUGE needs rouge-score: pip install 'tgvae[summaries]'.") from None
    return RougeScorer(KINDS, tokenizer=_Tokenizer(use_stemmer)).score


def _best(score: Score, candidate: str, references: Sequence[str], part: str) -> list[float]:
    """Return the highest ``part`` (fmeasure, recall) of each of KINDS among the references."""
    scores = [score(reference, candidate) for reference in references]
    return [max(getattr(by_kind[kind], part) for by_kind in scores) for kind in KINDS]


# Extracts of the document: the baselines


def extracts(
    documents: Sequence[Sequence[str]],
    references: Sequence[Reference],
    lead_words: Sequence[int] = (10, 15),
    use_stemmer: bool = True,
) -> dict[str, list[str]]:
    """Return extracts of the documents that could serve as summaries, one text per document, by method.

    Args:
        documents: sentences of each document.
        references: for each document its reference, or several; only the oracle uses them.
        lead_words: numbers of words of the lead baselines.
        use_stemmer: as for ``rouge``; only the oracle uses it.

    Raises:
        UserError: a package is not installed.
    """
    found = {"first_sentence": list(map(first_sentence, documents))}
    found |= {f"lead_{words}_words": [lead(document, words) for document in documents] for words in lead_words}
    found["lexrank"] = list(map(lex_rank, documents))
    found["oracle_sentence"] = [
        oracle_sentence(document, reference, use_stemmer)
        for document, reference in zip(documents, references, strict=True)
    ]
    return found


def first_sentence(sentences: Sequence[str]) -> str:
    """Return the first sentence; "" for an empty document."""
    return sentences[0] if sentences else ""


def lead(sentences: Sequence[str], words: int) -> str:
    """Return the first words of a document, split at white space.

    Examples:
        >>> lead(["The army won. ", "It rained."], words=2)
        'The army'
    """
    return " ".join(" ".join(sentences).split()[:words])


def lex_rank(sentences: Sequence[str], count: int = 1, stop_words: Collection[str] = ENGLISH_STOP_WORDS) -> str:
    """Return the sentences that are most similar to the others by LexRank (Erkan & Radev 2004), in document order.

    sumy's implementation with its settings: tf-idf within the document, a link where the cosine is above 0.1. Words are
    lower-cased nltk words without punctuation and ``stop_words``. Ties, and documents in which no sentence is linked
    even to itself, are resolved in favour of the earlier sentence.

    Raises:
        UserError: sumy is not installed.
    """
    try:
        from sumy.models.dom import ObjectDocumentModel, Paragraph, Sentence
        from sumy.summarizers.lex_rank import LexRankSummarizer
    except ImportError:
        raise UserError("LexRank needs sumy: pip install 'tgvae[summaries]'.") from None
    summarizer = LexRankSummarizer()
    summarizer.stop_words = stop_words
    document = ObjectDocumentModel([Paragraph([Sentence(text, _SumyTokenizer) for text in sentences])])
    with np.errstate(invalid="ignore"):  # without a link sumy divides 0 by 0; its stable sort then keeps the order
        return " ".join(map(str, summarizer(document, count)))


class _SumyTokenizer:
    """Tokenizer for sumy, whose own needs a download."""

    @staticmethod
    def to_words(text: str) -> list[str]:
        return [word for word in word_tokenize(text) if any(map(str.isalnum, word))]


def oracle_sentence(sentences: Sequence[str], reference: Reference, use_stemmer: bool = True) -> str:
    """Return the sentence with the best mean of ROUGE-1, 2 and L (F1): the first of equals, "" for an empty document.

    It uses the reference: no method that extracts one sentence can have a better mean.

    Raises:
        UserError: rouge-score is not installed.
    """
    score, references = _scorer(use_stemmer), with_words(reference)
    if not references:
        return first_sentence(sentences)
    return max(sentences, key=lambda text: sum(_best(score, text, references, "fmeasure")), default="")
