"""`tgvae evaluate`: how good runs are, with units, estimators, errors and baselines."""

from __future__ import annotations

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
from tgvae.datasets import Data, fingerprint, load_split
from tgvae.distributed import evaluation_group, is_main_process
from tgvae.errors import UserError
from tgvae.evaluation.generation import ReferenceLM
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
from tgvae.models.vgae import GraphVAE
from tgvae.runs import fit_language_model, load_run, open_data, open_folder, read_recipe, read_run


@dataclass(frozen=True)
class Evaluate:
    """Measure one or several runs: a table here, and report.json and a page with pictures in RUN/evaluation.

    A language model among the runs also rates what the others generate (forward perplexity). Processes that torchrun
    or `accelerate launch` starts share the bounds, and find what one alone does.

    Examples:
      tgvae evaluate runs/sotu runs/sotu-vae runs/sotu-lm --lda
      tgvae evaluate runs/digits-vae runs/digits-autoencoder --samples 1000
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, trained on the same data."""
    split: Literal["valid", "test"] = "test"
    """Held-out documents, vectors or edges to measure on."""
    protocol: Annotated[EvalConfig, tyro.conf.arg(name="")] = field(default_factory=EvalConfig)
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
        found = measured(options)
        if is_main_process():
            tell(options, found)


def measured(options: Evaluate) -> dict[str, Report]:
    """The figures of every run, written into its folder too."""
    models = {run: load_run(run, options.device) for run in options.runs}
    require_same_data(options.runs)
    judge = next((run for run, model in models.items() if isinstance(model, LanguageModel)), None)
    judged = None if judge is None else judge_of(judge, models[judge], options.split, options.data)
    found = {}
    for run, model in models.items():
        evaluation = measure(run, model, judged, options.split, options.protocol, options.data)
        found[str(run)] = evaluation.report
    return found


def tell(options: Evaluate, found: Mapping[str, Report]) -> None:
    """Print the figures."""
    pages = [run / FOLDER / PAGE for run in options.runs]
    if options.json:
        runs = {run: report_to_json(report) for run, report in found.items()}
        about = {"split": options.split, "config": asdict(options.protocol), "pages": [*map(str, pages)]}
        print_json(about | {"runs": runs})
        return
    show(found, table_console())
    baseline_first = sorted(options.runs, key=lambda run: read_run(run)["recipe"]["kind"] != LanguageModel.kind)
    then = command("compare" if len(options.runs) > 1 else "plot", *baseline_first)
    print_next_steps(pages, ["open it in a browser", then])


def require_same_data(runs: Sequence[Path]) -> None:
    """Raises UserError for runs that were trained on different data, or on other edges of the same graph."""
    described = {run: read_run(run) for run in runs}
    first, *others = runs
    for run in others:
        if fingerprint(described[run]["data"]) != fingerprint(described[first]["data"]):
            raise UserError(f"{run}: trained on other data than {first}; evaluate them apart")
        recipes = [described[r]["recipe"] for r in (first, run)]
        if recipes[0]["kind"] == GraphVAE.kind and recipes[0]["train"]["seed"] != recipes[1]["train"]["seed"]:
            raise UserError(f"{run}: its seed holds out other edges than that of {first}; evaluate them apart")


def judge_of(run: Path, model: Model, split: str = "test", data: Path | None = None) -> ReferenceLM:
    """The language model of a run as a judge of the others."""
    assert isinstance(model, LanguageModel)
    return ReferenceLM.of(model, Corpus(open_folder(run, data), split), file_hash(run / WEIGHTS))


def measure(
    run: Path,
    model: Model,
    judge: ReferenceLM | None,
    split: str = "test",
    protocol: EvalConfig | None = None,
    data: Path | None = None,
) -> Evaluation:
    """Evaluate the model of a run, and write its report and page into the run folder: the first process does."""
    protocol, opened = protocol or EvalConfig(), open_data(run, data)
    train, held_out = (split_of(run, model, opened, name) for name in ("train", split))
    fit = partial(fit_judge, opened, protocol.seed) if isinstance(opened, PreparedFolder) else None
    found = evaluate(model, train, held_out, protocol, judge, fit)
    if not is_main_process():
        return found
    about = describe(run, model, split, protocol) | {"reference_lm": None if judge is None else judge.name}
    texts = {name.replace("_", " "): in_words(value) for name, value in about.items()}
    shown = collect_report_data(found, model, train, held_out, f"Evaluation of {run.name}", texts, run)
    save_evaluation(run, about, found.report, render_report(shown), shown.topics or (), shown.summaries)
    write_card(run, read_run(run), model, opened)
    return found


def split_of(run: Path, model: Model, data: Data, split: str) -> Examples:
    """A split of the data of a run: of text the corpus, whatever the model reads of it; of a graph the run's own."""
    if isinstance(data, PreparedFolder):
        return Corpus(data, split)
    return load_split(model, data, split, read_recipe(run).train.seed)


def fit_judge(folder: PreparedFolder, seed: int, texts: Sequence[str]) -> LanguageModel:
    """A small language model of some sentences, with the vocabulary of a prepared folder."""
    return fitted(tuple(texts), folder.path, seed)


@lru_cache(maxsize=2)  # the model of real text is that of every run
def fitted(texts: tuple[str, ...], data: Path, seed: int) -> LanguageModel:
    """The same, once for the same sentences."""
    return fit_language_model(texts, PreparedFolder.open(data), seed)


def describe(run: Path, model: Model, split: str, protocol: EvalConfig) -> dict[str, Any]:
    """What an evaluation is of, so that it can be repeated and compared."""
    described = read_run(run)
    return {
        "run": str(run),
        "model": model.kind,
        "data": described["data"],
        "split": split,
        "config": asdict(protocol),
        "training_seed": described["recipe"]["train"]["seed"],
        "training_versions": described["versions"],
        "evaluation_versions": {
            name: version(name) for name in ("tgvae", "torch", "numpy", "scipy", "scikit-learn", "nltk")
        },
    }


def in_words(value: Any) -> str:
    """A described value on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {in_words(part)}" for name, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def show(found: Mapping[str, Report], console: Console) -> None:
    """Print figures as tables, a column a run, a block a section; how each was found stands in report.json."""
    labels, beside = [], []
    ids = metric_ids(found)
    for section, id in ids:
        known = [report[section][id] for report in found.values() if id in report.get(section, {})]
        marks: dict[str, dict[str, None]] = {}  # of runs that have other marks each its own, in their order
        for figure in known:
            for mark, value in figure.baselines.items():
                marks.setdefault(baseline_name(mark), {})[format_number(value)] = None
        labels.append((section, display_name(id, known[0]), known[0].unit))
        beside.append((", ".join(f"{mark} {' / '.join(values)}" for mark, values in marks.items()),))
    runs = (
        ColumnGroup((run,), [(_estimate(report.get(section, {}).get(id)),) for section, id in ids])
        for run, report in found.items()
    )
    baselines = ColumnGroup(("baseline",), beside, max_width=max(16, console.width // 4))
    print_metrics(labels, [*runs, baselines], console)


def _estimate(metric: Metric | None) -> str:
    return "" if metric is None else format_estimate(metric.value, metric.error)
