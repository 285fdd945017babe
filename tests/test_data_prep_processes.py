"""Preparation in several processes: the same bytes, bounded reading ahead, clean ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import data_prep.pipeline
from data_prep.parallel import ordered_map
from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tgvae.data.schema import SPLITS
from tgvae.errors import UserError

NOUNS = ["energy", "galaxy", "neuron", "protein", "lattice", "quantum", "river"]


def write_corpus(path: Path, documents: int) -> Path:
    texts = [
        f"The {NOUNS[i % 7]} in text {i} is a {NOUNS[i % 5]}. It isn't large, e.g. 3.5 m." for i in range(documents)
    ]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_bytes_for_any_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_prep.pipeline, "CHUNK_DOCUMENTS", 9)
    corpus = write_corpus(tmp_path / "c.jsonl", 100)
    settings = PrepareSettings(min_document_frequency=2, splits=(0.7, 0.15, 0.15), vocabulary_size=400)
    one = contents(prepare(corpus, tmp_path / "1", settings, workers=1))
    again = contents(prepare(corpus, tmp_path / "again", settings, workers=1))
    two = contents(prepare(corpus, tmp_path / "2", settings, workers=2))
    assert one == again == two
    assert set(one) == {"manifest.json", "sentence.model", "skipped.jsonl", "topic_words.txt"} | {
        f"{split}.arrow" for split in SPLITS
    }


def _square(x: int) -> int:
    return x * x


def _die(x: int) -> int:
    os._exit(1)


def _refuse(x: int) -> int:
    raise UserError(f"not {x}")


def test_ordered_map_keeps_order_and_reads_ahead_little() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(20):
            taken.append(i)
            yield i

    results = ordered_map(_square, items(), workers=2)
    assert next(results) == 0
    assert len(taken) <= 5
    assert list(results) == [i * i for i in range(1, 20)]


@pytest.mark.parametrize(("function", "message"), [(_refuse, "not 0"), (_die, "use fewer workers")])
def test_errors_in_workers(function: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(ordered_map(function, range(8), workers=2))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_folder_and_no_process(sent: signal.Signals, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", 20_000)
    # A shell that runs the tests in the background has SIGINT ignored, and children inherit that.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from data_prep.pipeline import prepare; prepare(sys.argv[1], sys.argv[2], workers=2)"
    )
    command = [sys.executable, "-c", code, str(corpus), str(tmp_path / "out")]
    run = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    shards = tmp_path / "out.partial" / "shards"
    wait_for(lambda: shards.is_dir() and any(shards.iterdir()), 60)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    assert len(children) >= 2
    run.send_signal(sent)
    assert run.wait(30) != 0
    wait_for(lambda: not any(is_running(child) for child in children), 30)
    assert not (tmp_path / "out").exists()


def is_running(process: str) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
