"""Faults in `tgvae prepare`: real processes killed, signalled, or refused by the disk, at random moments.

After every fault: no process is left over; at OUT there is nothing or a whole folder, never a half; the next run gives
the bytes of an undisturbed one, and leaves nothing beside them.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from campaigns.results import Outcome
from campaigns.sandbox import PATIENCE, SETTINGS, LostError, Place, command_of, contents, running, said, tgvae
from data_prep.pipeline import prepare
from tgvae.data.schema import SPLITS, TOPIC_WORDS, arrow_file
from tgvae.data.tokenizers import SENTENCEPIECE_FILE

HASHED = (*map(arrow_file, SPLITS), TOPIC_WORDS, SENTENCEPIECE_FILE)


@dataclass(frozen=True)
class Options:
    """Kill, signal and starve `tgvae prepare`; change what it wrote by hand."""

    tries: int = 10
    """Of each fault."""
    seconds: float = 600
    """Time for all; a fault that has begun is ended."""
    documents: int = 1500
    """Of a made-up corpus; 500 make a chunk of work."""
    workers: int = 2
    """Processes."""
    faults: tuple[str, ...] = ()
    """Names of some of the faults; all by default."""
    seed: int = 0
    """Of the moments and of the corpus."""


def run(options: Options) -> list[Outcome]:
    """A row for every fault."""
    end = time.monotonic() + options.seconds
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else ignored, in the background of a shell
    faults = {name: FAULTS[name] for name in options.faults or FAULTS}
    seen: dict[str, list[str]] = {name: [] for name in faults}
    lost: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        place = Place.make(Path(folder), options.documents, options.workers, options.seed)
        for number, (name, fault) in enumerate(list(faults.items()) * options.tries):
            if time.monotonic() > end:
                break
            try:
                seen[name].append(fault(place))
            except LostError as error:
                lost[name] += 1
                seen[name].append(f"LOST: {error}")
            place.clear()
            if number % 10 == 9:
                print(f"preparation: {number + 1} faults, lost in {lost.total()}", file=sys.stderr)
    return [Outcome(name, len(told), lost[name], summary(told)) for name, told in seen.items()]


def summary(told: Sequence[str]) -> str:
    """What was seen, the most frequent first."""
    counts = Counter(told).most_common(3)
    return "; ".join(text + (f" ({n} times)" if len(counts) > 1 else "") for text, n in counts)


def signalled(sent: signal.Signals, group: bool = False) -> Callable[[Place], str]:
    """A signal to the main process, or to all, at a random moment."""

    def fault(place: Place) -> str:
        process = place.start()
        place.some_seconds()
        if process.poll() is None:
            os.killpg(process.pid, sent) if group else process.send_signal(sent)
        return place.checked(process, -sent, 128 + sent)

    return fault


def worker_killed(place: Place) -> str:
    """Kill -9 of a worker at a random moment."""
    process = place.start()
    place.some_seconds()
    while process.poll() is None:
        if workers := [pid for pid in running(process.pid) if b"spawn_main" in command_of(pid)]:
            os.kill(place.draws.choice(workers), signal.SIGKILL)
            break
        time.sleep(0.01)
    return place.checked(process, 2)


def disk_full(place: Place) -> str:
    """No file may grow beyond a random size; the system refuses the rest as a full disk does."""
    largest = max(map(len, place.expected.values()))
    size = place.draws.randrange(largest)
    process = place.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    if process.wait(PATIENCE) == 0:
        raise LostError("nobody noticed")
    return place.checked(process, 2)


def read_only(place: Place) -> str:
    """The folder of OUT may not be written."""
    place.out.parent.mkdir()
    place.out.parent.chmod(0o555)
    process = place.start(preexec_fn=obey_permissions)
    if process.wait(PATIENCE) == 0:
        raise LostError("nobody noticed")
    place.out.parent.chmod(0o755)
    return place.checked(process, 2)


def obey_permissions() -> None:
    """Take the right to write everywhere from root, for what is started next: PR_CAPBSET_DROP, CAP_DAC_OVERRIDE."""
    ctypes.CDLL(None).prctl(24, 1)


def killed_overwriting(place: Place) -> str:
    """Kill -9 at a random moment while an older folder is replaced: old or new is there, whole."""
    prepare(place.corpus, place.out, SETTINGS, workers=1)
    process = place.start()
    place.some_seconds()
    process.kill()
    process.wait(PATIENCE)
    if not place.out.exists() and not place.out.with_name("out.replaced").exists():
        raise LostError("old and new are gone")
    return place.checked(process, -signal.SIGKILL)


def killed_between_renames(place: Place) -> str:
    """Kill -9 of itself right after the older folder was moved aside: the next run puts it back, and says so."""
    prepare(place.corpus, place.out, SETTINGS, workers=1)
    kill = (
        "import os, signal; move = os.replace; "
        "os.replace = lambda a, b: (move(a, b), str(b).endswith('.replaced') and os.kill(os.getpid(), signal.SIGKILL))"
    )
    process = place.start(kill)
    process.wait(PATIENCE)
    if place.out.exists() or contents(place.out.with_name("out.replaced")) != place.expected:
        raise LostError("the older folder is gone")
    shown = tgvae("inspect", place.out)
    if "out.replaced" not in shown.stderr:
        raise LostError(f"inspect does not say where it is: {shown.stderr}")
    return place.checked(process, -signal.SIGKILL)


def changed_by_hand(place: Place) -> str:
    """A bit of a file flipped: reading the folder names the file."""
    prepare(place.corpus, place.out, SETTINGS, workers=1)
    path = place.out / place.draws.choice([name for name in HASHED if place.expected[name]])
    content = bytearray(path.read_bytes())
    content[place.draws.randrange(len(content))] ^= 1 << place.draws.randrange(8)
    path.write_bytes(content)
    shown = tgvae("inspect", place.out)
    if shown.returncode != 2 or path.name not in shown.stderr or "Traceback" in shown.stderr:
        raise LostError(f"{path.name}: {shown.stderr}")
    return said(2, shown.stderr.replace(str(path), "FILE"))


FAULTS: dict[str, Callable[[Place], str]] = {
    "prepare: kill -9 of the main process": signalled(signal.SIGKILL),
    "prepare: kill -9 of all its processes": signalled(signal.SIGKILL, group=True),
    "prepare: SIGTERM": signalled(signal.SIGTERM),
    "prepare: Ctrl-C": signalled(signal.SIGINT, group=True),
    "prepare: kill -9 of a worker": worker_killed,
    "prepare: disk full": disk_full,
    "prepare: folder read-only": read_only,
    "prepare: kill -9 while overwriting": killed_overwriting,
    "prepare: kill -9 between the renames": killed_between_renames,
    "prepared folder: a bit flipped": changed_by_hand,
}
