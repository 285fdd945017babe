"""What is fuzzed: functions of bytes that read them as this or that, and look at what comes out.

Each ends well, or with the UserError that a user would see; any other end is a fault.
"""

from __future__ import annotations

import atexit
import csv
import gzip
import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.clean import clean_document
from data_prep.corpora import open_corpus
from data_prep.corpora.base import RawDocument, Skipped
from data_prep.corpora.files import GZIP
from data_prep.pipeline import prepare
from data_prep.settings import Fields, PrepareSettings
from tgvae.cli.inputs import find_inputs, read_documents
from tgvae.cli.main import main
from tgvae.data.graph_io import open_graph
from tgvae.data.schema import SKIPPED, SPLITS, PreparedFolder
from tgvae.data.tokenizers import clean_text, cut_words, split_sentences, word_tokenize
from tgvae.data.vectors import open_vectors
from tgvae.errors import UserError

TEXT = "The army was near the border. Nobody saw the general with his soldiers, again."
ANY_LENGTH = PrepareSettings(min_document_words=1)
TINY = PrepareSettings(
    vocabulary_size=2000, min_document_words=1, min_document_frequency=1, max_document_frequency=1, stop_words="none"
)
CELLS: tuple[Any, ...] = (
    *(
        None,
        "",
        " ",
        "\x00",
        "\ud800",
        "a\u0301\u0327",
        "\u202eעברית",
        "العربية هنا",
        "军队在边境",
        "😀👨\u200d👩",
        "<b>&amp;",
        TEXT,
    ),
    *(TEXT + "\ud800\u2028" + TEXT, [TEXT, ""], [], [[]], {}, {"a": [1]}, True, 0, -1, 10**30, 0.5, float("nan")),
    *(float("inf"), "train", "valid", "dev", "x\ty\r\nz", "''``\"\"", "a" * 5000, "! " * 500, "\u1e9e\u0130\ufb01"),
)
"""What the cells of a made-up table hold."""
TEXTS = tuple(cell for cell in CELLS if isinstance(cell, str | None))
COLUMNS = {
    "text": (*TEXTS, [TEXT, ""], ["\ud800", TEXT]),
    "split": (None, "", "train", "dev", "test"),
    **dict.fromkeys(("id", "label", "title", "summary", "other", "\ud800"), CELLS),
}
VALUES = (
    *(
        "",
        "0",
        "1",
        "2",
        "-1",
        "nan",
        "inf",
        "1e300",
        "1e-300",
        "9" * 5000,
        "99999999999",
        "army",
        "\u202e",
        "😀",
        "\ud800",
    ),
    *("a=b", "0=1", "0=nan", "1=1e39", "/dev/null", "/dev", "no/where", "beam", "greedy", "The army saw it.", "--json"),
)
"""What options are given."""
OPTIONS = {
    "generate": (
        *("--topic", "--mixture", "--like", "--between", "--reconstruct", "--num", "--strength", "--seed"),
        *("--decode.temperature", "--decode.top-p", "--decode.top-k", "--decode.strategy", "--decode.no-repeat-ngram"),
    ),
    "topics": ("--words", "--sentences", "--links", "--neighbours", "--data"),
    "inspect": ("--documents",),
    "compare": ("--seed", "nowhere"),
}


