"""A place where `tgvae prepare` is disturbed, and what is looked at afterwards."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings

SETTINGS = PrepareSettings(vocabulary_size=600, min_document_frequency=2)
ARGUMENTS = ("--vocabulary-size", "600", "--min-document-frequency", "2")
WITHIN = 20  # seconds in which all processes are to be gone
PATIENCE = 300  # seconds for a command


class LostError(Exception):
    """Something was lost, left over, or told as a traceback."""


@dataclass
class Place:
    """A folder with a corpus, what it becomes undisturbed, and how long that takes."""

    folder: Path
    workers: int
    draws: random.Random
    expected: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def make(cls, folder: Path, documents: int, workers: int, seed: int) -> Place:
        place = cls(folder, workers, random.Random(seed))
        words = ["".join(place.draws.choices("abcdefghilmnoprstu", k=5)) for _ in range(400)]
        texts = [" ".join(place.draws.choices(words, k=30)) + "." for _ in range(documents)]
        place.corpus.write_text("\n".join(texts) + "\n", encoding="utf-8")
        begin = time.monotonic()
        if place.start().wait(PATIENCE):
            raise RuntimeError(place.told.read_text())
        place.seconds = time.monotonic() - begin
        place.expected = contents(place.out)
        place.clear()
        return place

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus.txt"

    @property
    def out(self) -> Path:
        return self.folder / "made" / "out"

    @property
    def told(self) -> Path:
        """What the last command wrote on standard error."""
        return self.folder / "told"

    def start(self, code: str = "", **options: Any) -> subprocess.Popen[bytes]:
        """`tgvae prepare` at work in a session of its own, after other code, where some is given."""
        entry = (
            ["-c", f"{code}; from tgvae.cli.main import main; raise SystemExit(main())"]
            if code
            else ["-m", "tgvae.cli.main"]
        )
        command = [sys.executable, *entry, "prepare", str(self.corpus), "--out", str(self.out), "--overwrite"]
        command += ["--workers", str(self.workers), *ARGUMENTS]
        with self.told.open("w") as told:
            return subprocess.Popen(command, start_new_session=True, stdout=told, stderr=told, **options)

    def some_seconds(self) -> None:
        """Wait for a random moment of the run."""
        time.sleep(self.draws.uniform(0, self.seconds))

    def checked(self, process: subprocess.Popen[bytes], *statuses: int) -> str:
        """What the user saw. Raises LostError unless all is well after a fault, and after the next run.

        The exit status is one of ``statuses``, or 0 where the run had ended before the fault.
        """
        status, told = process.wait(PATIENCE), self.told.read_text().strip()
        if status not in (0, *statuses):
            raise LostError(f"exit status {status}")
        self.require_nothing_runs(process.pid)
        if "Traceback" in told:
            raise LostError(f"a traceback: {told.splitlines()[-1]}")
        if self.out.exists() and contents(self.out) != self.expected:
            raise LostError(f"{self.out} is half-written")
        self.require_next_run()
        return said(status, told.replace(f"{self.out.parent}/", ""))

    def require_nothing_runs(self, session: int) -> None:
        """Raise LostError where a process of the session outlives its end by more than a moment."""
        end = time.monotonic() + WITHIN
        while left := running(session):
            if time.monotonic() > end:
                raise LostError(f"{len(left)} processes left over")
            time.sleep(0.05)

    def require_next_run(self) -> None:
        """Raise LostError unless preparing again gives what was expected, and nothing beside it."""
        prepare(self.corpus, self.out, SETTINGS, workers=1, overwrite=True)
        if contents(self.out) != self.expected:
            raise LostError("the next run gives other bytes")
        if beside := [path.name for path in self.out.parent.iterdir() if path != self.out]:
            raise LostError(f"left beside: {', '.join(beside)}")

    def clear(self) -> None:
        shutil.rmtree(self.out.parent, ignore_errors=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def running(session: int) -> list[int]:
    """Processes of a session that are alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = path.read_text().rsplit(")", 1)[1].split()[:4]
        except OSError:  # it ended meanwhile
            continue
        if int(of) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def said(status: int, told: str) -> str:
    """Exit status and message."""
    if status == 0:
        return "it had ended before"
    if status < 0:
        return f"ended by {signal.Signals(-status).name}, no word"
    message = told.splitlines()[-1].removeprefix("tgvae: ") if told else "no word"
    return f"exit status {status}: {message}"


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def tgvae(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A command of tgvae, to its end."""
    command = [sys.executable, "-m", "tgvae.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
