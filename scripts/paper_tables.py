"""Tables of studies: those of Wang et al. 2019 (arXiv 1903.07137) with published rows, and means over seeds."""

from __future__ import annotations

import math
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np

from tgvae.evaluation.metric import Metric, Report

LANGUAGE_MODEL = "lm"

# Topics and BLEU with T = 50; the baselines are LSTMs.
PUBLISHED_ON = ("APNEWS", "IMDB", "BNC")
PERPLEXITY = {
    "VAE": ["75.9", "86.2", "105.1"],
    "VAE + Householder": ["71.6", "83.7", "104.8"],
    "TGVAE": ["48.7", "57.1", "87.9"],
    "TDLM": ["53.0", "63.7", "87.4"],
    "TCNLM": ["52.8", "64.0", "88.0"],
}
NPMI = {
    "LDA": [".125", ".084", ".106"],
    "TCNLM": [".159", ".106", ".114"],
    "TGVAE": [".157", ".105", ".113"],
}
BLEU = {
    "VAE, test-BLEU": [".564 / .278 / .192", ".597 / .315 / .219", ".479 / .266 / .169"],
    "TGVAE, test-BLEU": [".629 / .340 / .210", ".652 / .372 / .239", ".535 / .290 / .188"],
    "VAE, self-BLEU": [".866 / .531 / .233", ".891 / .632 / .275", ".851 / .510 / .163"],
    "TGVAE, self-BLEU": [".808 / .476 / .150", ".842 / .559 / .227", ".793 / .469 / .150"],
}


def all_tables(reports: Mapping[str, Report]) -> list[str]:
    """Return the paper's tables, published rows next to the largest models, then tables of the whole grid."""
    language = ["perplexity_elbo", "reconstruction_per_sentence", "kl_per_sentence", "kl_z_per_sentence"]
    if any("perplexity_iw" in report.get("language", {}) for report in reports.values()):
        language.append("perplexity_iw")
    topics = ["topic_npmi_window_10", "topic_npmi", "topic_c_v", "topic_diversity", "topics_in_use"]
    bleu = [f"{kind}_bleu_{order}" for kind in ("test", "self") for order in (2, 3, 4)]
    text = [*bleu, "bleu_f1_3", "copied", "forward_perplexity", "reverse_perplexity"]
    guided = [report["guidance"] for report in reports.values() if "guidance" in report]
    guidance = [id for id in (guided[0] if guided else {}) if id.startswith("fidelity_")]
    latent = ["mutual_information", "active_units", "active_units_sentence", "total_correlation", "off_diagonal_share"]
    return [
        *paper_tables(reports),
        table(
            "Perplexity per word (language model; importance-weighted: ELBO and language model of the same sentences)",
            "language",
            language,
            reports,
        ),
        table("Topics (LDA)", "topics", topics, reports),
        table("Generated text (real text)", "generation", text, reports),
        table("Guidance (real text, chance)", "guidance", guidance, reports),
        table("Latent and flow", "latent", latent, reports),
    ]


def paper_tables(reports: Mapping[str, Report]) -> list[str]:
    """Return perplexity, NPMI and BLEU 2 / 3 / 4 as in the paper, with this corpus in the first column."""
    ours = {
        "GRU language model": reports[LANGUAGE_MODEL],
        "VAE": reports["vae-k0"],
        "VAE + Householder": reports[max((name for name in reports if name.startswith("vae-")), key=sizes)],
        "TGVAE": reports[max((name for name in reports if name.startswith("tgvae-")), key=sizes)],
    }
    perplexity = {name: [plain(report, "language", "perplexity_elbo")] for name, report in ours.items()}
    npmi = _coherence(ours["TGVAE"])
    bleu = {
        f"{name}, {kind}-BLEU": [" / ".join(plain(report, "generation", f"{kind}_bleu_{n}") for n in (2, 3, 4))]
        for kind in ("test", "self")
        for name, report in ours.items()
    }
    tables = {
        "Perplexity": (perplexity, PERPLEXITY),
        "NPMI, windows of 10": (npmi, NPMI),
        "BLEU 2 / 3 / 4": (bleu, BLEU),
    }
    columns = ["this corpus", *PUBLISHED_ON]
    return [
        markdown(
            title,
            columns,
            [[name, *mine.get(name, [""]), *theirs.get(name, [""] * 3)] for name in dict.fromkeys([*mine, *theirs])],
        )
        for title, (mine, theirs) in tables.items()
    ]


def sizes(name: str) -> list[int]:
    """Return T and K from the name of a run."""
    return [int(number) for number in re.findall(r"\d+", name)]


def _coherence(report: Report) -> dict[str, list[str]]:
    """Return the coherence of TGVAE and of its baseline LDA."""
    metric = report["topics"]["topic_npmi_window_10"]
    return {"LDA": [f"{metric.baselines['lda']:.3f}"], "TGVAE": [f"{metric.value:.3f}"]}


def plain(report: Report, section: str, name: str) -> str:
    """Return the value of a metric without its baselines."""
    return number(report[section][name].value)


def number(x: float) -> str:
    """Return a number with as many digits as in the paper."""
    return f"{x:.{1 if abs(x) >= 10 else 3}f}"


def table(title: str, section: str, ids: list[str], reports: Mapping[str, Report]) -> str:
    """Return a table with one row per run that has the section; baselines are in brackets."""
    cells = [
        [run, *(value(report[section].get(id)) for id in ids)] for run, report in reports.items() if section in report
    ]
    columns = [next((r[section][id].name for r in reports.values() if id in r.get(section, {})), id) for id in ids]
    return markdown(title, columns, cells)


def markdown(title: str, columns: Sequence[str], cells: list[list[str]]) -> str:
    """Return a Markdown table under its title."""
    lines = [["", *columns], ["---"] * (1 + len(columns)), *cells]
    return f"**{title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def value(metric: Metric | None) -> str:
    """Return a metric with its baselines in brackets; "" if the run does not have it."""
    if metric is None:
        return ""
    shown = [number(x) for x in (metric.value, *metric.baselines.values())]
    return shown[0] + (f" ({', '.join(shown[1:])})" if shown[1:] else "")


def header(what: str) -> str:
    """Return the command and versions that made a table, and what its values are."""
    used = ", ".join(f"{name} {version(name)}" for name in ("torch", "tgvae"))
    return f"`{' '.join(sys.argv)}`\n\nPython {platform.python_version()}, {used}. {what}."


def with_error(values: Sequence[float]) -> str:
    """Return mean and standard error; a single value without an error."""
    if len(values) < 2:
        return f"{values[0]:.2f}"
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1) / math.sqrt(len(values)):.2f}"
