"""What commands print.

Results (text, tables or JSON) go to standard output alone, so they can be piped. Progress, remarks and next steps go to
standard error. With --json no next steps are printed.
"""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from tgvae.config_io import nan_to_none

PIPE_WIDTH = 160  # characters per line of tables that are written to a file or pipe


def table_console() -> Console:
    """Return a console for tables on standard output, as wide as the terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def print_json(value: Any) -> None:
    """Print one JSON object, indented; NaN becomes null."""
    print(json.dumps(nan_to_none(value), indent=2, ensure_ascii=False, allow_nan=False))


def open_output(out: Path | None, size: int = 0) -> Any:
    """Return a context manager of the output file, cut to ``size`` bytes, or of standard output."""
    if out is None:
        # Characters that the encoding of the terminal lacks are printed as escapes.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        return nullcontext(sys.stdout)
    out.parent.mkdir(parents=True, exist_ok=True)
    file = out.open("a", encoding="utf-8", errors="backslashreplace", newline="\n")
    file.truncate(size)
    return file


def command(*words: object) -> str:
    """Return a tgvae command line, quoted for the shell.

    Examples:
        >>> command("topics", "my runs/sotu")
        "tgvae topics 'my runs/sotu'"
    """
    return shlex.join(["tgvae", *map(str, words)])


def print_next_steps(wrote: Iterable[object] = (), steps: Iterable[str] = ()) -> None:
    """Print the files that were written and what to do next, one per line, to standard error."""
    sys.stdout.flush()  # if both are the same terminal, the result comes first
    for name, items in (("wrote", wrote), ("next", steps)):
        for number, item in enumerate(items):
            print(" " * len(name) + "  " if number else f"{name}: ", item, sep="", file=sys.stderr)
