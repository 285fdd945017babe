"""What a campaign found, a row for every fault."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tgvae.files import write_text


@dataclass(frozen=True)
class Outcome:
    """A fault, and what became of the work.

    Attributes:
        fault: what was done to the program, or given to it.
        tries: how many times.
        lost: of these, how many lost something, ended in a traceback or gave a wrong result.
        seen: what the user saw, in a sentence.
    """

    fault: str
    tries: int
    lost: int
    seen: str


def table(outcomes: Sequence[Outcome]) -> str:
    """As Markdown."""
    rows = [f"| {o.fault} | {o.tries:,} | {o.lost or 'nothing'} | {o.seen} |" for o in outcomes]
    return "\n".join(["| fault | times | lost | what the user saw |", "|---|---:|---:|---|", *rows]) + "\n"


def save(outcomes: Sequence[Outcome], path: Path) -> None:
    """As JSON."""
    write_text(path, json.dumps([asdict(o) for o in outcomes], indent=2, ensure_ascii=False) + "\n")
