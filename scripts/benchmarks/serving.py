"""`tgvae serve` under load: clients that send one request after the other to a server in a process of its own."""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from benchmarks.measuring import PYTHON, Metrics, Row, environment
from tgvae.errors import UserError

TOKEN = "benchmark"
RETRY = 0.5  # seconds that a refused client waits
Request = tuple[str, dict[str, Any] | None]  # path, and the body of a POST


@dataclass(frozen=True)
class Serving:
    """Requests per second, latency, refusals (429) and the server's memory, by number of clients."""

    run: Path
    """A run of a text model."""
    clients: tuple[int, ...] = (1, 4, 16)
    """Concurrent clients; with more than nine the server refuses some."""
    seconds: float = 60.0
    """Of each measurement, without a warm-up of a tenth."""
    threads: int = 1
    """Threads of torch in the server."""
    out: Path | None = None
    """JSON file for the result."""

    def measure(self) -> list[Row]:
        """Return a row for the start and for every number of clients. Raises UserError if a request fails."""
        if not self.clients or min(self.clients) < 1:
            raise UserError("clients: give one number or more, each at least 1, such as --clients 1 4")
        with serving(self.run, self.threads) as server:
            requests = mixture(server)
            found: dict[str, Metrics] = {"start": {"seconds": server.seconds, "MiB": server.memory}}
            for count in self.clients:
                load(server, requests, count, self.seconds / 10)
                answers = load(server, requests, count, self.seconds)
                if errors := {f"{a.path}: {a.status}" for a in answers if a.status not in (200, 429)}:
                    raise UserError(f"{self.run}: requests failed: {', '.join(sorted(errors))}")
                served = [1000 * answer.seconds for answer in answers if answer.status == 200]
                median, high = np.percentile(served, (50, 95)) if served else (np.nan, np.nan)
                found[f"{count} client{'s' if count > 1 else ''}"] = {
                    "requests/s": len(served) / self.seconds,
                    "median ms": float(median),
                    "95 % ms": float(high),
                    "refused": float(len(answers) - len(served)),
                    "MiB": server.memory,
                }
        return [Row(name, {key: [value] for key, value in metrics.items()}) for name, metrics in found.items()]


class Answer(NamedTuple):
    """Path and status of a request, and the seconds that it took; the status is the kind of error if there is none."""

    path: str
    status: int | str
    seconds: float


class Server(NamedTuple):
    """Process and address of a server, and the seconds until its first response."""

    pid: int
    host: str
    port: int
    seconds: float

    @property
    def memory(self) -> float:
        """Memory in MiB; NaN where the system has no /proc."""
        status = Path(f"/proc/{self.pid}/status")
        return int(status.read_text().split("VmRSS:")[1].split()[0]) / 1024 if status.exists() else float("nan")

    def connect(self) -> closing[http.client.HTTPConnection]:
        return closing(http.client.HTTPConnection(self.host, self.port, timeout=120))


@contextmanager
def serving(run: Path, threads: int = 1) -> Iterator[Server]:
    """Run `tgvae serve` on a free port of this machine. Raises UserError if it does not start."""
    began = time.perf_counter()
    command = [*PYTHON, "-m", "tgvae.cli.main", "serve", str(run), "--port", "0", "--token", TOKEN, "--json"]
    with tempfile.TemporaryFile("w+") as errors:  # a pipe would fill up, as nobody reads it
        env = environment(threads, tuned=True)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=env)
        try:
            assert process.stdout
            line = process.stdout.readline()
            if not line:
                status = process.wait()
                errors.seek(0)
                raise UserError(f"{run}: `tgvae serve` ended with status {status}\n{errors.read()[-1000:]}".rstrip())
            address = urlsplit(json.loads(line)["address"])
            server = Server(process.pid, address.hostname or "", address.port or 0, 0.0)
            with server.connect() as connection:
                send(connection, ("/api/run", None))
            yield server._replace(seconds=time.perf_counter() - began)
        finally:
            process.terminate()
            process.communicate()


def send(connection: http.client.HTTPConnection, request: Request) -> tuple[int, bytes]:
    """Return status and content of the response."""
    path, body = request
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    content = None if body is None else json.dumps(body)
    connection.request("GET" if body is None else "POST", path, content, headers)
    response = connection.getresponse()
    return response.status, response.read()


def mixture(server: Server) -> list[Request]:
    """Return what visitors of the page request, in about the same proportions; mostly sentences."""
    with server.connect() as connection:
        about, found = (json.loads(send(connection, (path, None))[1]) for path in ("/api/run", "/api/topics"))
    examples = about["examples"] or {"document": "", "start": "", "end": ""}
    topics = [topic["topic"] for topic in found["topics"]]
    steered = [{"mixture": {str(one): 1.0, str(other): 0.5}} for one, other in pairwise(topics)]
    document, ends = {"text": examples["document"]}, {"start": examples["start"], "end": examples["end"]}
    posts: list[tuple[str, str, list[Any]]] = [
        ("generation", "generate", (steered[:6] if "guidance" in about["capabilities"] else []) or [{}]),
        ("topics", "document", [document] * 3 if document["text"] else []),
        ("summaries", "summarize", [document] * 3 if document["text"] else []),
        ("latent", "interpolate", [ends] * 2 if ends["start"] else []),
    ]
    chosen = [(f"/api/{name}", b) for can, name, bodies in posts if can in about["capabilities"] for b in bodies]
    return [*chosen, ("/api/topics", None), ("/static/page.js", None)]


def load(server: Server, requests: list[Request], clients: int, seconds: float) -> list[Answer]:
    """Send random requests from so many clients for some seconds."""
    end = time.perf_counter() + seconds

    def client(seed: int) -> list[Answer]:
        rng, answers = random.Random(seed), []
        with server.connect() as connection:
            while (began := time.perf_counter()) < end:
                request = rng.choice(requests)
                try:
                    status: int | str = send(connection, request)[0]
                except (OSError, http.client.HTTPException) as error:
                    connection.close()
                    status = type(error).__name__
                answers.append(Answer(request[0], status, time.perf_counter() - began))
                if status == 429:
                    time.sleep(RETRY)
        return answers

    with ThreadPoolExecutor(clients) as pool:
        return [answer for answers in pool.map(client, range(clients)) for answer in answers]
