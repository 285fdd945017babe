"""`tgvae summarize`: summaries of texts, files, folders and tables of any length."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from threading import Event, Thread
from typing import Any

import tyro
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from data_prep.settings import Fields
from tgvae.cli.generate import STEEPEST, named_topic
from tgvae.cli.inputs import Document, find_inputs, read_documents, require_apart, windows
from tgvae.cli.options import parse, require_device
from tgvae.cli.output import command, print_next_steps
from tgvae.cli.resumable import ResumableFile
from tgvae.config_io import SEEDS, require_range
from tgvae.data.schema import file_hash
from tgvae.generation.decode import DecodeSettings
from tgvae.models.base import WEIGHTS, Capability
from tgvae.models.summarization import SUMMARY, SummaryGenerator, SummaryResult
from tgvae.progress import showing
from tgvae.runs import load_run

WINDOW = 256  # documents in memory at a time, sorted by length among each other
MOST = 1000  # summaries a document
PATIENCE, EVERY = 2.0, 30.0  # seconds before progress is shown, and between two lines of it
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
    """Texts (.gz), folders of .txt, tables (.jsonl, .csv, .parquet; .gz) with a document a row; - is standard input."""
    num: int = 1
    """Summaries a document: the first is the model's best guess, the others are drawn."""
    topic: tuple[str, ...] = ()
    """Pull summaries towards a topic: its number, or words that it is about."""
    strength: float = 1.0
    """How far they are pulled: 1 is the model's own prior of the topic."""
    out: Path | None = None
    """Write here, or go on with what the same command left here (see OUT.progress.json); no other file is touched."""
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
    require_range(options, 1, MOST + 1, "num")
    require_range(options, 0, SEEDS, "seed")
    require_range(options, 0, STEEPEST + 1, "strength")
    require_device(options.device)
    files = find_inputs(options.inputs)
    if options.out:
        require_apart(options.out, options.inputs, files)
    model = load_run(options.run, options.device, require=Capability.SUMMARIES)
    summarized(model, (), options)  # wrong options are told before anything is written
    documents = read_documents(files, Fields(text=options.fields.text, id=options.fields.id))
    with showing(False), Meter(options, model.config.source_tokens) as meter:
        if options.out:
            write_rest(ResumableFile(options.out, made_with(options)), model, documents, options, meter)
        else:
            for _, text in blocks(model, documents, options, meter):
                show(text)
    if not options.json:
        print_next_steps([options.out] if options.out else [], [command("evaluate", options.run)])


def made_with(options: Summarize) -> dict[str, Any]:
    """All that decides what is written of a document: the weights and the options."""
    others = {name: value for name, value in asdict(options).items() if name not in ("run", "inputs", "out")}
    return {"weights": file_hash(options.run / WEIGHTS), **others}


def write_rest(
    output: ResumableFile, model: SummaryGenerator, documents: Iterator[Document], options: Summarize, meter: Meter
) -> None:
    """Write what the file lacks, from the start of a window: it ends as if it had never stopped."""
    meter.there = output.skip(documents)
    first = list(islice(documents, 1))
    if meter.there:
        rest = "" if first else ", and these are all: nothing is left to do"
        meter.tell(f"{output.path}: {meter.there} documents are there already{rest}")
        if not first:
            return
    with output:
        for window, text in blocks(model, chain(first, documents), options, meter):
            output.append(window, text)


def blocks(
    model: SummaryGenerator, documents: Iterable[Document], options: Summarize, meter: Meter
) -> Iterator[tuple[list[Document], str]]:
    """Windows of documents, each with the lines that are written for it."""
    for window in windows(documents, WINDOW):
        digests = summarized(model, window, options)
        pairs = zip(window, digests, strict=True)
        yield window, "".join(f"{line}\n" for pair in pairs for line in lines(*pair, options))
        meter.count(digests)


def summarized(model: SummaryGenerator, window: Sequence[Document], options: Summarize) -> list[SummaryResult]:
    """Digests of some documents, as the options ask for."""
    return model.digest(
        [document.text for document in window],
        options.num,
        named_topic(options.topic),
        strength=options.strength,
        settings=options.decode,
        seed=options.seed,
    )


def lines(document: Document, digest: SummaryResult, options: Summarize) -> Iterator[str]:
    """What is written for a document: one JSON object, or ``num`` lines of text."""
    if options.json:
        yield json.dumps({"id": document.id, "empty": not digest.summaries} | asdict(digest), ensure_ascii=False)
    else:
        yield from (summary.text for summary in digest.summaries or ())
        yield from [EMPTY] * (0 if digest.summaries else options.num)


def show(text: str) -> None:
    """Write to standard output; characters that its encoding lacks become escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


class Meter:
    """Counts documents, shows how many when it takes long, and says at the end what is odd about some.

    A context manager. Nothing moves on a terminal that summaries are written to: there, and where standard error
    is no terminal, progress is a plain line now and then.

    Attributes:
        there: documents that were written before this session.
        documents: those of this session.
        live: whether the display moves.
    """

    def __init__(self, options: Summarize, limit: int) -> None:
        self.options, self.limit = options, limit
        self.there = self.documents = self.cut = self.empty = self.unfinished = self.alike = 0
        self.console = Console(stderr=True)
        self.live = self.console.is_terminal and bool(options.out or not sys.stdout.isatty())
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=self.console, transient=True, redirect_stdout=False)
        self._started = time.monotonic()
        self._task = self._progress.add_task(self.status(), total=None)
        self._done = Event()
        self._beside = Thread(target=self._show, daemon=True)

    def count(self, digests: Iterable[SummaryResult]) -> None:
        """Note finished documents."""
        for digest in digests:
            different = {summary.text for summary in digest.summaries}
            self.documents += 1
            self.cut += digest.cut
            self.empty += not digest.summaries
            self.unfinished += sum(not summary.finished for summary in digest.summaries)
            self.alike += 0 < len(different) < self.options.num
        self._progress.update(self._task, description=self.status())

    def status(self) -> str:
        """How far it has come, and how fast it goes."""
        speed = self.documents / max(1e-9, time.monotonic() - self._started)
        return f"{self.there + self.documents} documents, {speed:.1f} a second"

    def remarks(self) -> Iterator[str]:
        """What is odd about documents of this session and their summaries."""
        num, decode = self.options.num, self.options.decode
        every = f"of {self.documents} {'new ' if self.there else ''}documents"
        more = "" if decode.strategy == "sample" else "; --decode.strategy sample varies more"
        if self.cut:
            yield f"{self.cut} {every} cut after {self.limit} tokens"
        if self.empty:
            yield f"{self.empty} {every} empty"
        if self.unfinished:
            summaries = (self.documents - self.empty) * num
            yield f"{self.unfinished} of {summaries} summaries cut at {decode.max_length} tokens"
        if self.alike:
            yield f"{self.alike} {every} have fewer than {num} different summaries{more}"

    def tell(self, text: str) -> None:
        """Print a line for the user."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _show(self) -> None:
        """Beside the work: nothing for a while, then the moving display, or a line now and then."""
        pause = PATIENCE
        while not self._done.wait(pause):
            if self.live:
                self._progress.start()
            else:
                self.tell(self.status())
            pause = EVERY

    def __enter__(self) -> Meter:
        self._beside.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._beside.join()
        if self.live:
            self._progress.stop()
        for remark in self.remarks():
            self.tell(remark)
