"""Several processes share an evaluation, and find what one does, to the last bit.

The evaluation of two processes is made by this very module, launched on the CPU: see ``main``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import out_of
from tgvae import distributed
from tgvae.cli import main as cli
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.distributed import sharded_map
from tgvae.evaluation.likelihood import (
    BATCH_SIZES,
    WEIGHTED_BATCHES,
    bound_of,
    evaluating,
    importance_weighted_nll,
)
from tgvae.evaluation.report_io import FOLDER, PARTS, REPORT
from tgvae.models.sentence import SentenceConfig
from tgvae.models.tgvae import TGVAE, TGVAEConfig
from tgvae.models.topic import TopicConfig
from tgvae.random import derive_seed
from tgvae.recipes import Recipe
from tgvae.runs import start_run
from tgvae.training.config import Phase, TrainConfig

SIZES = TGVAEConfig(
    TopicConfig(topics=3, word_embedding_size=4, hidden_size=6),
    SentenceConfig(embedding_size=8, hidden_size=8, latent_size=4, flow_length=2),
)
PHASES = {"topics": Phase("document", 1, batch=64), "sentences": Phase("sentence", 1, batch=1200)}
WANTED = "--samples 3 --weighted-sentences 30 --generated 10 --reverse 20 --per-topic 2"
SMALL: dict[Any, Any] = {"document": 6, "sentence": 200}


def main(run: str) -> int:
    """An evaluation of batches so small that there are several."""
    BATCH_SIZES.update(SMALL)
    WEIGHTED_BATCHES["sentence"] = (150, 2)
    return cli.main(["evaluate", run, *WANTED.split()])


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for unit, size in SMALL.items():
        monkeypatch.setitem(BATCH_SIZES, unit, size)
    monkeypatch.setitem(WEIGHTED_BATCHES, "sentence", (150, 2))


@pytest.fixture(scope="module")
def run(prepared: PreparedFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded") / "run"
    start_run(Recipe("tgvae", SIZES, TrainConfig(PHASES, device="cpu")), prepared.path, folder, quiet=True)
    return folder


def test_two_processes_report_what_one_does(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The reverse perplexity is among it, for which both train: its validation is shared, too."""
    told = out_of(capsys, "evaluate", run, *WANTED.split())
    one = [(run / FOLDER / name).read_bytes() for name in (REPORT, PARTS)]
    assert "reverse_perplexity" in json.loads(one[0])["sections"]["generation"]
    launch = "torch.distributed.run --standalone --nproc_per_node 2 -m tests.test_sharded_evaluation"
    command = [sys.executable, "-m", *launch.split(), str(run)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert [(run / FOLDER / name).read_bytes() for name in (REPORT, PARTS)] == one
    assert done.stdout == told, "one of them tells"


def test_draws_of_a_batch_depend_on_the_seed_and_its_number(prepared: PreparedFolder) -> None:
    """Brute force: each batch by itself, the last one first."""
    torch.manual_seed(0)
    model, corpus = TGVAE(SIZES, prepared.tokenizer, prepared.topic_vocabulary), Corpus(prepared, "test")
    rows = corpus.rows("sentence")
    index = rows.batches(BATCH_SIZES["sentence"], None)
    assert len(index) > 3
    found = bound_of(model, corpus, "sentence", seed=-3).total()
    for number, part in reversed(list(enumerate(index))):
        with evaluating(model, derive_seed(-3, number)):
            terms = model.trace(rows.gather(part)).terms("sentence")
        assert torch.equal(sum(value.double() for value in terms.values()), found[torch.from_numpy(part)])


@pytest.mark.parametrize("estimate", [bound_of, importance_weighted_nll])
@pytest.mark.parametrize("processes", [2, 3, 50])
def test_no_number_of_processes_changes_a_bit(
    estimate: Callable[..., Any], processes: int, prepared: PreparedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More processes than batches, too."""
    torch.manual_seed(0)
    model, corpus = TGVAE(SIZES, prepared.tokenizer, prepared.topic_vocabulary), Corpus(prepared, "test")

    def bound() -> Any:
        return bound_of(model, corpus, "sentence") if estimate is bound_of else estimate(model, corpus, 3).bound

    alone = bound()
    found = as_if_of(processes, bound, monkeypatch)
    for other in found:
        assert other.terms.keys() == alone.terms.keys()
        assert all(torch.equal(other.terms[name], alone.terms[name]) for name in alone.terms)
        assert all(torch.equal(getattr(other, n), getattr(alone, n)) for n in ("words", "tokens", "documents"))


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 2, 6, 7])
def test_each_batch_is_of_one_process(processes: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    batches, seen = [f"batch {number}" for number in range(count)], []

    def function(number: int, batch: str) -> tuple[int, str]:
        seen.append(number)
        return number, batch

    expected = list(enumerate(batches))
    assert as_if_of(processes, lambda: sharded_map(function, batches), monkeypatch) == [expected] * processes
    assert sorted(set(seen)) == list(range(count))
    assert len(seen) == count * (1 if processes == 1 else 2), "as each process is gone through twice"


class GivenError(Exception):
    """Ends a call that has given its part."""


def as_if_of(processes: int, call: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What ``call``, which gathers once, gives to each of some processes, one after the other in this one."""
    parts: list[Any] = []

    def give(of_all: list[Any], mine: Any) -> None:
        parts.append(mine)
        raise GivenError

    def get(of_all: list[Any], mine: Any) -> None:
        of_all[:] = parts

    def in_each(gather: Callable[[list[Any], Any], None]) -> Iterator[Any]:
        monkeypatch.setattr(distributed.dist, "all_gather_object", gather)
        for process in range(processes):
            monkeypatch.setattr(distributed, "rank_and_size", lambda process=process: (process, processes))
            with suppress(GivenError):
                yield call()

    assert processes == 1 or not list(in_each(give))
    return list(in_each(get))


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1]))
