"""The prepared folder: the contract between data_prep, which writes it, and everything that reads it.

manifest.json      written last: format, source, settings, counts, skipped, files (sha256), versions
                   (counts: documents, sentences, modelled, words, tokens by split; vocabulary sizes)
SPLIT.arrow        Arrow IPC file, a row a document, columns as in DOCUMENT
topic_words.txt    bag-of-words vocabulary, a word a line
sentence.model     sentence tokenizer (sentence_words.txt for whole words)
skipped.jsonl      documents left out: id, where, reason
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from tgvae.data.tokenizers import SentenceTokenizer, load_tokenizer
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.errors import UserError

FORMAT = 1
SPLITS = ("train", "valid", "test")
MANIFEST = "manifest.json"
TOPIC_WORDS = "topic_words.txt"
SKIPPED = "skipped.jsonl"

DOCUMENT = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("summary", pa.string()),
        pa.field("label", pa.string()),
        pa.field("metadata", pa.string()),  # a JSON object with sorted keys
        pa.field("sentences", pa.list_(pa.string())),  # cleaned text, in order
        pa.field("tokens", pa.list_(pa.list_(pa.int32()))),  # no bos, no eos; empty: sentence not modelled
        pa.field("topic_words", pa.list_(pa.list_(pa.int32()))),  # running order with repeats, every sentence
        pa.field("words", pa.list_(pa.int32())),  # word tokens as modelled (0: not modelled), for perplexity
    ]
)


def arrow_file(split: str) -> str:
    """Name of the file of a split."""
    return f"{split}.arrow"


def file_hash(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class PreparedFolder:
    """A prepared corpus on disk. `manifest` is the parsed manifest.json."""

    path: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, path: Path | str, verify: bool = False) -> PreparedFolder:
        """Open a folder that `data_prep.pipeline.prepare` wrote.

        `verify` compares every file with its SHA-256 in the manifest. Raises UserError where the folder
        is missing, unfinished, damaged or of a newer format.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        for name, digest in manifest["files"].items():
            if not (path / name).is_file():
                raise UserError(f"{path}: {name} is missing; prepare the corpus again.")
            if verify and file_hash(path / name) != digest:
                raise UserError(f"{path / name}: changed since it was prepared (SHA-256); prepare again.")
        return cls(path, manifest)

    def split(self, name: str) -> pa.Table:
        """Documents of train, valid or test with the columns of DOCUMENT, memory-mapped."""
        if name not in SPLITS:
            raise UserError(f"{self.path}: no split '{name}'; choose one of {', '.join(SPLITS)}.")
        path = self.path / arrow_file(name)
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except pa.ArrowInvalid as error:
            raise UserError(f"{path}: not a readable Arrow file ({error}); prepare the corpus again.") from error
        if not table.schema.equals(DOCUMENT):
            raise UserError(f"{path}: its columns are not those of format {FORMAT}; prepare the corpus again.")
        return table

    @cached_property
    def topic_vocabulary(self) -> TopicVocabulary:
        """The bag-of-words vocabulary."""
        return TopicVocabulary.load(self.path / TOPIC_WORDS)

    @cached_property
    def tokenizer(self) -> SentenceTokenizer:
        """The sentence tokenizer."""
        return load_tokenizer(self.path)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; make it with `tgvae prepare`.")
    if not path.is_file():
        raise UserError(f"{folder}: no {MANIFEST}, so not a prepared folder; make one with `tgvae prepare`.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version, files = manifest["format"], manifest["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error!r}); prepare the corpus again.") from error
    if version != FORMAT:
        remedy = "update tgvae" if isinstance(version, int) and version > FORMAT else "prepare the corpus again"
        raise UserError(f"{path}: format {version}, this program reads format {FORMAT}; {remedy}.")
    if not isinstance(files, dict) or not {TOPIC_WORDS, *map(arrow_file, SPLITS)} <= files.keys():
        raise UserError(f"{path}: damaged (its list of files is incomplete); prepare the corpus again.")
    return manifest
