"""The completion script, asked by the shell itself: every command, its options, their choices, names of files."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import out_of
from tgvae.cli.main import COMMANDS, main

ASK = """
source "$1"; shift
complete -p tgvae
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"
_tyro_tgvae
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = r"""
unsetopt prompt_cr prompt_sp; PROMPT=; fpath=({folder} $fpath)
autoload -Uz compinit; compinit -u -d {folder}/dump
shown() {{ print -r -- "<$BUFFER>"; zle kill-buffer }}; zle -N shown; bindkey '^X' shown
print rea''dy
"""
"""Makes Ctrl-X print what has been typed and completed."""
ROOT = Path(__file__).parent.parent
ONLY_HERE = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the command prints, in a file a shell."""
    from tgvae.cli.completion import script

    folder, found = tmp_path_factory.mktemp("completion"), {}
    for shell in ("bash", "zsh"):
        found[shell] = folder / shell
        found[shell].write_text(script(shell), encoding="utf-8")
    return found


def completed(script: Path, *words: str) -> set[str]:
    """What bash offers in place of the last word."""
    ran = subprocess.run(
        ["bash", "-c", ASK, "ask", script, *words], capture_output=True, text=True, check=True, cwd=ROOT
    )
    registered, *offered = ran.stdout.splitlines()
    assert "-o filenames" in registered
    return set(offered) - {""}


class Zsh:
    """The shell at a terminal, as a person uses it."""

    def __init__(self, folder: Path) -> None:
        self._terminal, child = pty.openpty()
        environment = os.environ | {"TERM": "dumb"}
        command = ["zsh", "-f", "-i"]
        self._shell = subprocess.Popen(
            command, stdin=child, stdout=child, stderr=child, env=environment, cwd=ROOT, start_new_session=True
        )
        os.close(child)
        self._seen = ""
        self._type(ZSH.format(folder=folder), r"ready\r?\n")

    def completed(self, typed: str) -> str:
        """What stands on the line after TAB."""
        return self._type(f"{typed}\t\x18", r"<(tgvae.*?)>")[1]

    def _type(self, typed: str, expected: str) -> re.Match[str]:
        os.write(self._terminal, typed.encode())
        end = time.monotonic() + 60
        while (found := re.search(expected, self._seen)) is None:
            assert select.select([self._terminal], [], [], max(0.0, end - time.monotonic()))[0], self._seen
            self._seen += os.read(self._terminal, 65536).decode(errors="replace")
        self._seen = self._seen[found.end() :]
        return found

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._terminal)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes(scripts: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(scripts["zsh"], tmp_path / "_tgvae")
    zsh = Zsh(tmp_path)
    expected = {
        "tgvae ins": "tgvae inspect ",
        "tgvae generate --mix": "tgvae generate --mixture ",
        "tgvae generate runs/sotu --decode.str": "tgvae generate runs/sotu --decode.strategy ",
        "tgvae generate runs/sotu --decode.strategy b": "tgvae generate runs/sotu --decode.strategy beam ",
        "tgvae train --res": "tgvae train --resume ",
        "tgvae train data --model.topic.top": "tgvae train data --model.topic.topics ",
        "tgvae evaluate runs/sotu --split t": "tgvae evaluate runs/sotu --split test ",
        "tgvae topics pypro": "tgvae topics pyproject.toml ",
        "tgvae topics runs/none-such": "tgvae topics runs/none-such",
    }
    try:
        assert {typed: zsh.completed(typed) for typed in expected} == expected
    finally:
        zsh.close()


@ONLY_HERE
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("ins",), {"inspect"}),
        (("generate", "--mix"), {"--mixture"}),
        (("generate", "runs/sotu", "--decode.str"), {"--decode.strategy"}),
        (("generate", "runs/sotu", "--decode.strategy", "b"), {"beam"}),
        (("train", "--res"), {"--resume"}),
        (("train", "data", "--model.topic.top"), {"--model.topic.topics"}),
        (("evaluate", "runs/sotu", "--split", "t"), {"test"}),
        (("topics", "pypro"), {"pyproject.toml"}),
        (("topics", "runs/none-such"), set()),
    ],
)
def test_bash_completes(scripts: dict[str, Path], words: tuple[str, ...], expected: set[str]) -> None:
    assert completed(scripts["bash"], "tgvae", *words) == expected


@ONLY_HERE
def test_bash_knows_every_command(scripts: dict[str, Path]) -> None:
    assert set(COMMANDS) <= completed(scripts["bash"], "tgvae", "")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_script_is_one_that_the_shell_can_read(scripts: dict[str, Path], shell: str) -> None:
    text = scripts[shell].read_text(encoding="utf-8")
    assert all(f"{name!r}: {{'description': {about!r}" in text for name, about in COMMANDS.items())
    assert '-z "$completions" ||' in text, "names of files are offered where nothing else is"
    if shutil.which(shell):
        subprocess.run([shell, "-n", scripts[shell]], check=True)


def test_the_command_prints_it(scripts: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert out_of(capsys, "completion", "zsh") == scripts["zsh"].read_text(encoding="utf-8")


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["completion", "cmd"])
    assert stopped.value.code == 2
    assert "bash" in capsys.readouterr().err


def test_a_mistyped_option_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["topics", "runs/sotu", "--sentecnes", "3"])
    assert stopped.value.code == 2
    assert "--sentences" in capsys.readouterr().err
