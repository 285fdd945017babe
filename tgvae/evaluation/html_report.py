"""The page of an evaluation: one HTML file that needs no network, for any reader and any screen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from numbers import Integral
from typing import TYPE_CHECKING

from tgvae.evaluation.exhibits import Exhibits, SummaryRow, TopicRow
from tgvae.evaluation.metric import Report

if TYPE_CHECKING:
    from tgvae.evaluation.gallery import Picture

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
CONFIG = {"responsive": True, "displayModeBar": False, "typesetMath": False}
STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --link: #0059a8 }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171a; --ink: #e6e8ea; --soft: #a3abb3; --line: #3a4149; --link: #7cc0ff }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 1100px; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
a { color: var(--link) }
h1, h2, h3 { line-height: 1.25; scroll-margin-top: 1rem }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line) }
h2 a, h3 a { color: inherit; text-decoration: none }
h2 a:hover, h3 a:hover { text-decoration: underline }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; list-style: none }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .25rem 1.5rem }
dt, figcaption, th, small { color: var(--soft) }
dd, figure { margin: 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; overflow-wrap: normal }
th, td { padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
.number { text-align: right; white-space: nowrap }
td details { min-width: 10rem }
.words { columns: 16rem; padding: 0; list-style: none }
meter { width: 6rem }
summary { cursor: pointer }
figure { margin: 1.5rem 0 2.5rem }
figcaption { margin-top: .5rem }
.wide { min-width: 600px }
.plotly-graph-div text { fill: var(--ink) !important }
.plotly-graph-div .hoverlayer text { fill: #fff !important }
.plotly-graph-div .textpoint text { paint-order: stroke; stroke: var(--page); stroke-width: 3px }
"""


def page(exhibits: Exhibits) -> str:
    """The whole page. The same exhibits give the same page; all their text is escaped."""
    from tgvae.evaluation import gallery

    found = {
        "About": about_list(exhibits.about),
        "Metrics": tables(exhibits.figures),
        "Topics": _topics(exhibits.topics or ()) + drawn(gallery.topics(exhibits)),
        "Summaries": _summaries(exhibits.summaries),
        "Documents": drawn(gallery.documents(exhibits)),
        "Sentences": drawn(gallery.sentences(exhibits)),
        "Latents": drawn(gallery.latents(exhibits)),
        "Training": drawn(gallery.training(exhibits)),
    }
    return page_of(exhibits.title, found)


def page_of(title: str, found: Mapping[str, str]) -> str:
    """A page with sections of HTML by heading; empty ones are left out."""
    sections = [(heading, body) for heading, body in found.items() if body]
    links = "".join(f'<li><a href="#{_slug(heading)}">{heading}</a></li>' for heading, _ in sections)
    bodies = "".join(f"<section>{_heading(2, heading)}{body}</section>" for heading, body in sections)
    title = escape(title)
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style>{_plotly() if '<figure' in bodies else ''}</head><body>"
        f'<header><h1>{title}</h1><nav aria-label="Contents"><ul>{links}</ul></nav></header>'
        "<noscript><p>The pictures need JavaScript; the tables do not.</p></noscript>"
        f"<main>{bodies}</main></body></html>\n"
    )


def drawn(found: Iterable[Picture]) -> str:
    """Metrics with heading and caption; those with nothing to show are left out."""
    from plotly.io import to_html

    parts = []
    for heading, figure, caption in found:
        if figure is not None:
            name = _slug(heading) + "-picture"
            plot = to_html(figure, CONFIG, include_plotlyjs=False, full_html=False, div_id=name)
            if any(trace.type == "heatmap" or trace.orientation == "h" for trace in figure.data):  # labels need room
                plot = _scrolling(f'<div class="wide">{plot}</div>', heading)
            label = f'role="group" aria-labelledby="{_slug(heading)}"'
            parts.append(f"<figure {label}>{_heading(3, heading)}{plot}<figcaption>{caption}</figcaption></figure>")
    return "".join(parts)


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return f"<script>{get_plotlyjs()}</script>"


