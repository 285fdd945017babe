"""The evaluation of a run on disk.

RUN/evaluation/report.json          what was evaluated and how, metrics by section and id, topics, some summaries
RUN/evaluation/parts.safetensors    the rows that metrics are computed from, by section/id, for ``tgvae compare``
RUN/evaluation/report.html          the page (html_report.py)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tgvae.config_io import describe_mismatch, nan_to_none, read_json, require_format
from tgvae.data.schema import file_hash
from tgvae.errors import UserError, path_suggestion
from tgvae.evaluation.metric import Metric, Parts, Report
from tgvae.evaluation.registry import slug
from tgvae.evaluation.report_data import SummaryRow, TopicRow
from tgvae.files import atomic_write
from tgvae.models.base import WEIGHTS

FORMAT = 2
REMEDY = "evaluate the run again"
SCHEMA = {"weights_sha256": str, "parts_sha256": str, "sections": dict}
METRIC_SCHEMA = {
    "name": str,
    "value": float | int | None,
    "unit": str,
    "estimator": str,
    "size": int | None,
    "seed": int | None,
    "error": float | int | None,
    "baselines": dict,
}
FOLDER, REPORT, PARTS, PAGE = "evaluation", "report.json", "parts.safetensors", "report.html"
ARRAYS = ("x", "w", "unit")


def report_to_json(report: Report) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the metrics as JSON objects by section and id, without the rows of their parts."""
    return {
        section: {
            id: {key: nan_to_none(getattr(metric, key)) for key in METRIC_SCHEMA if key != "baselines"}
            | {"baselines": nan_to_none(dict(metric.baselines))}
            | ({"parts": {"paired": metric.parts.paired, "exp": metric.parts.exp}} if metric.parts else {})
            for id, metric in metrics.items()
        }
        for section, metrics in report.items()
    }


def save_evaluation(
    run: Path,
    about: Mapping[str, Any],
    report: Report,
    page: str,
    topics: Sequence[TopicRow] = (),
    summaries: Sequence[SummaryRow] = (),
) -> Path:
    """Write the evaluation of a run atomically and return its folder.

    The hash of the run's weights is stored with it: ``load_evaluation`` rejects an evaluation of other weights.
    """
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    parts = {
        f"{section}/{id}/{array}": np.ascontiguousarray(getattr(metric.parts, array))
        for section, metrics in report.items()
        for id, metric in metrics.items()
        if metric.parts is not None
        for array in ARRAYS
    }
    # The files are moved into place in reverse order once all are written: the report, which holds the hash of the
    # parts, comes last.
    with (
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
            "sections": report_to_json(report),
            "topics": [asdict(topic) for topic in topics],
            "summaries": [asdict(row) for row in summaries],
        }
        new_page.write_text(page, encoding="utf-8")
        new_report.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


def load_evaluation(run: Path) -> tuple[dict[str, Any], Report]:
    """Load what ``save_evaluation`` wrote: the description of the evaluation and its metrics.

    Reports of format 1 are migrated in memory.

    Raises:
        UserError: there is none, it is damaged, of another format, or of other weights.
    """
    path = run / FOLDER / REPORT
    try:
        about = read_json(path, REMEDY)
        if not describe_mismatch(about, {"format": int}) and about["format"] != 1:
            require_format(path, about["format"], FORMAT, REMEDY)
        if wrong := describe_mismatch(about, {"format": int, **SCHEMA}):
            raise UserError(f"{path}: damaged ({wrong}); {REMEDY}")
        if about["weights_sha256"] != file_hash(run / WEIGHTS):
            raise UserError(f"{run}: trained further since it was evaluated; run `tgvae evaluate {run}` again")
        if about["parts_sha256"] != file_hash(run / FOLDER / PARTS):
            raise UserError(f"{run / FOLDER}: {PARTS} does not belong to {REPORT}; {REMEDY}")
        arrays = load_file(run / FOLDER / PARTS)
        if about["format"] == 1:
            about, arrays = _migrate_format_1(about, arrays)
        report = {
            section: {id: _metric(f"{section}/{id}", saved, arrays) for id, saved in metrics.items()}
            for section, metrics in about.pop("sections").items()
        }
    except FileNotFoundError:
        hint = path_suggestion(run) or f"; run `tgvae evaluate {run}` first"
        raise UserError(f"{run}: not evaluated yet{hint}") from None
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise UserError(f"{path}: damaged ({error!r}); {REMEDY}") from error
    return about, report


