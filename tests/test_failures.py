"""Training that is stopped, killed, starved or nonsense: what is lost is nothing, and what is told is one message."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import refused
from tests.test_training import small_recipe
from tgvae.cli import topics
from tgvae.cli.main import main
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.data.vectors import VectorBatch
from tgvae.errors import Stopped, UserError
from tgvae.models.base import CONFIG, WEIGHTS
from tgvae.recipes import Recipe
from tgvae.runs import RUN, build, load_run, resume_run, start_run
from tgvae.training import loop, signals
from tgvae.training.checkpoint import CHECKPOINT
from tgvae.training.failures import (
    LOST_PEER,
    DivergedError,
    describe_divergence,
    explain_failures,
    explain_lack_of_memory,
)
from tgvae.training.logger import EVERY, METRICS, TENSORBOARD, MetricLogger
from tgvae.training.signals import StopSignals


def one_phase(**settings: object) -> Recipe:
    """The topics of a small model alone: two epochs of five steps."""
    recipe = small_recipe()
    phases = {"topics": recipe.train.phases["topics"]}
    return Recipe("topic", recipe.model.topic, replace(recipe.train, phases=phases, **settings))


@pytest.fixture(scope="module")
def whole(prepared: PreparedFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    start_run(one_phase(), prepared.path, run, quiet=True)
    return run


def assert_same(run: Path, whole: Path) -> None:
    """The bytes of the weights, and the metrics but for speeds."""
    assert (run / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert figures(run) == figures(whole)


def figures(run: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.endswith("_per_second")} for line in lines]


def signal_after(step: int, number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process get a signal when a step is done."""
    note = MetricLogger.step

    def noted(self: MetricLogger, now: int, *arguments: object) -> None:
        note(self, now, *arguments)
        if now == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(MetricLogger, "step", noted)


@pytest.mark.parametrize(("number", "step"), [(signal.SIGINT, 2), (signal.SIGTERM, 5)])
def test_a_signal_stops_after_its_step_and_the_run_goes_on(
    number: signal.Signals, step: int, prepared: PreparedFolder, whole: Path, tmp_path: Path
) -> None:
    """In an epoch, and at the last step of one, which is validated first."""
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        signal_after(step, number, patch)
        with pytest.raises(Stopped) as stop:
            start_run(one_phase(), prepared.path, run, quiet=True)
    assert str(stop.value).startswith(f"stopped by {number.name} after step {step}, which is saved; resume with `tgvae")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resume_run(run)
    assert_same(run, whole)


