"""`tgvae evaluate`: metrics of runs with units, estimators, errors and baselines."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from tgvae.cli.options import parse, require_device
from tgvae.cli.output import command, print_json, print_next_steps, table_console
from tgvae.data.corpus import Corpus
from tgvae.data.dataset import Examples
from tgvae.data.schema import PreparedFolder, file_hash
from tgvae.datasets import Data, fingerprint, load_split, split_seed
from tgvae.distributed import evaluation_group, is_main_process
from tgvae.errors import UserError
from tgvae.evaluation.generation import ReferenceLM, is_language_model
from tgvae.evaluation.html_report import render_report
from tgvae.evaluation.metric import Metric, Report, metric_ids
from tgvae.evaluation.model_card import write_card
from tgvae.evaluation.registry import baseline_name, display_name
from tgvae.evaluation.report import EvalConfig, Evaluation, evaluate
from tgvae.evaluation.report_data import collect_report_data
from tgvae.evaluation.report_io import FOLDER, PAGE, report_to_json, save_evaluation
from tgvae.formatting import ColumnGroup, format_estimate, format_number, print_metrics
from tgvae.models.base import WEIGHTS, Model
from tgvae.models.sentence import LanguageModel
from tgvae.runs import fit_language_model, load_run, open_data, open_folder, read_recipe, read_run


@dataclass(frozen=True)
class Evaluate:
    """Evaluate runs: a table here, and report.json and an HTML page with plots in RUN/evaluation.

    A language model among the runs also scores what the others generate (forward perplexity). Processes started by
    torchrun or `accelerate launch` share the bounds; the results are those of a single process.

    Examples:
      tgvae evaluate runs/sotu runs/sotu-vae runs/sotu-lm --lda
      tgvae evaluate runs/digits-vae runs/digits-autoencoder --samples 1000
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, trained on the same data."""
    split: Literal["valid", "test"] = "test"
    """Held-out documents, vectors or edges to evaluate on."""
    config: Annotated[EvalConfig, tyro.conf.arg(name="")] = field(default_factory=EvalConfig)
    data: Path | None = None
    """Where the data is now, if it has moved."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, cuda:1, ..."""
    json: bool = False
    """Print JSON."""


def main(arguments: Sequence[str]) -> None:
    options = parse(Evaluate, "evaluate", arguments)
    if not options.runs:
        raise UserError("give at least one run folder")
    require_device(options.device)
    with evaluation_group():
        evaluations = evaluate_runs(options)
        if is_main_process():
            print_evaluations(options, evaluations)


def evaluate_runs(options: Evaluate) -> dict[str, Evaluation]:
    """Evaluate every run and write the results into its folder."""
    models = {run: load_run(run, options.device) for run in options.runs}
    require_same_data(options.runs)
    reference_run = next((run for run, model in models.items() if is_language_model(model)), None)
    reference = None
    if reference_run is not None:
        reference = load_reference_lm(reference_run, models[reference_run], options.split, options.data)
    return {
        str(run): evaluate_run(run, model, reference, options.split, options.config, options.data)
        for run, model in models.items()
    }


def print_evaluations(options: Evaluate, evaluations: Mapping[str, Evaluation]) -> None:
    """Print metrics, remarks and next steps."""
    pages = [run / FOLDER / PAGE for run in options.runs]
    reports = {run: evaluation.report for run, evaluation in evaluations.items()}
    for run, evaluation in evaluations.items():
        for remark in evaluation.remarks:
            print(f"{run}: {remark}", file=sys.stderr)
    if options.json:
        about = {"split": options.split, "config": asdict(options.config), "pages": [*map(str, pages)]}
        print_json(about | {"runs": {run: report_to_json(report) for run, report in reports.items()}})
        return
    show(reports, table_console())
    baseline_first = sorted(options.runs, key=lambda run: read_run(run)["recipe"]["kind"] != LanguageModel.kind)
    then = command("compare" if len(options.runs) > 1 else "plot", *baseline_first)
    print_next_steps(pages, ["open it in a browser", then])


def require_same_data(runs: Sequence[Path]) -> None:
    """Raise UserError for runs that were trained on different data, or on different edges of the same graph."""
    first, *others = runs
    description = read_run(first)
    for run in others:
        other = read_run(run)
        if fingerprint(other["data"]) != fingerprint(description["data"]):
            raise UserError(f"{run}: trained on other data than {first}; evaluate them separately")
        seeds = {split_seed(d["recipe"]["kind"], d["recipe"]["train"]["seed"]) for d in (description, other)}
        if len(seeds) > 1:
            raise UserError(f"{run}: its seed holds out other edges than that of {first}; evaluate them separately")


