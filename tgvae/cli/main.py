"""The command line: `tgvae COMMAND ...`. Thin: find the command, parse, call, print.

Commands are imported when they are called, so that `tgvae --help` needs neither torch nor a second.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from collections.abc import Sequence

from tgvae.errors import Stopped, UserError, in_words, meant

COMMANDS = {
    "demo": "prepare, train and show everything on the embedded corpus (about 5 minutes)",
    "download": "a pretrained language model, to use as decoder",
    "prepare": "a corpus to a prepared folder",
    "inspect": "what a prepared folder holds",
    "train": "a prepared folder, vectors or a graph to a run: train a recipe, or resume",
    "topics": "the topics of a run: share, coherence, words, nearest sentences",
    "generate": "sentences by topic, mixture, example document, interpolation or reconstruction",
    "summarize": "summaries of texts, files, folders and tables",
    "evaluate": "how good runs are: figures with units, estimators, errors and baselines; a page of pictures",
    "show": "what a VAE is used for, a picture each: samples, completion, clusters, anomalies, ...",
    "reproduce": "a run made anew from its corpus, and compared: data, weights, sentences",
    "serve": "a page to play with a run, and a JSON API",
    "compare": "evaluated runs side by side, differences with confidence intervals",
    "plot": "pictures of a run, a file each: topics, their map, documents, latents, training",
    "completion": "a script that lets bash or zsh complete commands and options",
}
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of malloc.h
USAGE = """usage: tgvae COMMAND [options]

commands:
{}

To begin:
  tgvae demo                                        # everything, on a corpus that comes with it
  tgvae prepare FILES --out prepared/mine           # or with documents of your own, in .txt, .csv, .jsonl, .parquet
  tgvae train prepared/mine --out runs/mine

`tgvae COMMAND --help` shows the options and examples of a command; --json makes its result JSON.
Results go to standard output, all else to standard error; --debug shows the traceback of an error.
Exit status: 0 done; 1 `tgvae reproduce` found a difference, or a bug of tgvae; 2 a mistake that the message says how
to mend; 130 and 143 stopped by Ctrl-C and by SIGTERM.
Documentation: README.md and docs/ of the source; docs/reference/commands.md is about the command line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 2 for what the user can mend, 130 or 143 when stopped by a signal."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        status = answer(arguments)
        sys.stdout.flush()  # here, where a reader that has gone is no error
        return status
    except Stopped as stop:
        print(f"tgvae: {stop}", file=sys.stderr)
        return 128 + stop.signal
    except KeyboardInterrupt:
        print("tgvae: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (UserError, OSError, MemoryError, RuntimeError) as error:
        if debug or not (told := in_words(error)):
            raise
        print(f"tgvae: {told}", file=sys.stderr)
        return 2


def answer(arguments: Sequence[str]) -> int:
    """Give help or the version, or run a command; returns 2 for help that nobody asked for, else 0."""
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
    """Parse the arguments of a command by its signature, and call it.

    Raises:
        UserError: no such command.
    """
    if name not in COMMANDS:
        raise UserError(f"no command {name!r}{meant(name, COMMANDS) or '; see `tgvae --help`'}")
    # Before torch is loaded: threads that wait by spinning halve the speed when another job holds a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_memory()
    from tgvae.progress import showing, step

    with showing():
        with step(f"starting tgvae {name}"):
            command = importlib.import_module(f"tgvae.cli.{name}")
        command.main(arguments)


def keep_memory() -> None:
    """Let the C library keep freed blocks for the next step instead of giving them back to the system.

    Else every step of training pays for page faults: the softmax over 8,500 words took 1.45 times as long in a
    trial. Blocks are kept in two places, not in eight a core: threads that write leave holes in each of them, and
    memory grows for hours. Without effect where the C library is not glibc.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        library.mallopt(M_ARENA_MAX, 2)


if __name__ == "__main__":
    sys.exit(main())
