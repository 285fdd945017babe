"""The folder on disk: it appears complete or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_prep.corpora.base import Skipped
from tgvae.data.schema import MANIFEST, SKIPPED, file_hash
from tgvae.errors import UserError
from tgvae.files import sync, write_text


def check_target(out: Path, overwrite: bool) -> None:
    """Raise UserError where `out` may not be written. Only a prepared folder is ever overwritten."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / MANIFEST).is_file():
        raise UserError(f"{out}: exists and is not a prepared folder; choose another place.")
    if not overwrite:
        raise UserError(f"{out}: exists already; choose another folder or say --overwrite.")


def start_partial(out: Path) -> Path:
    """A fresh folder OUT.partial; what an interrupted run left there goes."""
    partial = out.with_name(out.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    return partial


def write_skipped(folder: Path, skipped: Iterable[Skipped]) -> None:
    """Write skipped.jsonl, a JSON object a line."""
    lines = [json.dumps(asdict(document), ensure_ascii=False) + "\n" for document in skipped]
    write_text(folder / SKIPPED, "".join(lines))


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write manifest.json: the content and the SHA-256 of every file in the folder."""
    hashes = {path.name: file_hash(path) for path in sorted(folder.iterdir())}
    text = json.dumps({**content, "files": hashes}, indent=2, ensure_ascii=False) + "\n"
    write_text(folder / MANIFEST, text)


def publish(partial: Path, out: Path) -> None:
    """Put the finished folder in its place, all its bytes on disk first; an older one is removed last."""
    for path in [*partial.iterdir(), partial]:
        sync(path)
    old = out.with_name(out.name + ".old")
    if old.exists():
        shutil.rmtree(old)
    if out.exists():
        os.replace(out, old)
    os.replace(partial, out)
    sync(out.parent)
    if old.exists():
        shutil.rmtree(old)
