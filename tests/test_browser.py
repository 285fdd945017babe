"""The page in a browser: everything that it offers, by mouse and by keyboard, on wide and narrow screens.

Anything on the browser's console, and any request to another place than the server, fails a test.
"""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra web is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
import uvicorn  # noqa: E402

from tests.test_page import EVIL  # noqa: E402
from tgvae.commands.generate import READABLE  # noqa: E402
from tgvae.data.corpus import Corpus  # noqa: E402
from tgvae.data.schema import PreparedFolder  # noqa: E402
from tgvae.models.tgvae import TGVAE  # noqa: E402
from tgvae.runs import load_summarizer, load_tgvae  # noqa: E402
from tgvae.web import answers  # noqa: E402
from tgvae.web.app import create_app  # noqa: E402
from tgvae.web.context import Context, look  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
TEXT = "The army and the soldier ate cheese near the kitchen.\n\nA rocket was near the moon."
OVERFLOWING = """() => [...document.querySelectorAll("body *")]
  .filter((e) => e.checkVisibility() && !e.closest(".scroll, svg, textarea, select"))
  .filter((e) => e.clientWidth && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline")
  .map((e) => `${e.tagName} ${e.id} ${e.className}`)"""
OVERLAPPING = """() => {
  const boxes = [...document.querySelectorAll("button, input, select, textarea, output")]
    .filter((e) => e.checkVisibility()).map((e) => [e.id || e.textContent, e.getBoundingClientRect()]);
  return boxes.flatMap(([a, x], i) => boxes.slice(i + 1).filter(([, y]) => x.left < y.right - 1 && y.left < x.right - 1
    && x.top < y.bottom - 1 && y.top < x.bottom - 1).map(([b]) => `${a} and ${b}`));
}"""


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The address of a server in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def model(guided_run: Path) -> TGVAE:
    return load_tgvae(guided_run)


@pytest.fixture(scope="module")
def context(model: TGVAE, corpus: Corpus) -> Context:
    return look(model, "guided", corpus)


@pytest.fixture(scope="module")
def url(model: TGVAE, context: Context) -> Iterator[str]:
    with serving(create_app(model, context)) as url:
        yield url


Visit = Callable[..., Any]


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    """Opens a page, and looks at the end that nothing was said on its console or asked of another place."""
    complaints: list[str] = []
    pages = []

    def opened(url: str, width: int = 1280, path: str = "", **media: str) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 800}, **media)
        pages.append(page)
        page.set_default_timeout(20_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: r.url.startswith((url, "data:", "blob:")) or complaints.append(r.url))
        page.goto(url + path)
        return page

    yield opened
    for page in pages:
        page.close()
    assert complaints == []


def lines(page: Any, place: str) -> list[str]:
    """The sentences of a place, once it is filled, without the mark of those that were cut."""
    page.wait_for_selector(f"{place}:not([aria-busy]) .sentences li")
    return [text.removesuffix(" …") for text in page.locator(f"{place} .sentences li").all_text_contents()]


def written(model: TGVAE, **call: Any) -> list[str]:
    """What the page shows of the same."""
    return [s.text or "(nothing)" for s in model.generate(settings=READABLE, **call)]


def soon(page: Any, place: str, expected: list[str]) -> None:
    """Waits for these sentences."""
    for _ in range(200):
        if lines(page, place) == expected:
            return
        page.wait_for_timeout(50)
    assert lines(page, place) == expected


def test_sliders_write(visit: Visit, url: str, model: TGVAE, context: Context) -> None:
    page = visit(url)
    first, second, third = (t["topic"] for t in context.topics["topics"])
    soon(page, "#written", written(model, mixture={first: 1, second: 0.5}))
    page.focus(f"#weight-{first}")
    page.keyboard.press("Home")
    soon(page, "#written", written(model, mixture={second: 0.5}))
    assert page.locator("#mixture output").all_inner_texts() == ["0 %", "100 %", "0 %"]
    page.locator("#strength").fill("2")
    soon(page, "#written", written(model, mixture={second: 0.5}, strength=2))
    page.get_by_role("button", name="Other sentences").click()
    soon(page, "#written", written(model, mixture={second: 0.5}, strength=2, seed=1))
    page.locator("#num").fill("2")
    soon(page, "#written", written(model, mixture={second: 0.5}, strength=2, seed=1, num=2))
    for topic in (first, second, third):
        page.locator("#mixture li", has=page.locator(f"#weight-{topic}")).get_by_role("button").click()
    soon(page, "#written", written(model, seed=1, num=2))
    assert page.locator("#no-mixture").is_visible()
    page.locator("#add").select_option(str(third))
    soon(page, "#written", written(model, mixture={third: 1}, strength=2, seed=1, num=2))


