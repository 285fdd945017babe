"""`tgvae serve` under load: clients that ask one question after the other, of a server in a process of its own."""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.reporting import Row
from benchmarks.running import PYTHON, Metrics, environment
from tgvae.errors import UserError

TOKEN = "benchmark"
LOOKS = 4  # of the server's memory during a measurement
LAST = 10  # lines that are told of a server that did not start
Question = tuple[str, dict[str, Any] | None]  # path, and what is posted


@dataclass(frozen=True)
class Options:
    """Requests a second, latency, refusals (429) and the server's memory, by number of clients."""

    run: Path
    """A run of a text model."""
    clients: tuple[int, ...] = (1, 4, 16)
    """Clients at once; with more than nine the server, as it is by default, refuses some."""
    seconds: float = 60.0
    """Of each measurement, without a warm-up of a tenth."""
    threads: int = 1
    """Of torch in the server."""
    at_once: int = 1
    """Requests that the server lets to the model at a time."""
    out: Path | None = None
    """File for the result as JSON."""

    def __post_init__(self) -> None:
        if not self.clients or min(self.clients) < 1:
            raise UserError("clients: give one number or more, each at least 1, such as --clients 1 4")


@dataclass(frozen=True)
class Served:
    """A server: its process, where it listens, and seconds until it answered."""

    process: subprocess.Popen[str]
    host: str
    port: int
    seconds: float

    @property
    def memory(self) -> float:
        """What it has of memory, in MiB; NaN where the system does not tell."""
        with suppress(OSError, IndexError):
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            return int(status.split("VmRSS:")[1].split()[0]) / 1024
        return float("nan")


