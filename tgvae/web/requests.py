"""What may be asked of the page's API. Every field has its bounds, and unknown ones are refused.

The bounds keep a request short: nothing has to be stopped once it has begun. What it costs grows with the characters
that are read, or with the tokens that are written, beams and all.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tgvae.generation.decode import DecodeSettings

CHARACTERS, LINE = 20_000, 1_000  # of a document, and of a sentence or words
TOKENS = 6_000  # sentences x beams x max_length of a request

Text = Annotated[str, Field(min_length=1, max_length=CHARACTERS)]
Line = Annotated[str, Field(min_length=1, max_length=LINE)]
Topic = Annotated[int, Field(ge=0, strict=True)] | Line  # strict: true is not topic 1
Weight = Annotated[float, Field(ge=0)]
Strength = Annotated[float, Field(ge=0, le=5, description="1 is the model's own prior, more is more typical")]
Seed = Annotated[int, Field(ge=0, lt=2**63, description="the same seed gives the same sentences")]


class Asked(BaseModel):
    """A request."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Decode(Asked):
    """How to write: some of ``DecodeSettings``, by default as `tgvae generate` has them."""

    strategy: Literal["sample", "greedy", "beam"] = "sample"
    temperature: float = Field(default=0.7, gt=0, le=5)
    top_p: float = Field(default=0.9, gt=0, le=1)
    beams: int = Field(default=5, ge=1, le=10)
    max_length: int = Field(default=60, ge=1, le=100)

    @property
    def settings(self) -> DecodeSettings:
        return DecodeSettings(**self.model_dump())


class Writing(Asked):
    """Sentences that are asked for."""

    num: int = Field(default=5, ge=1, le=20)
    seed: Seed = 0
    decode: Decode = Decode()

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        tokens = self.num * self.decode.settings.open_hypotheses * self.decode.max_length
        if tokens > TOKENS:
            raise ValueError(
                f"num x beams x max_length is {tokens:,}, and at most {TOKENS:,} go at once; ask for fewer or shorter"
            )
        return self


class Generate(Writing):
    """Sentences on a topic (its number, or words), on a mixture of topics, or like a text; else of any topic."""

    topic: Topic | None = None
    mixture: dict[int, Weight] | None = Field(default=None, max_length=1_000, description="weights of topics by number")
    like: Text | None = None
    strength: Strength = 1.0


class Between(Writing):
    """A walk from one sentence to another in ``num`` steps."""

    start: Line
    end: Line
    num: int = Field(default=7, ge=2, le=20)


class Document(Asked):
    """A text to read."""

    text: Text


class Summarize(Asked):
    """Summaries of a text, pulled towards a topic or not: the first is the model's best guess, the others are drawn."""

    text: Text
    num: int = Field(default=1, ge=1, le=5)
    topic: Topic | None = None
    strength: Strength = 1.0
    seed: Seed = 0