def test_a_signal_at_the_last_step_lets_the_run_end(
    prepared: PreparedFolder, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal_after(10, signal.SIGTERM, monkeypatch)
    start_run(one_phase(), prepared.path, tmp_path, overwrite=True, quiet=True)
    assert_same(tmp_path, whole)


def test_the_command_exits_as_shells_have_it(
    prepared: PreparedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signal_after(1, signal.SIGTERM, monkeypatch)
    run = tmp_path / "run"
    arguments = ["--recipe", "topic", "--model.topics", "3", "--train.device", "cpu"]
    assert main(["train", str(prepared.path), "--out", str(run), *arguments]) == 143
    assert capsys.readouterr().err.endswith(
        f"tgvae: stopped by SIGTERM after step 1, which is saved; resume with `tgvae train --resume {run}`\n"
    )


def test_an_echo_of_a_signal_is_none_and_a_second_one_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with StopSignals() as stop:
        assert stop.signal is None
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert stop.signal == signal.SIGINT
        monkeypatch.setattr(signals, "ECHO", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_threads_train_without_signals() -> None:
    found = []

    def entered() -> None:
        with StopSignals() as stop:
            found.append((stop.signal, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=entered)
    thread.start()
    thread.join()
    assert found == [(None, signal.SIG_DFL)]


def test_a_run_without_a_checkpoint_starts_again(prepared: PreparedFolder, whole: Path, tmp_path: Path) -> None:
    """Killed before the first one, while an old run was overwritten, or before there was a run."""
    run = tmp_path / "run"
    run.mkdir()
    (run / f"{RUN}.partial").write_text("{")
    with pytest.raises(UserError, match=r"exists already.*or replace it with --overwrite"):
        start_run(one_phase(), prepared.path, run)
    with pytest.raises(UserError, match="interrupted before it was complete"):
        resume_run(run)
    for name in (RUN, CONFIG):
        (run / name).write_bytes((whole / name).read_bytes())
    (run / METRICS).write_text('{"kind": "train", "step": 5}\n{"kind": "va')
    with pytest.raises(UserError, match="no trained model"):
        load_run(run)
    resume_run(run)
    assert_same(run, whole)


def test_a_checkpoint_that_cannot_be_written_is_told_with_the_way_on(
    prepared: PreparedFolder, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MetricLogger, "flush", lambda _: (run / f"{CHECKPOINT}.partial").mkdir(exist_ok=True))
        with pytest.raises(
            UserError,
            match=rf"{CHECKPOINT}: cannot be written.*resume with `tgvae train --resume",
        ):
            start_run(one_phase(), prepared.path, run, quiet=True)
    (run / f"{CHECKPOINT}.partial").rmdir()
    resume_run(run)
    assert_same(run, whole)


def test_a_folder_that_cannot_be_made_is_told(
    prepared: PreparedFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    arguments = ["--recipe", "language-model", "--out", tmp_path / "file" / "run"]
    assert "file/run: cannot be written" in refused(capsys, "train", prepared.path, *arguments)


def vanished() -> None:
    Path("/nowhere/a.txt").read_text()


def too_large_for_torch() -> None:
    torch.empty(10**15)


def too_large_for_numpy() -> None:
    np.empty(10**15)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (vanished, "/nowhere/a.txt: No such file or directory"),
        (too_large_for_torch, "out of memory; process less"),
        (too_large_for_numpy, "out of memory; process less"),
    ],
)
def test_faults_of_the_machine_are_one_line(
    fault: Callable[[], None], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(topics, "main", lambda _: fault())
    error = refused(capsys, "topics", "run")
    assert error.startswith(f"tgvae: {told}")
    assert error.count("\n") == 1
    with pytest.raises((OSError, MemoryError, RuntimeError)):
        main(["topics", "run", "--debug"])


def test_bugs_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(_: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(topics, "main", bug)
    with pytest.raises(RuntimeError, match="shapes differ"):
        main(["topics", "run"])


def test_too_little_memory_names_the_batch_of_the_phase(tmp_path: Path) -> None:
    match = rf"phase topics; .* --train.phases.topics.batch \(now 32\) .* `tgvae train --resume {tmp_path}`"
    with pytest.raises(UserError, match=match), explain_failures(tmp_path), explain_lack_of_memory("topics", 32):
        too_large_for_torch()


@pytest.mark.parametrize("words", LOST_PEER)
def test_that_another_process_ended_is_told_with_the_way_on(words: str, tmp_path: Path) -> None:
    told = "another process of the training has ended; what was saved is kept"
    with pytest.raises(UserError, match=told), explain_failures(tmp_path):
        raise RuntimeError(f"[gloo] {words} [127.0.0.1]")


def test_other_errors_are_not_explained(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), explain_failures(tmp_path):
        raise RuntimeError("shapes differ")


def test_what_is_wrong_with_a_loss() -> None:
    terms = {"nll/x": torch.tensor([1.0, 3.0]), "kl/z": torch.tensor([0.5, torch.inf])}
    assert describe_divergence(2.0, 1.0, terms, 2.0) == ""
    assert describe_divergence(torch.inf, 1.0, terms, 1e9) == "objective, kl/z not finite"
    assert describe_divergence(2.0, torch.nan, {}, 1e9) == "gradient not finite"
    told = "objective 3, gradient 1, nll/x 2: more nats per row than --train.largest-loss 2"
    assert describe_divergence(3.0, 1.0, {"nll/x": terms["nll/x"]}, 2.0) == told
    assert describe_divergence(-1e9, 1.0, {}, 2.0) == "", "densities have negative nats"


def test_an_absurd_loss_stops_and_keeps_the_last_good_state(prepared: PreparedFolder, tmp_path: Path) -> None:
    match = (
        r"step 0: objective .* nll/words .*largest-loss 5\. .*lower --train.phases.topics.learning-rate \(now 0.001\)"
    )
    with pytest.raises(DivergedError, match=rf"{match}.*train rows at fault: d\d+"):
        start_run(one_phase(largest_loss=5.0), prepared.path, tmp_path / "run", quiet=True)
    with pytest.raises(DivergedError, match=match):  # as told, to resume leads there again
        resume_run(tmp_path / "run")


@pytest.mark.parametrize("value", [torch.nan, 1e30])
def test_weights_without_sense_never_are_the_best_model(value: float, prepared: PreparedFolder, tmp_path: Path) -> None:
    """Where the loss is not finite, and where torch refuses the parameters of a distribution."""
    recipe, corpora = one_phase(), {split: Corpus(prepared, split) for split in ("train", "valid")}
    trainer = loop.Trainer(build(recipe, prepared), corpora, recipe.train, tmp_path, None, quiet=True)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.fill_(value)
    with pytest.raises(DivergedError, match="valid rows at fault"):
        trainer._validate(recipe.train.phases["topics"])
    assert not (tmp_path / WEIGHTS).exists()


BATCH = VectorBatch(torch.zeros(1, 1), torch.zeros(1, 1), torch.arange(1))


def test_lines_of_a_resumed_journal_are_those_of_a_whole_one(tmp_path: Path) -> None:
    """Stopped within a window of lines, and after lines that the checkpoint does not know."""

    def steps(journal: MetricLogger, start: int, end: int) -> None:
        journal.begin_epoch("title", 2 * EVERY, start)
        for step in range(start + 1, end + 1):
            journal.step(step, {"nll/x": torch.tensor([float(step)])}, torch.tensor(0.1 * step), 0.1, BATCH, 1.0)

    a, b = tmp_path / "a", tmp_path / "b"
    with MetricLogger(a, True, lambda sums: sums) as journal:
        a.mkdir()
        journal.begin(0)
        steps(journal, 0, 2 * EVERY)
    with MetricLogger(b, True, lambda sums: sums) as journal:
        b.mkdir()
        journal.begin(0)
        steps(journal, 0, EVERY + 7)
        kept = journal.pending()
        steps(journal, EVERY + 7, 2 * EVERY)
    with (b / METRICS).open("a") as file:
        file.write('{"kind": "train", "st')
    with MetricLogger(b, True, lambda sums: sums) as journal:
        journal.begin(EVERY + 7)
        assert [line["step"] for line in figures(b)] == [EVERY]
        journal.restore(kept, EVERY + 7)
        steps(journal, EVERY + 7, 2 * EVERY)
    assert figures(b) == figures(a)
    board = EventAccumulator(str(b / "tensorboard")).Reload().Scalars("train/nll/x")
    assert [(event.step, event.value) for event in board] == [(EVERY, 25.5), (2 * EVERY, 75.5)]


def test_tensorboard_drops_points_after_the_checkpoint(tmp_path: Path) -> None:
    """As TensorBoard itself reads the files of a killed and a resumed run."""
    for start, steps in ((0, (1, 2, 3)), (1, (2,))):
        with MetricLogger(tmp_path, True, lambda sums: sums) as logger:
            logger.begin(start)
            for step in steps:
                logger._write("train", step, {"a": step / 4 + start})
    read = EventAccumulator(str(tmp_path / TENSORBOARD)).Reload()
    assert [(event.step, event.value) for event in read.Scalars("train/a")] == [(1, 0.25), (2, 1.5)]


def test_a_full_disk_is_reported_by_tensorboard_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with MetricLogger(tmp_path, True, lambda sums: sums) as logger:
        logger.begin(0)
        with monkeypatch.context() as patch:
            patch.setattr(logger._board, "flush", full_disk)
            with pytest.raises(UserError, match=rf"{TENSORBOARD}: cannot be written .*No space left"):
                logger._write("train", 1, {"a": 1.0})


def full_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
