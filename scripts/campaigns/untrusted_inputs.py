"""Folders of strangers: runs and prepared corpora with bytes changed, files cut, settings of other kinds.

Half of them are damaged as by accident; what is loaded all the same must be what was saved. The other half is forged:
hashes are made anew for what was changed, as an attacker would; what is loaded must be of use, or be refused then.
Each is opened in a process of its own, as native code may end one.
"""

from __future__ import annotations

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

from campaigns.damage import change
from campaigns.results import Outcome
from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tgvae.data.corpus import Corpus
from tgvae.data.schema import SPLITS, PreparedFolder
from tgvae.errors import UserError
from tgvae.evaluation.metric import Metric, Parts
from tgvae.evaluation.report_io import load_evaluation, save_evaluation
from tgvae.models.base import load
from tgvae.models.sentence import SentenceConfig
from tgvae.models.tgvae import TGVAE, TGVAEConfig
from tgvae.models.topic import TopicConfig
from tgvae.recipes import Recipe
from tgvae.runs import read_recipe, start_run
from tgvae.training.checkpoint import CHECKPOINT
from tgvae.training.config import Phase, TrainConfig

PATIENCE = 60
"""Seconds for one of them."""
ROOM = 2**30
"""Bytes of memory that opening one may take; the folders have some 100 KB."""


@dataclass(frozen=True)
class Options:
    """Open folders that somebody has changed."""

    tries: int = 4000
    """Folders to open, at most."""
    seconds: float = 300.0
    """Time after which no more are begun."""
    seed: int = 0
    """Of what is changed."""


def run(options: Options) -> list[Outcome]:
    """Rows by folder and kind of change."""
    found: dict[str, Counter[str]] = {}
    until = time.monotonic() + options.seconds
    with TemporaryDirectory() as folder:
        place = Path(folder)
        make(place)
        before = {kind: use(place / kind) for kind, use in USES.items()}
        for number in range(options.tries):
            if time.monotonic() > until:
                break
            rng = random.Random(f"{options.seed} {number}")
            kind, forged = rng.choice(list(USES)), rng.random() < 0.5
            copy = Path(shutil.copytree(place / kind, place / "copy" / kind))
            fault = f"{kind} folder, {'forged' if forged else 'damaged'}: {change(copy, rng, forged)}"
            seen = in_a_fork(partial(outcome, USES[kind], copy, None if forged else before[kind]), place / "seen")
            found.setdefault(fault, Counter())[seen] += 1
            if seen.startswith("LOST"):
                print(f"{number}, {fault}: {seen}", file=sys.stderr)
            shutil.rmtree(place / "copy")
            if number % 500 == 499:
                print(f"{number + 1} folders opened", file=sys.stderr)
    return [_outcome(fault, seen) for fault, seen in sorted(found.items())]


def _outcome(fault: str, seen: Counter[str]) -> Outcome:
    lost = sum(count for what, count in seen.items() if what.startswith("LOST"))
    kept = (f"{what} ({count})" for what, count in seen.most_common() if not what.startswith("LOST"))
    return Outcome(fault, seen.total(), lost, "; ".join(kept))


def make(place: Path) -> None:
    """A small run with its evaluation, and the corpus that it was trained on."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abdegiklmnoprstu", k=6)) for _ in range(60)]
    threes = (rng.sample(words, 3) for _ in range(150))
    lines = (f"The {a} was near the {b}. No {c} can be without a {a}." for a, b, c in threes)
    (place / "words.txt").write_text("\n".join(lines), encoding="utf-8")
    settings = PrepareSettings(vocabulary_size=340, splits=(0.8, 0.1, 0.1), min_document_words=3)
    data = prepare(str(place / "words.txt"), place / "prepared", settings, workers=1)
    sizes = SentenceConfig(embedding_size=8, hidden_size=8, latent_size=4, flow_length=2)
    config = TGVAEConfig(TopicConfig(topics=3, word_embedding_size=4, hidden_size=8), sizes)
    phases = {"topics": Phase("document", epochs=1), "sentences": Phase("sentence", epochs=1)}
    start_run(Recipe("tgvae", config, TrainConfig(phases, device="cpu")), data, place / "run", quiet=True)
    shutil.rmtree(place / "run" / "tensorboard")
    (place / "run" / CHECKPOINT).unlink()
    figure = Metric.of(Parts.mean([1.0, 2.0, 4.0]), "nats", "a mean", seed=0, real=2.5)
    save_evaluation(place / "run", {"split": "test"}, {"language": {"nll": figure}}, "<p>A page</p>")


def in_a_fork(opens: Callable[[], str], place: Path) -> str:
    """What comes of opening a folder in a fork of this process, with a limit of time and of memory."""
    place.unlink(missing_ok=True)
    pid = os.fork()
    if not pid:
        try:
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, resource.RLIM_INFINITY))
            signal.alarm(PATIENCE)  # ends the process
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # where sentencepiece writes
            place.write_text(opens(), encoding="utf-8")
        finally:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return place.read_text(encoding="utf-8") if place.exists() else f"LOST: the process ended with {status}"


def outcome(use: Callable[[Path], Any], folder: Path, before: Any) -> str:
    """What comes of opening a folder; what was there ``before``, if given, is what must be found."""
    try:
        found = use(folder)
    except UserError as error:
        return "a message that names the file" if str(folder) in str(error) else f"LOST: names no file ({error})"
    except Exception as error:  # whatever it is, a user would see a traceback
        return f"LOST: {type(error).__name__}: {error}"
    if before is None:
        return "opened, and of use"
    return "opened, with nothing lost" if found == before else "LOST: opened with other contents"


def use_run(run: Path) -> Any:
    """What the model of a run says. Its recipe and evaluation are read too: JSON for people, who may change it."""
    read_recipe(run)
    load_evaluation(run)
    model = load(run)
    assert isinstance(model, TGVAE)
    return [sentence.text for sentence in model.generate(0, num=2, seed=1)], model.prior_topic_proportions().tolist()


def use_prepared(folder: Path) -> Any:
    """All that a prepared folder holds: documents, bags, batches."""
    data = PreparedFolder.open(folder)
    found = []
    for split in SPLITS:
        corpus = Corpus(data, split)
        batches = [corpus.gather(index) for index in corpus.sentence_batches(500)]
        found.append((corpus.table.to_pylist(), corpus.bags.sum(), corpus.texts, len(batches)))
    return data.topic_vocabulary.words, data.tokenizer.pieces, data.tokenizer.encode("The end."), found


USES: dict[str, Callable[[Path], Any]] = {"run": use_run, "prepared": use_prepared}
