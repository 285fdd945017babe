"""`tgvae reproduce`: make a run again and compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from safetensors.torch import load_file

from data_prep.corpora import open_corpus
from data_prep.pipeline import prepare
from data_prep.pipeline import versions as data_versions
from data_prep.settings import PrepareSettings, stored_settings
from data_prep.writer import read_origin
from tgvae.cli.options import parse
from tgvae.cli.output import command, print_json, print_next_steps
from tgvae.config_io import from_json
from tgvae.data.schema import MANIFEST, PreparedFolder
from tgvae.datasets import Data
from tgvae.errors import UserError
from tgvae.models.base import WEIGHTS, Capability, Model
from tgvae.progress import step
from tgvae.recipes import Recipe
from tgvae.runs import RUN, ensure_run, load_run, open_data, read_recipe, read_run, start_run, versions
from tgvae.training.checkpoint import CHECKPOINT, read_progress
from tgvae.training.device import describe_machine

SENTENCES = 5
MAX_THREADS = 256  # a run from someone else may name any number


@dataclass(frozen=True)
class Reproduce:
    """Make a run again: prepare its corpus, train, generate, and compare each result with the original.

    Exit status 0: everything that was compared is equal, the weights bit by bit; 1: something differs. It takes as long
    as the training did. After an interruption, the same command continues.

    Examples:
      tgvae reproduce runs/sotu
      tgvae reproduce runs/mine --source articles.csv --json
    """

    run: tyro.conf.Positional[Path]
    """A run folder."""
    data: str | None = None
    """Where its prepared folder (or other data) is now, if it was moved."""
    source: tuple[str, ...] = ()
    """Where the corpus is now, if it was moved, as for `tgvae prepare`."""
    out: Path | None = None
    """Folder for the new data and the new run; default RUN.again."""
    workers: int = 2
    """Processes for preparation."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class Comparison:
    """Result of comparing data, weights or sentences; ``equal`` is None if they could not be compared."""

    what: str
    equal: bool | None
    detail: str


def main(arguments: Sequence[str]) -> None:
    options = parse(Reproduce, "reproduce", arguments)
    out = options.out or options.run.with_name(f"{options.run.name}.again")
    if out.resolve() in (options.run.resolve(), options.run.resolve().parent):
        raise UserError(f"{out}: holds the run itself; choose another --out")
    recipe, data = read_recipe(options.run), open_data(options.run, options.data)
    if not is_finished(options.run, recipe):
        raise UserError(
            f"{options.run}: training is not finished; finish it with `{command('train', '--resume', options.run)}`"
        )
    differences = environment_differences(options.run, recipe, data)
    if differences and not options.json:
        print("the environment differs:", *differences, sep="\n  ", flush=True)
    comparisons = []
    if isinstance(data, PreparedFolder):
        comparisons.append(compare_data(data, options.source, out / "prepared", options.workers))
    comparisons.append(compare_weights(options.run, recipe, data, out / "run"))
    comparisons.append(compare_sentences(load_run(options.run), load_run(out / "run"), data))
    reproduced = all(comparison.equal is not False for comparison in comparisons)
    if options.json:
        rows = [asdict(comparison) for comparison in comparisons]
        found = {"reproduced": reproduced, "comparisons": rows, "differences": differences, "run": str(out / "run")}
        print_json(found)
    else:
        show(comparisons, differences)
        removable = f"{out} is no longer needed and can be removed"
        print_next_steps([out], [removable if reproduced else command("evaluate", options.run, out / "run")])
    if not reproduced:
        raise SystemExit(1)


def is_finished(run: Path, recipe: Recipe) -> bool:
    """Return whether training is finished; runs without a checkpoint are assumed to be."""
    if not (run / CHECKPOINT).is_file():
        return True
    progress, last = read_progress(run / CHECKPOINT), list(recipe.train.phases.values())[-1]
    in_last_phase = progress.phase == len(recipe.train.phases) - 1
    return in_last_phase and progress.finished(last)


def environment_differences(run: Path, recipe: Recipe, data: Data) -> list[str]:
    """Return how versions and machine differ from those of the run. Also sets its number of threads."""
    described = read_run(run)
    machine: dict[str, Any] = described.get("machine", {})
    torch.set_num_threads(min(machine.get("threads", torch.get_num_threads()), MAX_THREADS))
    found = changes(described["versions"], versions()) + changes(machine, describe_machine(recipe.train))
    if isinstance(data, PreparedFolder):
        found += changes(data.manifest["versions"], data_versions())
    return list(dict.fromkeys(found))


