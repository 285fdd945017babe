"""`tgvae generate`: generate sentences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import tyro

from tgvae.cli.generate_requests import Request, answer_requests, generate, generate_paragraphs, topic_query
from tgvae.cli.options import parse
from tgvae.cli.output import command, print_next_steps
from tgvae.errors import UserError, path_suggestion
from tgvae.generation.decode import READABLE, DecodeSettings
from tgvae.models.base import Capability
from tgvae.models.text_generation import Sentence
from tgvae.runs import load_run


@dataclass(frozen=True)
class Generate:
    """Generate sentences: for a topic, a mixture of topics or an example document; interpolate, or reconstruct.

    Models without topics generate freely, interpolate and reconstruct; language models only generate freely.

    Examples:
      tgvae generate runs/sotu --topic war army
      tgvae generate runs/sotu --mixture 3=0.7 12=0.3 --num 10 --decode.strategy beam
      tgvae generate runs/pretrained --topic war army --paragraph 5
      tgvae generate runs/sotu --between "We must fight." "We want peace."
      tgvae generate runs/sotu --requests requests.jsonl --out answers.jsonl
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
    requests: Path | None = None
    """JSON Lines with one request per line, instead of the options above; they become its defaults."""
    out: Path | None = None
    """New file for the answers to --requests, one JSON object per line; standard output by default."""
    decode: DecodeSettings = field(default_factory=lambda: READABLE)


def main(arguments: Sequence[str]) -> None:
    options = parse(Generate, "generate", arguments)
    request = request_of(options)
    request.check()
    if options.out and not options.requests:
        raise UserError("--out goes with --requests; redirect standard output instead")
    if options.requests:
        answer_requests(options.run, options.requests, options.out, request)
        return
    model = load_run(options.run, require=Capability.GENERATION)
    if request.paragraph:
        _print_paragraphs(generate_paragraphs(model, request), options.json)
    else:
        for sentence in generate(model, request):
            print(json.dumps(asdict(sentence), ensure_ascii=False) if options.json else sentence.text)
    if not options.json:
        step = "topics" if Capability.TOPICS in model.capabilities else "evaluate"
        print_next_steps(steps=[command(step, options.run)])


def request_of(options: Generate) -> Request:
    """Return the request that the options make. Raises UserError for a file that cannot be read, or weights."""
    return Request(
        topic=topic_query(options.topic),
        mixture=topic_weights(options.mixture),
        like=read_text(options.like) if options.like else None,
        between=options.between or (),
        reconstruct=options.reconstruct,
        num=options.num,
        paragraph=options.paragraph,
        strength=options.strength,
        seed=options.seed,
        decode=options.decode,
    )


def _print_paragraphs(paragraphs: list[list[Sentence]], as_json: bool) -> None:
    for number, paragraph in enumerate(paragraphs):
        if as_json:
            print(json.dumps([asdict(sentence) for sentence in paragraph], ensure_ascii=False))
        else:
            print("\n" * (number > 0) + " ".join(sentence.text for sentence in paragraph))


def topic_weights(mixture: Sequence[str]) -> dict[str, float]:
    """Parse TOPIC=WEIGHT pairs. Raises UserError, also for two weights of one topic."""
    weights: dict[str, float] = {}
    for text in mixture:
        try:
            topic, weight = text.split("=")
            number, value = str(int(topic)), float(weight)
        except ValueError:
            raise UserError(f"--mixture: {text[:60]!r} is not of the form TOPIC=WEIGHT, such as 3=0.7") from None
        if number in weights:
            raise UserError(f"--mixture: topic {number} has two weights; give it one")
        weights[number] = value
    return weights


def read_text(path: Path) -> str:
    """Read a UTF-8 text file. Raises UserError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error}){path_suggestion(path)}") from error
