"""Requests for generated sentences: one from the options of `tgvae generate`, or many from a file.

Requests of a file are answered one after another, not in common batches: products of matrices of another size are
rounded differently, so a request could get other sentences than on its own.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tgvae.cli.output import open_output, print_next_steps
from tgvae.config_io import SEEDS, from_json, nan_to_none, require_range
from tgvae.data.graph_io import require_new
from tgvae.errors import UserError, path_suggestion, user_message
from tgvae.generation.decode import READABLE, DecodeSettings
from tgvae.models.base import Capability
from tgvae.models.text_generation import Sentence
from tgvae.progress import showing, track
from tgvae.runs import load_run, recipes_with

MAX_SENTENCES = 1_000_000
MAX_PARAGRAPH = 1000
MAX_STRENGTH = 1000
"""Largest accepted guidance strength."""
TOPIC_FIELDS = ("topic", "mixture", "like", "between", "reconstruct")
"""Fields that say what to generate, of which a request has at most one."""


@dataclass(frozen=True)
class Request:
    """What to generate; the fields are the options of `tgvae generate`, but ``like`` is the text itself."""

    id: str | int | None = None
    topic: int | str | None = None
    mixture: dict[str, float] = field(default_factory=dict)
    like: str | None = None
    between: tuple[str, ...] = ()
    reconstruct: tuple[str, ...] = ()
    num: int = 5
    paragraph: int = 0
    strength: float = 1.0
    seed: int = 0
    decode: DecodeSettings = field(default_factory=lambda: READABLE)

    def check(self) -> None:
        """Raise UserError for a number out of its range, or several ways to say what to generate."""
        if sum(getattr(self, name) not in (None, (), {}) for name in TOPIC_FIELDS) > 1:
            raise UserError("give one of topic, mixture, like, between and reconstruct")
        if len(self.between) not in (0, 2):
            raise UserError(f"between has {len(self.between)} sentences; give two")
        require_range(self, 1, MAX_SENTENCES + 1, "num")
        require_range(self, 0, MAX_PARAGRAPH + 1, "paragraph")
        require_range(self, 0, SEEDS, "seed")
        require_range(self, -MAX_STRENGTH, MAX_STRENGTH + 1, "strength")


def generate(model: Any, request: Request) -> list[Sentence]:
    """Return the sentences of a request. Raises UserError: the model has no latent or no topics."""
    settings, seed = request.decode, request.seed
    if request.between or request.reconstruct:
        if Capability.LATENT not in model.capabilities:
            raise UserError(f"a {model.kind} has no latent; {_remedy(Capability.LATENT)}")
        if request.between:
            return model.interpolate(*request.between, request.num, settings, seed)
        return model.reconstruct(request.reconstruct, settings, seed)
    return model.generate(num=request.num, settings=settings, seed=seed, **_guidance(model, request))


def generate_paragraphs(model: Any, request: Request) -> list[list[Sentence]]:
    """Return the paragraphs of a request. Raises UserError: no topics, or the model generates each sentence alone."""
    if request.between or request.reconstruct:
        raise UserError("paragraph goes with topic, mixture or like, not with between and reconstruct")
    if Capability.PARAGRAPHS not in model.capabilities:
        raise UserError(f"a {model.kind} writes single sentences; {_remedy(Capability.PARAGRAPHS)}")
    return model.generate_paragraphs(
        num=request.num,
        sentences=request.paragraph,
        settings=request.decode,
        seed=request.seed,
        **_guidance(model, request),
    )


def _guidance(model: Any, request: Request) -> dict[str, Any]:
    """Return the arguments of guidance; none for a model without. Raises UserError if there are some nevertheless."""
    given = {"topic": request.topic, "mixture": request.mixture or None, "like": request.like}
    if Capability.GUIDANCE in model.capabilities:
        return given | {"strength": request.strength}
    if any(value is not None for value in given.values()) or request.strength != 1:
        raise UserError(f"a {model.kind} cannot be guided by topics; {_remedy(Capability.GUIDANCE)}")
    return {}


def _remedy(capability: Capability) -> str:
    return f"give a run of one of the recipes {', '.join(recipes_with(capability))}"


def answer_requests(run: Path, path: Path, out: Path | None, defaults: Request) -> None:
    """Answer the requests of a file in order, a line each; one that cannot be answered gets the field ``error``.

    Args:
        run: a run folder.
        path: JSON Lines.
        out: a new file; None is standard output.
        defaults: values of fields that a request leaves out.

    Raises:
        UserError: the file cannot be read, ``out`` exists, or a default says what to generate.
    """
    if any(getattr(defaults, name) != getattr(Request(), name) for name in TOPIC_FIELDS):
        raise UserError(f"with --requests, {', '.join(TOPIC_FIELDS)} are fields of the requests in {path}")
    total = sum(map(bool, read_lines(path)))
    if out:
        require_new(out)
    model = load_run(run, require=Capability.GENERATION)
    failed = done = 0
    try:
        with open_output(out) as file, showing(out is not None or not sys.stdout.isatty()):
            lines = ((number, line) for number, line in enumerate(read_lines(path), 1) if line)
            for number, line in track(lines, "answering requests", total):
                found = answer(model, line, f"{path}:{number}", defaults)
                file.write(json.dumps(nan_to_none(found), ensure_ascii=False) + "\n")
                failed, done = failed + ("error" in found), done + 1
    except KeyboardInterrupt:
        print(f"stopped after {done} of {total} requests", file=sys.stderr)
        raise
    if failed:
        print(f"{failed} of {done} requests have an error", file=sys.stderr)
    print_next_steps([out] if out else [])


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines without surrounding white space. Raises UserError."""
    try:
        with path.open(encoding="utf-8", errors="backslashreplace") as file:
            yield from map(str.strip, file)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}){path_suggestion(path)}") from error


def answer(model: Any, line: str, where: str, defaults: Request) -> dict[str, Any]:
    """Return ``id`` and ``sentences``, ``paragraphs`` or ``error`` of a request."""
    identity = None
    try:
        row = _parse(line, where)
        identity = row.get("id")
        values = {name: getattr(defaults, name) for name in ("num", "paragraph", "strength", "seed")}
        decode = from_json(DecodeSettings, asdict(defaults.decode) | _object(row, "decode", where), f"{where}: decode")
        given = {name: value for name, value in row.items() if value is not None}
        if isinstance(given.get("topic"), str):
            given["topic"] = topic_query([given["topic"]])
        request: Request = from_json(Request, values | given | {"decode": asdict(decode)}, where)
        request.check()
        if request.paragraph:
            paragraphs = [[asdict(sentence) for sentence in part] for part in generate_paragraphs(model, request)]
            return {"id": identity, "paragraphs": paragraphs}
        return {"id": identity, "sentences": [asdict(sentence) for sentence in generate(model, request)]}
    except (UserError, MemoryError, RuntimeError) as error:
        message = user_message(error)
        if not message:
            raise
        return {"id": identity, "error": message}


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: not a JSON object with the fields of a request")
    if isinstance(row.get("id"), float) and not math.isfinite(row["id"]):
        raise UserError(f"{where}: the id is no finite number")
    return row


def _object(row: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    value = row.get(name)
    if value is not None and not isinstance(value, dict):
        raise UserError(f"{where}: {name} is not an object with decoding options")
    return value or {}


def topic_query(words: Sequence[str]) -> int | str | None:
    """Return the topic number if there is a single number, otherwise the words."""
    if len(words) == 1 and re.fullmatch(r"\d{1,9}", words[0]):
        return int(words[0])
    return " ".join(words) if words else None
