"""The process that fuzzes one target: `python -m campaigns.fuzzing TASK`, where TASK is JSON; see fuzz.py."""

from __future__ import annotations

import json
import os
import random
import sys
import time
import traceback
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

try:
    import atheris
except ImportError:
    atheris = None

with atheris.instrument_imports(include=["data_prep", "tgvae"]) if atheris else nullcontext():
    from campaigns.targets import TARGETS, seeds
    from tgvae.errors import UserError

EVERY = 1.0
"""Seconds between two notes of the counts."""
COUNTS = ("tries", "refused", "lost", "faults")


@dataclass
class Trial:
    """Gives inputs to a target, counts, and keeps an input of every kind of fault."""

    task: dict[str, Any]
    tries: int = 0
    refused: int = 0
    lost: int = 0
    faults: dict[str, tuple[str, str]] = field(default_factory=dict)
    noted: float = 0.0
    end: float = 0.0

    def __call__(self, content: bytes) -> None:
        self.tries += 1
        try:
            TARGETS[self.task["target"]](content)
        except UserError:
            self.refused += 1
        except Exception as error:  # what is looked for
            self.lost += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
            self.faults.setdefault(kind, (ascii(error)[:500], content.hex()))
        if time.monotonic() > self.noted + EVERY or self.over:
            self.note()
        if self.over:
            os._exit(0)

    @property
    def over(self) -> bool:
        return time.monotonic() > self.end or self.tries >= self.task["tries"]

    def note(self) -> None:
        """Write the counts, as the process may end at any input."""
        Path(self.task["counts"]).write_text(json.dumps({name: vars(self)[name] for name in COUNTS}))
        self.noted = time.monotonic()


def main() -> None:
    trial = Trial(json.loads(sys.argv[1]))
    name, seed = trial.task["target"], trial.task["seed"]
    good = list(seeds(name))
    for content in good:  # what must be imported and trained first is not of the time
        with suppress(UserError):
            TARGETS[name](content)
    trial.end = time.monotonic() + trial.task["seconds"]
    if atheris:
        corpus = Path("corpus")
        corpus.mkdir()
        for number, content in enumerate(good):
            (corpus / str(number)).write_bytes(content)
        limits = ("-max_len=4096", "-timeout=60", "-rss_limit_mb=0")
        atheris.Setup([sys.argv[0], f"-seed={seed + 1}", *limits, str(corpus)], trial)
        atheris.Fuzz()
    from campaigns.damage import ALTER

    rng = random.Random(seed)
    while True:
        content = rng.choice(good)
        for _ in range(rng.randint(1, 5)):
            content = rng.choice(list(ALTER.values()))(content, rng)
        trial(content)


if __name__ == "__main__":
    main()
