"""Numbers as text, and tables rendered to the terminal, Markdown and HTML."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from tgvae.formatting import (
    ColumnGroup,
    Markup,
    Table,
    escape_markdown,
    format_estimate,
    format_interval,
    format_number,
    print_metrics,
)

TABLE = Table(
    ("topic", "share"), [("war & <peace>", "12 %"), (Markup("<b>food</b>"), "–")], numeric={1}, title="Topics"
)
CELLS = {
    "run": ["109.8 ± 3.0", "31346 ± 4746", ""],
    "runs/a-run[/b]-with-a-long-name": ["1.51e+13 ± 4.6e+13", "", "0.7 ± 0.1"],
    "vae": ["109.2", "25839 ± 4220", "1"],
    "baseline": ["real text 0.927, chance 0.333", "", "language model 24894.6"],
}
LABELS = [
    ("language", "reconstruction per sentence", "nats"),
    ("language", "perplexity, ELBO", "per word, with KL"),
    ("latent", "mutual information of sentence and z", "nats (cap [ln 123] = 4.81)"),
]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (math.nan, "–"),
        (math.inf, "inf"),
        (0, "0"),
        (3, "3"),
        (12345, "12,345"),
        (0.12345, "0.123"),
        (-4.5678, "-4.568"),
        (45.678, "45.68"),
        (123.456, "123.5"),
        (12345.6, "12,346"),
        (15104884863382.0, "1.51e+13"),
        (-2e9, "-2e+09"),
    ],
)
def test_numbers_have_three_or_four_digits(value: float | None, text: str) -> None:
    assert format_number(value) == text


def test_estimates_are_rounded_to_their_error() -> None:
    assert format_estimate(109.83, 3.04) == "109.8 ± 3.0"
    assert format_estimate(31346.2, 4746.3) == "31,346 ± 4,746"
    assert format_estimate(229196313009048192.0, 9.4e17) == "2.29e+17 ± 9.4e+17"
    assert format_estimate(0.5, math.nan) == format_estimate(0.5, None) == format_estimate(0.5, 0) == "0.5"


def test_a_star_marks_an_interval_without_zero() -> None:
    assert format_interval(0.5, 0.25, 0.75) == "+0.5 [0.25, 0.75] *"
    assert format_interval(-0.5, -0.75, 0.25) == "-0.5 [-0.75, 0.25]"
    assert format_interval(2, None, None) == "+2"


def test_html_escapes_text_but_not_markup() -> None:
    found = TABLE.to_html()
    assert '<th scope="col">topic</th><th scope="col" class="number">share</th>' in found
    assert '<td>war &amp; &lt;peace&gt;</td><td class="number">12 %</td>' in found
    assert "<td><b>food</b></td>" in found
    assert 'style="text-align: right' in TABLE.to_html(inline_style=True)
    open_tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: open_tags.append(tag)  # type: ignore[method-assign]
    parser.handle_endtag = lambda tag: open_tags.remove(tag)  # type: ignore[method-assign]
    parser.feed(found)
    assert open_tags == []


def test_markdown_escapes_text_but_not_markup() -> None:
    lines = TABLE.to_markdown().splitlines()
    assert lines[:4] == ["**Topics**", "", "| topic | share |", "| --- | ---: |"]
    assert lines[4:] == ["| war &amp; &lt;peace&gt; | 12 % |", "| <b>food</b> | – |"]
    assert escape_markdown("a|b\n[c](d) *e* _f_ g_h") == "a\\|b \\[c\\](d) \\*e\\* \\_f\\_ g_h"


def test_terminal_shows_text_literally(capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=80).print(Table(("[b]word[/b]",), [("[/i]",)]).to_rich())
    shown = capsys.readouterr().out
    assert "[b]word[/b]" in shown
    assert "[/i]" in shown


@pytest.mark.parametrize("pin", [False, True])
@pytest.mark.parametrize("width", [60, 70, 80, 100, 160])
def test_metrics_fit_the_terminal_and_nothing_is_cut_off(
    width: int, pin: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = [ColumnGroup((name,), [(cell,) for cell in cells], max_width=18) for name, cells in CELLS.items()]
    print_metrics(LABELS, groups[pin:], Console(width=width, highlight=False), groups[0] if pin else None)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    assert shown.count("metric") == 1 or width < 160
    words = set(shown.split())
    for text in [*(text for cells in CELLS.values() for text in cells), *(" ".join(label[1:]) for label in LABELS)]:
        assert set(text.split()) <= words
    assert shown.index("Language") < shown.index("Latent")


def test_metric_tables_are_packed(capsys: pytest.CaptureFixture[str]) -> None:
    groups = [ColumnGroup((f"run-{number}",), [("0.5",)]) for number in range(20)]
    print_metrics([("topics", "NPMI", "-1 to 1")], groups, Console(width=80))
    shown = capsys.readouterr().out
    assert [int(number) for number in re.findall(r"run-(\d+)", shown)] == list(range(20))
    assert 2 <= shown.count("metric") <= 4
