"""What commands tell, and where.

The result, sentences or a table or JSON, goes to standard output and nothing else does: it can be piped. Progress,
remarks and the closing words, which name the files that were written and what to do next, go to standard error.
With --json there are no closing words: what they say stands in the object.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console

from tgvae.config_io import plain

PIPED = 160  # characters a line where there is no terminal, so that files and pipes get whole tables


def table_console() -> Console:
    """Where tables go: the terminal, as wide as it is, or a pipe."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPED)


def print_json(found: Any) -> None:
    """Print one JSON object, indented."""
    print(json.dumps(plain(found), indent=2, ensure_ascii=False, allow_nan=False))


def command(*words: object) -> str:
    """A command line of tgvae that can be pasted into a shell."""
    return shlex.join(["tgvae", *map(str, words)])


def end(wrote: Iterable[object] = (), then: Iterable[str] = ()) -> None:
    """Print the closing words: files and folders that were written, and what to do next, a line each."""
    sys.stdout.flush()  # where both are one terminal, the result comes first
    for name, items in (("wrote", wrote), ("next", then)):
        for number, item in enumerate(items):
            print(" " * len(name) + "  " if number else f"{name}: ", item, sep="", file=sys.stderr)
