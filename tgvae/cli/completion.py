"""`tgvae completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import tyro

from tgvae.cli.main import COMMANDS
from tgvae.cli.options import parse
from tgvae.cli.output import print_next_steps
from tgvae.cli.train import options_of
from tgvae.recipes import RECIPES

Shell = Literal["bash", "zsh"]
FOR_FILES = '"$completions" == "__TYRO_COMPLETE_FILES__"'
CHANGES = {
    FOR_FILES: f'-z "$completions" || {FOR_FILES}',
    'compgen -f -- "$cur"': 'compgen -f -- "${COMP_WORDS[COMP_CWORD]}"',
    "complete -F": "complete -o filenames -F",
} | {
    f"{name!r}: {{'description': {name!r}": f"{name!r}: {{'description': {about!r}" for name, about in COMMANDS.items()
}
"""What to put for what in the scripts of tyro: names of files where nothing else is offered, and what commands do."""


@dataclass(frozen=True)
class Completion:
    """Print a script that completes commands, options and names of files at the TAB key.

    Save it where the shell looks for such scripts; do so again after an update of tgvae.

    Examples:
      tgvae completion bash > ~/.local/share/bash-completion/completions/tgvae
      tgvae completion zsh > ~/.zfunc/_tgvae    # with fpath+=~/.zfunc before compinit in ~/.zshrc
    """

    shell: tyro.conf.Positional[Shell]
    """Yours: echo $SHELL tells."""


def main(arguments: Sequence[str]) -> None:
    print(script(parse(Completion, "completion", arguments).shell), end="")
    if sys.stdout.isatty():  # else a shell reads it, perhaps whenever it starts
        print_next_steps(steps=["save it where the shell looks for such scripts: tgvae completion --help"])


def script(shell: Shell) -> str:
    """The completion script of a shell, for all commands and their options."""
    commands = [Annotated[options_by(name), tyro.conf.subcommand(name)] for name in COMMANDS]
    any_of: Any = Union[tuple(commands)]  # noqa: UP007 (X | Y wants them by name)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        tyro.cli(any_of, prog="tgvae", args=["--tyro-print-completion", shell])
    text = printed.getvalue()
    for tyros, ours in CHANGES.items():
        text = text.replace(tyros, ours)
    return text


def options_by(command: str) -> type:
    """The dataclass of a command's options; of ``train`` those of its default recipe, and --resume."""
    if command != "train":
        found: type = getattr(import_module(f"tgvae.cli.{command}"), command.capitalize())
        return found
    resume: Any = Annotated[Path | None, tyro.conf.arg(help="A run folder to go on with.")]
    options = options_of("tgvae", RECIPES["tgvae"]())
    return make_dataclass("Train", [("resume", resume, None)], bases=(options,))
