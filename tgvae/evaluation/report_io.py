"""The evaluation of a run on disk: report.json for people and programs, parts.safetensors for comparisons.

RUN/evaluation/report.json          what it is of, protocol, sections of figures, topics, some summaries
RUN/evaluation/parts.safetensors    what figures are summed from, by section/name
RUN/evaluation/report.html          the page (page.py)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tgvae.config_io import misfit, plain, read_described
from tgvae.data.schema import file_hash
from tgvae.errors import UserError, meant_path
from tgvae.evaluation.metric import Metric, Parts, Report
from tgvae.evaluation.report_data import SummaryRow, TopicRow
from tgvae.files import atomic_write
from tgvae.models.base import WEIGHTS

FORMAT = 1
AGAIN = "evaluate the run again"
FORM = {"weights_sha256": str, "parts_sha256": str, "sections": dict}
FIGURE = {
    "value": float | int | None,
    "unit": str,
    "estimator": str,
    "size": int | None,
    "seed": int | None,
    "error": float | int | None,
    "marks": dict,
}
FOLDER, REPORT, PARTS, PAGE = "evaluation", "report.json", "parts.safetensors", "report.html"
ARRAYS = ("x", "w", "unit")


def described(report: Report) -> dict[str, dict[str, dict[str, Any]]]:
    """The figures as JSON: value, unit, estimator, size, seed, standard error, marks, by section and name."""
    names = ("value", "unit", "estimator", "size", "seed", "error")
    return {
        section: {
            name: {key: plain(getattr(figure, key)) for key in names}
            | {"marks": plain(dict(figure.marks))}
            | ({"parts": {"paired": figure.parts.paired, "exp": figure.parts.exp}} if figure.parts else {})
            for name, figure in figures.items()
        }
        for section, figures in report.items()
    }


def save_evaluation(
    run: Path,
    about: Mapping[str, Any],
    report: Report,
    page: str,
    topics: Sequence[TopicRow] = (),
    summaries: Sequence[SummaryRow] = (),
) -> Path:
    """Write the evaluation of a run, each file in one step; returns its folder.

    The hash of the run's weights goes with it: an evaluation of other weights is not read.
    """
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    parts = {
        f"{section}/{name}/{array}": np.ascontiguousarray(getattr(figure.parts, array))
        for section, figures in report.items()
        for name, figure in figures.items()
        if figure.parts is not None
        for array in ARRAYS
    }
    with (  # put in place in the opposite order, when all of them are written
        atomic_write(folder / REPORT) as new_report,
        atomic_write(folder / PAGE) as new_page,
        atomic_write(folder / PARTS) as new_parts,
    ):
        save_file(parts, new_parts)
        content = {
            "format": FORMAT,
            **about,
            "weights_sha256": file_hash(run / WEIGHTS),
            "parts_sha256": file_hash(new_parts),
            "sections": described(report),
            "topics": [asdict(topic) for topic in topics],
            "summaries": [asdict(row) for row in summaries],
        }
        new_page.write_text(page, encoding="utf-8")
        new_report.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


def load_evaluation(run: Path) -> tuple[dict[str, Any], Report]:
    """What ``save_evaluation`` wrote: all that is about the run, and its figures.

    Raises:
        UserError: there is none, or it is damaged or of another format.
    """
    path = run / FOLDER / REPORT
    try:
        about = read_described(path, FORMAT, FORM, AGAIN)
        if about["weights_sha256"] != file_hash(run / WEIGHTS):
            raise UserError(f"{run}: trained further since it was evaluated; run `tgvae evaluate {run}` again")
        if about["parts_sha256"] != file_hash(run / FOLDER / PARTS):
            raise UserError(f"{run / FOLDER}: {PARTS} is not that of {REPORT}; evaluate the run again")
        arrays = load_file(run / FOLDER / PARTS)
        sections = about.pop("sections")
        report = {
            section: {name: _figure(f"{section}/{name}", saved, arrays) for name, saved in figures.items()}
            for section, figures in sections.items()
        }
    except FileNotFoundError:
        hint = meant_path(run) or f"; run `tgvae evaluate {run}` first"
        raise UserError(f"{run}: not evaluated yet{hint}") from None
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise UserError(f"{path}: damaged ({error!r}); {AGAIN}") from error
    return about, report


def _figure(key: str, saved: Mapping[str, Any], arrays: Mapping[str, Any]) -> Metric:
    if wrong := misfit(saved, FIGURE):
        raise ValueError(f"{key}: {wrong}")
    fields = dict(saved)
    flags, value, marks = fields.pop("parts", None), _number(fields.pop("value")), fields.pop("marks")
    parts = None if flags is None else _parts([arrays[f"{key}/{array}"] for array in ARRAYS], flags)
    return Metric(value, parts=parts, marks={name: _number(mark) for name, mark in marks.items()}, **fields)


def _parts(arrays: Sequence[NDArray[Any]], flags: Mapping[str, Any]) -> Parts:
    x, w, unit = arrays
    if not x.shape == w.shape == unit.shape == (x.size,) or any(array.dtype.kind not in "biuf" for array in arrays):
        raise ValueError(f"parts {[(array.dtype, array.shape) for array in arrays]}")
    return Parts(x, w, unit, **flags)


def _number(value: Any) -> float:
    """A number from JSON: null becomes NaN."""
    return float("nan") if value is None else value
