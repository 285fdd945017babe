"""Summaries against references by ROUGE, and the marks they are read beside: extracts of the document itself.

ROUGE (Lin 2004) is that of the package rouge-score. Its words are runs of a-z and 0-9 after lower-casing, by default
stemmed with Porter's stemmer, so it is made for English: accents part words, and other scripts have no words at all.
"""

from __future__ import annotations

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

Reference = str | Sequence[str] | None
Score = Callable[[str, str], dict[str, Any]]


@dataclass(frozen=True)
class RougeScores:
    """ROUGE of a candidate for every document that has a reference, in the order of the documents.

    Attributes:
        values: for each of MEASURES the scores from 0 to 1, with shape (documents with a reference,). ``rouge1``,
            ``rouge2`` and ``rougeL`` are F1 (words, pairs of neighbouring words, longest common subsequence);
            ``..._75_bytes`` are recall of the candidate's first 75 bytes (DUC 2004), the reference staying whole.
        left_out: documents without a reference.
    """

    values: dict[str, NDArray[np.float64]]
    left_out: int


def first_bytes(text: str, limit: int) -> str:
    """The longest beginning of a text that takes at most ``limit`` bytes in UTF-8, no character broken.

    Examples:
        >>> first_bytes("naïve", 3)  # ï takes two bytes
        'na'
    """
    return text.encode()[:limit].decode(errors="ignore")


def rouge(candidates: Sequence[str], references: Sequence[Reference], use_stemmer: bool = True) -> RougeScores:
    """ROUGE of a candidate a document.

    A candidate without a word scores 0. With several references each measure is that of the reference best by it.
    A document is left out, and counted, where no reference has a word in it (a-z, 0-9).

    Args:
        candidates: texts, one a document.
        references: for each document its reference, or several, or None.
        use_stemmer: compare the stems of words of more than three letters.

    Raises:
        UserError: there are not as many references as candidates, or rouge-score is not installed.
    """
    if len(candidates) != len(references):
        raise UserError(
            f"{len(candidates)} candidates for {len(references)} references; give each candidate its own, or None."
        )
    score = _scorer(use_stemmer)
    pairs = [(text, found) for text, given in zip(candidates, references, strict=True) if (found := usable(given))]
    rows = [
        _best(score, text, found, "fmeasure") + _best(score, first_bytes(text, LIMIT), found, "recall")
        for text, found in pairs
    ]
    columns = np.array(rows, dtype=np.float64).reshape(-1, len(MEASURES)).T
    return RougeScores(dict(zip(MEASURES, columns, strict=True)), len(candidates) - len(pairs))


def first_sentence(sentences: Sequence[str]) -> str:
    """The first sentence; nothing of an empty document."""
    return sentences[0] if sentences else ""


def lead(sentences: Sequence[str], words: int) -> str:
    """The first words of a document, parted by white space as it stands.

    Examples:
        >>> lead(["The army won. ", "It rained."], words=2)
        'The army'
    """
    return " ".join(" ".join(sentences).split()[:words])


def lex_rank(sentences: Sequence[str], count: int = 1, stop_words: Collection[str] = ENGLISH_STOP_WORDS) -> str:
    """The sentences most like the others by LexRank (Erkan & Radev 2004), in the order of the document.

    sumy's implementation with its settings: tf-idf within the document, a link where the cosine is above 0.1.
    Words are lower-cased nltk words, less punctuation and ``stop_words``. Of equals the earlier comes first; so it does
    where no sentence is linked even to itself, as when there are two without a word in common.

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
    document = ObjectDocumentModel([Paragraph([Sentence(text, _Words) for text in sentences])])
    with np.errstate(invalid="ignore"):  # without a link sumy divides 0 by 0; its stable sort then keeps the order
        return " ".join(map(str, summarizer(document, count)))


def oracle_sentence(sentences: Sequence[str], reference: Reference, use_stemmer: bool = True) -> str:
    """The sentence with the best mean of ROUGE-1, 2 and L (F1); the first of equals, nothing of an empty document.

    It has seen the reference: no method that extracts one sentence can have a better mean.

    Raises:
        UserError: rouge-score is not installed.
    """
    score, references = _scorer(use_stemmer), usable(reference)
    if not references:
        return first_sentence(sentences)
    return max(sentences, key=lambda text: sum(_best(score, text, references, "fmeasure")), default="")


def extracts(
    documents: Sequence[Sequence[str]], references: Sequence[Reference], lead_words: Sequence[int] = (10, 15)
) -> dict[str, list[str]]:
    """What the document itself offers as a summary, by the name of the method: a text a document.

    Args:
        documents: each its sentences.
        references: for each document its reference, or several, which only the oracle sees.
        lead_words: lengths of the beginnings.

    Raises:
        UserError: a package is not installed.
    """
    found = {"first_sentence": list(map(first_sentence, documents))}
    found |= {f"lead_{words}_words": [lead(document, words) for document in documents] for words in lead_words}
    found["lexrank"] = list(map(lex_rank, documents))
    found["oracle_sentence"] = list(map(oracle_sentence, documents, references))
    return found


class _Words:
    """How sumy is told the words of a sentence: its own tokenizer needs a download."""

    @staticmethod
    def to_words(text: str) -> list[str]:
        return [word for word in word_tokenize(text) if any(map(str.isalnum, word))]


def _scorer(use_stemmer: bool) -> Score:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise UserError("ROUGE needs rouge-score: pip install 'tgvae[summaries]'.") from None
    return RougeScorer(KINDS, use_stemmer=use_stemmer).score


def usable(reference: Reference) -> list[str]:
    """The references in which ROUGE finds a word."""
    texts = [reference] if isinstance(reference, str) else reference or []
    return [text for text in texts if any(c.isascii() and c.isalnum() for c in text.lower())]


def _best(score: Score, candidate: str, references: Sequence[str], part: str) -> list[float]:
    """The highest ``part`` (fmeasure, recall) of each of KINDS among the references."""
    scores = [score(reference, candidate) for reference in references]
    return [max(getattr(by_kind[kind], part) for by_kind in scores) for kind in KINDS]
