"""JSON schemas of the web API: requests with their limits, and responses.

The limits bound how long a request can take, so none has to be interrupted. Its cost grows with the characters that
are read or the tokens that are generated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tgvae.generation.decode import READABLE, DecodeSettings
from tgvae.models.text_generation import Sentence

DOCUMENT_CHARACTERS, SENTENCE_CHARACTERS = 20_000, 1_000
MAX_TOKENS = 6_000  # sentences x beams x max_length of a request

Document = Annotated[str, Field(min_length=1, max_length=DOCUMENT_CHARACTERS)]
Line = Annotated[str, Field(min_length=1, max_length=SENTENCE_CHARACTERS)]
TopicQuery = Annotated[int, Field(ge=0, strict=True)] | Line  # strict: otherwise JSON's true would mean topic 1
Weight = Annotated[float, Field(ge=0)]
Strength = Annotated[
    float, Field(ge=0, le=5, description="Guidance strength: 1 is the model's own prior, more is more typical.")
]
Seed = Annotated[int, Field(ge=0, lt=2**63, description="Equal requests with equal seeds get equal answers.")]


class Request(BaseModel):
    """Unknown fields are rejected."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Decoding(Request):
    """Decoding settings; the defaults are those of `tgvae generate`."""

    strategy: Literal["sample", "greedy", "beam"] = READABLE.strategy
    temperature: float = Field(default=READABLE.temperature, gt=0, le=5)
    top_p: float = Field(default=READABLE.top_p, gt=0, le=1)
    beams: int = Field(default=READABLE.beams, ge=1, le=10)
    max_length: int = Field(default=READABLE.max_length, ge=1, le=100, description="Maximum number of tokens.")

    @property
    def settings(self) -> DecodeSettings:
        return DecodeSettings(**self.model_dump())


class SentencesRequest(Request):
    """Number of sentences, seed and decoding settings."""

    num: int = Field(default=5, ge=1, le=20, description="Number of sentences.")
    seed: Seed = 0
    decode: Decoding = Decoding()

    @model_validator(mode="after")
    def _limit_tokens(self) -> Self:
        tokens = self.num * self.decode.settings.open_hypotheses * self.decode.max_length
        if tokens > MAX_TOKENS:
            raise ValueError(
                f"num x beams x max_length is {tokens:,}; at most {MAX_TOKENS:,} are allowed: ask for less"
            )
        return self


class GenerateRequest(SentencesRequest):
    """Sentences for a topic, a mixture of topics or a text; without any of these, for topics from the prior."""

    topic: TopicQuery | None = Field(default=None, description="Topic number, or words that the topic is about.")
    mixture: dict[int, Weight] | None = Field(default=None, max_length=1_000, description="Weights by topic number.")
    like: Document | None = Field(default=None, description="A text whose topics are used.")
    strength: Strength = 1.0


class InterpolateRequest(SentencesRequest):
    """Sentences on the line between the latents of two sentences; ``num`` counts both ends."""

    start: Line
    end: Line
    num: int = Field(default=7, ge=2, le=20, description="Number of sentences, both ends included.")


class DocumentRequest(Request):
    """A text whose topics are inferred."""

    text: Document


class SummarizeRequest(Request):
    """A text to summarize. The first summary is the model's best guess, the others are sampled."""

    text: Document
    num: int = Field(default=1, ge=1, le=5, description="Number of summaries.")
    topic: TopicQuery | None = Field(default=None, description="Topic that summaries are guided towards.")
    strength: Strength = 1.0
    seed: Seed = 0


@dataclass(frozen=True)
class RequestLimits:
    """Maximum lengths of a document and of a sentence, and maximum tokens (num x beams x max_length) per request."""

    document_characters: int = DOCUMENT_CHARACTERS
    sentence_characters: int = SENTENCE_CHARACTERS
    tokens: int = MAX_TOKENS


@dataclass(frozen=True)
class CorpusInfo:
    """Name, licence and size of the training documents."""

    name: str
    licence: str
    documents: int
    sentences: int


@dataclass(frozen=True)
class Examples:
    """Texts from the corpus: the beginning of a document, and two sentences to interpolate between."""

    document: str
    start: str
    end: str


@dataclass(frozen=True)
class RunInfo:
    """Name of the run, kind of model, capabilities, default decoding settings, limits and corpus.

    ``corpus_missing`` says why ``corpus`` is null.
    """

    run: str
    model: str
    version: str
    capabilities: list[str]
    corpus: CorpusInfo | None
    corpus_missing: str = ""
    examples: Examples | None = None
    decode: dict[str, Any] = field(default_factory=lambda: Decoding().model_dump())
    limits: RequestLimits = RequestLimits()


@dataclass(frozen=True)
class TopicWord:
    """A word and its probability given the topic."""

    word: str
    probability: float


@dataclass(frozen=True)
class TopicInfo:
    """A topic. ``npmi`` is the coherence of its ten words.

    ``share`` is its mean proportion over the training documents; ``prevalence`` is the same for each group of
    documents, in the order of ``TopicList.groups``. Null means unknown.
    """

    topic: int
    name: str
    share: float | None
    npmi: float | None
    words: list[TopicWord]
    sentences: list[str]
    prevalence: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Groups:
    """Names of groups of documents, and the number of documents in each."""

    names: list[str]
    documents: list[int]


@dataclass(frozen=True)
class TopicList:
    """All topics by decreasing share, with mean NPMI, diversity and the share of topics in use; null means unknown.

    ``groups`` has the keys ``year`` and ``label`` if the documents have two or more of them.
    """

    npmi: float | None = None
    diversity: float | None = None
    in_use: float | None = None
    groups: dict[str, Groups] = field(default_factory=dict)
    topics: list[TopicInfo] = field(default_factory=list)


@dataclass(frozen=True)
class PlotInfo:
    """A plot in Plotly's JSON format."""

    heading: str
    caption: str
    figure: dict[str, Any]


@dataclass(frozen=True)
class PlotList:
    """Plots, and the configuration for Plotly."""

    config: dict[str, Any] = field(default_factory=dict)
    plots: list[PlotInfo] = field(default_factory=list)


@dataclass(frozen=True)
class PageData:
    """Everything that is known when the server starts."""

    run: RunInfo
    topics: TopicList = TopicList()
    plots: PlotList = PlotList()


@dataclass(frozen=True)
class Sentences:
    """Generated sentences."""

    sentences: list[Sentence]


@dataclass(frozen=True)
class TopicShare:
    """A topic and its proportion in a document."""

    topic: int
    share: float


@dataclass(frozen=True)
class TextSpan:
    """Part of a text: a word of the topic vocabulary with its most likely topic, or the text between two such words."""

    text: str
    topic: int | None = None
    probability: float | None = None


@dataclass(frozen=True)
class DocumentTopics:
    """Topics of a document by decreasing share, and its cleaned text as spans, one list per paragraph."""

    topics: list[TopicShare]
    paragraphs: list[list[TextSpan]]
