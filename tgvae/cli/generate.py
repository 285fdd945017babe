"""`tgvae generate`: sentences from a run."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import tyro

from tgvae.cli.options import parse
from tgvae.cli.output import command, print_next_steps
from tgvae.config_io import SEEDS, require_range
from tgvae.errors import UserError, meant_path
from tgvae.evaluation.generation import Writer
from tgvae.generation.decode import READABLE, DecodeSettings
from tgvae.models.base import Capability
from tgvae.models.sentence import LatentSentenceModel
from tgvae.models.text_generation import Sentence
from tgvae.models.tgvae import TGVAE
from tgvae.runs import load_run

MOST = 1_000_000
"""Sentences that are written at once; more seeds give more."""
STEEPEST = 1000
"""Strength beyond which sentences fall apart long since."""


@dataclass(frozen=True)
class Generate:
    """Write sentences: on a topic, a mixture of topics, like a document, between two sentences, or again.

    Of a model without topics: freely, between two sentences, or again; of a language model freely alone.

    Examples:
      tgvae generate runs/sotu --topic war army
      tgvae generate runs/sotu --mixture 3=0.7 12=0.3 --num 10 --decode.strategy beam
      tgvae generate runs/sotu --between "We must fight." "We want peace."
    """

    run: tyro.conf.Positional[Path]
    """A run folder."""
    topic: tuple[str, ...] = ()
    """A topic's number, or words that it is about."""
    mixture: tuple[str, ...] = ()
    """Weights of topics: 3=0.7 12=0.3."""
    like: Path | None = None
    """A text file, whose topics are used."""
    between: tuple[str, str] | None = None
    """Two sentences to walk between; --num is the number of steps."""
    reconstruct: tuple[str, ...] = ()
    """Sentences to encode and write again."""
    num: int = 5
    """Sentences to write."""
    strength: float = 1.0
    """How typical of its topic: 1 is the model's own prior, more is more typical."""
    seed: int = 0
    """The same seed with the same --num gives the same sentences."""
    json: bool = False
    """Print a JSON object a line."""
    decode: DecodeSettings = field(default_factory=lambda: READABLE)


def main(arguments: Sequence[str]) -> None:
    options = parse(Generate, "generate", arguments)
    ways = [bool(w) for w in (options.topic, options.mixture, options.like, options.between, options.reconstruct)]
    if sum(ways) > 1:
        raise UserError("give one of --topic, --mixture, --like, --between and --reconstruct")
    require_range(options, 1, MOST + 1, "num")
    require_range(options, 0, SEEDS, "seed")
    require_range(options, -STEEPEST, STEEPEST + 1, "strength")
    model = load_run(options.run, require=Capability.GENERATION)
    for sentence in written(model, options):
        print(json.dumps(asdict(sentence), ensure_ascii=False) if options.json else sentence.text)
    if not options.json:
        print_next_steps(steps=[command("topics" if isinstance(model, TGVAE) else "evaluate", options.run)])


def written(model: Writer, options: Generate) -> list[Sentence]:
    """The sentences that the options ask for.

    Raises:
        UserError: the model has no latent, or no topics, to do so.
    """
    settings, seed = options.decode, options.seed
    if options.between or options.reconstruct:
        if not isinstance(model, LatentSentenceModel):
            raise UserError(f"{options.run}: a {model.kind} has no latent; give a run of a VAE")
        if options.between:
            return model.interpolate(*options.between, options.num, settings, seed)
        return model.reconstruct(options.reconstruct, settings, seed)
    if not isinstance(model, TGVAE):
        if options.topic or options.mixture or options.like or options.strength != 1:
            raise UserError(f"{options.run}: a {model.kind} cannot be steered by topic; give a run of tgvae")
        return model.generate(options.num, settings, seed)
    return model.generate(
        topic=named_topic(options.topic),
        mixture=weights(options.mixture),
        like=read_text(options.like) if options.like else None,
        num=options.num,
        strength=options.strength,
        settings=settings,
        seed=seed,
    )


def named_topic(words: Sequence[str]) -> int | str | None:
    """A lone number is a topic's number; anything else is words."""
    if len(words) == 1 and re.fullmatch(r"\d{1,9}", words[0]):
        return int(words[0])
    return " ".join(words) if words else None


def weights(mixture: Sequence[str]) -> dict[int, float] | None:
    """Weights of topics from TOPIC=WEIGHT of each; None for none. Raises UserError, as for two of one topic."""
    found: dict[int, float] = {}
    for text in mixture:
        try:
            topic, weight = text.split("=")
            number, value = int(topic), float(weight)
        except ValueError:
            raise UserError(f"--mixture: {text[:60]!r} is not of the form TOPIC=WEIGHT, such as 3=0.7") from None
        if number in found:
            raise UserError(f"--mixture: topic {number} has two weights; give it one")
        found[number] = value
    return found or None


def read_text(path: Path) -> str:
    """A UTF-8 text file. Raises UserError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error}){meant_path(path)}") from error
