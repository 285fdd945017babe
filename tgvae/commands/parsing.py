"""The door to tyro: a dataclass of options from arguments."""

from __future__ import annotations

import inspect
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

from tgvae.errors import UserError, closest, meant

Options = TypeVar("Options")


def parse(options: type[Options], command: str, arguments: Sequence[str], default: Options | None = None) -> Options:
    """The options of a command; its help is the docstring of the class, examples included.

    ``default`` gives other defaults than those of the class.

    Raises:
        SystemExit: after --help (0), or with a message for arguments that do not fit (2).
    """
    about, prog = filled(inspect.cleandoc(options.__doc__ or "")), f"tgvae {command}"
    try:
        if default is None:
            return tyro.cli(options, args=arguments, prog=prog, description=about)
        return tyro.cli(options, args=arguments, prog=prog, description=about, default=default)
    except SystemExit as stop:
        if stop.code and (hints := meant_choices(arguments, set(choices_of(options)))):
            print(f"did you mean {', '.join(hints)}?", file=sys.stderr)
        raise


def filled(text: str) -> str:
    """The paragraphs of a text as wide as the terminal; lists stay as they are.

    Lines but the first are set in, or the parser would join them again.
    """
    width = min(100, shutil.get_terminal_size().columns)
    blocks = text.split("\n\n")
    return "\n\n".join(b if "\n " in b else textwrap.fill(b, width, subsequent_indent="  ") for b in blocks)


def choices_of(kind: Any) -> Iterator[str]:
    """The names that options of a dataclass may be given, and those of the dataclasses in it."""
    if is_dataclass(kind):
        for field in get_type_hints(kind).values():
            yield from choices_of(field)
    elif get_origin(kind) is Literal:
        yield from map(str, get_args(kind))
    else:
        for part in get_args(kind):
            yield from choices_of(part)


def meant_choices(arguments: Sequence[str], choices: Collection[str]) -> list[str]:
    """Choices that arguments are nearly spelt like, none of which is one."""
    values = (a.rpartition("=")[2] if a.startswith("--") else a for a in arguments)
    found = (closest(value, choices) for value in values if value and value not in choices)
    return [repr(choice) for choice in dict.fromkeys(found) if choice is not None]


def require_device(name: str) -> None:
    """Raises UserError where nothing can be computed on a device of this name."""
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (AssertionError, RuntimeError) as error:  # the first where torch was built without CUDA
        raise UserError(f"--device {name}: {str(error).splitlines()[0][:200]}; give cpu, cuda or cuda:1") from error


def recipe_name(arguments: Sequence[str], recipes: Collection[str], default: str) -> str:
    """What ``--recipe`` names, which decides the defaults of all other options.

    Raises:
        UserError: there is no such recipe.
    """
    name = default
    for here, after in zip(arguments, [*arguments[1:], ""], strict=True):
        if here == "--recipe":
            name = after
        elif here.startswith("--recipe="):
            name = here.removeprefix("--recipe=")
    if name not in recipes:
        raise UserError(f"no recipe {name!r}{meant(name, recipes) or '; choose from ' + ', '.join(recipes)}")
    return name