def load_reference_lm(run: Path, model: Model, split: str = "test", data: Path | None = None) -> ReferenceLM:
    """Return the language model of a run as the reference of other runs."""
    if not is_language_model(model):
        raise UserError(f"{run}: a {model.kind} is not a language model; give a run of the recipe language-model")
    return ReferenceLM.of(model, Corpus(open_folder(run, data), split), file_hash(run / WEIGHTS))


def evaluate_run(
    run: Path,
    model: Model,
    reference: ReferenceLM | None,
    split: str = "test",
    config: EvalConfig | None = None,
    data: Path | None = None,
) -> Evaluation:
    """Evaluate the model of a run; the first process writes report, page and model card into the run folder."""
    config, opened = config or EvalConfig(), open_data(run, data)
    train, held_out = (open_split(run, model, opened, name) for name in ("train", split))
    fit_lm = partial(_fit_lm, opened, config.seed) if isinstance(opened, PreparedFolder) else None
    evaluation = evaluate(model, train, held_out, config, reference, fit_lm)
    if not is_main_process():
        return evaluation
    about = describe_evaluation(run, model, split, config) | {
        "reference_lm": None if reference is None else reference.name
    }
    texts = {name.replace("_", " "): _one_line(value) for name, value in about.items()}
    shown = collect_report_data(evaluation, model, train, held_out, f"Evaluation of {run.name}", texts, run)
    save_evaluation(run, about, evaluation.report, render_report(shown), shown.topics or (), shown.summaries)
    write_card(run, read_run(run), model, opened)
    return evaluation


def open_split(run: Path, model: Model, data: Data, split: str) -> Examples:
    """Return a split of a run's data: the corpus for any model of text, the run's own edges of a graph."""
    if isinstance(data, PreparedFolder):
        return Corpus(data, split)
    return load_split(model, data, split, read_recipe(run).train.seed)


def _fit_lm(folder: PreparedFolder, seed: int, texts: Sequence[str]) -> LanguageModel:
    return _cached_lm(tuple(texts), folder.path, seed)


@lru_cache(maxsize=2)  # the model of real text is the same for every run
def _cached_lm(texts: tuple[str, ...], data: Path, seed: int) -> LanguageModel:
    return fit_language_model(texts, PreparedFolder.open(data), seed)


def describe_evaluation(run: Path, model: Model, split: str, config: EvalConfig) -> dict[str, Any]:
    """Return what was evaluated and how, so that it can be repeated and compared."""
    description = read_run(run)
    packages = ("tgvae", "torch", "numpy", "scipy", "scikit-learn", "nltk")
    return {
        "run": str(run),
        "model": model.kind,
        "data": description["data"],
        "split": split,
        "config": asdict(config),
        "training_seed": description["recipe"]["train"]["seed"],
        "training_versions": description["versions"],
        "evaluation_versions": {name: version(name) for name in packages},
    }


def _one_line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_one_line(part)}" for name, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def show(reports: Mapping[str, Report], console: Console) -> None:
    """Print one table row per metric and one column per run; report.json has the estimators."""
    ids, labels, baselines = metric_ids(reports), [], []
    for section, id in ids:
        metrics = [report[section][id] for report in reports.values() if id in report.get(section, {})]
        values: dict[str, dict[str, None]] = {}  # distinct values of each baseline, in the order of the runs
        for metric in metrics:
            for name, value in metric.baselines.items():
                values.setdefault(baseline_name(name), {})[format_number(value)] = None
        labels.append((section, display_name(id, metrics[0]), metrics[0].unit))
        baselines.append((", ".join(f"{name} {' / '.join(each)}" for name, each in values.items()),))
    runs = (
        ColumnGroup((run,), [(_estimate(report.get(section, {}).get(id)),) for section, id in ids])
        for run, report in reports.items()
    )
    print_metrics(
        labels, [*runs, ColumnGroup(("baseline",), baselines, max_width=max(16, console.width // 4))], console
    )


def _estimate(metric: Metric | None) -> str:
    return "" if metric is None else format_estimate(metric.value, metric.error)
