"""The page in a browser: every section, by mouse and keyboard, on wide and narrow screens.

A message on the browser's console or a request to another server fails a test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra web is not installed")
from tests.conftest import HOSTILE_TEXTS
from tests.served import serving
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.generation.decode import READABLE
from tgvae.models.base import Capability
from tgvae.models.sentence import LanguageModel, SentenceConfig, SentenceVAE
from tgvae.models.tgvae import TGVAE
from tgvae.models.topic import TopicConfig, TopicModel
from tgvae.runs import load_run
from tgvae.web import service
from tgvae.web.app import create_app
from tgvae.web.page_data import collect_page_data
from tgvae.web.schemas import DocumentRequest, Groups, PageData, TopicInfo, TopicWord

SMALL = SentenceConfig(embedding_size=8, hidden_size=8, latent_size=2, flow_length=0)
TEXT = "The army and the soldier ate cheese near the kitchen.\n\nA rocket was near the moon."
OVERFLOWING = """() => [...document.querySelectorAll("body *")]
  .filter((e) => e.checkVisibility() && !e.closest(".scroll, svg, input, textarea, select"))
  .filter((e) => e.clientWidth && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline")
  .map((e) => `${e.tagName} ${e.id} ${e.className}`)"""
OVERLAPPING = """() => {
  const boxes = [...document.querySelectorAll("button, input, select, textarea, output")]
    .filter((e) => e.checkVisibility()).map((e) => [e.id || e.textContent, e.getBoundingClientRect()]);
  return boxes.flatMap(([a, x], i) => boxes.slice(i + 1).filter(([, y]) => x.left < y.right - 1 && y.left < x.right - 1
    && x.top < y.bottom - 1 && y.top < x.bottom - 1).map(([b]) => `${a} and ${b}`));
}"""


@pytest.fixture(scope="module")
def url(guided: TGVAE, page_data: PageData) -> Iterator[str]:
    with serving(create_app(guided, page_data)) as url:
        yield url


Visit = Callable[..., Any]


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    """Open pages; fail if there was a console message or a request to another server."""
    complaints: list[str] = []
    pages = []

    def opened(url: str, width: int = 1280, path: str = "", **more: Any) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 800}, **more)
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
    """Return the sentences of a region once it is filled, without the mark of cut sentences."""
    page.wait_for_selector(f"{place}:not([aria-busy]) .sentences li")
    return [text.removesuffix(" …") for text in page.locator(f"{place} .sentences li").all_text_contents()]


def written(model: TGVAE, **call: Any) -> list[str]:
    """Return the same sentences from the model in Python."""
    return [s.text or "(empty)" for s in model.generate(settings=READABLE, **call)]


def drawn(page: Any) -> None:
    """Scroll to the plots, which are loaded when they come into view."""
    page.locator("#contents a").last.wait_for()
    page.locator("#plots").scroll_into_view_if_needed()
    page.locator(".main-svg").first.wait_for(state="attached")


def soon(page: Any, place: str, expected: list[str]) -> None:
    """Wait for these sentences."""
    for _ in range(200):
        if lines(page, place) == expected:
            return
        page.wait_for_timeout(50)
    assert lines(page, place) == expected


def test_sliders_generate_sentences(visit: Visit, url: str, guided: TGVAE, page_data: PageData) -> None:
    page = visit(url)
    large, small = page_data.topics.topics[:2], page_data.topics.topics[2:]
    first, second, third = (t.topic for t in [*sorted(large, key=lambda t: -t.npmi), *small])
    soon(page, "#generated", written(guided, mixture={first: 1, second: 0.5}))
    page.focus(f"#weight-{first}")
    page.keyboard.press("Home")
    soon(page, "#generated", written(guided, mixture={second: 0.5}))
    assert page.locator("#mixture output").all_inner_texts() == ["0 %", "100 %", "0 %"]
    page.locator("#strength").fill("2")
    soon(page, "#generated", written(guided, mixture={second: 0.5}, strength=2))
    page.get_by_role("button", name="New sentences").click()
    soon(page, "#generated", written(guided, mixture={second: 0.5}, strength=2, seed=1))
    page.locator("#num").fill("2")
    soon(page, "#generated", written(guided, mixture={second: 0.5}, strength=2, seed=1, num=2))
    for topic in (first, second, third):
        page.locator("#mixture li", has=page.locator(f"#weight-{topic}")).get_by_role("button").click()
    soon(page, "#generated", written(guided, seed=1, num=2))
    assert page.locator("#no-mixture").is_visible()
    page.locator("#add").select_option(str(third))
    soon(page, "#generated", written(guided, mixture={third: 1}, strength=2, seed=1, num=2))


def test_topic_cards(visit: Visit, url: str, guided: TGVAE, page_data: PageData) -> None:
    page = visit(url)
    topics = page_data.topics.topics
    cards = page.locator(".card")
    cards.first.wait_for()
    assert cards.locator("h3").all_inner_texts() == [f"Topic {t.topic}" for t in topics]
    for card, topic in zip(cards.all(), topics, strict=True):
        assert card.locator(".top").inner_text() == ", ".join(w.word for w in topic.words)
        assert f"coherence {topic.npmi:.2f}" in card.inner_text()
        card.locator("summary").click()
        card.locator(".sentences li").last.wait_for()
        assert card.locator(".sentences li").all_inner_texts() == topic.sentences
        assert card.locator("details .words li").count() == 10
    page.locator("#find").fill(topics[1].words[0].word)
    page.get_by_text("1 of 3 topics").wait_for()
    assert [card.is_visible() for card in cards.all()] == [False, True, False]
    cards.nth(1).get_by_role("button", name="Generate: topic").click()
    soon(page, "#generated", written(guided, mixture={topics[1].topic: 1}))
    page.locator("#find").fill("xyzzy")
    page.get_by_text("No topic has this word").wait_for()


def test_topics_are_sorted(visit: Visit, url: str, page_data: PageData) -> None:
    page = visit(url)
    orders: dict[str, Callable[[TopicInfo], Any]] = {
        "coherence": lambda t: -t.npmi,
        "first word": lambda t: t.words[0].word,
        "number": lambda t: t.topic,
        "share": lambda t: -t.share,
    }
    page.locator(".card").first.wait_for()
    for name, key in orders.items():
        page.get_by_label("Sort by").select_option(name)
        expected = [f"Topic {t.topic}" for t in sorted(page_data.topics.topics, key=key)]
        assert page.locator(".card h3").all_inner_texts() == expected


def test_more_topics_are_shown_on_request(visit: Visit, guided: TGVAE, page_data: PageData) -> None:
    many = [replace(page_data.topics.topics[i % 3], topic=i) for i in range(20)]
    about = replace(page_data.run, capabilities=["topics"])  # the model has three, and could write on no other
    with serving(
        create_app(guided, replace(page_data, run=about, topics=replace(page_data.topics, topics=many)))
    ) as url:
        page = visit(url)
        button = page.get_by_role("button", name="Show all 20 topics")
        button.wait_for()
        assert page.locator(".card:visible").count() == 12
        page.locator("#find").fill("19")
        assert page.locator(".card:visible h3").all_inner_texts() == ["Topic 19"]
        page.locator("#find").fill("")
        button.focus()
        page.keyboard.press("Enter")
        assert page.locator(".card:visible").count() == 20
        own = "document.activeElement.closest('.card').querySelector('h3').textContent"
        assert page.evaluate(own) == f"Topic {sorted(many, key=lambda t: -t.share)[12].topic}"


def test_prevalence_plots_and_tables(visit: Visit, url: str, page_data: PageData) -> None:
    page, topic = visit(url), page_data.topics.topics[0]
    card = page.locator(".card").first
    years, labels = (page_data.topics.groups[kind] for kind in ("year", "label"))
    peak = max(zip(topic.prevalence["year"], years.names, strict=True))
    card.get_by_text(f"highest in {peak[1]}: {percent(peak[0])}").wait_for()
    line = card.get_by_role("img", name=f"{percent(topic.prevalence['year'][0])} in {years.names[0]}")
    line.scroll_into_view_if_needed()
    line.hover(position={"x": 0.55 * line.bounding_box()["width"], "y": 10})
    card.get_by_text(f"{years.names[1]}: {percent(topic.prevalence['year'][1])}", exact=True).wait_for()
    most = sorted(zip(topic.prevalence["label"], labels.names, strict=True), reverse=True)
    assert card.locator("ul.by li").all_inner_texts() == [f"{percent(share)} of {name}" for share, name in most]
    card.locator("summary").click()
    for kind, groups in (("year", years), ("label", labels)):
        rows = card.get_by_role("region", name=f"by {kind}").locator("tbody tr")
        rows.first.wait_for()
        cells = zip(groups.names, topic.prevalence[kind], groups.documents, strict=True)
        assert rows.all_inner_texts() == [f"{name}\t{percent(share)}\t{count}" for name, share, count in cells]


def percent(share: float) -> str:
    """Format as the page does: one more digit below 10 %."""
    return f"{100 * share:.{int(0 < share < 0.0995)}f} %"


def test_document_analysis(visit: Visit, url: str, guided: TGVAE, page_data: PageData) -> None:
    page = visit(url)
    page.locator("#text").fill(TEXT)
    page.keyboard.press("Control+Enter")
    marks = page.locator("#analysis .text mark")
    marks.first.wait_for()
    reading = service.infer_topics(guided, DocumentRequest(text=TEXT))
    pieces = [p for paragraph in reading.paragraphs for p in paragraph if p.topic is not None]
    shown = [f"{piece.text}{piece.topic}" for piece in pieces]
    assert marks.all_inner_texts() == shown
    assert page.locator("#analysis .text p").count() == 2
    titles = [mark.get_attribute("title") for mark in marks.all()]
    assert all(title.startswith(f"topic {p.topic} ") for title, p in zip(titles, pieces, strict=True))
    looks = {mark.evaluate("e => getComputedStyle(e).textDecoration") for mark in marks.all()}
    assert len(looks) == len({piece.topic for piece in pieces}) > 1
    soon(page, "#analysis", written(guided, like=TEXT))
    page.get_by_role("button", name="Example from the corpus").click()
    soon(page, "#analysis", written(guided, like=page_data.run.examples.document))
    assert page.locator("#text").input_value() == page_data.run.examples.document


def test_late_responses_do_not_replace_newer_ones(visit: Visit, url: str) -> None:
    page, held = visit(url), []
    page.route("**/api/document", lambda route: route.continue_() if held else held.append(route))
    page.locator("#text").fill("army")
    with page.expect_request("**/api/document"):
        page.get_by_role("button", name="Analyze").click()
    page.locator("#text").fill("cheese")
    page.get_by_role("button", name="Analyze").click()
    page.locator("#analysis .text mark", has_text="cheese").wait_for()
    with page.expect_response("**/api/document"):
        held[0].continue_()
    page.wait_for_timeout(300)
    assert page.locator("#analysis .text mark", has_text="cheese").count() == 1
    assert page.locator("#analysis .text mark", has_text="army").count() == 0
    assert page.locator("#analysis").get_attribute("aria-busy") is None


def test_interpolation(visit: Visit, url: str, guided: TGVAE, page_data: PageData) -> None:
    page, examples = visit(url), page_data.run.examples
    page.get_by_role("button", name="Interpolate").click()
    found = guided.interpolate(examples.start, examples.end, 7, READABLE)
    soon(page, "#interpolated", [s.text or "(empty)" for s in found])
    page.get_by_label("From", exact=True).fill("The army was near.")
    page.get_by_label("To", exact=True).fill("They saw a moon.")
    page.get_by_label("Steps").fill("4")
    page.keyboard.press("Enter")
    found = guided.interpolate("The army was near.", "They saw a moon.", 4, READABLE)
    soon(page, "#interpolated", [s.text or "(empty)" for s in found])
    page.get_by_label("From", exact=True).fill("…")
    page.get_by_role("button", name="Interpolate").click()
    page.wait_for_selector("#interpolated:not([aria-busy]) :is(.error, li)")
    page.get_by_label("To", exact=True).fill(" ")
    page.get_by_role("button", name="Interpolate").click()
    page.locator("#interpolated .error", has_text="Enter two sentences").wait_for()


def test_plots_are_read_by_mouse_and_keyboard(visit: Visit, url: str, page_data: PageData) -> None:
    page = visit(url)
    headings = [p.heading for p in page_data.plots.plots]
    drawn(page)
    page.locator(".main-svg").nth(2 * len(headings)).wait_for(state="attached")
    assert page.locator("#figures h3").all_inner_texts() == headings
    for heading in headings:
        figure = page.locator("#figures figure", has=page.get_by_role("heading", name=heading, exact=True))
        plot, message = figure.get_by_role("application"), figure.get_by_role("status")
        plot.focus()
        page.keyboard.press("ArrowRight")
        first = message.inner_text()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        assert first
        assert message.inner_text() not in ("", first)
        assert "<" not in first
        assert plot.locator(".hoverlayer text").count()
    point = page.locator("#figures figure").first.locator(".points path").first
    point.scroll_into_view_if_needed()
    page.mouse.move(0, 0)
    point.hover(force=True)
    page.locator("#figures figure").first.locator(".hoverlayer text", has_text="share").wait_for()


def test_invalid_input_is_explained(visit: Visit, url: str) -> None:
    page = visit(url)
    lines(page, "#generated")
    page.locator("#num").fill("99")
    page.locator("#generated .error", has_text="Number: ").wait_for()
    page.locator("#num").fill("2")
    assert len(lines(page, "#generated")) == 2
    assert page.locator(".error").count() == 0
    page.locator("#text").fill(" ")
    page.get_by_role("button", name="Analyze").click()
    page.locator("#analysis .error", has_text="no text").wait_for()


def test_errors_of_the_server_are_shown(browser: Any, url: str) -> None:
    """Without ``visit``, because the browser logs failed requests to its console."""
    page = browser.new_page()
    page.goto(url)
    page.locator("#text").fill("12 34")
    page.get_by_role("button", name="Analyze").click()
    page.locator("#analysis .error", has_text="topic vocabulary").first.wait_for()
    page.route("**/api/interpolate", lambda route: route.abort())
    page.get_by_label("From", exact=True).fill("army")
    page.get_by_label("To", exact=True).fill("moon")
    page.get_by_role("button", name="Interpolate").click()
    page.locator("#interpolated .error", has_text="does not answer").wait_for()
    page.route("**/api/run", lambda route: route.fulfill(status=429, json={"error": "Come again."}))
    page.reload()
    page.get_by_text("Come again.").wait_for()
    page.unroute("**/api/run")
    page.get_by_role("button", name="Try again").click()
    assert len(lines(page, "#generated")) == 5
    assert page.locator(".error").count() == 0
    page.close()


def test_long_texts_are_rejected(visit: Visit, url: str) -> None:
    page = visit(url)
    page.locator("#contents a").last.wait_for()
    page.locator("#text").fill("army " * 4001)
    page.get_by_text("20,005 of at most 20,000 characters").wait_for()
    page.get_by_role("button", name="Analyze").click()
    page.locator("#analysis .error", has_text="limit is 20,000").wait_for()


def test_everything_is_reached_by_keyboard(visit: Visit, url: str) -> None:
    """The Tab key reaches every control, and the focus is visible."""
    page = visit(url)
    drawn(page)
    lines(page, "#generated")
    wanted = page.locator("main :is(button, input, select, textarea, summary, [tabindex='0']), nav a")
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
def test_layout_and_accessibility(visit: Visit, url: str, scheme: str, width: int, tmp_path: Path) -> None:
    """The whole page with all results; axe-core needs to bypass the page's content security policy."""
    page = visit(url, width, color_scheme=scheme, bypass_csp=True)
    page.locator("#text").fill(TEXT)
    page.get_by_role("button", name="Analyze").click()
    page.get_by_role("button", name="Interpolate").click()
    for place in ("#generated", "#analysis", "#interpolated"):
        lines(page, place)
    drawn(page)
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
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found] == []


