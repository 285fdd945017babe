"""The run folder: what training writes and everything after it reads.

config.json, model.safetensors, vocabularies   the best model, loadable by itself (models/base.py)
run.json                                        recipe, settings, seed, corpus, versions
README.md                                       the model card: all that for people, and figures once evaluated
last.safetensors                                to resume from
metrics.jsonl, tensorboard/                     figures over time
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, overload

import torch
from accelerate import PartialState

from tgvae.config_io import from_json, migrate_settings, misfit, read_described
from tgvae.data.corpus import Corpus
from tgvae.data.dataset import Examples
from tgvae.data.graphs import Graph
from tgvae.data.pairs import Pairs
from tgvae.data.schema import SPLITS, PreparedFolder
from tgvae.datasets import Data, describe, examples_of, fingerprint, open_source
from tgvae.distributed import by_itself
from tgvae.errors import UserError, meant_path
from tgvae.evaluation.generation import Writer, real_sentences
from tgvae.evaluation.model_card import write_card
from tgvae.evaluation.topic_fidelity import ask_every_topic, generated_fidelity
from tgvae.evaluation.topics import has_topics, topic_quality
from tgvae.files import write_text, writing
from tgvae.models.base import CARD, CONFIG, WEIGHTS, Capability, Model, load
from tgvae.models.sentence import LanguageModel, SentenceConfig
from tgvae.models.summarization import SummaryGenerator
from tgvae.models.summarizer import Summarizer
from tgvae.models.tgvae import TGVAE
from tgvae.models.topic import MixtureTopics
from tgvae.progress import step
from tgvae.recipes import RECIPES, Recipe, language_model
from tgvae.training.checkpoint import CHECKPOINT, read_progress
from tgvae.training.config import Phase
from tgvae.training.device import machine_of, on_cpu, precision_of
from tgvae.training.failures import explained
from tgvae.training.logger import BOARD, METRICS
from tgvae.training.loop import require_trainable, train
from tgvae.training.signals import StopSignals
from tgvae.training.topic_init import start_topics

FORMAT = 2
RUN = "run.json"
FORM = {"recipe": {"kind": str, "model": dict, "train": {"seed": int}}, "data": {"path": str}, "versions": dict}
MACHINE = {"device": str, "cpu": str, "threads": int, "processes": int}
PACKAGES = ("tgvae", "torch", "transformers", "accelerate", "numpy", "scikit-learn")


def start_run(recipe: Recipe, source: str | Path, run: Path, overwrite: bool = False, quiet: bool = False) -> Model:
    """Train a recipe on a prepared folder (or vectors, or a graph, as its kind of model wants), in a new run folder.

    Raises:
        UserError: the folder holds something already, the data cannot be used, or training failed.

    Examples:
        One epoch of the VAE of digits:

        >>> from dataclasses import replace
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from tgvae.recipes import digits_vae, in_phases
        >>> short = in_phases(digits_vae(), lambda phase: replace(phase, epochs=1))
        >>> with TemporaryDirectory() as folder:
        ...     model = start_run(short, "digits", Path(folder) / "run", quiet=True)
        >>> model.sample(num=3).shape
        torch.Size([3, 64])
    """
    data = open_source(kind_of(recipe), str(source))
    recipe, state = settled(recipe), PartialState(cpu=on_cpu(recipe.train))
    if state.is_main_process and run.exists() and any(run.iterdir()) and not overwrite:
        raise UserError(
            f"{run}: exists already; choose another --out, go on with `tgvae train --resume {run}`, or train anew "
            "with --overwrite"
        )
    with step("reading the data"):
        model = build(recipe, data)
        examples = _examples(model, recipe, data)
    require_trainable(model, examples, recipe.train)  # before there is a folder, or an old run is overwritten
    if state.is_main_process:  # of several processes, the first one makes the folder
        _make_folder(recipe, data, run)
    state.wait_for_everyone()
    return _train(model, recipe, examples, data, run, resume=False, quiet=quiet)


def _make_folder(recipe: Recipe, data: Data, run: Path) -> None:
    """An empty run. Killed on the way, it is still the old one, if any: with all it had, or to be trained again."""
    _clear(run)
    described = {
        "format": FORMAT,
        "recipe": asdict(recipe),
        "data": describe(data),
        "versions": versions(),
        "machine": machine_of(recipe.train),
    }
    write_text(run / RUN, json.dumps(described, indent=2, ensure_ascii=False) + "\n")


def versions() -> dict[str, str]:
    """Of what the weights of a run depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def _clear(run: Path) -> None:
    """Make the folder, or take out what training wrote but run.json: the checkpoint first, so none is of another model.

    Raises:
        UnwritableError: it cannot be made, or nothing taken out of it.
    """
    with writing(run):
        run.mkdir(parents=True, exist_ok=True)
        for old in (CHECKPOINT, WEIGHTS, CONFIG, METRICS, CARD):
            (run / old).unlink(missing_ok=True)
        for folder in (run / BOARD, run / "evaluation"):
            if folder.exists():
                shutil.rmtree(folder)


