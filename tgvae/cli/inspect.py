"""`tgvae inspect`: what a prepared folder holds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data_prep.stats import summarize_folder
from tgvae.cli.options import parse
from tgvae.cli.output import command, print_json, print_next_steps, table_console
from tgvae.config_io import require_range
from tgvae.progress import step


@dataclass(frozen=True)
class Inspect:
    """Verify a prepared folder by its hashes, and describe it.

    Examples:
      tgvae inspect prepared/sotu
      tgvae inspect prepared/sotu --documents 0 --json
    """

    data: tyro.conf.Positional[Path]
    """A prepared folder."""
    documents: int = 3
    """Documents to show."""
    json: bool = False
    """Print JSON."""


def main(arguments: Sequence[str]) -> None:
    options = parse(Inspect, "inspect", arguments)
    require_range(options, 0, sys.maxsize, "documents")
    with step(f"verifying {options.data}"):
        found = summarize_folder(options.data, options.documents)
    if options.json:
        print_json(found)
        return
    show(found, table_console())
    print_next_steps(steps=[command("train", options.data, "--out", Path("runs") / options.data.name)])


def show(found: dict[str, Any], console: Console) -> None:
    """Print a summary for people."""
    source = found["source"]
    console.print(f"{found['path']}: {source['name']}\nlicence: {source['licence']}", markup=False)
    table = Table("", "train", "valid", "test")
    for name in ("documents", "sentences", "modelled", "words", "tokens"):
        table.add_row(name, *(f"{found['counts'][name][split]:,}" for split in ("train", "valid", "test")))
    console.print(table)
    vocabulary = found["counts"]
    console.print(
        f"topic words {vocabulary['topic_vocabulary']:,}, sentence tokens {vocabulary['sentence_vocabulary']:,}"
    )
    for name, (low, middle, high, most) in found["lengths"].items():
        console.print(f"{name}: median {middle}, 5 % to 95 %: {low} to {high}, longest {most}")
    if found["labels"]:
        console.print("labels: " + ", ".join(f"{label} {n}" for label, n in found["labels"].items()), markup=False)
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in found["skipped"].items())
    console.print(f"skipped: {skipped or 'nothing'}", markup=False)
    for note in found["notes"]:
        console.print(f"note: {note}", markup=False)
    for document in found["examples"]:
        console.print(f"\n[bold]{escape(document['title'] or document['id'])}[/bold]")
        for sentence in document["sentences"]:
            console.print("  " + sentence, markup=False)
