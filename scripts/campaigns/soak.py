"""Writing for an hour in several threads that share two models: are all answers right, and does memory stay flat?

Every other question is one of a few whose answers were written down before, when nothing else ran; the rest are new:
other words, lengths, seeds and settings each time, as caches that grow do so with what is new.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from campaigns.results import Outcome
from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tgvae.cli.main import keep_memory
from tgvae.generation.decode import DecodeSettings
from tgvae.models.base import load
from tgvae.models.sentence import SentenceConfig
from tgvae.models.summarizer import Summarizer, SummarizerConfig
from tgvae.models.tgvae import TGVAE, TGVAEConfig
from tgvae.models.topic import TopicConfig
from tgvae.recipes import Recipe
from tgvae.runs import start_run
from tgvae.training.config import Phase, TrainConfig

KNOWN = 60
"""Questions whose answers are written down."""
WARM_UP = 0.5
"""Share of the time after which memory counts: first caches fill, and freed memory comes to lie in pieces."""
NOISE, ROOM = 3.0, 0.02
"""Standard deviations of memory about its line, and share of it, that the line may rise by: a thousand bytes lost in
every answer would be more."""
MIB = 2**20
NOUNS = "army battle fleet enemy weapon bread oven soup butter pepper moon orbit comet rocket planet"
SETTINGS = [
    DecodeSettings(),
    DecodeSettings(temperature=0.8, top_k=20),
    DecodeSettings(top_p=0.9, no_repeat_ngram=3, max_length=30),
    DecodeSettings("greedy", repetition_penalty=1.2),
    DecodeSettings("beam", beams=3, no_repeat_ngram=3, max_length=25),
]
Question = tuple[str, Callable[[], Any]]


@dataclass(frozen=True)
class Options:
    """Write from small models in several threads, and watch the memory."""

    minutes: float = 60.0
    """How long."""
    threads: int = 8
    """That write at the same time."""
    every: float = 5.0
    """Seconds between looks at the memory."""
    seed: int = 0
    """Of the questions."""


@dataclass
class Answers:
    """What the threads found.

    Attributes:
        given: answers by kind of question.
        wrong: those that were not as alone, and errors.
        compared: those whose answer was known.
    """

    given: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    compared: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, known: bool, wrong: str) -> None:
        with self.lock:
            self.given[kind] += 1
            self.compared += known
            if wrong:
                self.wrong.append(wrong)
                print(wrong, file=sys.stderr)


def run(options: Options) -> list[Outcome]:
    """One row."""
    keep_memory()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        writer, summarizer = make(Path(folder))
    ask = partial(question, writer, summarizer, options.seed)
    known = [ask(number)[1]() for number in range(KNOWN)]
    answers, end = Answers(), threading.Event()
    with ThreadPoolExecutor(options.threads) as pool:
        numbers = count()
        working = [pool.submit(work, ask, known, numbers, answers, end) for _ in range(options.threads)]
        memory = np.array(list(watched(options, answers)))
        end.set()
    for thread in working:
        thread.result()
    return [outcome(options, answers, memory)]


def make(folder: Path) -> tuple[TGVAE, Summarizer]:
    """Small models of made-up documents, the titles of which are of words of the text."""
    rng = random.Random(0)
    rows = ({"id": str(number), "title": text(rng, 1), "text": text(rng, 4)} for number in range(300))
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = PrepareSettings(vocabulary_size=400, splits=(0.8, 0.1, 0.1), min_document_words=3)
    data = prepare(str(folder / "texts.jsonl"), folder / "data", settings, workers=1)
    topic = TopicConfig(topics=3, word_embedding_size=8, hidden_size=16)
    sizes = SentenceConfig(embedding_size=24, hidden_size=24, latent_size=4, flow_length=2, dropout=0.0)
    phases = {"topics": Phase("document", epochs=3, batch=32), "sentences": Phase("sentence", 3, 1e-2, batch=400)}
    train = TrainConfig(phases, device="cpu")
    for config in (TGVAEConfig(topic, sizes), SummarizerConfig(topic, sizes)):
        kind = "tgvae" if isinstance(config, TGVAEConfig) else "summarizer"
        start_run(Recipe(kind, config, train), data, folder / kind, quiet=True)
    writer, summarizer = load(folder / "tgvae"), load(folder / "summarizer")
    assert isinstance(writer, TGVAE)
    assert isinstance(summarizer, Summarizer)
    return writer, summarizer


def text(rng: random.Random, sentences: int) -> str:
    """Sentences of known nouns, each about somebody with a name of its own."""
    names = ("".join(rng.choices("abdegiklmnoprstu", k=8)).capitalize() for _ in range(sentences))
    nouns = NOUNS.split()
    return " ".join(f"Yesterday {name} saw the {rng.choice(nouns)} and the {rng.choice(nouns)}." for name in names)


def question(writer: TGVAE, summarizer: Summarizer, seed: int, number: int) -> Question:
    """A question by its number: its kind, and what answers it."""
    rng = random.Random(f"{seed} {number}")
    topic, num, texts = rng.randrange(3), rng.randint(1, 6), [text(rng, rng.randint(1, 6)) for _ in range(3)]
    common: dict[str, Any] = {"settings": rng.choice(SETTINGS), "seed": rng.randrange(2**32)}
    kinds: dict[str, Callable[[], Any]] = {
        "topics": partial(writer.generate, topic, num=num, strength=rng.choice([0.5, 1.0, 2.0]), **common),
        "mixtures": partial(writer.generate, mixture={topic: 0.7, (topic + 1) % 3: rng.random()}, num=num, **common),
        "texts": partial(writer.generate, like=texts[0], num=num, **common),
        "lines between": partial(writer.interpolate, texts[0], texts[1], num + 1, **common),
        "reconstructions": partial(writer.reconstruct, texts[:num], **common),
        "summaries": partial(summarizer.digest, texts[:num], num, rng.choice([None, topic]), **common),
    }
    kind = rng.choice(list(kinds))
    return kind, kinds[kind]


def work(
    ask: Callable[[int], Question], known: list[Any], numbers: Iterator[int], answers: Answers, end: threading.Event
) -> None:
    """Answer questions until the end."""
    while not end.is_set():
        number = next(numbers)
        asked_before = number % 2 == 0
        number = number // 2 % KNOWN if asked_before else KNOWN + number
        kind, answer = ask(number)
        try:
            found = answer()
            wrong = "another answer than alone" if asked_before and found != known[number] else ""
        except Exception as error:  # whatever it is, somebody would see it
            wrong = f"{type(error).__name__}: {error}"
        answers.note(kind, asked_before, wrong and f"question {number}, {kind}: {wrong}")


def watched(options: Options, answers: Answers) -> Iterator[tuple[float, float]]:
    """Minutes since the start, and memory in MiB, until the time is over."""
    started, told = time.monotonic(), 0.0
    while (minutes := (time.monotonic() - started) / 60) < options.minutes:
        yield minutes, memory_in_use() / MIB
        if minutes - told >= 1:
            told = minutes
            line = f"{minutes:.0f} min: {answers.given.total():,} answers, {memory_in_use() / MIB:.1f} MiB"
            print(line, file=sys.stderr)
        time.sleep(options.every)


def memory_in_use() -> int:
    """Bytes that this process has in memory but for parts of files, such as libraries, which the system takes back."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


def outcome(options: Options, answers: Answers, memory: Any) -> Outcome:
    """What was asked, and how memory went after the warm-up: minutes and MiB, with shape (looks, 2)."""
    minutes, mib = memory[memory[:, 0] >= WARM_UP * options.minutes].T
    slope, first = np.polyfit(minutes - minutes[0], mib, 1)
    noise = float(np.std(mib - (first + slope * (minutes - minutes[0]))))
    grown = slope * (minutes[-1] - minutes[0]) > max(NOISE * noise, ROOM * mib[0])
    kinds = ", ".join(f"{number:,} of {kind}" for kind, number in sorted(answers.given.items()))
    seen = (
        f"{kinds}; {answers.compared:,} compared with those given alone, {len(answers.wrong)} wrong; memory "
        f"{memory[0, 1]:.1f} MiB at first, {mib[0]:.1f} after {minutes[0]:.0f} minutes, {mib[-1]:.1f} at the end; "
        f"between these {60 * slope:+.2f} an hour with a deviation of {noise:.2f}"
    )
    fault = f"{options.threads} threads write from the same models for {options.minutes:g} minutes"
    return Outcome(fault, answers.given.total(), len(answers.wrong) + bool(grown), seen)
