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
from data_prep.parallel import processes
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
    written = {"manifest.json", "origin.json", "sentence.model", "skipped.jsonl", "topic_words.json", "topic_words.txt"}
    assert set(one) == written | {f"{split}.arrow" for split in SPLITS}


def test_same_bytes_in_another_process_with_other_hashes_of_strings(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", 1100)  # three chunks
    one = contents(prepare(corpus, tmp_path / "1", PrepareSettings(tokenizer="words"), workers=1))
    command = [sys.executable, "-m", "tgvae.cli.main", "prepare", str(corpus), "--out", str(tmp_path / "3")]
    command += ["--workers", "3", "--tokenizer", "words"]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    assert contents(tmp_path / "3") == one


def _square(x: int) -> int:
    return x * x


def _die(x: int) -> int:
    os._exit(1)


def _refuse(x: int) -> int:
    raise UserError(f"not {x}")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_keep_the_order_of_the_items_and_few_are_read_ahead(workers: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(20):
            taken.append(i)
            yield i

    with processes(workers) as ordered_map:
        results = ordered_map(_square, items())
        assert next(results) == 0
        assert len(taken) <= 2 * workers
        assert list(results) == [i * i for i in range(1, 20)]
        assert list(ordered_map(_square, [])) == []


@pytest.mark.parametrize(("function", "message"), [(_refuse, "not 0"), (_die, "use fewer workers")])
def test_errors_in_workers(function: Any, message: str) -> None:
    with pytest.raises(UserError, match=message), processes(2) as ordered_map:
        list(ordered_map(function, range(8)))


def test_no_workers_can_do_no_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="workers is 0; it must be at least 1"):
        prepare(write_corpus(tmp_path / "c.jsonl", 100), tmp_path / "out", workers=0)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_folder_and_no_process(sent: signal.Signals, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", 20_000)
    # A shell that runs the tests in the background has SIGINT ignored, and children inherit that.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from tgvae.cli.main import main; raise SystemExit(main())"
    )
    command = [sys.executable, "-c", code, "prepare", str(corpus), "--out", str(tmp_path / "out")]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    shards = tmp_path / "out.partial" / "shards"
    wait_for(lambda: shards.is_dir() and any(shards.iterdir()), 60)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    assert len(children) >= 2
    if sent == signal.SIGINT:
        os.killpg(run.pid, sent)  # as a terminal does: to the workers too
    else:
        run.send_signal(sent)
    _, told = run.communicate(timeout=30)
    assert run.returncode == (130 if sent == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in told
    assert sent == signal.SIGKILL or told == "tgvae: interrupted\n"
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
