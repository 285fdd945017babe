"""Dirty corpora and odd options: what is in targets.py, each for some time, in a process of its own.

Where atheris is installed (Linux: `pip install atheris`), inputs are bred by which lines of our modules they reach;
elsewhere they are good input with bytes changed. Inputs that end otherwise than they should are kept and printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from campaigns.results import Outcome

FOUND = Path("campaigns/fuzz")
MEMORY = Path("/dev/shm")
"""Where there is such a folder, files are written there: no disk has to be waited for."""


@dataclass(frozen=True)
class Options:
    """Give readers and commands bytes that nobody would."""

    seconds: float = 300
    """Time for all targets together."""
    tries: int = 1_000_000
    """Of each target, at most."""
    targets: tuple[str, ...] = ()
    """Names of some; all by default."""
    out: Path = FOUND
    """Folder for inputs at which something failed."""
    seed: int = 0
    """Of the inputs."""


def run(options: Options) -> list[Outcome]:
    """A row for every target."""
    from campaigns.targets import TARGETS

    names = options.targets or tuple(TARGETS)
    return [fuzzed(name, options, options.seconds / len(names)) for name in names]


def fuzzed(name: str, options: Options, seconds: float) -> Outcome:
    """One target, in a process of its own: atheris ends the process that it runs in, and native code may."""
    found: dict[str, Any] = {"tries": 0, "refused": 0, "lost": 0, "faults": {}}
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        counts = Path(folder, "counts.json")
        task = {"target": name, "seconds": seconds, "tries": options.tries, "seed": options.seed, "counts": str(counts)}
        command = [sys.executable, "-m", "campaigns.fuzzing", json.dumps(task)]
        places = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": folder}
        ended = subprocess.run(command, cwd=folder, env=os.environ | places, capture_output=True)
        if counts.exists():
            found |= json.loads(counts.read_text())
        kept = next((path.read_bytes() for path in Path(folder).glob("*-*")), b"")  # by atheris: crash-, timeout-, oom-
    if ended.returncode:
        found["lost"] += 1
        found["faults"][f"exit status {ended.returncode}"] = ascii(ended.stderr[-2000:]), kept.hex()
    keep(name, found["faults"], options.out)
    print(f"fuzz: {name}: {found['tries']} tries, {found['lost']} faults", file=sys.stderr)
    share = found["refused"] / max(1, found["tries"])
    return Outcome(name, found["tries"], found["lost"], f"{share:.0%} refused with a message, the rest read")


def keep(name: str, faults: Mapping[str, tuple[str, str]], out: Path) -> None:
    """Print an input of every kind of fault, and write it into a folder."""
    for number, (kind, (message, content)) in enumerate(faults.items()):
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{name.replace(' ', '-')}-{number}"
        path.write_bytes(bytes.fromhex(content))
        print(f"fuzz: {name}: {kind}: {message}\ninput ({path}): {content[:200]}", file=sys.stderr)
