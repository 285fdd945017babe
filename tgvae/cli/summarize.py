"""`tgvae summarize`: summaries of texts, files, folders and tables of any length."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import tyro

from data_prep.settings import Fields
from tgvae.cli.generate_requests import MAX_STRENGTH, topic_query
from tgvae.cli.inputs import Columns, Document, batched, find_inputs, read_documents, require_not_input
from tgvae.cli.options import parse, require_device
from tgvae.cli.output import command, open_output, print_next_steps
from tgvae.config_io import SEEDS, require_range
from tgvae.errors import UserError
from tgvae.generation.decode import DecodeSettings
from tgvae.models.base import Capability
from tgvae.models.summarization import SUMMARY, SummaryGenerator, SummaryResult
from tgvae.progress import showing, track
from tgvae.runs import load_run

BATCH = 256  # documents in memory at a time; they are sorted by length
MAX_SUMMARIES = 1000  # per document
EMPTY = "(empty document)"


@dataclass(frozen=True)
class Summarize:
    """Summarize every document, in order: one line of text per summary, or one JSON object per document.

    Examples:
      tgvae summarize runs/arxiv abstract.txt --num 3
      tgvae summarize runs/arxiv abstracts.jsonl.gz --json --out summaries.jsonl
      tgvae summarize runs/arxiv - --topic quantum physics < abstract.txt
    """

    run: tyro.conf.Positional[Path]
    """A run folder of the recipe summarizer."""
    inputs: tyro.conf.Positional[tuple[str, ...]] = ("-",)
    """Texts (.gz), folders of .txt, tables of one document per row (.jsonl, .csv, .parquet; .gz); - for stdin."""
    num: int = 1
    """Summaries per document: the first is the model's best guess, the others are sampled."""
    topic: tuple[str, ...] = ()
    """Guide summaries towards a topic: its number, or words that it is about."""
    strength: float = 1.0
    """Strength of the guidance: 1 is the model's own prior of the topic."""
    out: Path | None = None
    """Write to this file instead of standard output."""
    skip: int = 0
    """Documents to skip; with --out, summaries are appended, to continue a run that was interrupted."""
    json: bool = False
    """Print JSON: id, summaries with scores, main topics, whether the document was cut."""
    seed: int = 0
    """Equal seeds give equal samples."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, cuda:1, ..."""
    fields: Columns = field(default_factory=Columns)
    decode: DecodeSettings = field(default_factory=lambda: SUMMARY)


def main(arguments: Sequence[str]) -> None:
    options = parse(Summarize, "summarize", arguments)
    require_range(options, 1, MAX_SUMMARIES + 1, "num")
    require_range(options, 0, SEEDS, "seed")
    require_range(options, 0, MAX_STRENGTH + 1, "strength")
    require_range(options, 0, sys.maxsize, "skip")
    require_device(options.device)
    files = find_inputs(options.inputs)
    if options.out:
        require_not_input(options.out, options.inputs, files)
    lines_per_document = 1 if options.json else options.num
    size = continued_size(options.out, options.skip, lines_per_document) if options.out else 0
    model = load_run(options.run, options.device, require=Capability.SUMMARIES)
    summarize_batch(model, (), options)  # reports invalid options before anything is written
    documents = read_documents(files, Fields(text=options.fields.text, id=options.fields.id))
    documents = islice(track(documents, "summarizing documents"), options.skip, None)
    done, to_terminal = options.skip, options.out is None and sys.stdout.isatty()
    counts = Counts(options, model.config.source_tokens)
    try:
        # On a terminal, the progress display would mix with the summaries.
        with open_output(options.out, size) as output, showing(not to_terminal):
            for batch in batched(documents, BATCH):
                results = summarize_batch(model, batch, options)
                for document, result in zip(batch, results, strict=True):
                    output.writelines(f"{line}\n" for line in format_result(document, result, options))
                output.flush()
                done += len(batch)
                counts.add(results)
    except (KeyboardInterrupt, UserError):  # the latter for a damaged row
        print(f"stopped after {done} documents; continue with --skip {done}", file=sys.stderr)
        raise
    for remark in counts.remarks():
        print(remark, file=sys.stderr)
    if not options.json:
        print_next_steps([options.out] if options.out else [], [command("evaluate", options.run)])


def continued_size(out: Path, skip: int, lines_per_document: int) -> int:
    """Return the size in bytes of the summaries of the first ``skip`` documents in an output file; 0 for a new one.

    What follows them is a document that was interrupted while it was written.

    Raises:
        UserError: the file is in use: it holds summaries of another number of documents, or something else.
    """
    if out.exists() and not out.is_file():
        raise UserError(f"{out}: not a file; choose another --out, or leave it out for standard output")
    if not out.exists() or not out.stat().st_size:
        return 0
    size, lines = 0, 0
    wanted = skip * lines_per_document
    with out.open("rb") as file:
        for line in file:
            lines += line.endswith(b"\n")
            size += len(line) if lines <= wanted and line.endswith(b"\n") else 0
    found = lines // lines_per_document
    if not skip or found != skip:
        remedy = f"or continue its {found} documents with --skip {found}" if found else "or remove the file"
        raise UserError(f"{out}: exists already; choose another --out, {remedy}")
    return size


def summarize_batch(model: SummaryGenerator, batch: Sequence[Document], options: Summarize) -> list[SummaryResult]:
    return model.summarize_documents(
        [document.text for document in batch],
        options.num,
        topic_query(options.topic),
        strength=options.strength,
        settings=options.decode,
        seed=options.seed,
    )


def format_result(document: Document, result: SummaryResult, options: Summarize) -> Iterator[str]:
    """Yield the lines of a document: one JSON object, or ``num`` summaries."""
    if options.json:
        yield json.dumps({"id": document.id, "empty": not result.summaries} | asdict(result), ensure_ascii=False)
    elif result.summaries:
        yield from (summary.text for summary in result.summaries)
    else:
        yield from [EMPTY] * options.num


class Counts:
    """Counts documents and summaries that need a remark at the end."""

    def __init__(self, options: Summarize, source_tokens: int) -> None:
        self.options, self.source_tokens = options, source_tokens
        self.documents = self.cut = self.empty = self.unfinished = self.alike = 0

    def add(self, results: Iterable[SummaryResult]) -> None:
        for result in results:
            different = {summary.text for summary in result.summaries}
            self.documents += 1
            self.cut += result.cut
            self.empty += not result.summaries
            self.unfinished += sum(not summary.finished for summary in result.summaries)
            self.alike += 0 < len(different) < self.options.num

    def remarks(self) -> Iterator[str]:
        num, decode = self.options.num, self.options.decode
        if self.cut:
            yield f"{self.cut} of {self.documents} documents cut after {self.source_tokens} tokens"
        if self.empty:
            yield f"{self.empty} of {self.documents} documents empty"
        if self.unfinished:
            summaries = (self.documents - self.empty) * num
            yield f"{self.unfinished} of {summaries} summaries cut at {decode.max_length} tokens"
        if self.alike:
            more = "" if decode.strategy == "sample" else "; --decode.strategy sample varies more"
            yield f"{self.alike} of {self.documents} documents have fewer than {num} different summaries{more}"
