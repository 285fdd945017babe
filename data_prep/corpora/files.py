"""Local files: which ones a source names, their splits, and their lines."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.corpora.base import printable, split_name
from tgvae.data.schema import file_hash
from tgvae.errors import UserError, meant_path

TEXT, TABLES = (".txt",), (".jsonl", ".csv", ".parquet")
GZIP = b"\x1f\x8b"
"""What gzipped files begin with."""


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
    """The file at the path. Raises UserError for a missing file, an unknown extension, or a name not in UTF-8."""
    with readable(path):
        if not path.is_file():
            missing = f"no such file or folder{meant_path(path) or '.'}"
            raise UserError(f"{path}: {'not a file.' if path.exists() else missing}")
    if (name := printable(str(path))) != str(path):
        raise UserError(f"{name}: the name is not UTF-8; rename it.")
    name = path.name.removesuffix(".gz")
    kind = next((k for k in kinds if name.endswith(k) and not (k == ".parquet" and path.suffix == ".gz")), None)
    if kind is None:
        raise UserError(f"{path}: unknown extension; give one of {', '.join(kinds)} (.gz too, except for .parquet).")
    return InputFile(path, kind, split_name(name.removesuffix(kind)))


def find_tables(folder: Path) -> list[InputFile]:
    """The jsonl, csv and parquet files right inside the folder, sorted by name.

    Raises UserError where one of these names is no file, as of a folder or a link to nowhere.
    """
    with readable(folder):
        return [input_file(p) for p in sorted(folder.iterdir()) if p.name.removesuffix(".gz").endswith(TABLES)]


def find_texts(folder: Path) -> list[InputFile]:
    """The .txt files anywhere inside the folder, sorted; those under train, valid or test have that split."""
    texts = []
    for path in sorted(_files(folder)):
        if path.name.removesuffix(".gz").endswith(TEXT):
            file, top = input_file(path), path.relative_to(folder).parts[0]
            texts.append(file if path.parent == folder else replace(file, split=split_name(top)))
    return texts


def _files(folder: Path) -> Iterator[Path]:
    """All that is no folder, at any depth. Raises UserError for a folder that cannot be read."""

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}).") from error

    for parent, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(parent, name) for name in names)


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


def input_hash(paths: Iterable[Path], folder: Path | None = None) -> str:
    """SHA-256 over the names (inside the folder) and contents of files: of what `sha256sum` prints of them."""
    found = hashlib.sha256()
    for path in paths:
        with readable(path):
            found.update(f"{file_hash(path)}  {path.relative_to(folder or path.parent).as_posix()}\n".encode())
    return found.hexdigest()


@contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Raises UserError where the system refuses to read the path."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path!s:.200}: cannot be read ({error.strerror or error}).") from error


def read_bytes(path: Path, may_be_empty: bool = False) -> Iterator[bytes]:
    """Lines of a plain or gzipped file. Raises UserError for a damaged one, or one that is empty."""
    empty = not may_be_empty
    with readable(path):
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                for line in file:
                    empty = False
                    yield line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"{path}: truncated or damaged gzip file ({error}).") from error
    if empty:
        raise UserError(f"{path}: the file is empty.")


def read_lines(path: Path, may_be_empty: bool = False) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines of a UTF-8 file; a byte order mark is dropped.

    Raises UserError naming the line and the byte where the file is not UTF-8.
    """
    offset = 0
    for number, line in enumerate(read_bytes(path, may_be_empty), 1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            packed = number == 1 and line.startswith(GZIP)
            remedy = "it is gzipped, so unpack it" if packed else "convert it, for example with iconv -t UTF-8"
            raise UserError(
                f"{path}:{number}: not UTF-8 at byte {offset + error.start} of the file "
                f"(0x{line[error.start]:02x}); {remedy}."
            ) from error
        offset += len(line)
