"""`tgvae completion`: a script that completes commands, options and their choices in bash or zsh."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tgvae.cli.main import COMMANDS
from tgvae.cli.options import parse
from tgvae.cli.output import print_next_steps
from tgvae.cli.train import train_options
from tgvae.recipes import RECIPES

Shell = Literal["bash", "zsh"]
# An empty list makes both shells complete file names.
BASH = """_tgvae() {{
  local found=()
  if (( COMP_CWORD == 1 )); then
    found=({commands})
  else
    case "${{COMP_WORDS[1]}} ${{COMP_WORDS[COMP_CWORD-1]}} ${{COMP_WORDS[COMP_CWORD]}}" in
{cases}
    esac
  fi
  COMPREPLY=($(compgen -W "${{found[*]}}" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -o filenames -F _tgvae tgvae
"""
ZSH = """#compdef tgvae
local -a found
if (( CURRENT == 2 )); then
  found=({commands})
  _describe command found
else
  case "${{words[2]}} ${{words[CURRENT-1]}} ${{words[CURRENT]}}" in
{cases}
  esac
  if (( $#found )); then compadd -- $found; else _files; fi
fi
"""


@dataclass(frozen=True)
class Completion:
    """Print a script that completes commands, options and file names with the TAB key.

    Save it where the shell looks for completion scripts, and again after an update of tgvae.

    Examples:
      tgvae completion bash > ~/.local/share/bash-completion/completions/tgvae
      tgvae completion zsh > ~/.zfunc/_tgvae    # with fpath+=~/.zfunc before compinit in ~/.zshrc
    """

    shell: tyro.conf.Positional[Shell]
    """Your shell; see `echo $SHELL`."""


def main(arguments: Sequence[str]) -> None:
    print(script(parse(Completion, "completion", arguments).shell), end="")
    if sys.stdout.isatty():
        print_next_steps(steps=["save it where the shell looks for completion scripts: tgvae completion --help"])


def script(shell: Shell) -> str:
    """Return the completion script of a shell."""
    options = {command: list_options(command) for command in COMMANDS}
    cases = []
    for command, choices in options.items():
        for option, values in choices.items():
            if values:
                cases.append(f'''    "{command} {option} "*) found=({" ".join(values)}) ;;''')
        names = " ".join(option for option in choices if option != command)
        cases.append(f'''    "{command} "*" -"*) found=({names}) ;;''')
    if shell == "bash":
        return BASH.format(commands=" ".join(COMMANDS), cases="\n".join(cases))
    described = " ".join(f"'{name}:{about.replace(':', chr(92) + ':')}'" for name, about in COMMANDS.items())
    return ZSH.format(commands=described, cases="\n".join(cases))


def list_options(command: str) -> dict[str, list[str]]:
    """Return the options of a command as its help lists them, each with its choices.

    The choices of the first positional argument are those of the command's own name.
    """
    printed, columns = io.StringIO(), os.environ.get("COLUMNS", "")
    os.environ["COLUMNS"] = "1000"  # so that lists of choices are not wrapped
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            tyro.cli(options_class(command), args=["--help"])
    finally:
        os.environ["COLUMNS"] = columns
    found: dict[str, list[str]] = {}
    # Cells of the help, such as "--json, --no-json" or "--what [{topics,map} [...]]". A wide help has several columns.
    for cell in re.split(r"\s{2,}|\s\|\s|\n", printed.getvalue()):
        names = re.findall(r"--[a-z][\w./-]*", cell) if cell.startswith(("-h", "--")) else []
        choices = re.search(r"\{([\w-]+(?:,[\w-]+)+)\}", cell)
        if names or (choices and cell.startswith(("{", "| {"))):
            found |= dict.fromkeys(names or [command], choices[1].split(",") if choices else [])
    return found


def options_class(command: str) -> type:
    """Return the dataclass of a command's options; for ``train`` that of its default recipe, with --resume."""
    if command != "train":
        found: type = getattr(import_module(f"tgvae.cli.{command}"), command.capitalize())
        return found
    resume: Any = Annotated[Path | None, tyro.conf.arg(help="A run folder to resume.")]
    return make_dataclass("Train", [("resume", resume, None)], bases=(train_options("tgvae", RECIPES["tgvae"]()),))
