"""Plain text: a document a line, or a folder with a document a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from data_prep.corpora.base import RawDocument, split_name
from data_prep.corpora.files import InputFile, input_hash, read_lines


@dataclass(frozen=True)
class LineCorpus:
    """Files with a document a line. In a line with TABs these part its sentences, else they are found."""

    files: tuple[InputFile, ...]
    group_by: ClassVar[None] = None

    def documents(self) -> Iterator[RawDocument]:
        """Lines in order; the id is "file/line"."""
        for file in self.files:
            for number, line in read_lines(file.path):
                sentences = tuple(line.strip().split("\t"))
                yield RawDocument(
                    id=f"{file.stem}/{number}",
                    text=sentences if len(sentences) > 1 else sentences[0],
                    where=f"{file.path}:{number}",
                    split=file.split,
                    part=file.stem,
                )

    def describe(self) -> dict[str, str]:
        """Names and hash of the files."""
        paths = [f.path for f in self.files]
        return {
            "name": ", ".join(path.name for path in paths),
            "licence": "not stated",
            "input_sha256": input_hash(paths),
        }


@dataclass(frozen=True)
class FolderCorpus:
    """A folder of .txt files, a document each, laid out as [SPLIT/][LABEL/]FILE.txt."""

    folder: Path
    files: tuple[InputFile, ...]
    group_by: ClassVar[None] = None

    def documents(self) -> Iterator[RawDocument]:
        """Files in order of their paths; the id is the path inside the folder without extension."""
        for file in self.files:
            inside = file.path.relative_to(self.folder).parent / file.stem
            labels = inside.parts[1 if split_name(inside.parts[0]) else 0 : -1]
            yield RawDocument(
                id=inside.as_posix(),
                text="".join(line for _, line in read_lines(file.path, may_be_empty=True)),
                where=str(file.path),
                label="/".join(labels) or None,
                split=file.split,
                group={"folder": inside.parent.as_posix()},
            )

    def describe(self) -> dict[str, str]:
        """Name of the folder, and hash of its files."""
        hashed = input_hash((f.path for f in self.files), self.folder)
        return {"name": self.folder.resolve().name, "licence": "not stated", "input_sha256": hashed}