def about_list(about: Mapping[str, str]) -> str:
    """What a page is about, by name."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in about.items())
    return f"<dl>{rows}</dl>" if rows else ""


def tables(report: Report) -> str:
    """A table of figures for every section."""
    parts = []
    columns = ("figure", "value", "standard error", "beside", "unit", "n", "estimator")
    for section, figures in report.items():
        cells = [
            (
                escape(name),
                number(f.value),
                "" if f.error is None else f"± {number(f.error)}",
                ", ".join(f"{escape(mark)} {number(value)}" for mark, value in f.marks.items()),
                escape(f.unit),
                "" if f.size is None else number(f.size),
                escape(f.estimator),
            )
            for name, f in figures.items()
        ]
        heading = _heading(3, section.capitalize(), "figures " + section)
        parts.append(heading + _table(section, columns, cells, numeric={1, 2, 5}))
    return "".join(parts)


def _topics(topics: Sequence[TopicRow]) -> str:
    columns = ("topic", "share", "NPMI", "KL of z, nats", "words, sentences on opening")
    cells = [
        (str(t.number), f"{t.share:.1%}", f"{t.npmi:.3f}", f"{t.kl:.2f}" if t.sentences else "", _words(t))
        for t in topics
    ]
    return _table("Topics", columns, cells, numeric={0, 1, 2, 3}) if topics else ""


def _summaries(rows: Sequence[SummaryRow]) -> str:
    """Summaries beside their references; the document shows on opening."""
    cells = [
        (
            "<br>".join(map(escape, row.references)),
            f"<details><summary>{escape(row.summary) or '–'}</summary><p>{escape(row.document)}</p></details>",
        )
        for row in rows
    ]
    note = f"<p>{len(rows)} documents drawn by a fixed seed, not chosen.</p>"
    return note + _table("Summaries", ("reference", "summary, document on opening"), cells, set()) if rows else ""


def _words(topic: TopicRow) -> str:
    """Words of a topic that open to their probabilities and to sentences."""
    most = max(topic.probabilities, default=1)
    words = "".join(
        f'<li><meter max="{most:.4g}" value="{p:.4g}"></meter> {escape(w)} <small>{p:.3f}</small></li>'
        for w, p in zip(topic.words, topic.probabilities, strict=True)
    )
    kinds = {"Written by the model": topic.samples, "Nearest in the corpus": topic.nearest}
    lists = "".join(
        f"<p><b>{kind}</b></p><ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"
        for kind, texts in kinds.items()
        if texts
    )
    shown = escape(", ".join(topic.words))
    return f'<details><summary>{shown}</summary><ul class="words">{words}</ul>{lists}</details>'


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: set[int]) -> str:
    """A table that scrolls sideways in its own box; its cells are HTML already."""
    looks = [' class="number"' if i in numeric else "" for i in range(len(columns))]
    head = "".join(f'<th scope="col"{look}>{name}</th>' for name, look in zip(columns, looks, strict=True))
    lines = (zip(looks, row, strict=True) for row in rows)
    body = "".join(f"<tr>{''.join(f'<td{look}>{cell}</td>' for look, cell in line)}</tr>" for line in lines)
    return _scrolling(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", f"{caption}, a table")


def _scrolling(content: str, label: str) -> str:
    """A box that scrolls sideways, by keyboard too, so that the page does not."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{content}</div>'


def number(value: float) -> str:
    """A number as people read it: whole numbers whole, others with three or four figures; a dash for NaN."""
    if value != value:
        return "–"
    if isinstance(value, Integral) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def _heading(level: int, text: str, anchor: str | None = None) -> str:
    """A heading that can be linked to, by its text or by ``anchor``."""
    name = _slug(anchor or text)
    return f'<h{level} id="{name}"><a href="#{name}">{escape(text)}</a></h{level}>'


def _slug(text: str) -> str:
    return re.sub(r"\W+", "-", text.lower()).strip("-")
