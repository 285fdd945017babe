"""The run folder: written by training, read by every other command.

config.json, model.safetensors, vocabularies   the best model, loadable on its own (models/base.py)
run.json                                        recipe, seed, data, versions, machine
README.md                                       the model card, with metrics once evaluated
last.safetensors                                checkpoint for resuming
metrics.jsonl, tensorboard/                     metrics during training
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, overload

import torch
from accelerate import PartialState

from tgvae.config_io import describe_mismatch, from_json, migrate_settings, read_versioned
from tgvae.data.corpus import Corpus
from tgvae.data.dataset import Examples
from tgvae.data.schema import SPLITS, PreparedFolder
from tgvae.datasets import DATA_TYPES, fingerprint, load_split, open_source
from tgvae.distributed import unsharded
from tgvae.errors import UserError, path_suggestion
from tgvae.evaluation.generation import Writer, real_sentences
from tgvae.evaluation.model_card import write_card
from tgvae.evaluation.topic_fidelity import generate_for_every_topic, generated_fidelity
from tgvae.evaluation.topics import topic_quality
from tgvae.files import write_text, writing
from tgvae.models.base import CARD, CONFIG, WEIGHTS, Capability, Model, load
from tgvae.models.sentence import LanguageModel, SentenceConfig
from tgvae.models.summarization import SummaryGenerator
from tgvae.models.tgvae import TGVAE
from tgvae.models.topic import MixtureTopics
from tgvae.progress import step
from tgvae.recipes import RECIPES, Recipe, language_model
from tgvae.training.checkpoint import CHECKPOINT, read_progress
from tgvae.training.config import Phase
from tgvae.training.device import describe_machine, on_cpu, resolve_precision
from tgvae.training.failures import explain_failures
from tgvae.training.logger import METRICS, TENSORBOARD
from tgvae.training.loop import require_trainable, train
from tgvae.training.signals import StopSignals
from tgvae.training.topic_init import init_topics

FORMAT = 2
RUN = "run.json"
SCHEMA = {"recipe": {"kind": str, "model": dict, "train": {"seed": int}}, "data": {"path": str}, "versions": dict}
MACHINE = {"device": str, "cpu": str, "threads": int, "processes": int}
PACKAGES = ("tgvae", "torch", "transformers", "accelerate", "numpy", "scikit-learn")


def start_run(recipe: Recipe, source: str | Path, run: Path, overwrite: bool = False, quiet: bool = False) -> Model:
    """Train a recipe in a new run folder.

    Args:
        recipe: the kind of model and how it is trained.
        source: a prepared folder, vectors or a graph, as the kind of model requires.
        run: the run folder.
        overwrite: replace a run that the folder holds.
        quiet: print nothing.

    Raises:
        UserError: the folder holds something already, the data cannot be used, or training failed.

    Examples:
        One epoch of the digits VAE:

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
    recipe = with_precision(recipe)
    state = PartialState(cpu=on_cpu(recipe.train))
    if state.is_main_process and run.exists() and any(run.iterdir()) and not overwrite:
        raise UserError(
            f"{run}: exists already; choose another --out, resume it with `tgvae train --resume {run}`, or replace it "
            "with --overwrite"
        )
    with step("reading the data"):
        model = build(recipe, data)
        examples = load_examples(model, recipe, data)
    require_trainable(model, examples, recipe.train)  # before a folder is made, or an old run is overwritten
    if state.is_main_process:
        _create_folder(recipe, data, run)
    state.wait_for_everyone()
    return _train(model, recipe, examples, data, run, resume=False, quiet=quiet)


def resume_run(run: Path, source: str | Path | None = None) -> Model:
    """Resume an interrupted run from its last checkpoint, to the same weights as an uninterrupted one.

    A run that was stopped before its first checkpoint starts from the beginning.

    Args:
        run: the run folder.
        source: where the data is now, if it has moved.

    Raises:
        UserError: there is no run, its data is missing or has changed, or training failed.
    """
    return _resume(read_recipe(run), open_data(run, source), run)


def resume_status(run: Path) -> str:
    """Describe what resuming a run would do. Raises UserError for a damaged run or checkpoint."""
    phases = list(read_recipe(run).train.phases.items())
    if not _has_weights(run):
        return "no checkpoint yet; training starts from the beginning"
    progress = read_progress(run / CHECKPOINT)
    name, phase = phases[progress.phase]
    if progress.phase == len(phases) - 1 and progress.finished(phase):
        return "training already finished"
    return f"resuming at phase {name}, step {progress.step}"


