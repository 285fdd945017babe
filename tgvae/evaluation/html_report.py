"""HTML reports: one self-contained file without network access, for all screen sizes and screen readers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from tgvae.evaluation.metric import Report
from tgvae.evaluation.registry import baseline_name, display_name
from tgvae.evaluation.report_data import ReportData, SummaryRow, TopicRow
from tgvae.formatting import Markup, Table, format_number

if TYPE_CHECKING:
    from tgvae.evaluation.plots.catalog import Plot

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
CONFIG = {"responsive": True, "displayModeBar": False, "typesetMath": False}
STYLE = files("tgvae.evaluation").joinpath("report.css").read_text(encoding="utf-8")


def render_report(data: ReportData) -> str:
    """Return the report as HTML; equal data gives equal HTML, and all text is escaped."""
    from tgvae.evaluation.plots.catalog import render_section

    def plots(section: str) -> str:
        return plots_html(render_section(data, section))

    sections = {
        "About": definition_list(data.about),
        "Metrics": metric_tables(data.metrics),
        "Topics": _topic_table(data.topics or ()) + plots("Topics"),
        "Summaries": _summary_table(data.summaries),
    }
    return html_page(
        data.title, sections | {name: plots(name) for name in ("Documents", "Sentences", "Latent space", "Training")}
    )


def html_page(title: str, sections: Mapping[str, str]) -> str:
    """Return a page with sections of HTML by heading; empty sections are left out."""
    shown = [(heading, body) for heading, body in sections.items() if body]
    links = "".join(f'<li><a href="#{_section_id(heading)}">{heading}</a></li>' for heading, _ in shown)
    bodies = "".join(
        f"<section>{_heading(2, heading, _section_id(heading))}{body}</section>" for heading, body in shown
    )
    title = escape(title)
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style>{_plotly_script() if '<figure' in bodies else ''}</head><body>"
        f'<header><h1>{title}</h1><nav aria-label="Contents"><ul>{links}</ul></nav></header>'
        "<noscript><p>The plots need JavaScript; the tables do not.</p></noscript>"
        f"<main>{bodies}</main></body></html>\n"
    )


def plots_html(plots: Iterable[Plot]) -> str:
    """Return plots with headings and captions; plots without a figure are left out."""
    from plotly.io import to_html

    parts = []
    for plot in plots:
        if plot.figure is None:
            continue
        div = to_html(plot.figure, CONFIG, include_plotlyjs=False, full_html=False, div_id=f"{plot.id}-plot")
        if any(trace.type == "heatmap" or trace.orientation == "h" for trace in plot.figure.data):
            div = _scrollable(f'<div class="wide">{div}</div>', plot.heading)  # row labels do not fit on a phone
        label = f'role="group" aria-labelledby="{plot.id}"'
        caption = f"<figcaption>{escape(plot.caption)}</figcaption>"
        parts.append(f"<figure {label}>{_heading(3, plot.heading, plot.id)}{div}{caption}</figure>")
    return "".join(parts)


def definition_list(about: Mapping[str, str]) -> str:
    """Return names and values as a list."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in about.items())
    return f"<dl>{rows}</dl>" if rows else ""


def metric_tables(report: Report) -> str:
    """Return one table of metrics per section."""
    columns = ("metric", "value", "standard error", "baselines", "unit", "n", "estimator")
    parts = []
    for section, metrics in report.items():
        rows = [
            (
                display_name(id, metric),
                format_number(metric.value),
                "" if metric.error is None else f"± {format_number(metric.error)}",
                ", ".join(f"{baseline_name(mark)} {format_number(value)}" for mark, value in metric.baselines.items()),
                metric.unit,
                format_number(metric.size),
                metric.estimator,
            )
            for id, metric in metrics.items()
        ]
        parts.append(_heading(3, section.capitalize(), f"metrics-{_slug(section)}"))
        parts.append(_scrollable(Table(columns, rows, numeric={1, 2, 5}).to_html(), f"table of metrics: {section}"))
    return "".join(parts)


def _topic_table(topics: Sequence[TopicRow]) -> str:
    if not topics:
        return ""
    columns: dict[str, Sequence[str]] = {
        "topic": [str(topic.number) for topic in topics],
        "share": [f"{topic.share:.1%}" for topic in topics],
        "NPMI": [f"{topic.npmi:.3f}" for topic in topics],
        "KL of z, nats": [f"{topic.kl:.2f}" if topic.sentences else "" for topic in topics],
        "words (open for probabilities and sentences)": [_topic_words(topic) for topic in topics],
    }
    shown = {name: cells for name, cells in columns.items() if any(cells)}  # models without z have no KL
    table = Table(list(shown), list(zip(*shown.values(), strict=True)), numeric=range(len(shown) - 1))
    return _scrollable(table.to_html(), "table of topics")


def _topic_words(topic: TopicRow) -> Markup:
    """Return the words of a topic, which open to their probabilities and to sentences."""
    largest = max(topic.probabilities, default=1)
    words = "".join(
        f'<li><meter max="{largest:.4g}" value="{p:.4g}"></meter> {escape(word)} <small>{p:.3f}</small></li>'
        for word, p in zip(topic.words, topic.probabilities, strict=True)
    )
    kinds = {"Generated": topic.samples, "Nearest in the corpus": topic.nearest}
    lists = "".join(
        f"<p><b>{kind}</b></p><ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"
        for kind, texts in kinds.items()
        if texts
    )
    shown = escape(", ".join(topic.words))
    return Markup(f'<details><summary>{shown}</summary><ul class="words">{words}</ul>{lists}</details>')


def _summary_table(rows: Sequence[SummaryRow]) -> str:
    if not rows:
        return ""
    cells = [
        (
            Markup("<br>".join(map(escape, row.references))),
            Markup(
                f"<details><summary>{escape(row.summary) or '–'}</summary><p>{escape(row.document)}</p></details>",
            ),
        )
        for row in rows
    ]
    table = Table(("reference", "summary (open for the document)"), cells).to_html()
    return f"<p>A random sample of {len(rows)} documents.</p>" + _scrollable(table, "table of summaries")


def _scrollable(content: str, label: str) -> str:
    """Return a box that scrolls sideways, also with the keyboard."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{content}</div>'


def _plotly_script() -> str:
    from plotly.offline import get_plotlyjs

    return f"<script>{get_plotlyjs()}</script>"


def _heading(level: int, text: str, id_: str) -> str:
    """Return a heading that links to itself."""
    return f'<h{level} id="{id_}"><a href="#{id_}">{escape(text)}</a></h{level}>'


def _section_id(heading: str) -> str:
    return f"section-{_slug(heading)}"  # plots have ids such as "topics" and "training"


def _slug(text: str) -> str:
    return re.sub(r"\W+", "-", text.lower()).strip("-")
