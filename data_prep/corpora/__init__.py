"""Sources of documents, and the one function that chooses among them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_prep.corpora.base import Corpus
from data_prep.corpora.files import checked_splits, find_tables, find_texts, input_file, readable
from data_prep.corpora.hub import HubCorpus
from data_prep.corpora.paired_files import PairedCorpus, find_pairs
from data_prep.corpora.sotu import SotuCorpus
from data_prep.corpora.tables import TableCorpus
from data_prep.corpora.text import FolderCorpus, LineCorpus
from data_prep.corpora.wiki import WikiCorpus
from data_prep.settings import PrepareSettings
from tgvae.errors import UserError


def open_corpus(source: str | Path | Sequence[str | Path], settings: PrepareSettings) -> Corpus:
    """The corpus that a user names: "sotu", "wiki", "hf:NAME", a file, several files, or a folder.

    A file or folder called sotu or wiki is given as ./sotu. In a folder tables come first, then paired
    line files (see `find_pairs`), then .txt files of any other name.
    """
    if source == "sotu":
        return SotuCorpus(settings.since)
    if source == "wiki":
        return WikiCorpus(settings.language)
    if isinstance(source, str) and source.startswith("hf:"):
        return HubCorpus(source.removeprefix("hf:"), settings.fields)
    paths = [Path(source)] if isinstance(source, (str, Path)) else [Path(path) for path in source]
    with readable(paths[0] if paths else ""):
        if len(paths) == 1 and paths[0].is_dir():
            return _open_folder(paths[0], settings)
    return _open_files(paths, settings)


def is_named(source: str | Path | Sequence[str | Path]) -> bool:
    """Whether a source is a corpus by name, and no path."""
    return isinstance(source, str) and (source in ("sotu", "wiki") or source.startswith("hf:"))


def _open_files(paths: Sequence[Path], settings: PrepareSettings) -> Corpus:
    files = tuple(checked_splits([input_file(path) for path in paths]))
    if not files:
        raise UserError("No input file was given.")
    if all(file.kind == ".txt" for file in files):
        return LineCorpus(files)
    if any(file.kind == ".txt" for file in files):
        raise UserError(f"{files[0].path}: .txt files cannot be mixed with tables; prepare them apart.")
    return TableCorpus(files, settings.fields)


def _open_folder(folder: Path, settings: PrepareSettings) -> Corpus:
    if tables := find_tables(folder):
        return TableCorpus(tuple(checked_splits(tables)), settings.fields)
    texts = find_texts(folder)
    if not texts:
        raise UserError(f"{folder}: no .txt, .jsonl, .csv or .parquet file in this folder.")
    if pairs := find_pairs(folder, texts):
        return PairedCorpus(folder, tuple(pairs))
    if all(file.split and file.path.parent == folder for file in texts):
        return LineCorpus(tuple(checked_splits(texts)))
    return FolderCorpus(folder, tuple(checked_splits(texts)))
