"""Local files: which ones a source names, their splits, and their lines."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.corpora.base import split_name
from tgvae.errors import UserError

TEXT, TABLES = (".txt",), (".jsonl", ".csv", ".parquet")


@dataclass(frozen=True)
class InputFile:
    """A file, its kind (the extension without .gz) and the split that its name or folder gives, if any."""

    path: Path
    kind: str
    split: str | None

    @property
    def stem(self) -> str:
        """The name without extensions."""
        return self.path.name.removesuffix(".gz").removesuffix(self.kind)


def input_file(path: Path, kinds: tuple[str, ...] = TEXT + TABLES) -> InputFile:
    """The file at the path. Raises UserError for a missing file or an unknown extension."""
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder.")
    name = path.name.removesuffix(".gz")
    kind = next((k for k in kinds if name.endswith(k) and not (k == ".parquet" and path.suffix == ".gz")), None)
    if kind is None:
        raise UserError(f"{path}: unknown extension; give one of {', '.join(kinds)} (.gz too, except for .parquet).")
    return InputFile(path, kind, split_name(name.removesuffix(kind)))


def find_tables(folder: Path) -> list[InputFile]:
    """The jsonl, csv and parquet files right inside the folder, sorted by name."""
    paths = [p for p in sorted(folder.iterdir()) if p.is_file()]
    return [input_file(p) for p in paths if p.name.removesuffix(".gz").endswith(TABLES)]


def find_texts(folder: Path) -> list[InputFile]:
    """The .txt files anywhere inside the folder, sorted; those under train, valid or test have that split."""
    texts = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.name.removesuffix(".gz").endswith(TEXT):
            file, top = input_file(path), path.relative_to(folder).parts[0]
            texts.append(file if path.parent == folder else replace(file, split=split_name(top)))
    return texts


def checked_splits(files: list[InputFile]) -> list[InputFile]:
    """The files with their splits, which count only when two or more different ones are named.

    A lone train.jsonl is thus a corpus to be split. Raises UserError when only some files name a split.
    """
    if len({f.split for f in files} - {None}) < 2:
        return [replace(f, split=None) for f in files]
    unnamed = [f.path for f in files if f.split is None]
    if unnamed:
        raise UserError(
            f"{unnamed[0]}: other files belong to train, valid or test, this one does not; move or rename it."
        )
    return files


def read_bytes(path: Path) -> Iterator[bytes]:
    """Lines of a plain or gzipped file. Raises UserError for an empty or damaged one."""
    empty = True
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                empty = False
                yield line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: truncated or damaged gzip file ({error}).") from error
    if empty:
        raise UserError(f"{path}: the file is empty.")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines of a UTF-8 file; a byte order mark is dropped.

    Raises UserError naming the line and the byte where the file is not UTF-8.
    """
    offset = 0
    for number, line in enumerate(read_bytes(path), 1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}:{number}: not UTF-8 at byte {offset + error.start} of the file "
                f"(0x{line[error.start]:02x}); convert it, for example with iconv -t UTF-8."
            ) from error
        offset += len(line)