def ensure_run(recipe: Recipe, source: str | Path, run: Path, quiet: bool = False) -> Model:
    """Return the trained model of a recipe: train it, resume it, or load it from the run folder.

    Raises:
        UserError: the folder holds a run with other settings or of other data.
    """
    if not _has_weights(run):
        return start_run(recipe, source, run, overwrite=True, quiet=quiet)
    found = read_recipe(run)
    if recipe.train.precision == "auto":
        recipe = replace(recipe, train=replace(recipe.train, precision=found.train.precision))
    if found != recipe:
        raise UserError(f"{run}: trained with other settings than requested; choose another --out")
    return _resume(found, open_data(run, source), run, quiet)


def with_precision(recipe: Recipe) -> Recipe:
    """Return the recipe with the precision that ``auto`` means on this machine, so that a resumed run keeps it."""
    return replace(recipe, train=replace(recipe.train, precision=resolve_precision(recipe.train)))


def kind_of(recipe: Recipe) -> type[Model]:
    """Return the model class that a recipe trains. Raises UserError for an unknown kind."""
    kind = Model.kinds.get(recipe.kind)
    if kind is None:
        raise UserError(f"no model of kind {recipe.kind!r}; choose from {', '.join(Model.kinds)}")
    return kind


def build(recipe: Recipe, data: Any) -> Model:
    """Return an untrained model. A mixture of topics is initialised from the corpus, everything else at random."""
    torch.manual_seed(recipe.train.seed)
    model = kind_of(recipe).from_data(recipe.model, data)
    topic = getattr(model, "topic", None)
    if isinstance(topic, MixtureTopics):
        init_topics(topic, Corpus(data, "train").bags, recipe.train.seed)
    return model


def load_examples(model: Model, recipe: Recipe, data: Any) -> dict[str, Examples]:
    """Return the training and validation splits as the model reads them."""
    return {split: load_split(model, data, split, recipe.train.seed) for split in SPLITS[:2]}


def watch(model: Any, phase: Phase, corpus: Corpus) -> dict[str, float]:
    """Return topic metrics at a validation, so that silent failures (collapse, lost guidance) are seen early."""
    quality = topic_quality(model, corpus)
    metrics = {"npmi": float(quality.npmi.mean()), "diversity": quality.diversity, "topics_in_use": quality.in_use}
    if Capability.GUIDANCE in model.capabilities and phase.unit == "sentence":
        fidelity = generated_fidelity(model, generate_for_every_topic(model, per_topic=5))
        metrics |= {"fidelity": fidelity, "chance": 1 / model.topic.size}
    return metrics


def fit_language_model(texts: Sequence[str], folder: PreparedFolder, seed: int = 0) -> LanguageModel:
    """Train a small language model on sentences, with the vocabulary of a prepared folder; nothing is kept on disk.

    The reference model of an evaluation: small, and stopped early on 500 validation sentences, so it takes a minute.
    """
    recipe = language_model()
    small = SentenceConfig(embedding_size=64, hidden_size=128, flow_length=0)
    config = replace(recipe.train, seed=seed, precision="no")  # the same reference model on every machine
    valid = real_sentences(Corpus(folder, "valid"), 500, seed)
    examples = {
        "train": Corpus.of_sentences(folder, "train", texts),
        "valid": Corpus.of_sentences(folder, "valid", valid),
    }
    model: Any = build(Recipe(recipe.kind, small, config), folder)
    with TemporaryDirectory() as run, unsharded(), step("training a reference language model"):
        train(model, examples, config, Path(run), quiet=True)
    return model


def read_run(run: Path) -> dict[str, Any]:
    """Parse run.json. Raises UserError where it is missing, damaged or of another format."""
    remedy = "copy the whole run again, or train again"
    try:
        described = read_versioned(run / RUN, FORMAT, SCHEMA, remedy, oldest=1)
    except FileNotFoundError:
        raise UserError(
            f"{run}: not a run folder (no {RUN}), or interrupted before it was complete; "
            f"give a folder made by `tgvae train`{path_suggestion(run)}"
        ) from None
    machine = described.get("machine")  # missing in early runs of tgvae 0.1.0
    if machine is not None:
        wrong = describe_mismatch(machine, MACHINE, "machine")
        if not wrong and machine["threads"] < 1:
            wrong = f"machine.threads is {machine['threads']}"
        if wrong:
            raise UserError(f"{run / RUN}: damaged ({wrong}); {remedy}")
    described["recipe"]["model"] = migrate_settings(described["recipe"]["model"], described["format"])
    return described