@cache
def place() -> Path:
    """A folder for this process."""
    folder = Path(mkdtemp(prefix="fuzz"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def put(name: str, content: bytes) -> Path:
    """A file of this name with this content."""
    path = place() / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def read(source: Path, settings: PrepareSettings = ANY_LENGTH) -> list[RawDocument | Skipped]:
    """The documents of a corpus, each as it must be, and cleaned."""
    documents = list(open_corpus(source, settings).documents())
    for document in documents:
        f"{document.id} {document.where}".encode()
        if isinstance(document, RawDocument):
            assert document.split in (None, *SPLITS)
            cleaned = clean_document(document, settings)
            if not isinstance(cleaned, Skipped):
                json.loads(cleaned.metadata)
                "".join([*cleaned.sentences, cleaned.title or "", cleaned.label or "", cleaned.summary or ""]).encode()
    return documents


def reader(name: str, change: Callable[[bytes], bytes] = bytes) -> Callable[[bytes], None]:
    """Reads the bytes as a file of this name, for `prepare` and for `summarize`."""

    def target(content: bytes) -> None:
        path = put(name, change(content))
        if not name.endswith((".txt", ".txt.gz")):
            rows = list(read_documents(find_inputs([str(path)]), Fields()))
            assert all(isinstance(row.text, str) for row in rows)
        read(path)

    return target


def pairs(content: bytes) -> None:
    """Two files of lines."""
    documents, _, titles = content.partition(b"\x00\x00")
    put("pairs/train.article.txt", documents)
    put("pairs/train.title.txt", titles)
    found = read(place() / "pairs")
    assert len(found) == len(documents.splitlines()) or b"\r" in documents


def single(content: bytes) -> None:
    """A text for `summarize`."""
    name = "c.gz" if content.startswith(GZIP) else "c"
    (document,) = read_documents(find_inputs([str(put(name, content))]), Fields())
    clean_text(document.text).encode()


def text(content: bytes) -> None:
    """Clean, split, tokenise and cut: nothing is lost but white space and what is said to go."""
    cleaned = clean_text(content.decode("utf-8", "surrogateescape"))
    cleaned.encode()
    sentences = split_sentences(cleaned)
    assert "".join("".join(sentences).split()) == "".join(cleaned.split())
    for sentence in sentences:
        words = word_tokenize(sentence)
        assert cut_words(sentence, words, len(words)).strip() == sentence.strip()


def vectors(content: bytes) -> None:
    """An .npz file."""
    found = open_vectors(str(put("c.npz", content)))
    assert all(np.isfinite(split.x).all() for split in found.splits.values())


def edges(content: bytes) -> None:
    """A list of edges."""
    graph = open_graph(str(put("c.tsv", content)))
    assert len(set(graph.names)) == graph.nodes
    assert (graph.edges[:, 0] < graph.edges[:, 1]).all()


def rows(content: bytes) -> list[dict[str, Any]]:
    """A made-up table: its cells are chosen by the bytes."""
    picks = iter(content)
    return [
        {name: cells[pick % len(cells)] for (name, cells), pick in zip(COLUMNS.items(), picks, strict=False)}
        for _ in range(0, len(content) - len(COLUMNS), len(COLUMNS))
    ]


def folder(content: bytes) -> None:
    """A table with odd cells, prepared: every document is in a split or was skipped, once."""
    good = [{"id": f"{split} {i}", "text": f"{TEXT} {i}.", "split": split} for split in SPLITS for i in range(3)]
    table = put("c.jsonl", "".join(json.dumps(row) + "\n" for row in [*good, *rows(content)]).encode())
    documents = read(table, TINY)
    out = prepare(table, place() / "out", TINY, workers=1, overwrite=True)
    opened = PreparedFolder.open(out, verify=True)
    splits = [row for split in SPLITS for row in opened.split(split).to_pylist()]
    skipped = [json.loads(line)["id"] for line in (out / SKIPPED).read_bytes().splitlines()]
    assert sorted([row["id"] for row in splits] + skipped) == sorted(document.id for document in documents)
    for row in splits:
        for sentence, ids, words in zip(row["sentences"], row["tokens"], row["words"], strict=True):
            if words == len(word_tokenize(sentence)):
                assert opened.tokenizer.decode(ids).split() == sentence.split()


@cache
def run() -> tuple[Path, Path]:
    """A prepared folder and a tiny run."""
    table = put("good.jsonl", "".join(json.dumps({"text": f"{TEXT} {i}."}) + "\n" for i in range(40)).encode())
    data, made = prepare(table, place() / "data", TINY, workers=1), place() / "run"
    topics = ("--model.topic.topics=2", "--model.topic.hidden-size=4", "--train.phases.topics.epochs=1")
    sizes = (f"--model.sentence.{name}-size=4" for name in ("embedding", "hidden", "latent"))
    quick = ("--train.phases.sentences.epochs=1", "--train.device=cpu")
    assert quiet(["train", str(data), "--out", str(made), *topics, *sizes, *quick]) == 0
    return data, made


def options(content: bytes) -> None:
    """A command with odd options."""
    data, made = run()
    picks = iter(content)
    command = list(OPTIONS)[next(picks, 0) % len(OPTIONS)]
    arguments = [command, str(data if command == "inspect" else made)]
    for pick in picks:
        known = OPTIONS[command]
        arguments += [
            known[pick % len(known)],
            *(VALUES[p % len(VALUES)] for p, _ in zip(picks, range(1 + pick % 2), strict=False)),
        ]
    if quiet(arguments) == 2:
        raise UserError("as it should be")


def quiet(arguments: Sequence[str]) -> int:
    """The exit status of a command. What it prints is looked at: no traceback, and one message for a mistake."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main(arguments)
        except SystemExit as stop:
            status = int(stop.code or 0)
    assert "Traceback" not in err.getvalue()
    assert status in (0, 2), arguments
    assert status == 0 or err.getvalue().strip(), arguments
    return status


TARGETS: dict[str, Callable[[bytes], None]] = {
    "lines": reader("c.txt"),
    "lines, gzipped": reader("c.txt.gz"),
    "jsonl": reader("c.jsonl"),
    "jsonl, gzipped": reader("c.jsonl.gz", gzip.compress),
    "csv": reader("c.csv"),
    "parquet": reader("c.parquet"),
    "pairs of lines": pairs,
    "texts": single,
    "cleaning": text,
    "vectors": vectors,
    "edges": edges,
    "tables prepared": folder,
    "odd options": options,
}


def seeds(name: str) -> Iterator[bytes]:
    """Good input to begin with."""
    table = [{"id": "1", "text": TEXT, "label": "a"}, {"id": "2", "text": TEXT, "split": "train", "label": ""}]
    jsonl = "".join(json.dumps(row) + "\n" for row in table).encode()
    if "jsonl" in name:
        yield jsonl
    elif name == "csv":
        written = io.StringIO()
        writer = csv.DictWriter(written, ["id", "text", "label", "split"])
        writer.writeheader()
        writer.writerows(table)
        yield written.getvalue().encode()
    elif name == "parquet":
        for compression in ("snappy", "none"):
            sink = io.BytesIO()
            pq.write_table(
                pa.table({"id": ["1", "2"], "text": [TEXT, TEXT], "n": [[1], None]}), sink, compression=compression
            )
            yield sink.getvalue()
    elif name == "vectors":
        for save in (np.savez, np.savez_compressed):
            saved = io.BytesIO()
            save(saved, x=np.random.default_rng(0).random((20, 2, 2)), labels=np.arange(20) % 2)
            yield saved.getvalue()
    elif name == "edges":
        yield b"a\tb\nb\tc\n# odd\nc,d\ne f\nf\tf\n"
    elif name in ("tables prepared", "odd options"):
        yield from (bytes([first, *range(23)]) for first in range(4))
    else:
        plain = f"{TEXT}\n<p class='x'>A\tB</p> ``so''\n".encode()
        yield gzip.compress(plain) if "gzipped" in name else plain + b"\x00\x00a\nb\n"
