"""Run docs/theory.md: its outputs, pictures and counted lines are what this script wrote.

python scripts/theory.py            # run every block; write into the page what it prints, and the pictures
python scripts/theory.py --check    # run every block; compare what it prints with the page

Pictures need `pip install 'tgvae[pictures]'` (kaleido) and a Chrome or Chromium browser.
"""

from __future__ import annotations

import ast
import contextlib
import io
import math
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from tgvae.cli.main import keep_memory

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "theory.md"
BLOCK = re.compile(
    r"```python\n(?P<code>.*?)```(?:\n\n```text\n(?P<shown>.*?)```)?(?:\n\n!\[[^\]]+\]\((?P<picture>\S+)\))?", re.DOTALL
)
COUNTED = re.compile(r"(?P<parts>`\S+?\.py\S*`(?:, `\S+`)*) \| \d+ \|$", re.MULTILINE)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class Ran(NamedTuple):
    """A block that has run, what it printed, and its Plotly figure where the page has a picture."""

    block: re.Match[str]
    printed: str
    figure: Any


def run(page: str, change: Callable[[str], str] = str) -> Iterator[Ran]:
    """The Python blocks of the page, ``change``d, one after another in one namespace and the current folder."""
    names: dict[str, Any] = {}
    for block in BLOCK.finditer(page):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(change(block["code"]), str(PAGE), "exec"), names)
        yield Ran(block, printed.getvalue(), names.pop("figure") if block["picture"] else None)


def agree(shown: str, printed: str) -> bool:
    """Whether outputs have the same words, and numbers that are the same but for 5 %, or one of the last place."""
    (words, numbers), (other_words, others) = told(shown), told(printed)
    places = [len(number.partition(".")[2]) for number in numbers]
    pairs = zip(map(float, numbers), map(float, others), places, strict=False)
    return words == other_words and all(math.isclose(a, b, rel_tol=0.05, abs_tol=1.01 * 10.0**-n) for a, b, n in pairs)


def told(output: str) -> tuple[list[list[str]], list[str]]:
    """The words of every line, and all numbers; of lines that start with a blank, which models wrote, nothing."""
    lines = ["" if line.startswith(" ") else line for line in output.splitlines()]
    return [NUMBER.split(line) for line in lines], [number for line in lines for number in NUMBER.findall(line)]


def code_lines(part: str) -> int:
    """Lines of FILE, or of the one function or class FILE:NAME, without blanks, comments and docstrings."""
    path, _, name = part.partition(":")
    text = (ROOT / path).read_text(encoding="utf-8")
    tree: Any = ast.parse(text)
    if name:
        [tree] = [node for node in ast.walk(tree) if getattr(node, "name", None) == name]
    strings = [n for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    left_out = {line for n in strings for line in range(n.lineno, (n.end_lineno or 0) + 1)}
    lines = text.splitlines()
    first, last = (tree.lineno, tree.end_lineno) if name else (1, len(lines))
    kept = [lines[i - 1].strip() for i in range(first, last + 1) if i not in left_out]
    return sum(line != "" and not line.startswith("#") for line in kept)


def recounted(row: re.Match[str]) -> str:
    """The end of a row of the page's table, with the lines of its parts."""
    return f"{row['parts']} | {sum(code_lines(part.strip('`')) for part in row['parts'].split(', '))} |"


def written(page: str, ran: list[Ran]) -> str:
    """The page with what its blocks have printed, and the lines of code as they are now."""
    for done in reversed([done for done in ran if done.block["shown"] is not None]):
        page = page[: done.block.start("shown")] + done.printed + page[done.block.end("shown") :]
    return COUNTED.sub(recounted, page)


def draw(figure: Any, path: Path) -> None:
    """A small PNG on white, of 256 colours."""
    from PIL import Image

    png = figure.update_layout(paper_bgcolor="white").to_image("png", width=700, height=420)
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256).save(path, optimize=True)


def main(check: bool) -> int:
    keep_memory()
    torch.set_num_threads(1)
    page, ran = PAGE.read_text(encoding="utf-8"), []
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        for done in run(page):
            print(done.printed, end="", flush=True)
            ran.append(done)
    if check:
        differ = [done for done in ran if not agree(done.block["shown"] or "", done.printed)]
        print(*(f"The page has\n{done.block['shown']}but now it is\n{done.printed}" for done in differ), sep="\n")
        return int(bool(differ))
    for done in (done for done in ran if done.figure is not None):
        draw(done.figure, PAGE.parent / done.block["picture"])
    PAGE.write_text(written(page, ran), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
