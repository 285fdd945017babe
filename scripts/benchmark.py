"""Speed, measured: `python scripts/benchmark.py COMMAND ...`; see `--help`, and docstrings in scripts/benchmarks/."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import tyro

from benchmarks.reporting import report
from tgvae.errors import UserError

COMMANDS = {
    "peak": "matrix products a second: what the machine can do",
    "training": "tokens a second, share of the peak, memory and start-up of training",
    "profile": "milliseconds of a training step by part",
    "peers": "training beside other text VAEs and a textbook one, on the same sentences",
    "generation": "sentences a second, beside a loop over single tokens; documents a second of a summarizer",
    "topics": "documents a second of topic models, beside a textbook one",
    "lda": "seconds until a coherence that the topic model reached, beside LDA",
    "tools": "time, coherence and diversity of topics beside gensim, tomotopy and NMF",
    "preparation": "documents a second of preparation over engines and workers",
    "costs": "time, memory, disk and quality over the sizes of a model, its corpus and its training",
    "serving": "requests a second, latency and memory of `tgvae serve` by number of clients",
    "scale": "cost over sizes of the vocabulary, the length, the topics and the corpus",
    "startup": "seconds until help, an import, a run, a first sentence",
    "compare": "ratios of two results",
    "ab": "a command in turn from this tree and from another checkout, with an interval of the ratio",
}
USAGE = "usage: benchmark.py COMMAND [options]\n\ncommands:\n{}\n\n`benchmark.py COMMAND --help` shows its options."


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, or 2 for a mistake that the user can mend."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] not in COMMANDS:
        print(USAGE.format("\n".join(f"  {name:12}{text}" for name, text in COMMANDS.items())))
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    module = importlib.import_module(f"benchmarks.{arguments[0]}")
    options = tyro.cli(module.Options, args=arguments[1:], prog=f"benchmark.py {arguments[0]}")
    try:
        report(arguments, options, module.run(options))
    except UserError as error:
        print(f"benchmark.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