@dataclass
class Log:
    """What clients met: seconds of every answer by question, and how many were refused or failed."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    refused: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, status: int | str, seconds: float) -> None:
        if status == 200:
            self.seconds.setdefault(name, []).append(seconds)
        elif status == 429:
            self.refused += 1
        else:
            self.errors[f"{name}: {status}"] += 1


def run(options: Options) -> list[Row]:
    """A row for the start, for every number of clients, and for every question with the most clients.

    Raises:
        UserError: the run cannot be served, or a request failed otherwise than by being refused.
    """
    with serving(options.run, options.threads, "--limits.at-once", str(options.at_once)) as served:
        questions = mixture(served)
        rows = [row("start", {"seconds": served.seconds, "MiB": served.memory})]
        for count in options.clients:
            load(served, questions, count, options.seconds / 10)
            log, memory = load(served, questions, count, options.seconds)
            if log.errors:
                raise UserError(f"{options.run}: requests failed: {dict(log.errors)}")
            every = [s for each in log.seconds.values() for s in each]
            figures = {"requests / s": len(every) / options.seconds, **latency(every), "refused": float(log.refused)}
            told = {f"MiB at {k}/{LOOKS}": value for k, value in enumerate(memory, start=1)}
            rows.append(row(f"{count} clients" if count > 1 else "1 client", figures | told))
            parts = [row(f"  {name}", latency(each)) for name, each in sorted(log.seconds.items())]
    return rows + parts


def row(name: str, figures: Metrics) -> Row:
    return Row(name, {key: [value] for key, value in figures.items()})


def latency(seconds: list[float]) -> Metrics:
    """Milliseconds that half of the requests, and 95 % of them, took at most; NaN without any."""
    half, most = np.percentile(seconds, (50, 95)) if seconds else (np.nan, np.nan)
    return {"median ms": 1000 * half, "95 % ms": 1000 * most}


@contextmanager
def serving(run: Path, threads: int = 1, *options: str) -> Iterator[Served]:
    """`tgvae serve` on a free port of this machine, until the end. Raises UserError where it does not start."""
    began = time.perf_counter()
    command = [*PYTHON, "-m", "tgvae.cli.main", "serve", str(run), "--port", "0", "--token", TOKEN, "--json", *options]
    with tempfile.TemporaryFile("w+") as told:  # not a pipe, which nobody would read while it serves
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=told, text=True, env=environment(threads, tuned=True)
        )
        try:
            assert process.stdout
            line = process.stdout.readline()
            if not line:
                status = process.wait()
                told.seek(0)
                last = "".join(told.readlines()[-LAST:])
                raise UserError(f"{run}: `tgvae serve` ended with status {status}\n{last}".rstrip())
            place = urlsplit(json.loads(line)["address"])
            assert place.hostname
            assert place.port
            served = Served(process, place.hostname, place.port, 0.0)
            with connection(served) as open_line:
                status, _ = ask(open_line, ("/api/run", None))
            assert status == 200
            yield Served(process, place.hostname, place.port, time.perf_counter() - began)
        finally:
            process.terminate()
            process.communicate()


def connection(served: Served) -> closing[http.client.HTTPConnection]:
    """A line to the server, for one question after the other."""
    return closing(http.client.HTTPConnection(served.host, served.port, timeout=120))


def ask(line: http.client.HTTPConnection, question: Question) -> tuple[int, bytes]:
    """Status and content of an answer."""
    path, posted = question
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    line.request(
        "POST" if posted is not None else "GET", path, json.dumps(posted) if posted is not None else None, headers
    )
    answer = line.getresponse()
    return answer.status, answer.read()


def mixture(served: Served) -> list[Question]:
    """What a visitor asks, as often as it stands there: mostly sentences, then documents, walks and what is ready."""
    with connection(served) as line:
        about, found = (json.loads(ask(line, (path, None))[1]) for path in ("/api/run", "/api/topics"))
    examples = about["examples"] or {"document": "", "start": "", "end": ""}
    topics = [topic["topic"] for topic in found["topics"]]
    steered = [{"mixture": {str(one): 1.0, str(other): 0.5}} for one, other in pairwise(topics)]
    document, walk = {"text": examples["document"]}, {"start": examples["start"], "end": examples["end"]}
    capabilities = {"generate": "generation", "document": "topics", "summarize": "summaries", "interpolate": "latent"}
    posted = {
        "generate": (steered[:6] if "guidance" in about["capabilities"] else []) or [{}],
        "document": [document] * 3 if document["text"] else [],
        "summarize": [document] * 3 if document["text"] else [],
        "interpolate": [walk] * 2 if walk["start"] else [],
    }
    asked: list[Question] = [
        (f"/api/{name}", each)
        for name, all_ in posted.items()
        if capabilities[name] in about["capabilities"]
        for each in all_
    ]
    return [*asked, ("/api/topics", None), ("/static/page.js", None)]


def load(served: Served, questions: list[Question], clients: int, seconds: float) -> tuple[Log, list[float]]:
    """What so many clients met in these seconds, and the server's memory on the way."""
    log, lock, end = Log(), threading.Lock(), time.perf_counter() + seconds

    def client(seed: int) -> None:
        rng = random.Random(seed)
        with connection(served) as line:
            while (began := time.perf_counter()) < end:
                question = rng.choice(questions)
                status = attempt(line, question)
                with lock:
                    log.add(question[0], status, time.perf_counter() - began)
                if status == 429:  # as the page's visitors do who are told to come again
                    time.sleep(0.5)

    visitors = [threading.Thread(target=client, args=(seed,)) for seed in range(clients)]
    for visitor in visitors:
        visitor.start()
    memory = []
    for _ in range(LOOKS):
        time.sleep(seconds / LOOKS)
        memory.append(served.memory)
    for visitor in visitors:
        visitor.join()
    return log, memory


def attempt(line: http.client.HTTPConnection, question: Question) -> int | str:
    """The status of an answer, or the kind of failure."""
    try:
        return ask(line, question)[0]
    except (OSError, http.client.HTTPException) as error:
        line.close()
        return type(error).__name__
