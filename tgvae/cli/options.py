"""Parses the options of a command into a dataclass, with suggestions for misspelled values."""

from __future__ import annotations

import inspect
import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

from tgvae.errors import UserError, closest, suggestion

Options = TypeVar("Options")


def parse(options: type[Options], command: str, arguments: Sequence[str], default: Options | None = None) -> Options:
    """Parse the arguments of a command. Its help text is the docstring of the class.

    Args:
        options: a dataclass.
        command: its name.
        arguments: without the name; ~ is expanded, also in --out=~/x, which shells leave as it is.
        default: other defaults than those of the class.

    Raises:
        SystemExit: after --help (0), or for invalid arguments (2).
    """
    about, prog = wrap_paragraphs(inspect.cleandoc(options.__doc__ or "")), f"tgvae {command}"
    arguments = [expand_home(argument) for argument in arguments]
    try:
        if default is None:
            return tyro.cli(options, args=arguments, prog=prog, description=about)
        return tyro.cli(options, args=arguments, prog=prog, description=about, default=default)
    except SystemExit as stop:
        if stop.code and (hints := suggest_choices(options, arguments)):
            print(f"did you mean {', '.join(hints)}?", file=sys.stderr)
        raise


def expand_home(argument: str) -> str:
    """Expand ~ at the start of an argument, or of the value in --option=value.

    Examples:
        >>> expand_home("--out=~/runs") == "--out=" + os.path.expanduser("~/runs")
        True
    """
    name, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return name + equals + os.path.expanduser(value)


def wrap_paragraphs(text: str) -> str:
    """Wrap paragraphs to the width of the terminal; lists and examples are not changed."""
    width = min(100, shutil.get_terminal_size().columns)
    # Continuation lines are indented because tyro would join them otherwise.
    wrapped = (b if "\n " in b else textwrap.fill(b, width, subsequent_indent="  ") for b in text.split("\n\n"))
    return "\n\n".join(wrapped)


def suggest_choices(options: type, arguments: Sequence[str]) -> list[str]:
    """Return the quoted choices that misspelled values are closest to."""
    choices, option = [*literal_choices(options)], next(iter(get_type_hints(options)))  # first values are positional
    found = []
    for argument in arguments:
        value = argument
        if argument.startswith("--"):
            option, _, value = argument[2:].rpartition(".")[2].partition("=")
        known = [choice for name, choice in choices if name == option]
        if value and value not in known and (close := closest(value, known)):
            found.append(repr(close))
    return found


def literal_choices(kind: Any, option: str = "") -> Iterator[tuple[str, str]]:
    """Yield (option, choice) for every Literal in a dataclass, including nested dataclasses."""
    if is_dataclass(kind):
        for name, field in get_type_hints(kind).items():
            yield from literal_choices(field, name.replace("_", "-"))
    elif get_origin(kind) is Literal:
        yield from ((option, str(choice)) for choice in get_args(kind))
    else:
        for part in get_args(kind):
            yield from literal_choices(part, option)


def recipe_name(arguments: Sequence[str], recipes: Collection[str], default: str) -> str:
    """Return the value of ``--recipe``, which determines the defaults of all other options.

    Raises:
        UserError: there is no such recipe.
    """
    name = default
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == "--recipe":
            name = following
        elif argument.startswith("--recipe="):
            name = argument.removeprefix("--recipe=")
    if name not in recipes:
        raise UserError(f"no recipe {name!r}{suggestion(name, recipes) or '; choose from ' + ', '.join(recipes)}")
    return name


def require_device(name: str) -> None:
    """Raises UserError if tensors cannot be created on the device."""
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (AssertionError, RuntimeError) as error:  # AssertionError if torch was built without CUDA
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"--device {name}: {reason}; give cpu, or a device of this machine") from error
