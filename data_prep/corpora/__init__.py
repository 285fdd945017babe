"""Sources of documents, and the one function that chooses among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data_prep.corpora.base import Corpus, Skipped
from data_prep.corpora.files import TABLES, InputFile, checked_splits, distinct_parts, find_files, input_file, readable
from data_prep.corpora.hub import HubCorpus
from data_prep.corpora.paired_files import PairedCorpus, find_pairs
from data_prep.corpora.sotu import SotuCorpus
from data_prep.corpora.text import FileCorpus
from data_prep.corpora.wiki import WikiCorpus
from data_prep.settings import PrepareSettings
from tgvae.errors import UserError


def open_corpus(source: str | Path | Sequence[str | Path], settings: PrepareSettings) -> Corpus:
    """Return the corpus that a user names: "sotu", "wiki", "hf:NAME", a file, several files, or a folder.

    A file or folder called sotu or wiki is given as ./sotu. In a folder, tables have a document per row, paired line
    files (see `find_pairs`) one per pair, train.txt, test.txt and so on one per line, and each other text file is one.

    Raises:
        UserError: there is no such source, or nothing in it can be read.
    """
    if source == "sotu":
        return SotuCorpus(settings.since)
    if source == "wiki":
        return WikiCorpus(settings.language or "english")
    if isinstance(source, str) and source.startswith("hf:"):
        return HubCorpus(source.removeprefix("hf:"), settings.fields)
    paths = [Path(source)] if isinstance(source, (str, Path)) else [Path(path) for path in source]
    with readable(paths[0] if paths else ""):
        if len(paths) == 1 and paths[0].is_dir():
            return _open_folder(paths[0], settings)
    if not paths:
        raise UserError("No input file was given.")
    return _file_corpus([input_file(path) for path in paths], [], settings, lines=True)


def is_named(source: str | Path | Sequence[str | Path]) -> bool:
    """Return whether a source is a corpus by name, and no path."""
    return isinstance(source, str) and (source in ("sotu", "wiki") or source.startswith("hf:"))


def _open_folder(folder: Path, settings: PrepareSettings) -> Corpus:
    files, left_out = find_files(folder)
    if not files:
        reasons = Counter(skipped.reason for skipped in left_out)
        found = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(5)) or "it is empty"
        raise UserError(f"{folder}: no file in this folder can be read ({found}).")
    texts = [file for file in files if file.kind == ".txt"]
    if pairs := find_pairs(folder, texts):
        paired = {path for pair in pairs for path in (pair.documents.path, *pair.references)}
        if tables := [file for file in files if file.kind in TABLES]:
            rest = [Skipped(f.part, str(f.path), "text file next to tables") for f in files if f not in tables]
            return _file_corpus(tables, left_out + rest, settings, lines=False)
        rest = [Skipped(f.part, str(f.path), "not one of the paired files") for f in files if f.path not in paired]
        return PairedCorpus(folder, tuple(pairs), tuple(left_out + rest))
    lines = all(file.split and file.path.parent == folder for file in texts)
    return _file_corpus(files, left_out, settings, lines)


def _file_corpus(files: list[InputFile], left_out: list[Skipped], settings: PrepareSettings, lines: bool) -> FileCorpus:
    files = distinct_parts(checked_splits(files))
    return FileCorpus(tuple(files), tuple(left_out), settings.fields, lines, settings.encoding, settings.strict)
