"""The door to tyro: a dataclass of options from arguments."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection, Sequence
from typing import TypeVar

import tyro

from tgvae.errors import UserError

Options = TypeVar("Options")


def parse(options: type[Options], command: str, arguments: Sequence[str], default: Options | None = None) -> Options:
    """The options of a command; its help is the docstring of the class, examples included.

    ``default`` gives other defaults than those of the class.

    Raises:
        SystemExit: after --help (0), or with a message for arguments that do not fit (2).
    """
    about = inspect.cleandoc(options.__doc__ or "")
    prog = f"tgvae {command}"
    if default is None:
        return tyro.cli(options, args=arguments, prog=prog, description=about)
    return tyro.cli(options, args=arguments, prog=prog, description=about, default=default)


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
        close = difflib.get_close_matches(name, recipes, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(recipes)}"
        raise UserError(f"no recipe {name!r}; {hint}")
    return name
