"""Untrusted folders: runs and prepared corpora with changed bytes, truncated files and forged settings.

Half of them are damaged as by accident: what loads must equal what was saved. The other half is forged, with hashes
computed again as an attacker would: what loads must be usable, everything else must be refused. Each folder is opened
in a fork with limits of time and memory, because native code may end the process.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from campaigns import Outcome, tgvae, tiny_runs
from campaigns.interruptions import outcome as count
from tgvae.data.corpus import Corpus
from tgvae.data.schema import MANIFEST, SPLITS, PreparedFolder, file_hash
from tgvae.errors import UserError
from tgvae.evaluation.report_io import FOLDER, PARTS, REPORT, load_evaluation
from tgvae.models.base import CONFIG, WEIGHTS, Capability
from tgvae.models.serialization import save_weights
from tgvae.runs import load_run, read_recipe
from tgvae.training.checkpoint import CHECKPOINT

PATIENCE = 60  # seconds for opening one folder
MEMORY = 2**30  # bytes that opening one folder may take; the folders have some 100 KB
SUFFIXES = {".json", ".arrow", ".safetensors", ".model", ".txt"}
WRONG: tuple[Any, ...] = (None, True, [], {}, "", "x", "../x", -1, 0, 1, 7, 0.5, 1e300, 10**9, 10**30, [1], {"x": 1})
DEEP = "[" * 10_000 + "]" * 10_000


@dataclass(frozen=True)
class UntrustedInputs:
    """Open folders that somebody has changed."""

    tries: int = 4000
    """Folders to open, at most."""
    seconds: float = 300.0
    """Time after which no more are opened."""
    seed: int = 0
    """Of the changes."""

    def run(self) -> list[Outcome]:
        found: dict[str, Counter[str]] = {}
        end = time.monotonic() + self.seconds
        with TemporaryDirectory() as name:
            folder = Path(name)
            make(folder)
            before = {kind: use(folder / kind) for kind, use in USES.items()}
            for number in range(self.tries):
                if time.monotonic() > end:
                    break
                rng = random.Random(f"{self.seed} {number}")
                kind, forged = rng.choice(list(USES)), rng.random() < 0.5
                copy = Path(shutil.copytree(folder / kind, folder / "copy" / kind))
                fault = f"{kind} folder, {'forged' if forged else 'damaged'}: {change(copy, rng, forged)}"
                seen = in_fork(partial(outcome, USES[kind], copy, None if forged else before[kind]), folder / "seen")
                found.setdefault(fault, Counter())[seen] += 1
                if seen.startswith("LOST"):
                    print(f"{number}, {fault}: {seen}", file=sys.stderr)
                shutil.rmtree(folder / "copy")
        return [count(fault, seen) for fault, seen in sorted(found.items())]


def make(folder: Path) -> None:
    """Make a small run with its evaluation, and the corpus that it was trained on."""
    tiny_runs(folder, "tgvae")
    (folder / "tgvae").rename(folder / "run")
    quick = ("--samples", 1, "--weighted-sentences", 1, "--generated", 4, "--per-topic", 1, "--reverse", 0)
    tgvae("evaluate", folder / "run", *quick)
    shutil.rmtree(folder / "run" / "tensorboard")
    (folder / "run" / CHECKPOINT).unlink()


def in_fork(call: Callable[[], str], result: Path) -> str:
    """Return the result of a call in a fork of this process, with a limit of time and of memory."""
    result.unlink(missing_ok=True)
    pid = os.fork()
    if not pid:
        try:
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, resource.RLIM_INFINITY))
            signal.alarm(PATIENCE)  # ends the process
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # sentencepiece writes there
            result.write_text(call(), encoding="utf-8")
        finally:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return result.read_text(encoding="utf-8") if result.exists() else f"LOST: the process ended with {status}"


def outcome(use: Callable[[Path], Any], folder: Path, before: Any) -> str:
    """Open a folder and return what happened; the contents must equal ``before``, unless that is None."""
    try:
        found = use(folder)
    except UserError as error:
        return "a message that names the file" if str(folder) in str(error) else f"LOST: names no file ({error})"
    except Exception as error:  # a user would see a traceback
        return f"LOST: {type(error).__name__}: {error}"
    if before is None:
        return "opened and usable"
    return "opened, unchanged" if found == before else "LOST: opened with other contents"


def use_run(run: Path) -> Any:
    """Return what the model of a run generates; its recipe and evaluation are read too, but people may edit these."""
    read_recipe(run)
    load_evaluation(run)
    model = load_run(run, require=Capability.GUIDANCE)
    return [sentence.text for sentence in model.generate(0, num=2, seed=1)], model.prior_topic_proportions().tolist()


def use_prepared(folder: Path) -> Any:
    """Return the contents of a prepared folder: documents, bags of words, batches, vocabularies."""
    data = PreparedFolder.open(folder)
    found = []
    for split in SPLITS:
        corpus = Corpus(data, split)
        batches = [corpus.gather(index) for index in corpus.sentence_batches(500)]
        found.append((corpus.table.to_pylist(), corpus.bags.sum(), corpus.texts, len(batches)))
    return data.topic_vocabulary.words, data.tokenizer.pieces, data.tokenizer.encode("The end."), found


USES: dict[str, Callable[[Path], Any]] = {"run": use_run, "data": use_prepared}


def change(folder: Path, rng: random.Random, forged: bool) -> str:
    """Change a file of a folder, and its hashes elsewhere if ``forged``; return the kind of change."""
    path = rng.choice([path for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES])
    if path.suffix == ".json" and rng.random() < 0.7:
        path.write_text(other_json(path.read_text(encoding="utf-8"), rng), encoding="utf-8")
        done = "a JSON value"
    elif path.name == WEIGHTS and forged:
        save_weights(other_tensors(load_file(path), rng), path, [])
        done = "tensors"
    else:
        done, alter = rng.choice(list(ALTER.items()))
        path.write_bytes(alter(path.read_bytes(), rng))
    if forged:
        forge(folder, path)
    return done


def flip(content: bytes, rng: random.Random) -> bytes:
    found = bytearray(content or b"\0")
    found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def overwrite(content: bytes, rng: random.Random) -> bytes:
    """Replace some bytes by random ones, or by zeros as after a crash of the file system."""
    at, size = rng.randrange(len(content) or 1), rng.randint(1, 64)
    return content[:at] + (rng.randbytes(size) if rng.random() < 0.5 else bytes(size)) + content[at + size :]


ALTER: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "a bit": flip,
    "bytes": overwrite,
    "truncated": lambda content, rng: content[: rng.randrange(len(content) or 1)],
}


def other_json(text: str, rng: random.Random) -> str:
    """Return JSON with one value removed, replaced by one of another type, or nested very deeply."""
    whole = json.loads(text)
    holder, key = rng.choice(list(_places(whole)))
    if rng.random() < 0.2:
        del holder[key]
        return json.dumps(whole)
    holder[key] = rng.choice((*WRONG, "DEEP"))
    return json.dumps(whole).replace('"DEEP"', DEEP)


def _places(value: Any) -> Any:
    """Yield every object or list in a JSON value with each of its keys."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def other_tensors(tensors: dict[str, Tensor], rng: random.Random) -> dict[str, Tensor]:
    """Return tensors of which one is missing, renamed, or of another shape, type or values."""
    name = rng.choice(sorted(tensors))
    x = tensors.pop(name)
    values = [torch.full_like(x, value) for value in (float("nan"), 1e30, 0.0)]
    changed = rng.choice([x.new_zeros(*x.shape, 2), x.double(), x.half(), x.flatten()[1:], *values])
    return tensors if rng.random() < 0.2 else tensors | {name if rng.random() < 0.8 else "other": changed}


def forge(folder: Path, changed: Path) -> None:
    """Update the hashes of a changed file in manifest, weights and report."""
    if (manifest := folder / MANIFEST).exists() and changed != manifest:
        found = json.loads(manifest.read_bytes())
        found["files"][changed.name] = file_hash(changed)
        manifest.write_text(json.dumps(found), encoding="utf-8")
    if (weights := folder / WEIGHTS).exists() and changed != weights:
        save_weights(load_file(weights), weights, [folder / CONFIG, *folder.glob("*.txt"), *folder.glob("*.model")])
    if (report := folder / FOLDER / REPORT).exists() and changed != report:
        found = json.loads(report.read_bytes())
        found |= {"weights_sha256": file_hash(weights), "parts_sha256": file_hash(folder / FOLDER / PARTS)}
        report.write_text(json.dumps(found), encoding="utf-8")