def test_topics_are_there_to_read_and_to_use(visit: Visit, url: str, model: TGVAE, context: Context) -> None:
    page = visit(url)
    topics = context.topics["topics"]
    cards = page.locator(".card")
    cards.first.wait_for()
    assert cards.locator("h3").all_inner_texts() == [f"Topic {t['topic']}" for t in topics]
    for card, topic in zip(cards.all(), topics, strict=True):
        assert card.locator(".top").inner_text() == ", ".join(w["word"] for w in topic["words"])
        assert f"coherence {topic['npmi']:.2f}" in card.inner_text()
        card.locator("summary").click()
        assert card.locator(".sentences li").all_inner_texts() == topic["sentences"]
        assert card.locator(".words li").count() == 10
    page.locator("#find").fill(topics[1]["words"][0]["word"])
    page.get_by_text("1 of 3 topics").wait_for()
    assert [card.is_visible() for card in cards.all()] == [False, True, False]
    cards.nth(1).get_by_role("button", name="Write about it").click()
    soon(page, "#written", written(model, mixture={topics[1]["topic"]: 1}))
    page.locator("#find").fill("xyzzy")
    page.get_by_text("No topic has such a word").wait_for()


def test_a_document_is_shown_word_by_word(visit: Visit, url: str, model: TGVAE) -> None:
    page = visit(url)
    page.locator("#text").fill(TEXT)
    page.keyboard.press("Control+Enter")
    marks = page.locator("#read .text mark")
    marks.first.wait_for()
    reading = answers.read(model, answers.asked.Document(text=TEXT))
    pieces = [p for paragraph in reading.paragraphs for p in paragraph if p.topic is not None]
    shown = [f"{piece.text}{piece.topic}" for piece in pieces]
    assert marks.all_inner_texts() == shown, "the number tells the topic, without any colour"
    assert page.locator("#read .text p").count() == 2
    titles = [mark.get_attribute("title") for mark in marks.all()]
    assert all(title.startswith(f"topic {p.topic} ") for title, p in zip(titles, pieces, strict=True))
    looks = {mark.evaluate("e => getComputedStyle(e).textDecoration") for mark in marks.all()}
    assert len(looks) == len({piece.topic for piece in pieces}) > 1
    soon(page, "#read", written(model, like=TEXT))


def test_from_one_sentence_to_another(visit: Visit, url: str, model: TGVAE) -> None:
    page = visit(url)
    page.get_by_label("From", exact=True).fill("The army was near.")
    page.get_by_label("To", exact=True).fill("They saw a moon.")
    page.get_by_label("Steps").fill("4")
    page.keyboard.press("Enter")
    found = model.interpolate("The army was near.", "They saw a moon.", 4, READABLE)
    soon(page, "#walked", [s.text or "(nothing)" for s in found])
    page.get_by_label("From", exact=True).fill("…")
    page.get_by_role("button", name="Walk").click()
    page.wait_for_selector("#walked:not([aria-busy]) :is(.error, li)")


def test_maps_are_read_by_pointing_and_by_keys(visit: Visit, url: str, context: Context) -> None:
    page = visit(url)
    headings = [p["heading"] for p in context.pictures["pictures"]]
    page.locator(".main-svg").nth(2 * len(headings)).wait_for(state="attached")
    assert page.locator("#pictures h3").all_inner_texts() == headings
    for heading in headings:
        figure = page.locator("#pictures figure", has=page.get_by_role("heading", name=heading, exact=True))
        plot, told = figure.get_by_role("application"), figure.get_by_role("status")
        plot.focus()
        page.keyboard.press("ArrowRight")
        first = told.inner_text()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        assert first
        assert told.inner_text() not in ("", first)
        assert "<" not in first
        assert plot.locator(".hoverlayer text").count()
    point = page.locator("#pictures figure").first.locator(".points path").first
    point.scroll_into_view_if_needed()
    page.mouse.move(0, 0)
    point.hover(force=True)
    page.locator("#pictures figure").first.locator(".hoverlayer text", has_text="share").wait_for()


def test_mistakes_are_told_in_the_page(visit: Visit, url: str) -> None:
    page = visit(url)
    lines(page, "#written")
    page.locator("#num").fill("99")
    page.locator("#written .error", has_text="Sentences: ").wait_for()
    page.locator("#num").fill("2")
    assert len(lines(page, "#written")) == 2
    assert page.locator(".error").count() == 0
    page.locator("#text").fill(" ")
    page.get_by_role("button", name="Read it").click()
    page.locator("#read .error", has_text="no text").wait_for()


def test_refusals_and_silence_are_told_in_the_page(browser: Any, url: str) -> None:
    """As `visit` has it, but for the console, where the browser notes what was refused."""
    page = browser.new_page()
    page.goto(url)
    page.locator("#text").fill("12 34")
    page.get_by_role("button", name="Read it").click()
    page.locator("#read .error", has_text="topic vocabulary").first.wait_for()
    page.route("**/api/between", lambda route: route.abort())
    page.get_by_label("From", exact=True).fill("army")
    page.get_by_label("To", exact=True).fill("moon")
    page.get_by_role("button", name="Walk").click()
    page.locator("#walked .error", has_text="does not answer").wait_for()
    page.route("**/api/run", lambda route: route.fulfill(status=429, json={"error": "Come again."}))
    page.reload()
    page.get_by_text("Come again.").wait_for()
    page.close()


