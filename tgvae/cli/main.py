"""The command line: `tgvae COMMAND ...` finds the command, which parses its options, runs and prints.

Commands are imported when they are called, so `tgvae --help` starts fast and does not import torch.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from collections.abc import Sequence

from tgvae.errors import Stopped, UserError, suggestion, user_message

COMMANDS = {
    "demo": "prepare, train and evaluate on the embedded corpus (about 5 minutes)",
    "download": "download a pretrained language model to use as decoder",
    "prepare": "make a prepared folder from a corpus",
    "inspect": "describe a prepared folder",
    "train": "train a recipe on a prepared folder, vectors or a graph, or resume a run",
    "topics": "topics of a run: share, coherence, words, typical sentences",
    "generate": "generate sentences by topic, mixture or example; interpolate and reconstruct",
    "infer": "topic proportions of new documents",
    "score": "log-probability and perplexity of sentences and documents",
    "summarize": "summarize texts, files, folders and tables",
    "evaluate": "measure runs: metrics with units, standard errors and baselines, and an HTML report",
    "show": "applications of a VAE, a plot each: samples, completion, clusters, anomalies, ...",
    "reproduce": "train a run again from its corpus and compare data, weights and sentences",
    "serve": "serve a web page and a JSON API for a run",
    "compare": "compare evaluated runs, with confidence intervals of the differences",
    "plot": "plot a run to files: topics, maps, documents, latents, training",
    "completion": "print a completion script for bash or zsh",
}
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # from malloc.h
USAGE = """usage: tgvae COMMAND [options]

commands:
{}

To begin:
  tgvae demo                                        # everything, on an embedded corpus
  tgvae prepare FILES --out prepared/mine           # or with your own .txt, .csv, .jsonl or .parquet files
  tgvae train prepared/mine --out runs/mine

`tgvae COMMAND --help` shows options and examples of a command; with --json its result is JSON.
Results go to standard output, everything else to standard error. --debug shows the traceback of an error.
Exit status: 0 success; 1 `tgvae reproduce` found a difference, or a bug in tgvae; 2 an error that the message explains;
130 and 143 stopped by Ctrl-C and by SIGTERM.
tgvae runs on Linux and macOS; on Windows use WSL 2.
Documentation: README.md and docs/ in the source; the command line is in docs/reference/commands.md."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0, 2 for errors of the user, or 130 or 143 after a signal."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        status = dispatch(arguments)
        sys.stdout.flush()  # raises BrokenPipeError here instead of at exit
        return status
    except Stopped as stop:
        print(f"tgvae: {stop}", file=sys.stderr)
        return 128 + stop.signal
    except KeyboardInterrupt:
        print("tgvae: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has closed the pipe, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (UserError, OSError, MemoryError, RuntimeError) as error:
        message = user_message(error)
        if debug or not message:
            raise
        print(f"tgvae: {message}", file=sys.stderr)
        return 2


def dispatch(arguments: Sequence[str]) -> int:
    """Print help or the version, or run a command. Return 2 if no command was given, otherwise 0."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE.format("\n".join(f"  {name:12}{text}" for name, text in COMMANDS.items())))
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"tgvae {version('tgvae')}")
        return 0
    run(arguments[0], arguments[1:])
    return 0


def run(name: str, arguments: Sequence[str]) -> None:
    """Import and run a command.

    Raises:
        UserError: there is no such command, or the platform is not supported.
    """
    if name not in COMMANDS:
        raise UserError(f"no command {name!r}{suggestion(name, COMMANDS) or '; see `tgvae --help`'}")
    if sys.platform == "win32":  # folders cannot be synced to disk there, which every atomic write does
        raise UserError("Windows is not supported; use Linux, macOS, or WSL 2 on Windows")
    # Set before torch is imported: spinning threads halve the speed when another process uses a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_memory()
    from tgvae.progress import showing, step

    with showing():
        with step(f"starting tgvae {name}"):
            command = importlib.import_module(f"tgvae.cli.{name}")
        command.main(arguments)


def keep_memory() -> None:
    """Configure glibc to reuse freed blocks instead of returning them to the system; no effect without glibc.

    Otherwise every training step pays for page faults: the softmax over 8,500 words took 1.45 times as long. Two
    arenas instead of eight per core: every thread fragments its arena, and memory grew for hours.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        library.mallopt(M_ARENA_MAX, 2)


if __name__ == "__main__":
    sys.exit(main())
