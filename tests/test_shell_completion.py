"""The completion scripts in real shells: commands, options, their choices and file names."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import out_of
from tgvae.cli.completion import list_options, script
from tgvae.cli.main import COMMANDS, main

ROOT = Path(__file__).parent.parent
# Ctrl-X prints the command line and clears it. "rea''dy" prints a word that the echo of the input does not contain.
SETUP = {
    "bash": r"""bind 'set enable-bracketed-paste off'; source {script}; printf '\n'; PS1=; """
    r"""show() {{ echo "<$READLINE_LINE>"; READLINE_LINE=; READLINE_POINT=0; }}; """
    r"""bind -x '"\C-x": show'; echo rea''dy""",
    "zsh": r"""unsetopt prompt_cr prompt_sp; PROMPT=; fpath=({folder} $fpath); """
    r"""autoload -Uz compinit; compinit -u -d {folder}/dump; """
    r"""shown() {{ print -r -- "<$BUFFER>"; zle kill-buffer }}; zle -N shown; bindkey '^X' shown; print rea''dy""",
}
COMMAND_LINES = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}


class InteractiveShell:
    """A shell in a pseudo-terminal."""

    def __init__(self, name: str, folder: Path) -> None:
        self._terminal, child = pty.openpty()
        self._shell = subprocess.Popen(
            COMMAND_LINES[name],
            stdin=child,
            stdout=child,
            stderr=child,
            env=os.environ | {"TERM": "dumb"},
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(child)
        self._output = ""
        self._type(SETUP[name].format(script=folder / "_tgvae", folder=folder) + "\n", r"ready\r?\n")

    def complete(self, typed: str) -> str:
        """Return the command line after TAB."""
        return self._type(f"{typed}\t\x18", r"<(tgvae.*?)>")[1]

    def _type(self, typed: str, expected: str) -> re.Match[str]:
        os.write(self._terminal, typed.encode())
        deadline = time.monotonic() + 60
        while (found := re.search(expected, self._output)) is None:
            assert select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))[0], self._output
            self._output += os.read(self._terminal, 65536).decode(errors="replace")
        self._output = self._output[found.end() :]
        return found

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._terminal)


@pytest.fixture(params=["bash", "zsh"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[InteractiveShell]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    (tmp_path / "_tgvae").write_text(script(request.param), encoding="utf-8")
    shell = InteractiveShell(request.param, tmp_path)
    yield shell
    shell.close()


def test_shells_complete(shell: InteractiveShell) -> None:
    expected = {
        "tgvae ins": "tgvae inspect ",
        "tgvae generate --mix": "tgvae generate --mixture ",
        "tgvae generate runs/sotu --decode.str": "tgvae generate runs/sotu --decode.strategy ",
        "tgvae generate runs/sotu --decode.strategy b": "tgvae generate runs/sotu --decode.strategy beam ",
        "tgvae train --res": "tgvae train --resume ",
        "tgvae train data --model.topic.top": "tgvae train data --model.topic.topics ",
        "tgvae evaluate runs/sotu --split t": "tgvae evaluate runs/sotu --split test ",
        "tgvae show mani": "tgvae show manifold ",
        "tgvae topics pypro": "tgvae topics pyproject.toml ",
        "tgvae topics runs/none-such": "tgvae topics runs/none-such",
    }
    assert {typed: shell.complete(typed) for typed in expected} == expected


def test_options_are_listed_with_their_choices() -> None:
    options = list_options("generate")
    assert options["--decode.strategy"] == ["sample", "greedy", "beam"]
    assert options["--num"] == options["--between"] == []
    assert {"--help", "--json", "--no-json"} <= set(options)
    assert list_options("completion")["completion"] == ["bash", "zsh"]


def test_the_command_prints_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    printed = out_of(capsys, "completion", "zsh")
    assert printed == script("zsh")
    assert all(f"'{name}:" in printed for name in COMMANDS)


def test_other_shells_are_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["completion", "cmd"])
    assert stopped.value.code == 2
    assert "bash" in capsys.readouterr().err
