"""Corrupt corpora, by hypothesis: every target reads bytes, and returns or raises UserError."""

from __future__ import annotations

import gzip
import io
import json
import time
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis
import numpy as np
from hypothesis import strategies as st

from campaigns import Outcome
from data_prep.clean import clean_document
from data_prep.corpora import open_corpus
from data_prep.corpora.base import RawDocument, Skipped
from data_prep.settings import Fields, PrepareSettings
from tgvae.cli.inputs import find_inputs, read_documents
from tgvae.data.graph_io import open_graph
from tgvae.data.languages import WordRules
from tgvae.data.schema import SPLITS
from tgvae.data.vectors import open_vectors
from tgvae.errors import UserError

BATCH = 100  # inputs between two looks at the clock
TEXT = "The army was near the border. Nobody saw the general with his soldiers, again."
ANY_LENGTH = PrepareSettings(min_document_words=1)


@dataclass(frozen=True)
class Fuzz:
    """Give corrupt input to the readers of corpora."""

    seconds: float = 300
    """Time for all targets together."""
    tries: int = 1_000_000
    """Inputs per target, at most."""
    targets: tuple[str, ...] = ()
    """Names of targets; all by default."""
    seed: int = 0
    """Of the inputs."""

    def run(self) -> list[Outcome]:
        names = self.targets or tuple(TARGETS)
        return [fuzz(name, self.tries, self.seconds / len(names), self.seed) for name in names]


def fuzz(name: str, tries: int, seconds: float, seed: int) -> Outcome:
    """Run a target on inputs by hypothesis until it fails; the smallest failing input is part of the outcome."""
    counts = {"tried": 0, "refused": 0}
    folder = "/dev/shm" if Path("/dev/shm").is_dir() else None  # memory, so that no input waits for a disk

    def target(content: bytes) -> None:
        counts["tried"] += 1
        try:
            TARGETS[name](content)
        except UserError:
            counts["refused"] += 1

    with TemporaryDirectory(dir=folder) as place, chdir(place):
        settings = hypothesis.settings(
            max_examples=min(BATCH, tries),
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        test, end = settings(hypothesis.given(inputs(name))(target)), time.monotonic() + seconds
        try:
            for number in range(-(-tries // BATCH)):
                hypothesis.seed(f"{seed} {number}")(test)()
                if time.monotonic() > end:
                    break
        except Exception as error:
            return Outcome(name, counts["tried"], 1, f"{type(error).__name__}: {error}; {'; '.join(error.__notes__)}")
    return Outcome(name, counts["tried"], 0, f"{counts['refused'] / counts['tried']:.0%} refused with a message")


@st.composite
def inputs(draw: st.DrawFn, name: str) -> bytes:
    """Arbitrary bytes, or a good input of a target with some parts replaced."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=4096))
    content = draw(st.sampled_from(seeds(name)))
    for _ in range(draw(st.integers(0, 4))):
        start, size = draw(st.integers(0, len(content))), draw(st.integers(0, 16))
        content = content[:start] + draw(st.binary(max_size=16)) + content[start + size :]
    return content


# Targets


def read(source: Path) -> list[RawDocument | Skipped]:
    """Read and clean the documents of a corpus; all strings must be encodable."""
    documents = list(open_corpus(source, ANY_LENGTH).documents())
    for document in documents:
        f"{document.id} {document.where}".encode()
        if isinstance(document, RawDocument):
            assert document.split in (None, *SPLITS)
            cleaned = clean_document(document, ANY_LENGTH, WordRules())
            if not isinstance(cleaned, Skipped):
                json.loads(cleaned.metadata)
                "".join([*cleaned.sentences, cleaned.title or "", cleaned.label or "", cleaned.summary or ""]).encode()
    return documents


def put(name: str, content: bytes) -> Path:
    """Write a file in the working directory, which is temporary."""
    path = Path(name).resolve()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def reader(name: str, change: Callable[[bytes], bytes] = bytes) -> Callable[[bytes], None]:
    """Return a target that reads the bytes as a file of this name, as `prepare` and `summarize` do."""

    def target(content: bytes) -> None:
        path = put(name, change(content))
        if not name.endswith((".txt", ".txt.gz")):
            assert all(isinstance(row.text, str) for row in read_documents(find_inputs([str(path)]), Fields()))
        read(path)

    return target


def pairs(content: bytes) -> None:
    """Read two files of lines."""
    documents, _, titles = content.partition(b"\x00\x00")
    folder = put("pairs/train.article.txt", documents).parent
    put("pairs/train.title.txt", titles)
    assert len(read(folder)) == len(documents.splitlines()) or b"\r" in documents


def vectors(content: bytes) -> None:
    found = open_vectors(str(put("c.npz", content)))
    assert all(np.isfinite(split.x).all() for split in found.splits.values())


def edges(content: bytes) -> None:
    graph = open_graph(str(put("c.tsv", content)))
    assert len(set(graph.names)) == graph.nodes
    assert (graph.edges[:, 0] < graph.edges[:, 1]).all()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "lines": reader("c.txt"),
    "lines, gzipped": reader("c.txt.gz"),
    "jsonl": reader("c.jsonl"),
    "jsonl, gzipped": reader("c.jsonl.gz", gzip.compress),
    "csv": reader("c.csv"),
    "parquet": reader("c.parquet"),
    "pairs of lines": pairs,
    "vectors": vectors,
    "edges": edges,
}


def seeds(name: str) -> list[bytes]:
    """Return good inputs to begin with."""
    table = [{"id": "1", "text": TEXT, "label": "a"}, {"id": "2", "text": TEXT, "split": "train", "label": ""}]
    plain, sink = f"{TEXT}\n<p class='x'>A\tB</p> ``so''\n".encode(), io.BytesIO()
    if "jsonl" in name:
        return ["".join(json.dumps(row) + "\n" for row in table).encode()]
    if name == "csv":
        return [f'id,text,label,split\n1,"{TEXT}",a,\n2,"{TEXT}",,train\n'.encode()]
    if name == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"id": ["1", "2"], "text": [TEXT, TEXT], "n": [[1], None]}), sink)
        return [sink.getvalue()]
    if name == "vectors":
        np.savez(sink, x=np.random.default_rng(0).random((20, 2, 2)), labels=np.arange(20) % 2)
        return [sink.getvalue()]
    if name == "edges":
        return [b"a\tb\nb\tc\n# odd\nc,d\ne f\nf\tf\n"]
    return [gzip.compress(plain) if "gzipped" in name else plain + b"\x00\x00a\nb\n"]
