"""The site of docs/: built without a warning, every page in its place, every link with an end, no other host asked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import tgvae

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
LOADS = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src")}
SERIOUS = {"serious", "critical"}
ELSEWHERE = re.compile(r"(?:url\(|@import\s)[\"']?(?:https?:)?//[^)]*")


@dataclass
class Page(HTMLParser):
    """What a built page has and asks for."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    formulas: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.formulas += tag == "math"
        for name, value in attributes:
            if name == "id" and value:
                self.ids.add(value)
            if tag == "a" and name == "href" and value:
                self.links.append(value)
            if (tag, name) in LOADS and value:
                self.loaded.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``make docs`` does."""
    for module in ("material", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("site")
    ran = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """The pages of the site by file; that of a missing page is for servers, its links begin at the root."""
    found = {path: Page() for path in site.rglob("*.html") if path.name != "404.html"}
    for path, page in found.items():
        page.feed(path.read_text(encoding="utf-8"))
    return found


def in_nav(nav: list[Any] | dict[str, Any] | str) -> Iterator[str]:
    """The files that a navigation leads to."""
    if isinstance(nav, str):
        yield nav
        return
    for part in nav.values() if isinstance(nav, dict) else nav:
        yield from in_nav(part)


def test_every_page_is_in_the_navigation_once() -> None:
    nav = list(in_nav(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    assert sorted(nav) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_links_within_the_site_have_an_end(site: Path, pages: dict[Path, Page]) -> None:
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].ids):
                dead.append(f"{path.relative_to(site)}: {link}")
    assert not dead


def test_nothing_is_loaded_from_another_host(site: Path, pages: dict[Path, Page]) -> None:
    assert not {asked for page in pages.values() for asked in page.loaded if urlsplit(asked).netloc}
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert styles
    assert not [found for style in styles for found in ELSEWHERE.findall(style)]


def test_every_formula_is_written_in_mathml(site: Path, pages: dict[Path, Page]) -> None:
    fences = {path.stem: path.read_text(encoding="utf-8").count("```math\n") for path in DOCS.glob("*.md")}
    assert fences["theory"] > 10
    for name, formulas in fences.items():
        built = site / ("index.html" if name == "index" else f"{name}/index.html")
        assert pages[built].formulas == formulas, name


@pytest.mark.parametrize("name", tgvae.__all__)
def test_public_names_have_a_reference_and_an_example(name: str, pages: dict[Path, Page]) -> None:
    found = getattr(tgvae, name)
    assert any(f"{found.__module__}.{found.__qualname__}" in page.ids for page in pages.values())
    assert ">>>" in found.__doc__


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The site on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_no_page_is_wider_than_a_telephone(browser: Any, address: str, site: Path, pages: dict[Path, Page]) -> None:
    window = browser.new_page(viewport={"width": 390, "height": 800}, java_script_enabled=False)  # quicker
    wide = []
    for path in pages:
        window.goto(address + path.relative_to(site).as_posix())
        if window.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wide.append(path)
    window.close()
    assert not wide


def test_the_search_finds_and_no_request_goes_elsewhere(browser: Any, address: str) -> None:
    window, told = browser.new_page(), set()
    window.on("request", lambda request: told.add(request.url))
    window.on("console", lambda message: told.add(message.text))
    window.on("pageerror", lambda error: told.add(str(error)))
    for page in ("theory/", "reference/models/", "?q=Householder"):
        window.goto(address + page)
    window.locator(".md-search-result__item").first.wait_for()
    window.close()
    assert not {what for what in told if not what.startswith((address, "data:", "blob:"))}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(browser: Any, address: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    window, found = browser.new_page(color_scheme=scheme), []
    for page in ("", "reference/schedules/"):
        window.goto(address + page, wait_until="networkidle")
        found += [(page, v["id"]) for v in axe.Axe().run(window).response["violations"] if v["impact"] in SERIOUS]
    window.close()
    assert not found