def test_reduced_motion(visit: Visit, url: str) -> None:
    moving = "getComputedStyle(document.documentElement).scrollBehavior"
    assert visit(url).evaluate(moving) == "smooth"
    assert visit(url, reduced_motion="reduce").evaluate(moving) == "auto"


def test_hostile_text_stays_text(visit: Visit, guided: TGVAE, page_data: PageData) -> None:
    """Markup in words, sentences and names is shown literally."""
    words = [TopicWord(word, 0.1) for word in HOSTILE_TEXTS]
    topics = [
        replace(t, name=HOSTILE_TEXTS[0], words=words, sentences=list(HOSTILE_TEXTS)) for t in page_data.topics.topics
    ]
    groups = page_data.topics.groups | {"label": Groups(list(HOSTILE_TEXTS[:3]), [1, 1, 1])}
    about = replace(page_data.run, run=HOSTILE_TEXTS[1], corpus=replace(page_data.run.corpus, name=HOSTILE_TEXTS[2]))
    shown = replace(page_data, run=about, topics=replace(page_data.topics, topics=topics, groups=groups))
    with serving(create_app(guided, shown)) as url:
        page = visit(url)
        lines(page, "#generated")
        page.locator(".card summary").first.click()
        assert page.locator("h1").inner_text() == HOSTILE_TEXTS[1]
        assert HOSTILE_TEXTS[2] in page.locator("#about").inner_text()
        page.locator(".card table").first.wait_for()
        assert page.locator(".card").first.locator(".sentences li").all_inner_texts() == list(HOSTILE_TEXTS)
        assert page.locator(".card").first.locator("table").last.locator("tbody th").all_inner_texts() == list(
            HOSTILE_TEXTS[:3]
        )
        assert page.locator("img").count() == 0