def read_recipe(run: Path) -> Recipe:
    """Return the recipe that a run was trained with."""
    saved = read_run(run)["recipe"]
    kind = Model.kinds.get(saved["kind"])
    if kind is None:
        raise UserError(f"{run / RUN}: unknown kind of model {saved['kind']!r}")
    settings: Any = from_json(kind.config_class, saved["model"], str(run / RUN))
    return from_json(Recipe, saved | {"model": settings}, str(run / RUN))


def open_data(run: Path, source: str | Path | None = None) -> Any:
    """Open the data that a run was trained on, at its old location or at ``source``.

    Raises:
        UserError: it is missing, or not the data that the run was trained on.
    """
    described = read_run(run)["data"]
    kind, path = kind_of(read_recipe(run)), str(source or described["path"])
    try:
        data = open_source(kind, path)
    except UserError as error:
        if source is not None:
            raise
        raise UserError(f"{error}; if the data has moved, pass its new location with --data") from error
    if fingerprint(DATA_TYPES[kind.data_type].describe(data)) != fingerprint(described):
        raise UserError(f"{path}: not the data that {run} was trained on (its hash differs)")
    return data


def open_folder(run: Path, source: str | Path | None = None) -> PreparedFolder:
    """Open the prepared folder that a text model was trained on. Raises UserError for a run on other data."""
    kind = kind_of(read_recipe(run))
    if kind.data_type != "text":
        raise UserError(f"{run}: a {kind.kind} was not trained on text; give a run of a text model")
    folder: PreparedFolder = open_data(run, source)
    return folder


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
        raise UserError(f"{run}: no trained model here; give a folder made by `tgvae train`{path_suggestion(run)}")
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


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that weights depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def _create_folder(recipe: Recipe, data: Any, run: Path) -> None:
    """Create an empty run folder. If interrupted, a previous run is complete or can be trained again."""
    with writing(run):
        run.mkdir(parents=True, exist_ok=True)
        for name in (CHECKPOINT, WEIGHTS, CONFIG, METRICS, CARD):  # the checkpoint first: it must match run.json
            (run / name).unlink(missing_ok=True)
        for folder in (run / TENSORBOARD, run / "evaluation"):
            if folder.exists():
                shutil.rmtree(folder)
    description = {
        "format": FORMAT,
        "recipe": asdict(recipe),
        "data": DATA_TYPES[kind_of(recipe).data_type].describe(data),
        "versions": versions(),
        "machine": describe_machine(recipe.train),
    }
    write_text(run / RUN, json.dumps(description, indent=2, ensure_ascii=False) + "\n")


def _has_weights(run: Path) -> bool:
    """Whether training from the start would lose anything."""
    return any((run / name).is_file() for name in (CHECKPOINT, WEIGHTS))


def _resume(recipe: Recipe, data: Any, run: Path, quiet: bool = False) -> Model:
    model = build(recipe, data)
    return _train(model, recipe, load_examples(model, recipe, data), data, run, resume=_has_weights(run), quiet=quiet)


def _train(
    model: Model, recipe: Recipe, examples: Mapping[str, Examples], data: Any, run: Path, resume: bool, quiet: bool
) -> Model:
    """Train until the end or a signal, and write the model card."""
    state = PartialState(cpu=on_cpu(recipe.train))
    if state.is_main_process and not quiet:
        for text in filter(None, (split.description for split in examples.values())):
            print(text, file=sys.stderr)
    watcher = None
    if Capability.TOPICS in model.capabilities:
        split: Any = examples["train"]
        watcher = partial(watch, corpus=getattr(split, "corpus", split))  # Pairs hold the corpus that they come from
    with explain_failures(run), StopSignals() as signals:
        model = train(model, examples, recipe.train, run, resume=resume, watch=watcher, quiet=quiet, signals=signals)
    if state.is_main_process:
        write_card(run, read_run(run), model, data)
    return model
