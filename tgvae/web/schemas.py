"""What the page shows of a run before anything is asked, as the API has it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tgvae.web.requests import CHARACTERS, LINE, TOKENS


@dataclass(frozen=True)
class Bounds:
    """Most characters of a document, characters of a sentence or words, and tokens of a request."""

    characters: int = CHARACTERS
    line: int = LINE
    tokens: int = TOKENS


@dataclass(frozen=True)
class Source:
    """Where the training documents came from, and how many there are."""

    name: str
    licence: str
    documents: int
    sentences: int


@dataclass(frozen=True)
class Examples:
    """Texts of the corpus to begin with: how a document begins, and two sentences to walk between."""

    document: str
    start: str
    end: str


@dataclass(frozen=True)
class About:
    """The run: what can be asked of it and how much, its corpus, what is missing and why, and something to try."""

    run: str
    model: str
    version: str
    can: list[str]
    corpus: Source | None
    missing: str = ""
    examples: Examples | None = None
    limits: Bounds = Bounds()


@dataclass(frozen=True)
class Word:
    """A word, and its probability given the topic."""

    word: str
    probability: float


@dataclass(frozen=True)
class Topic:
    """A topic: its share of the documents, coherence (NPMI of its ten words), words, typical sentences of the corpus.

    ``prevalence`` has its mean share of the documents of each group, in the order of ``Topics.groups``.
    """

    topic: int
    name: str
    share: float | None
    npmi: float | None
    words: list[Word]
    sentences: list[str]
    prevalence: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Groups:
    """Groups of documents in order, and how many documents each has."""

    names: list[str]
    documents: list[int]


@dataclass(frozen=True)
class Topics:
    """All topics by falling share, and figures of the set; null is not known.

    ``groups`` are those of ``year`` and ``label``, each where the corpus has two or more.
    """

    npmi: float | None = None
    diversity: float | None = None
    in_use: float | None = None
    groups: dict[str, Groups] = field(default_factory=dict)
    topics: list[Topic] = field(default_factory=list)


@dataclass(frozen=True)
class Picture:
    """A picture: data and layout as Plotly has them."""

    heading: str
    caption: str
    figure: dict[str, Any]


@dataclass(frozen=True)
class Pictures:
    """Pictures, and how Plotly is to show them."""

    config: dict[str, Any] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)


@dataclass(frozen=True)
class Context:
    """Answers that are ready."""

    about: About
    topics: Topics = Topics()
    pictures: Pictures = Pictures()
