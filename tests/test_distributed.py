"""Several processes share every batch: their run is that of one process, and one may finish what two began.

The runs of two processes are made by this very module, launched on the CPU: see ``main``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from accelerate import PartialState

from tgvae.data.schema import PreparedFolder
from tgvae.distributed import share_of_batch
from tgvae.errors import Stopped
from tgvae.models.base import load
from tgvae.models.sentence import SentenceConfig
from tgvae.models.vgae import GraphConfig
from tgvae.recipes import Recipe
from tgvae.runs import resume_run, start_run
from tgvae.training import loop
from tgvae.training.checkpoint import read_progress
from tgvae.training.config import Phase, TrainConfig

SIZES = SentenceConfig(embedding_size=12, hidden_size=10, latent_size=4, flow_length=2, dropout=0.0)
LANGUAGE_MODEL = Recipe(
    "language-model", SIZES, TrainConfig({"sentences": Phase("sentence", 2, 1e-2, batch=600)}, device="cpu")
)
SENTENCE_VAE = replace(LANGUAGE_MODEL, kind="sentence-vae")
GRAPH_VAE = Recipe("graph-vae", GraphConfig(), TrainConfig({"edges": Phase("node", 3)}, device="cpu"))
CUT = replace(LANGUAGE_MODEL, train=replace(LANGUAGE_MODEL.train, save_minutes=0.0))
SIGNALLED_AT, KILLED_AT = 3, 5  # of some twenty steps; at the fifth processes ask each other


def disturbed_run(source: str, run: Path, number: signal.Signals, step: int) -> None:
    """A run of a language model whose last process gets a signal after a step."""
    note = loop.MetricLogger.step

    def noted(self: loop.MetricLogger, now: int, *arguments: object) -> None:
        note(self, now, *arguments)
        state = PartialState()
        if now == step and state.process_index == state.num_processes - 1:
            signal.raise_signal(number)

    with patch.object(loop.MetricLogger, "step", noted):
        start_run(CUT, source, run, quiet=True)


def main(source: str, edges: str, folder: Path) -> None:
    """All runs, in every process that was launched; the last one never ends."""
    start_run(LANGUAGE_MODEL, source, folder / "language-model", quiet=True)
    start_run(SENTENCE_VAE, source, folder / "sentence-vae", quiet=True)
    start_run(GRAPH_VAE, edges, folder / "graph-vae", quiet=True)
    with pytest.raises(Stopped, match=f"SIGTERM after step {SIGNALLED_AT if alone() else KILLED_AT}, which is saved"):
        disturbed_run(source, folder / "stopped", signal.SIGTERM, SIGNALLED_AT)
    if not alone():
        print(f"killed at {time.time()}", flush=True)
        disturbed_run(source, folder / "killed", signal.SIGKILL, KILLED_AT + 1)


def alone() -> bool:
    return PartialState().num_processes == 1


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ring of 30 nodes with 15 chords."""
    path = tmp_path_factory.mktemp("edges") / "ring.tsv"
    pairs = [(i, (i + 1) % 30) for i in range(30)] + [(i, i + 15) for i in range(15)]
    path.write_text("".join(f"n{i}\tn{j}\n" for i, j in pairs))
    return str(path)


@pytest.fixture(scope="module")
def one(prepared: PreparedFolder, edges: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one process."""
    folder = tmp_path_factory.mktemp("one")
    main(str(prepared.path), edges, folder)
    return folder


@pytest.fixture(scope="module")
def two(prepared: PreparedFolder, edges: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two processes, a thread each; the job ends soon after one of them was killed."""
    folder = tmp_path_factory.mktemp("two")
    launch = "accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --main_process_port 0"
    settings = "--mixed_precision no --dynamo_backend no -m tests.test_distributed"
    command = [sys.executable, "-m", *launch.split(), *settings.split(), str(prepared.path), edges, str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr  # what the other one tells, unless it is ended first: test_failures.py
    assert time.time() - float(done.stdout.split()[-1]) < 30
    return folder


def curve(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: v for name, v in line.items() if name != "kind" and not name.endswith("_per_second")} for line in lines
    ]


def assert_same_curve(a: Path, b: Path, tolerance: float) -> None:
    first, second = curve(a), curve(b)
    assert len(first) == len(second) > 2
    for left, right in zip(first, second, strict=True):
        assert left == pytest.approx(right, rel=tolerance)


def assert_same_weights(a: Path, b: Path, tolerance: float) -> None:
    second = load(b).state_dict()
    for name, value in load(a).state_dict().items():
        torch.testing.assert_close(value, second[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["language-model", "graph-vae"])
def test_two_processes_have_the_curve_and_the_weights_of_one(name: str, one: Path, two: Path) -> None:
    """Without noise of each process's own: none in this language model; a graph is one row, of the first process."""
    assert_same_curve(two / name, one / name, 1e-4)
    assert_same_weights(two / name, one / name, 1e-4)


def test_draws_of_each_process_leave_the_curve_where_it_is(one: Path, two: Path) -> None:
    """Latents are drawn by each process: nll differs by 2 %, where seeds of one process differ by up to 3 %."""
    first, second = curve(two / "sentence-vae"), curve(one / "sentence-vae")
    assert [line["step"] for line in first] == [line["step"] for line in second]
    for left, right in zip(first, second, strict=True):
        assert left["nll/tokens"] == pytest.approx(right["nll/tokens"], rel=0.03)


@pytest.mark.parametrize("name", ["stopped", "killed"])
def test_one_process_finishes_what_two_began(name: str, one: Path, two: Path) -> None:
    assert read_progress(two / name / loop.CHECKPOINT).step == KILLED_AT
    resume_run(two / name)
    assert_same_weights(two / name, one / "language-model", 1e-4)
    assert_same_curve(two / name, one / "language-model", 1e-4)


@pytest.mark.parametrize(("rows", "processes"), [(1, 1), (1, 3), (2, 3), (7, 2), (7, 3), (9, 3)])
def test_shares_make_the_gradient_of_the_whole_batch(rows: int, processes: int) -> None:
    """By brute force: the mean over processes of W n_r/n times the gradient of a mean is the gradient of all."""
    index = np.random.default_rng(rows).permutation(100)[:rows]
    gradients = torch.randn(100, 4, generator=torch.Generator().manual_seed(rows), dtype=torch.double)
    shares = [share_of_batch(index, r, processes) for r in range(processes)]
    weighted = [processes * part * gradients[mine].mean(0) for mine, part in shares]
    torch.testing.assert_close(torch.stack(weighted).mean(0), gradients[index].mean(0))
    assert sorted(np.concatenate([mine for mine, part in shares if part])) == sorted(index)
    assert all(len(mine) for mine, _ in shares)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
