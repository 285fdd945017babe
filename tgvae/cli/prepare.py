"""`tgvae prepare`: a corpus to a prepared folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from data_prep.pipeline import Engine, prepare
from data_prep.settings import RECIPES, PrepareSettings
from tgvae.cli.options import parse, recipe_name
from tgvae.cli.output import command, print_json, print_next_steps
from tgvae.data.schema import SKIPPED, PreparedFolder


@dataclass(frozen=True)
class Prepare:
    """Turn a corpus into a prepared folder: Arrow tables, vocabularies and a manifest.

    Examples:
      tgvae prepare sotu --out prepared/sotu --since 1945
      tgvae prepare articles.jsonl.gz --out prepared/articles --fields.label section --group-by author
    """

    sources: tyro.conf.Positional[tuple[str, ...]]
    """sotu, wiki, hf:NAME, files, or a folder of files: .txt, .md, .html, .csv, .tsv, .jsonl, .json, .parquet, .xlsx,
    text files also gzipped. In a folder, train.article.txt and train.title.txt are pairs by line (valid and test
    likewise), and input.txt with task1_ref0.txt, task1_ref1.txt, ... is a test split with several references."""
    out: Path
    """The folder to create."""
    workers: int = 2
    """Processes, or CPUs of this machine that Ray may use."""
    engine: Engine = "processes"
    """ray: over all machines of the Ray cluster at RAY_ADDRESS, which must share the disk of OUT."""
    overwrite: bool = False
    """Replace OUT if it is a prepared folder."""
    recipe: str = "default"
    """Where the other settings start from: default, or paper, the preprocessing of Wang et al. 2019."""
    json: bool = False
    """Print JSON."""
    settings: Annotated[PrepareSettings, tyro.conf.arg(name="")] = field(default_factory=PrepareSettings)


def main(arguments: Sequence[str]) -> None:
    settings = RECIPES[recipe_name(arguments, RECIPES, "default")]
    defaults = Prepare(tyro.MISSING, tyro.MISSING, settings=settings)
    options = parse(Prepare, "prepare", arguments, defaults)
    source = options.sources[0] if len(options.sources) == 1 else options.sources
    out = prepare(
        source,
        options.out,
        options.settings,
        workers=options.workers,
        engine=options.engine,
        overwrite=options.overwrite,
    )
    report = {name: PreparedFolder.open(out).manifest[name] for name in ("source", "counts", "skipped", "notes")}
    if options.json:
        print_json({"path": str(out), **report})
        return
    counts = {name: sum(report["counts"][name].values()) for name in ("documents", "sentences", "words")}
    print(f"{report['source']['name']}: " + ", ".join(f"{n:,} {name}" for name, n in counts.items()))
    print(f"licence: {report['source']['licence']}")
    if encodings := report["source"].get("encodings"):
        print(f"encodings: {encodings}")
    if skipped := report["skipped"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in skipped.items())
        print(f"skipped {sum(skipped.values()):,}: {reasons}; listed in {out / SKIPPED}")
    for note in report["notes"]:
        print(f"note: {note}")
    print_next_steps([out], [command("inspect", out), command("train", out, "--out", Path("runs") / out.name)])