def resume_run(run: Path, source: str | Path | None = None) -> Model:
    """Resume an interrupted run from its last checkpoint, to the same weights as an uninterrupted one.

    A run that was stopped before its first checkpoint starts from the beginning.

    Args:
        run: the run folder.
        source: where the data is now, if it was moved.

    Raises:
        UserError: there is no run, its data is missing or has changed, or training failed.
    """
    return _go_on(read_recipe(run), open_data(run, source), run)


def resume_status(run: Path) -> str:
    """Describe what resuming a run would do. Raises UserError for a damaged run or checkpoint."""
    phases = list(read_recipe(run).train.phases.items())
    if not _begun(run):
        return "no checkpoint yet; training starts from the beginning"
    progress = read_progress(run / CHECKPOINT)
    name, phase = phases[progress.phase]
    if progress.phase == len(phases) - 1 and progress.finished(phase):
        return "training already finished"
    return f"resuming at phase {name}, step {progress.step}"


def ensure_run(recipe: Recipe, source: str | Path, run: Path, quiet: bool = False) -> Model:
    """The trained model of a recipe in a run folder: trained anew, or only as far as that is not done yet.

    Raises:
        UserError: the folder holds a run with other settings, or of other data.
    """
    if not _begun(run):
        return start_run(recipe, source, run, overwrite=True, quiet=quiet)
    found, auto = read_recipe(run), recipe.train.precision == "auto"
    if found != (replace(recipe, train=replace(recipe.train, precision=found.train.precision)) if auto else recipe):
        raise UserError(f"{run}: trained with other settings than are asked for now; choose another --out")
    return _go_on(found, open_data(run, source), run, quiet)


def _go_on(recipe: Recipe, data: Data, run: Path, quiet: bool = False) -> Model:
    model = build(recipe, data)
    return _train(model, recipe, _examples(model, recipe, data), data, run, resume=_begun(run), quiet=quiet)


def _begun(run: Path) -> bool:
    """Whether there is anything that to train from the start would lose."""
    return any((run / name).is_file() for name in (CHECKPOINT, WEIGHTS))


def settled(recipe: Recipe) -> Recipe:
    """The recipe with its precision, where that is ``auto``, as this machine has it: so a run folder says it."""
    return replace(recipe, train=replace(recipe.train, precision=precision_of(recipe.train)))


def kind_of(recipe: Recipe) -> type[Model]:
    """The class of model that a recipe trains. Raises UserError where there is no such kind."""
    kind = Model.kinds.get(recipe.kind)
    if kind is None:
        raise UserError(f"no model of kind {recipe.kind!r}; choose from {', '.join(Model.kinds)}")
    return kind


def build(recipe: Recipe, data: Data) -> Model:
    """A fresh model of the recipe; a mixture of topics starts from the corpus, all else at random."""
    torch.manual_seed(recipe.train.seed)
    model = kind_of(recipe).from_data(recipe.model, data)
    if isinstance(topic := getattr(model, "topic", None), MixtureTopics):
        assert isinstance(data, PreparedFolder)
        start_topics(topic, Corpus(data, "train").bags, recipe.train.seed)
    return model


def _examples(model: Model, recipe: Recipe, data: Data) -> dict[str, Examples]:
    """What to train and to validate on."""
    return {split: examples_of(model, data, split, recipe.train.seed) for split in SPLITS[:2]}


def _train(
    model: Model, recipe: Recipe, examples: dict[str, Examples], data: Data, run: Path, resume: bool, quiet: bool
) -> Model:
    """Train, until a signal says to stop. Of pairs and graphs it tells what there is, and what was cut or left out."""
    state = PartialState(cpu=on_cpu(recipe.train))
    if state.is_main_process and not quiet:
        told = [data] if isinstance(data, Graph) else examples.values() if isinstance(model, Summarizer) else []
        print(*told, sep="\n", end="\n" if told else "", file=sys.stderr)

    split = examples["train"]
    corpus = split.corpus if isinstance(split, Pairs) else split
    look = partial(watch, corpus=corpus) if has_topics(model) and isinstance(corpus, Corpus) else None
    with explained(run), StopSignals() as stopping:
        model = train(model, examples, recipe.train, run, resume=resume, watch=look, quiet=quiet, stopping=stopping)
    if state.is_main_process:
        write_card(run, read_run(run), model, data)
    return model


def watch(model: Model, phase: Phase, corpus: Corpus) -> dict[str, float]:
    """Metrics of topics at a validation beyond the bound, so that silent failures are seen at once."""
    assert has_topics(model)
    quality = topic_quality(model, corpus)
    figures = {
        "npmi": float(quality.npmi.mean()),
        "diversity": quality.diversity,
        "topics_in_use": quality.in_use,
    }
    if isinstance(model, TGVAE) and phase.unit == "sentence":
        figures |= {
            "fidelity": generated_fidelity(model, ask_every_topic(model, per_topic=5)),
            "chance": 1 / model.topic.size,
        }
    return figures


