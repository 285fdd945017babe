"""`tgvae reproduce`: a run made anew, and compared."""

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
from data_prep.pipeline import versions as versions_of_data
from data_prep.settings import SETTINGS_BEFORE, PrepareSettings
from data_prep.writer import read_origin
from tgvae.cli.options import parse
from tgvae.cli.output import command, print_json, print_next_steps
from tgvae.config_io import from_json
from tgvae.data.schema import MANIFEST, PreparedFolder
from tgvae.datasets import Data
from tgvae.errors import UserError
from tgvae.evaluation.generation import Writer
from tgvae.models.base import WEIGHTS, Model
from tgvae.models.summarizer import Summarizer
from tgvae.progress import step
from tgvae.recipes import Recipe
from tgvae.runs import RUN, ensure_run, load_run, open_data, read_recipe, read_run, start_run, versions
from tgvae.training.checkpoint import CHECKPOINT, read_progress
from tgvae.training.device import machine_of

SENTENCES = 5
MOST_THREADS = 256  # that a run from a stranger can ask for


@dataclass(frozen=True)
class Reproduce:
    """Make a run anew: prepare its corpus, train, write, and compare each with what was made before.

    Exit status 0: all that was compared is equal, the weights bit by bit; 1: something differs. It takes as long as
    training did; interrupted, it goes on where it was.

    Examples:
      tgvae reproduce runs/sotu
      tgvae reproduce runs/mine --source articles.csv --json
    """

    run: tyro.conf.Positional[Path]
    """A run folder."""
    data: str | None = None
    """Where its prepared folder (or other data) is now, if it was moved."""
    source: tuple[str, ...] = ()
    """Where the corpus is now, if it was moved: as for `tgvae prepare`."""
    out: Path | None = None
    """Folder for the new data and the new run; RUN.again by default."""
    workers: int = 2
    """Processes that prepare."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class Finding:
    """What was made anew, and whether it is what it was; None: not compared, ``told`` says why."""

    what: str
    equal: bool | None
    told: str


def main(arguments: Sequence[str]) -> None:
    options = parse(Reproduce, "reproduce", arguments)
    out = options.out or options.run.with_name(f"{options.run.name}.again")
    if out.resolve() in (options.run.resolve(), options.run.resolve().parent):
        raise UserError(f"{out}: holds the run itself; choose another --out")
    recipe, data = read_recipe(options.run), open_data(options.run, options.data)
    require_finished(options.run, recipe)
    reasons = differences(options.run, recipe, data)
    if reasons and not options.json:
        print("other than then:", *reasons, sep="\n  ", flush=True)
    found = []
    if isinstance(data, PreparedFolder):
        found.append(prepared_again(data, options.source, out / "prepared", options.workers))
    found.append(trained_again(options.run, recipe, data, out / "run"))
    found.append(written_again(load_run(options.run), load_run(out / "run"), data))
    reproduced = all(finding.equal is not False for finding in found)
    if options.json:
        rows = [asdict(finding) for finding in found]
        print_json({"reproduced": reproduced, "findings": rows, "other": reasons, "run": str(out / "run")})
    else:
        show(found, reasons)
        needless = f"{out} is not needed any more and can be removed"
        print_next_steps([out], [needless if reproduced else command("evaluate", options.run, out / "run")])
    if not reproduced:
        raise SystemExit(1)


def require_finished(run: Path, recipe: Recipe) -> None:
    """Raises UserError where training has not ended, as far as can be told."""
    if not has_ended(run, recipe):
        raise UserError(f"{run}: its training has not ended; end it with `tgvae train --resume {run}`")


def has_ended(run: Path, recipe: Recipe) -> bool:
    """Whether training has ended, as far as can be told: without a checkpoint it is taken to."""
    if not (run / CHECKPOINT).is_file():
        return True
    at, last = read_progress(run / CHECKPOINT), list(recipe.train.phases.values())[-1]
    return at.phase == len(recipe.train.phases) - 1 and (at.epoch >= last.epochs or at.stale >= last.patience)


def differences(run: Path, recipe: Recipe, data: Data) -> list[str]:
    """What is other than when the data and the run were made, in words. Sets as many threads as there were then."""
    described = read_run(run)
    machine: dict[str, Any] = described.get("machine", {})
    torch.set_num_threads(min(machine.get("threads", torch.get_num_threads()), MOST_THREADS))
    found = changed(described["versions"], versions()) + changed(machine, machine_of(recipe.train))
    if isinstance(data, PreparedFolder):
        found += changed(data.manifest["versions"], versions_of_data())
    return list(dict.fromkeys(found))


def changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, of what was noted then."""
    return [f"{name}: {then[name]} then, {now.get(name)} now" for name in then if then[name] != now.get(name)]


