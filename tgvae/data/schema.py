"""The prepared folder: the contract between data_prep, which writes it, and everything that reads it.

manifest.json      written last: format, source, settings, counts, skipped, notes, stop words, files (sha256), versions
                   (counts: documents, sentences, modelled, words, tokens by split; vocabulary sizes)
SPLIT.arrow        Arrow IPC file, a row a document, columns as in DOCUMENT
topic_words.txt    bag-of-words vocabulary, one word per line
topic_words.json   how its words are found in a text; absent in folders of November 2026 and before
sentence.model     sentence tokenizer (sentence_words.txt for whole words)
skipped.jsonl      files and documents left out: id, where, reason
origin.json        where the corpus was; not in the manifest, which is the same wherever that is
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tgvae.config_io import read_versioned
from tgvae.data.tokenizers import SentenceTokenizer, load_tokenizer
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.errors import UserError, out_of_memory, path_suggestion

FORMAT = 1
SPLITS = ("train", "valid", "test")
MANIFEST = "manifest.json"
TOPIC_WORDS = "topic_words.txt"
SKIPPED = "skipped.jsonl"
FORM = {
    "files": dict,
    "source": {"name": str, "licence": str},
    "settings": {"max_sentence_words": int},
    "counts": dict,
    "skipped": dict,
    "versions": dict,
}
"""What a manifest must hold; see ``tgvae.config_io.describe_mismatch``."""

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
    def open(cls, path: Path | str, verify: bool = True) -> PreparedFolder:
        """Open a folder that `data_prep.pipeline.prepare` wrote.

        `verify` compares every file with its SHA-256 in the manifest, at a GB or more a second. Raises UserError
        where the folder is missing, unfinished, damaged or of another format.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        require_files(path, manifest["files"], "prepare the corpus again", verify)
        return cls(path, manifest)

    def split(self, name: str) -> pa.Table:
        """Documents of train, valid or test with the columns of DOCUMENT, memory-mapped.

        Its ids are those of the folder's vocabularies, also where somebody else wrote file and hash. Raises UserError
        where they are not, or the file cannot be read.
        """
        if name not in SPLITS:
            raise UserError(f"{self.path}: no split '{name}'; choose one of {', '.join(SPLITS)}.")
        path = self.path / arrow_file(name)
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            if not table.schema.equals(DOCUMENT):
                raise UserError(f"{path}: its columns are not those of format {FORMAT}; prepare the corpus again.")
            _require_sound(table, self._id_limits)
        except (pa.ArrowException, OSError) as error:
            if out_of_memory(error):
                raise MemoryError(str(error)) from error
            raise UserError(f"{path}: not a readable Arrow file ({error}); prepare the corpus again.") from error
        return table

    @property
    def _id_limits(self) -> dict[str, int]:
        """What the numbers of columns with one or more a sentence are below."""
        return {"tokens": len(self.tokenizer), "topic_words": len(self.topic_vocabulary), "words": 2**31}

    @cached_property
    def topic_vocabulary(self) -> TopicVocabulary:
        """The bag-of-words vocabulary."""
        return TopicVocabulary.load(self.path / TOPIC_WORDS)

    @cached_property
    def tokenizer(self) -> SentenceTokenizer:
        """The sentence tokenizer."""
        return load_tokenizer(self.path)


def require_files(folder: Path, digests: Mapping[str, Any], remedy: str, verify: bool = True) -> None:
    """Check that the files of a folder are there, and with ``verify`` that each is what it was, by its SHA-256.

    A file may be a link, as in the Hub's cache; but no name leads to a place outside the folder.

    Raises:
        UserError: one is missing or changed, or its name is a path.
    """
    for name, digest in digests.items():
        path = folder / name
        if Path(name).name != name:
            raise UserError(f"{folder}: names the file {name!r}, which would be outside the folder; {remedy}")
        if not os.path.isfile(path):
            raise UserError(f"{folder}: {name} is missing; {remedy}")
        if verify and file_hash(path) != digest:
            raise UserError(f"{path}: changed since it was written (SHA-256); {remedy}")


def _require_sound(table: pa.Table, sizes: Mapping[str, int]) -> None:
    """Raises ArrowInvalid for rows that no preparation makes: they could end the program where they are used.

    Args:
        table: with the columns of DOCUMENT.
        sizes: of columns with something for every sentence, by name, what their numbers are below.
    """
    table.validate(full=True)
    per_document = pc.list_value_length(table["sentences"])
    for name in ("id", "sentences", *sizes):
        values = _values(table[name])
        if name not in sizes:
            continue
        least, most = (number.as_py() for number in pc.min_max(values).values())
        if len(values) and not 0 <= least <= most < sizes[name]:
            raise pa.ArrowInvalid(f"{name} from {least} to {most}, but there are {sizes[name]}")
        if not pc.list_value_length(table[name]).equals(per_document):
            raise pa.ArrowInvalid(f"{name}: not one for every sentence")


def _values(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """What lists in lists hold. Raises ArrowInvalid where something is null, or stands between the lists."""
    while pa.types.is_list(column.type) and not column.null_count:
        held = pc.list_flatten(column)
        if len(held) != sum(len(chunk.values) for chunk in column.chunks):
            raise pa.ArrowInvalid("values that belong to no document")
        column = held
    if column.null_count:
        raise pa.ArrowInvalid("values are missing")
    return column


def _read_manifest(folder: Path) -> dict[str, Any]:
    path, remedy = folder / MANIFEST, "prepare the corpus again"
    if not folder.is_dir():
        replaced = folder.with_name(f"{folder.name}.replaced")  # an overwriting `tgvae prepare` was killed
        remedy = f"rename {replaced}, which was here" if replaced.is_dir() else "make it with `tgvae prepare`"
        raise UserError(f"{folder}: no such folder{path_suggestion(folder) or f'; {remedy}.'}")
    try:
        manifest = read_versioned(path, FORMAT, FORM, remedy)
    except FileNotFoundError:
        raise UserError(f"{folder}: no {MANIFEST}, so not a prepared folder; make one with `tgvae prepare`.") from None
    if not {TOPIC_WORDS, *map(arrow_file, SPLITS)} <= manifest["files"].keys():
        raise UserError(f"{path}: damaged (its list of files is incomplete); {remedy}.")
    return manifest
