"""The door to tyro: a dataclass of options from arguments."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TypeVar

import tyro

Options = TypeVar("Options")


def parse(options: type[Options], command: str, arguments: Sequence[str]) -> Options:
    """The options of a command; its help is the docstring of the class, examples included.

    Raises:
        SystemExit: after --help (0), or with a message for arguments that do not fit (2).
    """
    about = inspect.cleandoc(options.__doc__ or "")
    return tyro.cli(options, args=arguments, prog=f"tgvae {command}", description=about)
