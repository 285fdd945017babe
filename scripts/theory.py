"""Run the code of docs/theory.md, and update or check the outputs and figures on the page.

python scripts/theory.py            # run every block; write its output and its figure into the page
python scripts/theory.py --check    # run every block; compare its output with the page

Figures need `pip install 'tgvae[pictures]'` (kaleido) and a Chrome or Chromium browser.
"""

from __future__ import annotations

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

PAGE = Path(__file__).parent.parent / "docs" / "theory.md"
BLOCK = re.compile(
    r"```python\n(?P<code>.*?)```(?:\n\n```text\n(?P<output>.*?)```)?(?:\n\n!\[[^\]]+\]\((?P<figure>\S+)\))?", re.DOTALL
)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class Executed(NamedTuple):
    """A code block of the page, what it printed, and its Plotly figure if the page shows one."""

    block: re.Match[str]
    printed: str
    figure: Any


def run(page: str, change: Callable[[str], str] = str) -> Iterator[Executed]:
    """Execute the Python blocks of the page in order, in one namespace, after applying ``change`` to their code."""
    namespace: dict[str, Any] = {}
    for block in BLOCK.finditer(page):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(change(block["code"]), str(PAGE), "exec"), namespace)
        yield Executed(block, printed.getvalue(), namespace.pop("figure") if block["figure"] else None)


def agree(expected: str, printed: str) -> bool:
    """Return whether outputs have the same words, and numbers within 5 % or one unit of the last decimal place."""
    (words, numbers), (other_words, others) = split_numbers(expected), split_numbers(printed)
    places = [len(number.partition(".")[2]) for number in numbers]
    pairs = zip(map(float, numbers), map(float, others), places, strict=False)
    return words == other_words and all(math.isclose(a, b, rel_tol=0.05, abs_tol=1.01 * 10.0**-n) for a, b, n in pairs)


def split_numbers(output: str) -> tuple[list[list[str]], list[str]]:
    """Return the words of each line and all numbers; indented lines are text of models and are ignored."""
    lines = ["" if line.startswith(" ") else line for line in output.splitlines()]
    return [NUMBER.split(line) for line in lines], [number for line in lines for number in NUMBER.findall(line)]


def update(page: str, executed: list[Executed]) -> str:
    """Return the page with the printed outputs."""
    for done in reversed([done for done in executed if done.block["output"] is not None]):
        page = page[: done.block.start("output")] + done.printed + page[done.block.end("output") :]
    return page


def save_figure(figure: Any, path: Path) -> None:
    """Write a small PNG with 256 colours on white."""
    from PIL import Image

    png = figure.update_layout(paper_bgcolor="white").to_image("png", width=700, height=420)
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256).save(path, optimize=True)


def main(check: bool) -> int:
    keep_memory()
    torch.set_num_threads(1)
    page, executed = PAGE.read_text(encoding="utf-8"), []
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        for done in run(page):
            print(done.printed, end="", flush=True)
            executed.append(done)
    if check:
        differ = [done for done in executed if not agree(done.block["output"] or "", done.printed)]
        for done in differ:
            print(f"The page has\n{done.block['output']}but the code prints\n{done.printed}")
        return int(bool(differ))
    for done in executed:
        if done.figure is not None:
            save_figure(done.figure, PAGE.parent / done.block["figure"])
    PAGE.write_text(update(page, executed), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
