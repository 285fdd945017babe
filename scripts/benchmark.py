"""Benchmarks: `python scripts/benchmark.py NAME [options]`; see `--help`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import tyro
from rich.console import Console

from benchmarks.measuring import Row, save, table
from tgvae.errors import UserError

BENCHMARKS = {
    "training": ("training:Training", "training throughput compared with a textbook text VAE and public ones"),
    "generation": ("generation:Generation", "generation throughput compared with a loop over single tokens"),
    "startup": ("generation:Startup", "seconds until help, an import, a loaded run and a first sentence"),
    "preparation": ("corpora:Preparation", "documents per second of `tgvae prepare`, by engine and workers"),
    "tools": ("corpora:Tools", "topic models compared with gensim, tomotopy and NMF"),
    "costs": ("corpora:Costs", "time, memory and quality over the sizes of model, corpus and training"),
    "serving": ("serving:Serving", "requests per second, latency and memory of `tgvae serve`"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a benchmark, print its table and save it; return 0, or 2 for a mistake of the user."""
    name, *arguments = (sys.argv[1:] if argv is None else argv) or [""]
    if name not in BENCHMARKS:
        names = "\n".join(f"  {name:13}{text}" for name, (_, text) in BENCHMARKS.items())
        print(f"usage: benchmark.py NAME [options]\n\n{names}\n\n`benchmark.py NAME --help` shows its options.")
        return 0 if name in ("-h", "--help") else 2
    try:
        module, options = BENCHMARKS[name][0].split(":")
        kind = getattr(importlib.import_module(f"benchmarks.{module}"), options)
        benchmark = tyro.cli(kind, args=arguments, prog=f"benchmark.py {name}")
        found: list[Row] = benchmark.measure()
    except UserError as error:
        print(f"benchmark.py: {error}", file=sys.stderr)
        return 2
    Console(width=None if sys.stdout.isatty() else 240).print(table(name, found).to_rich())
    if benchmark.out:
        save(benchmark.out, [name, *arguments], benchmark, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
