"""Find local files: which ones a source names, and which split each belongs to."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.corpora.base import Skipped, printable, split_name
from tgvae.data.schema import file_hash
from tgvae.errors import UserError, path_suggestion

TEXT = (".txt", ".text", ".md", ".markdown", ".html", ".htm")
TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".xlsx")
BINARY = (".parquet", ".xlsx")
"""Tables that are never gzipped: they have a compression of their own."""
_CONVERT = {
    ".pdf": "pdftotext FILE.pdf FILE.txt",
    **{f".{kind}": f"pandoc FILE.{kind} --to plain --output FILE.txt" for kind in ("docx", "odt", "epub", "rtf")},
    ".doc": "soffice --headless --convert-to txt FILE.doc",
    ".xls": "soffice --headless --convert-to xlsx FILE.xls",
    ".ods": "soffice --headless --convert-to xlsx FILE.ods",
    ".zip": "unzip FILE.zip",
    ".tar": "tar -xf FILE.tar",
    ".bz2": "bunzip2 FILE.bz2",
    ".xz": "unxz FILE.xz",
    ".zst": "unzstd FILE.zst",
}
"""How files of other kinds become ones that can be read."""
_BACKUP = re.compile(r"\..*|~\$.*|.*~|#.*#|.*\.(bak|swp|tmp|orig)|__MACOSX|Thumbs\.db", re.IGNORECASE)
_ABOUT = re.compile(r"(readme|licen[cs]e|notice|changelog|citation)\b.*|dataset_infos?\.json", re.IGNORECASE)
_SHARD = re.compile(r"(.+?)[-_.]\d+([-_]of[-_]\d+)?")


@dataclass(frozen=True)
class InputFile:
    """A file that can be read.

    Attributes:
        path: where it is.
        kind: its extension in lower case, without .gz.
        split: the split that its name or its folder says, if any.
        inside: the folder that was given as the source, if one was.
        part: the path inside the source without extensions, as far as it takes to be distinct.
    """

    path: Path
    kind: str
    split: str | None
    inside: Path | None = None
    part: str = ""

    @property
    def stem(self) -> str:
        """The name without extensions."""
        return _without_gz(self.path.name)[: -len(self.kind)]


def input_file(path: Path, kinds: tuple[str, ...] = TEXT + TABLES) -> InputFile:
    """Return the file at a path.

    Raises:
        UserError: it does not exist, its kind cannot be read, or its name is not UTF-8.
    """
    with readable(path):
        if not path.is_file():
            missing = f"no such file or folder{path_suggestion(path) or '.'}"
            raise UserError(f"{path}: {'not a file.' if path.exists() else missing}")
    if (name := printable(str(path))) != str(path):
        raise UserError(f"{name}: the name is not UTF-8; rename it.")
    if (kind := kind_of(path)) not in kinds:
        raise UserError(f"{path}: {_unsupported(path, kinds)}.")
    stem = _without_gz(path.name)[: -len(kind)]
    return InputFile(path, kind, _split_of(stem), part=stem)


def kind_of(path: Path | str) -> str:
    """Return the extension in lower case, without .gz; empty for a gzipped file that is never gzipped."""
    name = _without_gz(Path(path).name)
    kind = Path(name).suffix.lower()
    return "" if kind in BINARY and name != Path(path).name else kind


def find_texts(folder: Path) -> list[InputFile]:
    """Return the text files anywhere inside a folder, sorted."""
    return [file for file in find_files(folder)[0] if file.kind in TEXT]


def find_files(folder: Path) -> tuple[list[InputFile], list[Skipped]]:
    """Return the files anywhere inside a folder that can be read, sorted, and the others with the reasons.

    Linked folders are followed, each once. A file belongs to a split by its name (train.csv, train-00001.parquet) or
    by the first folder on its way (train/news/1.txt).

    Raises:
        UserError: a folder cannot be read.
    """
    found, left_out = [], []
    for path in _walk(folder, set()):
        where = printable(str(path))
        if reason := _reason_to_skip(path, where):
            left_out.append(Skipped(printable(path.relative_to(folder).as_posix()), where, reason))
            continue
        file = input_file(path)
        file = replace(file, inside=folder, part=path.with_name(file.stem).relative_to(folder).as_posix())
        top = path.relative_to(folder).parts[0]
        found.append(file if path.parent == folder else replace(file, split=split_name(top) or file.split))
    return found, left_out


def _walk(folder: Path, visited: set[Path]) -> Iterator[Path]:
    """Yield all files at any depth, and hidden folders as they are, in the order of their paths."""
    real = folder.resolve()
    if real in visited:  # a link to a folder above it would never end
        return
    visited.add(real)
    with readable(folder):
        paths = sorted(folder.iterdir())
    for path in paths:
        if path.is_dir() and not _BACKUP.fullmatch(path.name):
            yield from _walk(path, visited)
        else:
            yield path


def _reason_to_skip(path: Path, printed: str) -> str:
    if _BACKUP.fullmatch(path.name):
        return "hidden or backup folder" if path.is_dir() else "hidden or backup file"
    if printed != str(path):
        return "file name not in UTF-8"
    if not path.is_file():
        return "special file" if path.exists() else "broken link"
    if _ABOUT.fullmatch(path.name):
        return "file about the corpus, such as README"
    if kind_of(path) not in TEXT + TABLES:
        return _unsupported(path, ())
    return "empty file" if not path.stat().st_size and kind_of(path) in TABLES else ""


def _unsupported(path: Path, kinds: tuple[str, ...]) -> str:
    """Say that a file cannot be read as it is, and how it can be converted."""
    kind = path.suffix.lower()
    if kind == ".gz" and (inner := Path(path.stem).suffix.lower()) in BINARY:
        return f"unsupported kind {inner}.gz; unpack it with gunzip"
    if kind in _CONVERT:
        return f"unsupported kind {kind}; convert it, for example with: {_CONVERT[kind]}"
    known = f"; supported are {', '.join(kinds)}, gzipped too except for {', '.join(BINARY)}" if kinds else ""
    return f"unsupported kind {kind or '(no extension)'}{known}"


def _without_gz(name: str) -> str:
    return name[:-3] if name.lower().endswith(".gz") else name


def _split_of(stem: str) -> str | None:
    """Return the split that a name says: train, or train-00000-of-00005."""
    shard = _SHARD.fullmatch(stem)
    return split_name(stem) or (split_name(shard[1]) if shard else None)


def checked_splits(files: list[InputFile]) -> list[InputFile]:
    """Return the files with their splits, which count only when two or more different ones are named.

    A lone train.jsonl is thus a corpus to be split.

    Raises:
        UserError: only some of the files name a split.
    """
    if len({f.split for f in files} - {None}) < 2:
        return [replace(f, split=None) for f in files]
    unnamed = [f.path for f in files if f.split is None]
    if unnamed:
        raise UserError(
            f"{unnamed[0]}: other files belong to train, valid or test, this one does not; move or rename it."
        )
    return files


def distinct_parts(files: list[InputFile]) -> list[InputFile]:
    """Return the files with distinct parts: those of a/x.csv and b/x.csv, or x.csv and x.txt, become whole paths."""
    counts = Counter(file.part for file in files)
    return [
        file
        if counts[file.part] == 1
        else replace(file, part=(file.path.relative_to(file.inside) if file.inside else file.path).as_posix())
        for file in files
    ]


def input_hash(paths: Iterable[Path], folder: Path | None = None) -> str:
    """Return the SHA-256 of the lines that `sha256sum` prints for the files, with names inside the folder."""
    found = hashlib.sha256()
    for path in paths:
        with readable(path):
            found.update(f"{file_hash(path)}  {path.relative_to(folder or path.parent).as_posix()}\n".encode())
    return found.hexdigest()


@contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Raise UserError where the system refuses to read the path."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path!s:.200}: cannot be read ({error.strerror or error}).") from error
