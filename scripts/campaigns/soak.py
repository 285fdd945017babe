"""Generation in several threads that share two models: are all answers right, and is memory constant?

Every other request is one of a few whose answers were computed before, without other threads. The rest differ in
words, lengths, seeds and settings every time, so that a cache without a limit would grow.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from campaigns import NOUNS, Outcome, tiny_runs
from tgvae.cli.main import keep_memory
from tgvae.generation.decode import DecodeSettings
from tgvae.models.base import load

KNOWN = 60  # requests whose answers are computed before
GROWTH = 0.05  # share by which memory may grow in the second half; the first fills caches and fragments the heap
SETTINGS = [
    DecodeSettings(),
    DecodeSettings(temperature=0.8, top_k=20),
    DecodeSettings(top_p=0.9, no_repeat_ngram=3, max_length=30),
    DecodeSettings("greedy", repetition_penalty=1.2),
    DecodeSettings("beam", beams=3, no_repeat_ngram=3, max_length=25),
]
Request = tuple[str, Callable[[], Any]]


class Answer(NamedTuple):
    """Kind of a request, whether its answer was known, and what was wrong, if anything."""

    kind: str
    known: bool
    wrong: str


@dataclass(frozen=True)
class Soak:
    """Generate from small models in several threads, and watch the memory."""

    minutes: float = 60.0
    """Duration."""
    threads: int = 8
    """Concurrent callers."""
    every: float = 5.0
    """Seconds between measurements of memory."""
    seed: int = 0
    """Of the requests."""

    def run(self) -> list[Outcome]:
        keep_memory()
        torch.set_num_threads(1)
        with TemporaryDirectory() as folder:
            tiny_runs(Path(folder), "tgvae", "summarizer")
            ask = partial(request, load(Path(folder) / "tgvae"), load(Path(folder) / "summarizer"), self.seed)
        known = [ask(number)[1]() for number in range(KNOWN)]
        answers: list[Answer] = []  # appending is atomic
        end, memory, numbers = threading.Event(), [memory_in_use()], count()
        with ThreadPoolExecutor(self.threads) as pool:
            threads = [pool.submit(work, ask, known, numbers, answers, end) for _ in range(self.threads)]
            until = time.monotonic() + 60 * self.minutes
            while time.monotonic() < until:
                time.sleep(self.every)
                memory.append(memory_in_use())
            end.set()
        for thread in threads:
            thread.result()
        return [self.outcome(answers, memory)]

    def outcome(self, answers: Sequence[Answer], memory: Sequence[float]) -> Outcome:
        """Return the outcome; ``memory`` in MiB, at equal intervals."""
        half, wrong = memory[len(memory) // 2], sum(bool(answer.wrong) for answer in answers)
        kinds = Counter(answer.kind for answer in answers)
        seen = (
            f"{', '.join(f'{number:,} x {kind}' for kind, number in sorted(kinds.items()))}; "
            f"{sum(answer.known for answer in answers):,} compared with known answers, {wrong} wrong; memory "
            f"{memory[0]:.1f} MiB at the start, {half:.1f} after half of the time, {memory[-1]:.1f} at the end"
        )
        lost = wrong + (memory[-1] > (1 + GROWTH) * half)
        return Outcome(f"{self.threads} threads generate for {self.minutes:g} minutes", len(answers), lost, seen)


def request(writer: Any, summarizer: Any, seed: int, number: int) -> Request:
    """Return the kind of a request and the call that answers it, both determined by its number."""
    rng = random.Random(f"{seed} {number}")
    topic, num, texts = rng.randrange(3), rng.randint(1, 6), [text(rng, rng.randint(1, 6)) for _ in range(3)]
    common: dict[str, Any] = {"settings": rng.choice(SETTINGS), "seed": rng.randrange(2**32)}
    calls: dict[str, Callable[[], Any]] = {
        "topic": partial(writer.generate, topic, num=num, strength=rng.choice([0.5, 1.0, 2.0]), **common),
        "mixture": partial(writer.generate, mixture={topic: 0.7, (topic + 1) % 3: rng.random()}, num=num, **common),
        "like": partial(writer.generate, like=texts[0], num=num, **common),
        "interpolation": partial(writer.interpolate, texts[0], texts[1], num + 1, **common),
        "reconstruction": partial(writer.reconstruct, texts[:num], **common),
        "summary": partial(summarizer.summarize_documents, texts[:num], num, rng.choice([None, topic]), **common),
    }
    kind = rng.choice(list(calls))
    return kind, calls[kind]


def text(rng: random.Random, sentences: int) -> str:
    """Return sentences of known nouns, each with a name that no other text has."""
    names = ("".join(rng.choices("abdegiklmnoprstu", k=8)).capitalize() for _ in range(sentences))
    nouns = " ".join(NOUNS).split()
    return " ".join(f"Yesterday {name} saw the {rng.choice(nouns)} and the {rng.choice(nouns)}." for name in names)


def work(
    ask: Callable[[int], Request], known: list[Any], numbers: Iterator[int], answers: list[Answer], end: threading.Event
) -> None:
    """Answer requests until the end; every other one is a known one."""
    while not end.is_set():
        number = next(numbers)
        repeated = number % 2 == 0
        number = number // 2 % len(known) if repeated else len(known) + number
        kind, answer = ask(number)
        try:
            found = answer()
            wrong = "the answer differs from that of a single thread" if repeated and found != known[number] else ""
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        if wrong:
            print(f"request {number}, {kind}: {wrong}", file=sys.stderr)
        answers.append(Answer(kind, repeated, wrong))


def memory_in_use() -> float:
    """Return the MiB that this process holds, without parts of files such as libraries."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("RssAnon:")[1].split()[0]) / 1024