def changes(original: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [f"{name}: was {value}, now {now.get(name)}" for name, value in original.items() if value != now.get(name)]


@step("preparing the corpus again")
def compare_data(data: PreparedFolder, source: Sequence[str], out: Path, workers: int) -> Comparison:
    """Prepare the corpus again, if it can be found, and compare the hashes of all files."""
    settings = from_json(PrepareSettings, stored_settings(data.manifest), str(data.path / MANIFEST))
    try:
        names = list(source) or read_origin(data.path)
        sources = names[0] if len(names) == 1 else names
        if changed := changes(data.manifest["source"], open_corpus(sources, settings).describe()):
            return Comparison("data", None, f"not prepared: the corpus has changed ({'; '.join(changed)})")
        prepare(sources, out, settings, workers=workers, overwrite=True)
    except UserError as error:
        return Comparison("data", None, f"not prepared: {error}")
    original, new = data.manifest["files"], PreparedFolder.open(out).manifest["files"]
    different = [name for name in original | new if original.get(name) != new.get(name)]
    result = f"{', '.join(different)} differ" if different else f"{len(new)} files"
    return Comparison("data", not different, f"{result}, prepared from {', '.join(names)}")


def compare_weights(run: Path, recipe: Recipe, data: Data, out: Path) -> Comparison:
    """Train on the data of the run and compare the weights."""
    source = data.path if isinstance(data, PreparedFolder) else data.source
    if (out / RUN).is_file() and can_continue(out, recipe):
        ensure_run(recipe, source, out)
    else:
        start_run(recipe, source, out, overwrite=True)
    original, new = load_file(run / WEIGHTS), load_file(out / WEIGHTS)
    if original.keys() != new.keys() or any(original[name].shape != new[name].shape for name in original):
        return Comparison("weights", False, "other names or shapes")
    if all(torch.equal(original[name], new[name]) for name in original):
        return Comparison("weights", True, f"{sum(value.numel() for value in original.values()):,} numbers, bit by bit")
    largest = {name: float((original[name].double() - w.double()).abs().max()) for name, w in new.items() if w.numel()}
    name = max(largest, key=largest.__getitem__)
    return Comparison("weights", False, f"largest difference {largest[name]:.2g}, in {name}")


def can_continue(out: Path, recipe: Recipe) -> bool:
    """Return whether ``out`` holds an unfinished run of the same environment; a finished one is trained again."""
    described = read_run(out)
    same = described["versions"] == versions() and described.get("machine") == describe_machine(recipe.train)
    return same and not is_finished(out, recipe)


@step("generating with both models")
def compare_sentences(original: Model, new: Model, data: Data) -> Comparison:
    """Generate with the same seed from both models and compare."""
    before, after = sample_texts(original, data), sample_texts(new, data)
    if not before:
        return Comparison("sentences", None, f"a {original.kind} generates none")
    same = sum(a == b for a, b in zip(before, after, strict=True))
    return Comparison("sentences", same == len(before), f"{same} of {len(before)}, such as: {after[0]}")


def sample_texts(model: Any, data: Data) -> list[str]:
    """Return a few sentences, or summaries of validation documents; none if the model generates no text."""
    if Capability.SUMMARIES in model.capabilities and isinstance(data, PreparedFolder):
        documents = data.split("valid").slice(0, SENTENCES)["sentences"].to_pylist()
        summaries = model.summarize([" ".join(sentences) for sentences in documents])
        return [summary.text for of_document in summaries for summary in of_document]
    if Capability.GENERATION in model.capabilities:
        return [sentence.text for sentence in model.generate(num=SENTENCES, seed=0)]
    return []


def show(comparisons: Sequence[Comparison], differences: Sequence[str]) -> None:
    """Print comparisons and verdict."""
    words = {True: "equal", False: "DIFFERENT", None: "-"}
    for comparison in comparisons:
        print(f"{comparison.what:10}{words[comparison.equal]:10}{comparison.detail}")
    if all(comparison.equal is not False for comparison in comparisons):
        unknown = [comparison.what for comparison in comparisons if comparison.equal is None]
        print("verdict: reproduced" + (f"; not compared: {', '.join(unknown)}" if unknown else ""))
    elif differences:
        print("verdict: not reproduced; the environment differs:", *differences, sep="\n  ")
    else:
        print("verdict: not reproduced in the same environment; GPUs add numbers in varying order")