def test_the_keyboard_is_enough(visit: Visit, url: str) -> None:
    """By Tab alone one comes to everything, in the order of the page, and sees where one is."""
    page = visit(url)
    page.locator(".main-svg").first.wait_for(state="attached")
    lines(page, "#written")
    wanted = page.locator("main :is(button, input, select, textarea, summary, [tabindex='0']), header a")
    expected = [handle for handle in wanted.element_handles() if handle.is_visible()]
    seen = []
    for place in range(len(expected) + 2):
        page.keyboard.press("Tab")
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert style != "none"
        seen.append(page.evaluate_handle("document.activeElement"))
        if place == 0:
            assert page.evaluate("document.activeElement.className") == "skip"
    missed = "([seen, expected]) => expected.filter((e) => !seen.includes(e)).map((e) => e.outerHTML)"
    assert page.evaluate(missed, [seen, expected]) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_cut_off_or_overlaps(visit: Visit, url: str, scheme: str, width: int, tmp_path: Path) -> None:
    page = visit(url, width, color_scheme=scheme)
    page.locator("#text").fill(TEXT)
    page.get_by_role("button", name="Read it").click()
    lines(page, "#read")
    page.locator(".main-svg").first.wait_for(state="attached")
    for summary in page.locator("summary").all():
        summary.click()
    page.screenshot(path=tmp_path / f"{scheme}{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(OVERFLOWING) == []
    assert page.evaluate(OVERLAPPING) == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    answers_shown = page.locator("main section:visible").evaluate_all("all => all.map((e) => e.innerText.length)")
    assert len(answers_shown) == 5
    assert min(answers_shown) > 40


def test_motion_can_be_left_out(visit: Visit, url: str) -> None:
    moving = "getComputedStyle(document.documentElement).scrollBehavior"
    assert visit(url).evaluate(moving) == "smooth"
    assert visit(url, reduced_motion="reduce").evaluate(moving) == "auto"


def test_hostile_text_stays_text(visit: Visit, model: TGVAE, context: Context) -> None:
    """Words, sentences, names and pictures with markup in them are shown as they are."""
    topics = [
        topic | {"name": EVIL[0], "words": [{"word": w, "probability": 0.1} for w in EVIL], "sentences": list(EVIL)}
        for topic in context.topics["topics"]
    ]
    about = context.about | {"run": EVIL[1], "corpus": context.about["corpus"] | {"name": EVIL[2]}}
    shown = replace(context, about=about, topics=context.topics | {"topics": topics})
    with serving(create_app(model, shown)) as url:
        page = visit(url)
        lines(page, "#written")
        page.locator(".card summary").first.click()
        assert page.locator("h1").inner_text() == EVIL[1]
        assert EVIL[2] in page.locator("#about").inner_text()
        assert page.locator(".card").first.locator(".sentences li").all_inner_texts() == list(EVIL)
        assert page.locator("img").count() == 0


def test_a_page_without_its_corpus_says_what_is_missing(visit: Visit, model: TGVAE) -> None:
    with serving(create_app(model, look(model, "run", None, "It is gone."))) as url:
        page = visit(url)
        assert len(lines(page, "#written")) == 5
        assert "It is gone." in page.locator("#missing").inner_text()
        assert "coherence 0" not in page.locator("#topics").inner_text()
        page.locator(".main-svg").first.wait_for(state="attached")


def test_a_summarizer_has_a_page_of_its_own(visit: Visit, summarizer_run: Path, titled: PreparedFolder) -> None:
    model = load_summarizer(summarizer_run)
    text = "Yesterday Bofikela saw the army. No soldier was near the moon."
    with serving(create_app(model, look(model, "run", Corpus(titled, "train")))) as url:
        page = visit(url)
        page.locator("#towards option").nth(2).wait_for(state="attached")
        assert not page.locator("#write").is_visible()
        page.locator("#text").fill(text)
        page.get_by_role("button", name="Read it").click()
        soon(page, "#read", [model.summarize([text])[0][0].text])
        page.locator("#towards").select_option("1")
        page.get_by_role("button", name="Read it").click()
        soon(page, "#read", [model.summarize([text], topic=1)[0][0].text])


def test_the_token_goes_from_the_address(visit: Visit, model: TGVAE, context: Context) -> None:
    with serving(create_app(model, context, token="sesame-1")) as url:
        page = visit(url, path="?token=sesame-1")
        assert page.url == url
        assert len(lines(page, "#written")) == 5
