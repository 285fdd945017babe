"""Screenshot of the page of `tgvae serve`, for the README: python scripts/page.py RUN --out docs/pictures/serve.png"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.serving import TOKEN, serving
from tgvae.errors import UserError

NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Options:
    """Write a PNG of the mixture and the first topics."""

    run: tyro.conf.Positional[Path]
    """A run of the recipe tgvae, with its corpus."""
    out: Path = Path("docs/pictures/serve.png")
    """The picture."""
    width: int = 1280
    height: int = 1240
    scale: float = 0.85
    """Pixels of the picture per pixel of the page."""


def main() -> int:
    options = tyro.cli(Options, description=__doc__)
    try:
        screenshot(options)
    except UserError as error:
        print(f"page.py: {error}", file=sys.stderr)
        return 2
    return 0


def screenshot(options: Options) -> None:
    """Raise UserError if no Chromium is installed or the run cannot be served."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        raise UserError(f"no browser; install Chromium (one of {', '.join(NAMES)})")
    with serving(options.run) as server, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        size: Any = {"width": options.width, "height": options.height}
        page = browser.new_page(viewport=size, device_scale_factor=options.scale, color_scheme="light")
        page.goto(f"http://{server.host}:{server.port}/?token={TOKEN}")
        page.wait_for_selector("#written:not([aria-busy]) li")
        page.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
        page.evaluate("document.getElementById('write').scrollIntoView()")
        page.wait_for_timeout(500)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=options.out)
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
