"""`tgvae generate`: generate sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tyro

from tgvae.cli.options import parse
from tgvae.cli.output import command, print_next_steps
from tgvae.config_io import SEEDS, require_range
from tgvae.errors import UserError, path_suggestion
from tgvae.generation.decode import READABLE, DecodeSettings
from tgvae.models.base import Capability
from tgvae.models.text_generation import Sentence
from tgvae.runs import load_run, recipes_with

MAX_SENTENCES = 1_000_000
MAX_PARAGRAPH = 1000
MAX_STRENGTH = 1000
"""Largest accepted guidance strength."""


@dataclass(frozen=True)
class Generate:
    """Generate sentences: for a topic, a mixture of topics or an example document; interpolate, or reconstruct.

    Models without topics generate freely, interpolate and reconstruct; language models only generate freely.

    Examples:
      tgvae generate runs/sotu --topic war army
      tgvae generate runs/sotu --mixture 3=0.7 12=0.3 --num 10 --decode.strategy beam
      tgvae generate runs/pretrained --topic war army --paragraph 5
      tgvae generate runs/sotu --between "We must fight." "We want peace."
    """

    run: tyro.conf.Positional[Path]
    """A run folder."""
    topic: tuple[str, ...] = ()
    """Topic number, or words that the topic is about."""
    mixture: tuple[str, ...] = ()
    """Weights of topics: 3=0.7 12=0.3."""
    like: Path | None = None
    """A text file whose topics are used."""
    between: tuple[str, str] | None = None
    """Two sentences to interpolate between; --num counts both ends."""
    reconstruct: tuple[str, ...] = ()
    """Sentences to encode and decode."""
    num: int = 5
    """Number of sentences, or of paragraphs."""
    paragraph: int = 0
    """Sentences per paragraph, each following those before it; 0 generates single sentences."""
    strength: float = 1.0
    """Guidance strength: 1 is the model's own prior, more is more typical of the topic."""
    seed: int = 0
    """Equal seeds with equal --num give equal sentences."""
    json: bool = False
    """Print one JSON object per line."""
    decode: DecodeSettings = field(default_factory=lambda: READABLE)


def main(arguments: Sequence[str]) -> None:
    options = parse(Generate, "generate", arguments)
    modes = [options.topic, options.mixture, options.like, options.between, options.reconstruct]
    if sum(map(bool, modes)) > 1:
        raise UserError("give one of --topic, --mixture, --like, --between and --reconstruct")
    require_range(options, 1, MAX_SENTENCES + 1, "num")
    require_range(options, 0, MAX_PARAGRAPH + 1, "paragraph")
    require_range(options, 0, SEEDS, "seed")
    require_range(options, -MAX_STRENGTH, MAX_STRENGTH + 1, "strength")
    model = load_run(options.run, require=Capability.GENERATION)
    if options.paragraph:
        _print_paragraphs(generate_paragraphs(model, options), options.json)
    else:
        for sentence in generate(model, options):
            print(json.dumps(asdict(sentence), ensure_ascii=False) if options.json else sentence.text)
    if not options.json:
        print_next_steps(steps=[command("topics" if _can(model, Capability.TOPICS) else "evaluate", options.run)])


def generate(model: Any, options: Generate) -> list[Sentence]:
    """Generate the sentences that the options ask for.

    Raises:
        UserError: the model has no latent or no topics.
    """
    settings, seed = options.decode, options.seed
    if options.between or options.reconstruct:
        if not _can(model, Capability.LATENT):
            raise UserError(f"{options.run}: a {model.kind} has no latent; {_remedy(Capability.LATENT)}")
        if options.between:
            return model.interpolate(*options.between, options.num, settings, seed)
        return model.reconstruct(options.reconstruct, settings, seed)
    return model.generate(num=options.num, settings=settings, seed=seed, **_guidance(model, options))


def generate_paragraphs(model: Any, options: Generate) -> list[list[Sentence]]:
    """Generate paragraphs. Raises UserError: the model has no topics, or models every sentence alone."""
    if options.between or options.reconstruct:
        raise UserError("--paragraph goes with --topic, --mixture or --like, not with --between and --reconstruct")
    if not _can(model, Capability.PARAGRAPHS):
        raise UserError(f"{options.run}: a {model.kind} writes single sentences; {_remedy(Capability.PARAGRAPHS)}")
    return model.generate_paragraphs(
        num=options.num,
        sentences=options.paragraph,
        settings=options.decode,
        seed=options.seed,
        **_guidance(model, options),
    )


def _print_paragraphs(paragraphs: list[list[Sentence]], as_json: bool) -> None:
    for number, paragraph in enumerate(paragraphs):
        if as_json:
            print(json.dumps([asdict(sentence) for sentence in paragraph], ensure_ascii=False))
        else:
            print("\n" * (number > 0) + " ".join(sentence.text for sentence in paragraph))


def _guidance(model: Any, options: Generate) -> dict[str, Any]:
    """Return the options of guidance; none for a model without. Raises UserError if there are some nevertheless."""
    if _can(model, Capability.GUIDANCE):
        return {
            "topic": topic_query(options.topic),
            "mixture": topic_weights(options.mixture),
            "like": read_text(options.like) if options.like else None,
            "strength": options.strength,
        }
    if options.topic or options.mixture or options.like or options.strength != 1:
        raise UserError(f"{options.run}: a {model.kind} cannot be guided by topics; {_remedy(Capability.GUIDANCE)}")
    return {}


def _can(model: Any, capability: Capability) -> bool:
    return capability in model.capabilities


def _remedy(capability: Capability) -> str:
    return f"give a run of one of the recipes {', '.join(recipes_with(capability))}"


def topic_query(words: Sequence[str]) -> int | str | None:
    """Return the topic number if there is a single number, otherwise the words."""
    if len(words) == 1 and re.fullmatch(r"\d{1,9}", words[0]):
        return int(words[0])
    return " ".join(words) if words else None


def topic_weights(mixture: Sequence[str]) -> dict[int, float] | None:
    """Parse TOPIC=WEIGHT pairs; None if there are none. Raises UserError, also for two weights of one topic."""
    weights: dict[int, float] = {}
    for text in mixture:
        try:
            topic, weight = text.split("=")
            number, value = int(topic), float(weight)
        except ValueError:
            raise UserError(f"--mixture: {text[:60]!r} is not of the form TOPIC=WEIGHT, such as 3=0.7") from None
        if number in weights:
            raise UserError(f"--mixture: topic {number} has two weights; give it one")
        weights[number] = value
    return weights or None


def read_text(path: Path) -> str:
    """Read a UTF-8 text file. Raises UserError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error}){path_suggestion(path)}") from error
