"""`tgvae infer`: topic proportions of new documents."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from numpy.typing import NDArray

from data_prep.settings import Fields
from tgvae.cli.inputs import Columns, Document, batched, find_inputs, read_documents, require_not_input, sentences_of
from tgvae.cli.options import parse, require_device
from tgvae.cli.output import command, print_next_steps, table_console
from tgvae.data.graph_io import require_new
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.errors import UserError
from tgvae.files import atomic_write
from tgvae.formatting import Table
from tgvae.models.base import Capability
from tgvae.models.display import topics
from tgvae.progress import showing, track
from tgvae.runs import load_run

WINDOW = 1024  # documents in memory at a time
MAIN_TOPICS = 3  # per document in the table
DIGITS = 6  # significant digits of a proportion: those that float32 has


@dataclass(frozen=True)
class Infer:
    """Infer the topic proportions of every document, in order.

    Examples:
      tgvae infer runs/sotu articles.csv --out topics.parquet
      tgvae infer runs/sotu speeches/ --json
      tgvae infer runs/sotu < speech.txt
    """

    run: tyro.conf.Positional[Path]
    """A run folder of a model with topics."""
    inputs: tyro.conf.Positional[tuple[str, ...]] = ("-",)
    """Texts (.gz), folders of .txt, tables of one document per row (.jsonl, .csv, .parquet; .gz); - for stdin."""
    out: Path | None = None
    """New file: .csv or .parquet with one column per topic, or .jsonl; otherwise a table of the main topics."""
    json: bool = False
    """Print one JSON object per document instead of a table."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, cuda:1, ..."""
    fields: Columns = field(default_factory=Columns)


class Window(NamedTuple):
    """Consecutive documents: ids, numbers of topic words, and topic proportions with shape (documents, T)."""

    ids: list[str]
    topic_words: list[int]
    proportions: NDArray[np.float32]


Write = Callable[[Window], None]


def main(arguments: Sequence[str]) -> None:
    options = parse(Infer, "infer", arguments)
    require_device(options.device)
    files = find_inputs(options.inputs)
    if options.out:
        if options.out.suffix not in WRITERS:
            raise UserError(f"{options.out}: give --out a name that ends in {', '.join(WRITERS)}")
        require_not_input(options.out, options.inputs, files)
        require_new(options.out)
    model: Any = load_run(options.run, options.device, require=Capability.TOPICS)
    documents = read_documents(files, Fields(text=options.fields.text, id=options.fields.id))
    windows = infer(model, track(documents, "inferring topics"))
    to_terminal = options.out is None and sys.stdout.isatty()  # progress would mix with the table
    count = without = 0
    with open_output(options, model) as write, showing(not to_terminal):
        for window in windows:
            write(window)
            count += len(window.ids)
            without += window.topic_words.count(0)
    if without:
        print(f"{without} of {count} documents have no topic word: proportions of an empty document", file=sys.stderr)
    if not options.json:
        print_next_steps([options.out] if options.out else [], [command("topics", options.run)])


def infer(model: Any, documents: Iterable[Document]) -> Iterator[Window]:
    """Yield topic proportions of documents in order, as ``model.topics_of`` returns them, a window at a time."""
    for batch in batched(documents, WINDOW):
        ids = [topic_word_ids(document, model.vocabulary) for document in batch]
        proportions = model.topics_of_ids(ids).cpu().numpy()
        yield Window([document.id for document in batch], [len(words) for words in ids], proportions)


def topic_word_ids(document: Document, vocabulary: TopicVocabulary) -> list[int]:
    """Return the ids of the topic words of a document, as they are found in preparation."""
    sentences = sentences_of(document, vocabulary.language)
    return [i for sentence in sentences for i in vocabulary.encode_sentence(sentence)]


@contextmanager
def open_output(options: Infer, model: Any) -> Iterator[Write]:
    """Yield a function that writes windows to the file, which exists only once it is complete, or prints them."""
    if options.out is None:
        yield print_json_lines if options.json else print_tables(model)
        return
    with atomic_write(options.out) as partial, WRITERS[options.out.suffix](partial, model.topic.size) as write:
        yield write


@contextmanager
def write_csv(path: Path, topics: int) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "topic_words", *column_names(topics)])

        def write(window: Window) -> None:
            proportions = ([format(p, f".{DIGITS}g") for p in row] for row in window.proportions.tolist())
            rows.writerows(
                [*head, *row] for *head, row in zip(window.ids, window.topic_words, proportions, strict=True)
            )

        yield write


@contextmanager
def write_parquet(path: Path, topics: int) -> Iterator[Write]:
    names = column_names(topics)
    columns = [("id", pa.string()), ("topic_words", pa.int32()), *((name, pa.float32()) for name in names)]
    with pq.ParquetWriter(path, pa.schema(columns)) as file:

        def write(window: Window) -> None:
            columns = [window.ids, window.topic_words, *window.proportions.T]
            file.write_table(pa.table(dict(zip(file.schema.names, columns, strict=True)), schema=file.schema))

        yield write


@contextmanager
def write_jsonl(path: Path, topics: int) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:
        yield lambda window: file.writelines(f"{line}\n" for line in json_lines(window))


WRITERS = {".csv": write_csv, ".jsonl": write_jsonl, ".parquet": write_parquet}


def column_names(topics: int) -> list[str]:
    return [f"topic_{i}" for i in range(topics)]


def json_lines(window: Window) -> Iterator[str]:
    for name, words, row in zip(*window[:2], window.proportions.tolist(), strict=True):
        proportions = [float(format(p, f".{DIGITS}g")) for p in row]
        yield json.dumps({"id": name, "topic_words": words, "topics": proportions}, ensure_ascii=False)


def print_json_lines(window: Window) -> None:
    for line in json_lines(window):
        print(line)


def print_tables(model: Any) -> Write:
    """Return a function that prints the main topics of a window of documents as a table."""
    names = [" ".join(topic.words) for topic in topics(model, words=3)]
    console = table_console()

    def write(window: Window) -> None:
        rows = []
        for document, words, shares in zip(*window, strict=True):
            main = shares.argsort(kind="stable")[::-1][:MAIN_TOPICS]
            listed = "; ".join(f"{i} {shares[i]:.0%} {names[i]}" for i in main)
            rows.append((document, str(words), listed))
        console.print(Table(("document", "topic words", "main topics"), rows, numeric={1}).to_rich())

    return write
