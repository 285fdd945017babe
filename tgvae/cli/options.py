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
        if stop.code and (
            hints := meant_choices(arguments, [*choices_of(options)], next(iter(get_type_hints(options))))
        ):
            print(f"did you mean {', '.join(hints)}?", file=sys.stderr)
        raise


def filled(text: str) -> str:
    """The paragraphs of a text as wide as the terminal; lists stay as they are.

    Lines but the first are set in, or the parser would join them again.
    """
    width = min(100, shutil.get_terminal_size().columns)
    blocks = text.split("\n\n")
    return "\n\n".join(b if "\n " in b else textwrap.fill(b, width, subsequent_indent="  ") for b in blocks)


def choices_of(kind: Any, option: str = "") -> Iterator[tuple[str, str]]:
    """Each choice of an option of a dataclass, after the option's name, and those of the dataclasses in it."""
    if is_dataclass(kind):
        for name, field in get_type_hints(kind).items():
            yield from choices_of(field, name.replace("_", "-"))
    elif get_origin(kind) is Literal:
        yield from ((option, str(choice)) for choice in get_args(kind))
    else:
        for part in get_args(kind):
            yield from choices_of(part, option)


def meant_choices(arguments: Sequence[str], choices: Collection[tuple[str, str]], first: str) -> list[str]:
    """Choices that values of their option are nearly spelt like; the first values are those of ``first``."""
    option, found = first, []
    for argument in arguments:
        value = argument
        if argument.startswith("--"):
            option, _, value = argument[2:].rpartition(".")[2].partition("=")
        known = [choice for name, choice in choices if name == option]
        if value and value not in known and (close := closest(value, known)):
            found.append(repr(close))
    return found


def require_device(name: str) -> None:
    """Raises UserError where nothing can be computed on a device of this name."""
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (AssertionError, RuntimeError) as error:  # the first where torch was built without CUDA
        raise UserError(
            f"--device {name}: {str(error).splitlines()[0][:200]}; give cpu, or a device of this machine"
        ) from error


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