@step("preparing the corpus anew")
def prepared_again(data: PreparedFolder, source: Sequence[str], out: Path, workers: int) -> Finding:
    """Prepare the corpus anew, where it is at hand, and compare the hashes of all files."""
    stored = data.manifest["settings"]
    settings = from_json(PrepareSettings, SETTINGS_BEFORE | stored, str(data.path / MANIFEST))
    try:
        given = list(source) or read_origin(data.path)
        places = given[0] if len(given) == 1 else given
        if other := changed(data.manifest["source"], open_corpus(places, settings).describe()):
            return Finding("data", None, f"not prepared anew: the corpus is another ({'; '.join(other)})")
        prepare(places, out, settings, workers=workers, overwrite=True)
    except UserError as error:
        return Finding("data", None, f"not prepared anew: {error}")
    then, now = data.manifest["files"], PreparedFolder.open(out).manifest["files"]
    names = [name for name in then | now if then.get(name) != now.get(name)]
    where = f"prepared anew from {', '.join(given)}"
    return Finding("data", not names, f"{where}: {', '.join(names)} differ" if names else f"{len(now)} files, {where}")


def trained_again(run: Path, recipe: Recipe, data: Data, out: Path) -> Finding:
    """Train anew on the data that the run was trained on, and compare the weights."""
    source = data.path if isinstance(data, PreparedFolder) else data.source
    if (out / RUN).is_file() and may_go_on(out, recipe):
        ensure_run(recipe, source, out)
    else:
        start_run(recipe, source, out, overwrite=True)
    then, now = load_file(run / WEIGHTS), load_file(out / WEIGHTS)
    if then.keys() != now.keys() or any(then[name].shape != now[name].shape for name in then):
        return Finding("weights", False, "other names or shapes")
    apart = {name: float((then[name].double() - now[name].double()).abs().max()) for name in then if then[name].numel()}
    name = max(apart, key=apart.__getitem__)
    if any(not torch.equal(then[name], now[name]) for name in then):
        return Finding("weights", False, f"up to {apart[name]:.2g} apart, in {name}")
    return Finding("weights", True, f"{sum(value.numel() for value in then.values()):,} numbers, bit by bit")


def may_go_on(out: Path, recipe: Recipe) -> bool:
    """Whether a run was begun here, as it would be now, and was interrupted; what has ended is trained anew."""
    described = read_run(out)
    as_now = described["versions"] == versions() and described.get("machine") == machine_of(recipe.train)
    return as_now and not has_ended(out, recipe)


@step("writing with both models")
def written_again(then: Model, now: Model, data: Data) -> Finding:
    """Let both models write with the same seed, and compare."""
    before, after = written(then, data), written(now, data)
    if not before:
        return Finding("sentences", None, f"a {then.kind} writes none")
    same = sum(a == b for a, b in zip(before, after, strict=True))
    return Finding("sentences", same == len(before), f"{same} of {len(before)}, such as: {after[0]}")


def written(model: Model, data: Data) -> list[str]:
    """A few sentences, or summaries of validation documents; none where the model does not write."""
    if isinstance(model, Summarizer) and isinstance(data, PreparedFolder):
        documents = data.split("valid").slice(0, SENTENCES)["sentences"].to_pylist()
        summaries = model.summarize([" ".join(sentences) for sentences in documents])
        return [summary.text for of_document in summaries for summary in of_document]
    return [s.text for s in model.generate(num=SENTENCES, seed=0)] if isinstance(model, Writer) else []


def show(found: Sequence[Finding], reasons: Sequence[str]) -> None:
    """Print findings and verdict."""
    said = {True: "equal", False: "DIFFERENT", None: "-"}
    for finding in found:
        print(f"{finding.what:10}{said[finding.equal]:10}{finding.told}")
    if all(finding.equal is not False for finding in found):
        unknown = [finding.what for finding in found if finding.equal is None]
        print("verdict: reproduced" + (f"; not compared: {', '.join(unknown)}" if unknown else ""))
    elif reasons:
        print("verdict: not reproduced, most likely for what is other than then:", *reasons, sep="\n  ")
    else:
        print("verdict: not reproduced, though nothing noted is other than then; GPUs add in no fixed order")