def _metric(key: str, saved: Mapping[str, Any], arrays: Mapping[str, Any]) -> Metric:
    if wrong := describe_mismatch(saved, METRIC_SCHEMA):
        raise ValueError(f"{key}: {wrong}")
    fields = dict(saved)
    flags, value, baselines = fields.pop("parts", None), _number(fields.pop("value")), fields.pop("baselines")
    parts = None if flags is None else _parts([arrays[f"{key}/{array}"] for array in ARRAYS], flags)
    return Metric(value, parts=parts, baselines={id: _number(other) for id, other in baselines.items()}, **fields)


def _parts(arrays: Sequence[NDArray[Any]], flags: Mapping[str, Any]) -> Parts:
    x, w, unit = arrays
    if not x.shape == w.shape == unit.shape == (x.size,) or any(array.dtype.kind not in "biuf" for array in arrays):
        raise ValueError(f"parts {[(array.dtype, array.shape) for array in arrays]}")
    return Parts(x, w, unit, **flags)


def _number(value: Any) -> float:
    """Return a number from JSON, where null stands for NaN."""
    return float("nan") if value is None else value


# Format 1 (up to November 2026) keyed metrics and baselines by display name.

_FORMAT_1_KEYS = {
    "corpus": "data",
    "protocol": "config",
    "judge": "reference_lm",
    "training seed": "training_seed",
    "trained with": "training_versions",
    "evaluated with": "evaluation_versions",
}
_FORMAT_1_IDS = (  # applied to section/slug of the display name, the strength of guidance last
    (r"/elbo_per_", "/neg_elbo_per_"),
    (r"/kl_of_(\w+)_per_", r"/kl_\1_per_"),
    (r"/nll_iw_\d+_per_", "/nll_iw_per_"),
    (r"/perplexity_iw_\d+$", "/perplexity_iw"),
    (r"/perplexity_z_from_the_document$", "/perplexity_without_kl_z"),
    (r"/mutual_information_of_\w+$", "/mutual_information"),
    (r"/active_units_of_the_sentence$", "/active_units_sentence"),
    (r"/total_correlation_of_the_posterior$", "/total_correlation"),
    (r"/off_diagonal_share_of_the_covariance$", "/off_diagonal_share"),
    (r"/kl_of_z_least_of_topics$", "/kl_z_min_topic"),
    (r"/kl_of_z_largest_of_topics$", "/kl_z_max_topic"),
    (r"/entropy_of_q$", "/posterior_entropy"),
    (r"/perplexity_of_the_use_of_categories$", "/category_perplexity"),
    (r"/accuracy_of_nearest_neighbours$", "/knn_accuracy"),
    (r"/copied_from_training$", "/copied"),
    (r"/distance_of_lengths$", "/length_distance"),
    (r"/nmi_with_labels$", "/label_nmi"),
    (r"/fidelity_by_classifier_", "/fidelity_classifier_"),
    (r"/distinct_bigrams_", "/distinct_2_"),
    (r"/pull_of_a_topic_", "/topic_pull_"),
    (r"^summaries/length$", "summaries/summary_length"),
)
_FORMAT_1_BASELINES = {"least": "minimum", "not_asked": "unguided"}


def _migrate_format_1(saved: dict[str, Any], arrays: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a report of format 1, and the rows of its parts, with the keys of format 2."""
    ids = {
        f"{section}/{name}": _format_1_id(section, name)
        for section, metrics in saved["sections"].items()
        for name in metrics
    }
    sections = {
        section: {
            ids[f"{section}/{name}"]: {key: value for key, value in metric.items() if key != "marks"}
            | {"name": name, "baselines": {_format_1_baseline(mark): x for mark, x in metric["marks"].items()}}
            for name, metric in metrics.items()
        }
        for section, metrics in saved["sections"].items()
    }
    migrated = {_FORMAT_1_KEYS.get(key, key): value for key, value in saved.items()}
    renamed = {
        f"{key.split('/')[0]}/{id}/{array}": arrays[f"{key}/{array}"]
        for key, id in ids.items()
        for array in ARRAYS
        if f"{key}/{array}" in arrays
    }
    return migrated | {"format": FORMAT, "sections": sections}, renamed


def _format_1_id(section: str, name: str) -> str:
    title, _, strength = name.partition(", strength ")  # which may be negative
    key = f"{section}/{slug(title)}" + (f"_{strength}" if strength else "")
    for pattern, id in _FORMAT_1_IDS:
        key = re.sub(pattern, id, key)
    return key.removeprefix(f"{section}/")


def _format_1_baseline(mark: str) -> str:
    return _FORMAT_1_BASELINES.get(slug(mark), slug(mark))
