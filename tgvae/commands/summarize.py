"""`tgvae summarize`: summaries of texts, files, folders and tables of any length."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import tyro
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from data_prep.settings import Fields
from tgvae.commands.documents import Document, keep_whole, read_documents, windows
from tgvae.commands.generate import named_topic
from tgvae.commands.parsing import parse
from tgvae.errors import UserError
from tgvae.generation.decode import DecodeSettings
from tgvae.models.summaries import SUMMARY, Digest, SummaryWriter
from tgvae.runs import load_summarizer

WINDOW = 256  # documents in memory at a time, sorted by length among each other
PATIENCE = 2.0  # seconds before progress is shown
EMPTY = "(empty document)"


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a table."""

    text: str = "text"
    id: str = "id"


@dataclass(frozen=True)
class Summarize:
    """Write a summary of every document, in order: a line each, or a JSON object a line.

    Examples:
      tgvae summarize runs/arxiv abstract.txt --num 3
      tgvae summarize runs/arxiv abstracts.jsonl.gz --json --out summaries.jsonl
      tgvae summarize runs/arxiv - --topic quantum physics < abstract.txt
    """

    run: tyro.conf.Positional[Path]
    """A run folder of the recipe summarizer."""
    inputs: tyro.conf.Positional[tuple[str, ...]] = ("-",)
    """Texts, folders of .txt, tables (.jsonl, .csv, .parquet; .gz) with a document a row, or - for standard input."""
    num: int = 1
    """Summaries a document: the first is the model's best guess, the others are drawn."""
    topic: tuple[str, ...] = ()
    """Pull summaries towards a topic: its number, or words that it is about."""
    strength: float = 1.0
    """How far they are pulled: 1 is the model's own prior of the topic."""
    out: Path | None = None
    """Write here; a file that an interrupted run has left is gone on with (give the same options)."""
    json: bool = False
    """Print JSON: the id, summaries with scores, main topics, whether the document was cut."""
    seed: int = 0
    """The same seed gives the same draws."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, cuda:1, ..."""
    fields: Columns = field(default_factory=Columns)
    decode: DecodeSettings = field(default_factory=lambda: SUMMARY)


def main(arguments: Sequence[str]) -> None:
    options = parse(Summarize, "summarize", arguments)
    model = load_summarizer(options.run, options.device)
    documents = read_documents(options.inputs, Fields(text=options.fields.text, id=options.fields.id))
    meter = Meter(limit=model.config.source_tokens)
    with ExitStack() as stack:
        sink = sys.stdout
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            documents = unwritten(documents, options.out, options)
            sink = stack.enter_context(options.out.open("a", encoding="utf-8"))
        stack.enter_context(meter)
        for window in windows(documents, WINDOW):
            digests = summarized(model, window, options)
            for document, digest in zip(window, digests, strict=True):
                sink.writelines(f"{line}\n" for line in lines(document, digest, options))
            sink.flush()
            meter.count(digests)


def summarized(model: SummaryWriter, window: Sequence[Document], options: Summarize) -> list[Digest]:
    """Digests of some documents, as the options ask for."""
    return model.digest(
        [document.text for document in window],
        options.num,
        named_topic(options.topic),
        strength=options.strength,
        settings=options.decode,
        seed=options.seed,
    )


def lines(document: Document, digest: Digest, options: Summarize) -> Iterator[str]:
    """What is written for a document: one JSON object, or ``num`` lines of text."""
    if options.json:
        yield json.dumps({"id": document.id, "empty": not digest.summaries} | asdict(digest), ensure_ascii=False)
    else:
        yield from (summary.text for summary in digest.summaries or ())
        yield from [EMPTY] * (0 if digest.summaries else options.num)


def unwritten(documents: Iterator[Document], out: Path, options: Summarize) -> Iterator[Document]:
    """The documents that the file lacks, from the start of a window: what follows is as if it had never stopped.

    Raises:
        UserError: its last row is not that of the document which stands there now.
    """
    each = 1 if options.json else options.num
    written = keep_whole(out, each * WINDOW)
    done = written.lines // each
    last = deque((document.id for document in islice(documents, done)), maxlen=1)
    if done and options.json and list(last) != [json.loads(written.last)["id"]]:
        raise UserError(f"{out}: holds summaries of other documents; choose another --out, or remove the file")
    return documents


class Meter:
    """Counts documents, shows how many when it takes long, and says at the end which were cut or empty."""

    def __init__(self, limit: int) -> None:
        self.limit, self.documents, self.cut, self.empty = limit, 0, 0, 0
        self.console = Console(stderr=True)
        columns = (SpinnerColumn(), TextColumn("{task.completed} documents, {task.fields[speed]:.1f} a second"))
        self._progress = Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True)
        self._task = self._progress.add_task("", total=None, speed=0.0)
        self._started = time.monotonic()

    def count(self, digests: Iterable[Digest]) -> None:
        """Note finished documents."""
        for digest in digests:
            self.documents += 1
            self.cut += digest.cut
            self.empty += not digest.summaries
        seconds = time.monotonic() - self._started
        if seconds > PATIENCE and self.console.is_terminal:
            self._progress.start()
        self._progress.update(self._task, completed=self.documents, speed=self.documents / seconds)

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        told = [f"{self.cut} of {self.documents} documents cut after {self.limit} tokens"] if self.cut else []
        told += [f"{self.empty} of {self.documents} documents empty"] if self.empty else []
        if told:
            self.console.print(", ".join(told), highlight=False)