def fit_language_model(texts: Sequence[str], folder: PreparedFolder, seed: int = 0) -> LanguageModel:
    """A small language model of some sentences, with the vocabulary of a folder; nothing is kept on disk.

    A judge for evaluation: small and stopped early on 500 validation sentences, so that it takes a minute.
    """
    recipe, valid = language_model(), Corpus(folder, "valid")
    small = SentenceConfig(embedding_size=64, hidden_size=128, flow_length=0)
    config = replace(recipe.train, seed=seed, precision="no")  # the same judge on every machine
    corpora = {
        "train": Corpus.of_sentences(folder, "train", texts),
        "valid": Corpus.of_sentences(folder, "valid", real_sentences(valid, 500, seed)),
    }
    model = build(Recipe(recipe.kind, small, config), folder)
    assert isinstance(model, LanguageModel)
    with TemporaryDirectory() as run, by_itself(), step("training a judge"):
        train(model, corpora, config, Path(run), quiet=True)
    return model


def read_run(run: Path) -> dict[str, Any]:
    """The parsed run.json. Raises UserError where there is none, or one of another format."""
    remedy = "get the whole run anew, or train again"
    try:
        described = read_described(run / RUN, FORMAT, FORM, remedy, oldest=1)
    except FileNotFoundError:
        raise UserError(
            f"{run}: not a run folder (no {RUN}), or stopped before it was one; give a folder made by `tgvae train`"
            + meant_path(run)
        ) from None
    machine = described.get("machine")  # which runs of tgvae 0.1.0 at first did not note
    if machine is not None and (wrong := misfit(machine, MACHINE, "machine") or _too_few(machine)):
        raise UserError(f"{run / RUN}: damaged ({wrong}); {remedy}")
    described["recipe"]["model"] = migrate_settings(described["recipe"]["model"], described["format"])
    return described


def _too_few(machine: dict[str, Any]) -> str:
    return "" if machine["threads"] >= 1 else f"machine.threads is {machine['threads']}"


def read_recipe(run: Path) -> Recipe:
    """The recipe that a run was trained with."""
    saved = read_run(run)["recipe"]
    kind = Model.kinds.get(saved["kind"])
    if kind is None:
        raise UserError(f"{run / RUN}: unknown kind of model {saved['kind']!r}")
    settings: Any = from_json(kind.config_class, saved["model"], str(run / RUN))
    return from_json(Recipe, saved | {"model": settings}, str(run / RUN))


def open_data(run: Path, source: str | Path | None = None) -> Data:
    """The data that a run was trained on, from where it was, or from the place given instead.

    Raises:
        UserError: it is gone, or other data than the run was trained on.
    """
    described = read_run(run)["data"]
    where = str(source or described["path"])
    try:
        data = open_source(kind_of(read_recipe(run)), where)
    except UserError as error:
        if source is not None:
            raise
        raise UserError(f"{error}; if the data has moved, pass its new place with --data") from error
    if fingerprint(describe(data)) != fingerprint(described):
        raise UserError(f"{where}: not the data that {run} was trained on (its hash differs)")
    return data


def open_folder(run: Path, source: str | Path | None = None) -> PreparedFolder:
    """``open_data`` for what needs text. Raises UserError for a run on other data."""
    data = open_data(run, source)
    if not isinstance(data, PreparedFolder):
        raise UserError(f"{run}: a {read_recipe(run).kind} was not trained on text; give a run of a text model")
    return data


@overload
def load_run(run: Path, device: str = "cpu", *, require: Literal[Capability.GENERATION]) -> Writer: ...
@overload
def load_run(run: Path, device: str = "cpu", *, require: Literal[Capability.GUIDANCE]) -> TGVAE: ...
@overload
def load_run(run: Path, device: str = "cpu", *, require: Literal[Capability.SUMMARIES]) -> SummaryGenerator: ...
@overload
def load_run(run: Path, device: str = "cpu", *, require: Capability | None = None) -> Model: ...
def load_run(run: Path, device: str = "cpu", *, require: Capability | None = None) -> Any:
    """Load the trained model of a run folder.

    Raises:
        UserError: the folder holds no trained model, or one without the capability ``require``.
    """
    if not (run / WEIGHTS).is_file():  # written last
        raise UserError(f"{run}: no trained model here; give a folder made by `tgvae train`{meant_path(run)}")
    with step(f"reading {run}"):
        model = load(run, map_location=device)
    if require is not None and require not in model.capabilities:
        names = ", ".join(recipes_with(require))
        raise UserError(f"{run}: a {model.kind} does not support {require}; give a run of one of the recipes {names}")
    return model


def recipes_with(capability: Capability) -> list[str]:
    """Return the names of the recipes whose models have a capability."""
    recipes = {name: make() for name, make in RECIPES.items()}
    return [name for name, recipe in recipes.items() if capability in kind_of(recipe).capabilities_of(recipe.model)]
