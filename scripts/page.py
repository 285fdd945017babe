"""The page of `tgvae serve` in Chromium: a picture of it, and how long a visitor waits.

python scripts/page.py --run runs/sotu --out docs/pictures/serve.png
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import tyro

from benchmarks.serving import TOKEN, serving
from tgvae.errors import UserError

NAMES = ("chromium", "chromium-browser", "google-chrome")
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
CHANGE = """(value) => new Promise((done) => {
  const [slider, place] = [document.querySelector("#mixture input"), document.querySelector("#written")];
  const began = performance.now();
  const watcher = new MutationObserver(() => {
    if (!place.querySelector("li")) return;
    watcher.disconnect();
    requestAnimationFrame(() => done(performance.now() - began));
  });
  watcher.observe(place, { childList: true });
  slider.value = value;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
})"""


@dataclass(frozen=True)
class Options:
    """Milliseconds until the first paint, until sentences stand there, and from a slider's move to new sentences."""

    run: Path
    """A run of the recipe tgvae, with its corpus."""
    out: Path | None = None
    """File for a picture of the page, PNG."""
    width: int = 1280
    height: int = 1240
    scale: float = 0.85
    """Pixels of the picture over those of the page."""
    changes: int = 10
    """Moves of a slider."""
    threads: int = 1
    """Of torch in the server."""


def main() -> int:
    options = tyro.cli(Options, description=__doc__)
    try:
        figures = visit(options)
    except UserError as error:
        print(f"page.py: {error}", file=sys.stderr)
        return 2
    for name, value in figures.items():
        print(f"{name:34}{value:8.0f}")
    return 0


def visit(options: Options) -> dict[str, float]:
    """Opens the page twice, as a browser that knows nothing of it and as one that does; the picture is of the second.

    Raises:
        UserError: no Chromium is installed, or the run cannot be served.
    """
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        raise UserError(f"no browser; install Chromium (one of {', '.join(NAMES)})")
    with serving(options.run, options.threads) as served, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": options.width, "height": options.height},
            device_scale_factor=options.scale,
            color_scheme="light",
        )
        address = f"http://{served.host}:{served.port}/"
        figures = {"server until it answers, ms": 1000 * served.seconds}
        for kind, path in {"first": f"?token={TOKEN}", "next": ""}.items():
            page.goto(address + path)
            page.wait_for_selector("#written:not([aria-busy]) li")
            figures[f"{kind} visit: first paint, ms"] = page.evaluate(PAINT)
            figures[f"{kind} visit: sentences, ms"] = page.evaluate("performance.now()")
        changes = [page.evaluate(CHANGE, 0.3 + 0.7 * k / options.changes) for k in range(options.changes)]
        figures |= {"slider to sentences, median ms": median(changes), "slider to sentences, worst ms": max(changes)}
        if options.out:
            picture(page, options.out)
        browser.close()
    return figures


def picture(page: Any, out: Path) -> None:
    """The mixture and the first topics."""
    page.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
    page.evaluate("document.getElementById('write').scrollIntoView()")
    page.wait_for_timeout(500)
    out.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=out)


if __name__ == "__main__":
    sys.exit(main())