def test_a_page_without_the_corpus(visit: Visit, guided: TGVAE) -> None:
    with serving(create_app(guided, collect_page_data(guided, "run", None, "It is gone."))) as url:
        page = visit(url)
        assert len(lines(page, "#generated")) == 5
        assert "It is gone." in page.locator("#missing").inner_text()
        message = page.locator("#topics").inner_text()
        assert not re.search("coherence|share", message, re.IGNORECASE)
        assert page.locator(".card .facts").count() == 0
        drawn(page)
        assert page.get_by_role("button", name="Example from the corpus").is_hidden()
        assert page.get_by_label("Sort by").locator("option").all_inner_texts() == ["first word", "number"]


def test_page_of_a_summarizer(visit: Visit, summarizer_run: Path, titled: PreparedFolder) -> None:
    model = load_run(summarizer_run, require=Capability.SUMMARIES)
    text = "Yesterday Bofikela saw the army. No soldier was near the moon."
    with serving(create_app(model, collect_page_data(model, "run", Corpus(titled, "train")))) as url:
        page = visit(url)
        page.locator("#towards option").nth(2).wait_for(state="attached")
        assert not page.locator("#write").is_visible()
        page.locator("#text").fill(text)
        page.get_by_role("button", name="Analyze").click()
        soon(page, "#analysis", [model.summarize([text])[0][0].text])
        page.locator("#towards").select_option("1")
        page.get_by_role("button", name="Analyze").click()
        soon(page, "#analysis", [model.summarize([text], topic=1)[0][0].text])


