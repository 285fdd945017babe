"""The folder on disk: it appears complete or not at all.

OUT.partial holds what is being made, and goes when that fails; what a kill left there goes at the next run.
OUT.replaced is for a moment the older folder, while the new one takes its place.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_prep.corpora import is_named
from data_prep.corpora.base import Skipped
from tgvae.data.schema import MANIFEST, SKIPPED, file_hash
from tgvae.errors import UserError
from tgvae.files import sync, write_text, writing

ORIGIN = "origin.json"


@contextmanager
def building(out: Path, overwrite: bool) -> Iterator[Path]:
    """OUT.partial to fill, an empty folder that takes the place of `out` at the end.

    Raises:
        UserError: `out` holds something, somebody else is preparing it, or the disk refuses to be written.
    """
    partial = beside(out, "partial")
    with _writing(out), _held(partial):
        try:
            recover(out)
            check_target(out, overwrite)
            _empty(partial)
            yield partial
            publish(partial, out)
        except BaseException:  # once it is published, OUT.partial may be somebody else's
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """``writing``, but for what the system says about another file, such as one that is read."""
    with writing(out):
        try:
            yield
        except OSError as error:
            if error.filename is not None and not str(error.filename).startswith(str(out)):
                raise UserError(f"{error.filename}: {error.strerror}") from error
            raise


def beside(out: Path, what: str) -> Path:
    """OUT.what"""
    return out.with_name(f"{out.name}.{what}")


@contextmanager
def _held(partial: Path) -> Iterator[None]:
    """Keep others out of OUT.partial; the system ends that with the process, however it ends."""
    partial.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{partial}: another `tgvae prepare` is at work there; wait for it to end.") from error
        yield
    finally:
        os.close(descriptor)


def recover(out: Path) -> None:
    """Put back the older folder where --overwrite was interrupted before the new one had taken its place."""
    replaced = beside(out, "replaced")
    if (out / MANIFEST).is_file():
        shutil.rmtree(replaced, ignore_errors=True)
    elif replaced.exists() and _is_free(out):
        os.replace(replaced, out)


def check_target(out: Path, overwrite: bool) -> None:
    """Raise UserError where `out` may not be written. Only a prepared folder is ever overwritten."""
    if _is_free(out):
        return
    if not (out / MANIFEST).is_file():
        raise UserError(f"{out}: exists and is not a prepared folder; choose another place.")
    if not overwrite:
        raise UserError(f"{out}: exists already; choose another folder or say --overwrite.")


def _is_free(out: Path) -> bool:
    return not out.exists() or (out.is_dir() and not any(out.iterdir()))


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_skipped(folder: Path, skipped: Iterable[Skipped]) -> None:
    """Write skipped.jsonl, a JSON object a line."""
    lines = [json.dumps(asdict(document), ensure_ascii=False) + "\n" for document in skipped]
    write_text(folder / SKIPPED, "".join(lines))


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write manifest.json: the content and the SHA-256 of every file in the folder."""
    hashes = {path.name: file_hash(path) for path in sorted(folder.iterdir())}
    text = json.dumps({**content, "files": hashes}, indent=2, ensure_ascii=False) + "\n"
    write_text(folder / MANIFEST, text)


def write_origin(folder: Path, source: str | Path | Sequence[str | Path]) -> None:
    """Write origin.json: where the corpus was, so that it can be prepared anew.

    Not in the manifest, which is the same wherever the corpus lies.
    """
    given = [source] if isinstance(source, (str, Path)) else source
    places = [str(source)] if is_named(source) else [str(Path(place).resolve()) for place in given]
    write_text(folder / ORIGIN, json.dumps({"source": places}, indent=2, ensure_ascii=False) + "\n")


def read_origin(folder: Path) -> list[str]:
    """What `prepare` was given as its source. Raises UserError where that is not known."""
    try:
        return [str(place) for place in json.loads((folder / ORIGIN).read_text(encoding="utf-8"))["source"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / ORIGIN}: does not say where the corpus was ({error!r}); say it.") from error


def publish(partial: Path, out: Path) -> None:
    """Put the finished folder in its place, all its bytes on disk first; an older one is removed last."""
    for path in [*partial.iterdir(), partial]:
        sync(path)
    replaced = beside(out, "replaced")
    if out.exists():
        os.replace(out, replaced)
    os.replace(partial, out)
    sync(out.parent)
    shutil.rmtree(replaced, ignore_errors=True)
