"""Write the prepared folder such that it appears complete or not at all.

OUT.partial is filled first, and removed on failure; what a killed run left there is removed by the next one.
OUT.replaced holds the older folder for the moment in which the new one is renamed.
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
    """Yield OUT.partial, an empty folder, and rename it to `out` at the end.

    Raises:
        UserError: `out` is not empty, another process is preparing it, or the disk cannot be written.
    """
    partial = sibling(out, "partial")
    with _writing(out), _locked(partial):
        try:
            recover(out)
            check_target(out, overwrite)
            _empty(partial)
            yield partial
            publish(partial, out)
        except BaseException:  # after publishing, OUT.partial may belong to another process
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Act as ``writing``, but name the file that an error is about where that is another one, such as an input."""
    with writing(out):
        try:
            yield
        except OSError as error:
            if error.filename is not None and not str(error.filename).startswith(str(out)):
                raise UserError(f"{error.filename}: {error.strerror}") from error
            raise


def sibling(out: Path, ending: str) -> Path:
    """Return the path OUT.ending."""
    return out.with_name(f"{out.name}.{ending}")


@contextmanager
def _locked(partial: Path) -> Iterator[None]:
    """Lock OUT.partial; the system releases the lock when the process ends, however it ends."""
    partial.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{partial}: another `tgvae prepare` is at work there; wait until it ends.") from error
        yield
    finally:
        os.close(descriptor)


def recover(out: Path) -> None:
    """Restore the older folder if --overwrite was interrupted before the new one was renamed."""
    replaced = sibling(out, "replaced")
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
    """Write skipped.jsonl, one JSON object per line."""
    lines = [json.dumps(asdict(document), ensure_ascii=False) + "\n" for document in skipped]
    write_text(folder / SKIPPED, "".join(lines))


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write manifest.json: the content and the SHA-256 of every file in the folder."""
    hashes = {path.name: file_hash(path) for path in sorted(folder.iterdir())}
    text = json.dumps({**content, "files": hashes}, indent=2, ensure_ascii=False) + "\n"
    write_text(folder / MANIFEST, text)


def write_origin(folder: Path, source: str | Path | Sequence[str | Path]) -> None:
    """Write origin.json: the source that was given, so that the corpus can be prepared again.

    Not in the manifest, which is the same wherever the corpus lies.
    """
    given = [source] if isinstance(source, (str, Path)) else source
    places = [str(source)] if is_named(source) else [str(Path(place).resolve()) for place in given]
    write_text(folder / ORIGIN, json.dumps({"source": places}, indent=2, ensure_ascii=False) + "\n")


def read_origin(folder: Path) -> list[str]:
    """Return the source that `prepare` was given. Raises UserError where it is not known."""
    try:
        return [str(place) for place in json.loads((folder / ORIGIN).read_text(encoding="utf-8"))["source"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / ORIGIN}: does not say where the corpus was ({error!r}); give it.") from error


def publish(partial: Path, out: Path) -> None:
    """Write all bytes to disk, rename the finished folder, and remove the older one last."""
    for path in [*partial.iterdir(), partial]:
        sync(path)
    replaced = sibling(out, "replaced")
    if out.exists():
        os.replace(out, replaced)
    os.replace(partial, out)
    sync(out.parent)
    shutil.rmtree(replaced, ignore_errors=True)