def test_the_token_is_removed_from_the_address(visit: Visit, guided: TGVAE, page_data: PageData) -> None:
    with serving(create_app(guided, page_data, token="sesame-1")) as url:
        page = visit(url, path="?token=sesame-1")
        assert page.url == url
        assert len(lines(page, "#generated")) == 5


def test_visitors_without_the_token_are_asked_for_it(browser: Any, guided: TGVAE, page_data: PageData) -> None:
    """Without ``visit``, because the browser logs failed requests to its console."""
    with serving(create_app(guided, page_data, token="sesame-1")) as url:
        page = browser.new_context().new_page()
        page.goto(url)
        page.get_by_text("missing or wrong token").wait_for()
        for token, message in (("sesame-2", "wrong token"), ("sesame-1", "Move a slider")):
            page.get_by_label("Token").fill(token)
            page.keyboard.press("Enter")
            page.get_by_text(message).wait_for()
        assert page.url == url
        page.context.close()


@pytest.mark.parametrize(
    ("make", "message", "titles"),
    [
        (lambda data: LanguageModel.from_data(SMALL, data), "A language model, .* It has no topics", ["Generate"]),
        (lambda data: SentenceVAE.from_data(SMALL, data), "A sentence VAE, .* no topics", ["Generate", "Interpolate"]),
        (
            lambda data: TopicModel.from_data(TopicConfig(topics=3), data),
            "A topic model with 3 topics, .* It does not generate sentences",
            ["Topics", "Document", "Plots"],
        ),
    ],
)
def test_pages_of_other_models(
    visit: Visit, make: Any, message: str, titles: list[str], prepared: PreparedFolder, corpus: Corpus
) -> None:
    model = make(prepared).eval()
    with serving(create_app(model, collect_page_data(model, "run", corpus))) as url:
        page = visit(url)
        page.locator("#contents a").last.wait_for()
        assert page.locator("#contents a").all_inner_texts() == titles
        assert re.match(message, page.locator("#about").inner_text())
        assert page.get_by_role("button", name="Generate: topic").count() == 0
        if "Generate" in titles:
            assert len(lines(page, "#generated")) == 5
            assert not page.locator("#mixing").is_visible()
        if "Interpolate" in titles:
            page.get_by_role("button", name="Interpolate").click()
            assert len(lines(page, "#interpolated")) == 7
        if "Document" in titles:
            page.get_by_role("button", name="Example from the corpus").click()
            page.locator("#analysis mark").first.wait_for()
            assert page.locator("#analysis h3").all_inner_texts() == ["Topics"]
