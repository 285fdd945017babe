"""Every benchmark, run by its command at tiny sizes: what it counts and how it reports, never how fast anything is."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import made_up_documents
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.errors import UserError
from tgvae.generation.decode import DecodeSettings
from tgvae.models.sentence import SentenceVAE

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import benchmark  # noqa: E402
from benchmarks import corpora, generation, measuring, peers, serving, training, workloads  # noqa: E402
from benchmarks.workloads import SIZES, Sizes, recipe  # noqa: E402

TINY = Sizes(8, 6, 4, 50, sentences=4, length=6)
ONE = ("--threads", 1, "--rounds", 1, "--seconds", 0)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use small sizes, and measure in this process instead of a fresh one."""
    real = subprocess.run

    def run(command: list[str], **kwargs: Any) -> Any:
        if "benchmarks.measuring" not in command:
            return real(command, **kwargs)
        try:
            found = measuring.measured(command[command.index("benchmarks.measuring") + 1], json.loads(kwargs["input"]))
        except UserError as error:
            return subprocess.CompletedProcess(command, 2, "", f"warning\n{error}\n")
        return subprocess.CompletedProcess(command, 0, f"noise\n{json.dumps(found)}\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setitem(SIZES, "small", TINY)


@pytest.fixture
def measured(tmp_path: Path) -> Callable[..., dict[str, dict[str, list[float]]]]:
    """Run a command, and return the values of its JSON file by row and metric."""

    def call(*arguments: object) -> dict[str, dict[str, list[float]]]:
        out = tmp_path / "result.json"
        assert benchmark.main([*map(str, arguments), "--out", str(out)]) == 0
        found = {row["name"]: row["rounds"] for row in json.loads(out.read_text(encoding="utf-8"))["rows"]}
        assert all(math.isfinite(x) for rounds in found.values() for values in rounds.values() for x in values)
        return found

    return call


def corpus_file(folder: Path) -> Path:
    rows = (json.dumps(document) for document in made_up_documents(60))
    (folder / "documents.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return folder / "documents.jsonl"


# Commands


def test_usage_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in benchmark.BENCHMARKS)
    assert benchmark.main(["trainig"]) == benchmark.main([]) == 2


def test_training(measured: Any, prepared: PreparedFolder) -> None:
    arguments = ("--prepared", prepared.path, "--sentences", 60, "--precision", "no", "--softmax", "full", "adaptive")
    found = measured("training", *ONE, *arguments)
    names = ("textbook", "sentence-vae, float32", "sentence-vae (adaptive), float32")
    names += ("tgvae, float32", "tgvae (adaptive), float32")
    assert set(found) == {f"{name}, 1 thread" for name in names}
    assert found["textbook, 1 thread"]["x textbook"] == [1.0]
    for name, rounds in found.items():
        if not name.startswith("textbook"):
            tokens = rounds["tokens/s"][0] * rounds["step ms"][0] / 1000  # per step
            assert 10 < tokens < 200
            assert rounds["memory MiB"][0] > 10


def test_generation(monkeypatch: pytest.MonkeyPatch, measured: Any) -> None:
    looped: list[str] = []
    written: list[str] = []
    loop_of, write = generation.token_loop, SentenceVAE.write

    def noted_loop(*given: Any) -> list[str]:
        looped.extend(texts := loop_of(*given))
        return texts

    def noted_write(*given: Any, **settings: Any) -> Any:
        found = write(*given, **settings)
        written.extend(sentence.text for sentence in found)
        return found

    monkeypatch.setattr(generation, "token_loop", noted_loop)
    monkeypatch.setattr(SentenceVAE, "write", noted_write)
    found = measured("generation", *ONE, "--length", 4, "--batches", 1, 2)
    assert found["greedy, token loop, 1 thread"]["x token loop"] == [1.0]
    assert len(found) == 3 * 2 + 2
    assert {len(text.split()) for text in looped} == {4}
    assert {len(text.split()) for text in written} <= {3, 4}  # four steps each, of which one may be eos
    assert len(written) == 3 * 2 * (1 + 2)  # strategies, calls with the uncounted first one, batches


def test_token_loop_agrees_with_greedy_search() -> None:
    model, z = generation.random_model(TINY).eval(), torch.randn(3, TINY.latent)
    wanted = DecodeSettings("greedy", min_length=6, max_length=7)
    written = [sentence.text.split()[:6] for sentence in model.write(z, wanted)]
    assert [text.split()[:6] for text in generation.token_loop(model, z, wanted)] == written
    sampled = generation.token_loop(model, z, replace(wanted, strategy="sample"))
    assert [len(text.split()) for text in sampled] == [7, 7, 7]


def test_generation_of_summaries(measured: Any, summarizer_run: Path) -> None:
    found = measured("generation", "--run", summarizer_run, *ONE, "--batches", 2)
    assert set(found) == {"greedy, batch 2, 1 thread", "beam, batch 2, 1 thread"}
    assert all(set(rounds) == {"documents/s"} for rounds in found.values())


def test_startup(measured: Any, guided_run: Path) -> None:
    found = measured("startup", "--run", guided_run, "--rounds", 1)
    assert list(found) == ["tgvae --help", "import tgvae", "a run loaded", "a first sentence"]


def test_preparation(measured: Any, tmp_path: Path) -> None:
    found = measured("preparation", corpus_file(tmp_path), "--workers", 1)
    assert set(found["processes, 1"]) == {"documents/s", "main ms", "main MiB", "KB"}


def test_tools(measured: Any, prepared: PreparedFolder) -> None:
    found = measured("tools", "--prepared", prepared.path, "--topics", 3, "--rounds", 1)
    assert list(found) == list(corpora.TOOLS)
    bags = Corpus(prepared, "train").bags
    for name, tool in corpora.TOOLS.items():
        assert 0 < found[name]["diversity"][0] <= 1
        if not name.startswith("ours"):
            assert tool(prepared, bags, 3, 0).shape == (3, bags.shape[1])


def test_costs(measured: Any, prepared: PreparedFolder) -> None:
    one = {"--vocabulary": 350, "--hidden": 6, "--batch": 100, "--epochs": 1, "--softmax": "full", "--precision": "no"}
    arguments = [x for pair in one.items() for x in pair]
    found = measured(
        "costs", "--prepared", prepared.path, "--documents", 60, "--topics", 3, 2, "--samples", 6, *arguments
    )
    assert list(found) == ["reference", "reference, language model", "topics 2"]
    assert found["reference"]["chance"] == [pytest.approx(1 / 3)]
    assert found["topics 2"]["chance"] == [0.5]
    assert found["reference"]["x reference"] == [1]
    assert all(row["perplexity"][0] > 1 and row["disk MiB"][0] > 0 for row in found.values())
    assert "NPMI" not in found["reference, language model"]


def test_costs_change_one_setting_at_a_time() -> None:
    options = corpora.Costs(Path("folder"), documents=(1, 2, 3), softmax=("full", "adaptive"))
    found = dict(options.settings())
    reference = found.pop("reference")
    assert (reference["documents"], reference["softmax"]) == (2, "full")
    assert found.pop("reference, language model") == reference | {"recipe": "language-model"}
    for name, setting in found.items():
        option, value = name.split()
        assert str(setting[option]) == value
        assert {key for key in setting if setting[key] != reference[key]} == {option}
    assert {"documents 1", "documents 3", "softmax adaptive"} <= set(found)


def test_costs_sample_documents(prepared: PreparedFolder, tmp_path: Path) -> None:
    found = corpora.sample({"source": str(prepared.path), "documents": 50, "vocabulary": 350, "seed": 0}, tmp_path)
    assert found.manifest["counts"]["documents"] == prepared.manifest["counts"]["documents"] | {"train": 50}
    assert found.manifest["settings"]["vocabulary_size"] == 350
    whole, part = (folder.split("train").to_pydict() for folder in (prepared, found))
    sentences = dict(zip(whole["id"], whole["sentences"], strict=True))
    assert [sentences[name] for name in part["id"]] == part["sentences"]
    assert found.split("valid")["id"].equals(prepared.split("valid")["id"])


def test_serving(measured: Any, guided_run: Path) -> None:
    found = measured("serving", "--run", guided_run, "--clients", 1, 2, "--seconds", 1)
    assert list(found) == ["start", "1 client", "2 clients"]
    assert found["2 clients"]["requests/s"][0] > 0
    assert found["start"]["MiB"][0] > 50


def test_serving_reports_a_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "PYTHON", ("sh", "-c", "echo the port is taken >&2; exit 2"))
    with pytest.raises(UserError, match=r"ended with status 2\nthe port is taken$"), serving.serving(Path("run")):
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["peers"], None),
        (["training", "--prepared", "missing"], "missing"),
        (["generation", "--run", "missing"], "no trained model"),
        (["generation", "--rounds", "0"], "rounds is 0"),
        (["serving", "--run", "x", "--clients", "0"], "each at least 1"),
    ],
)
def test_mistakes(arguments: list[str], message: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(arguments) == 2
    captured = capsys.readouterr()
    assert "usage" in captured.out if message is None else message in captured.err


# Measuring


def test_rounds_take_turns_and_ratios_stay_within_one() -> None:
    calls: list[str] = []

    def measure(name: str, values: list[float]) -> Callable[[], dict[str, float]]:
        return lambda: (calls.append(name), {"speed": values[calls.count(name) - 1]})[1]

    found = measuring.interleaved({"a": measure("a", [2, 9]), "b": measure("b", [4, 3]), "c": measure("c", [1, 6])}, 2)
    assert calls == ["a", "b", "c"] * 2
    measuring.add_ratio(found, "speed", ["a"], ["b", "c"], "x best")
    rows = measuring.rows(found)
    assert rows[0].rounds == {"speed": [2, 9], "x best": [0.5, 1.5]}
    assert measuring.table("t", rows).rows == [
        ["a", "5.5 ± 3.5", "1 ± 0.5"],
        ["b", "3.5 ± 0.5", ""],
        ["c", "3.5 ± 2.5", ""],
    ]


def test_results_have_command_commit_and_versions(measured: Any, tmp_path: Path) -> None:
    options = serving.Serving(Path("a"))
    measuring.save(tmp_path / "new" / "r.json", ["serving", "--run", "a"], options, [measuring.Row("a", {"x": [1.0]})])
    saved = json.loads((tmp_path / "new" / "r.json").read_text())
    assert saved["command"] == ["benchmark.py", "serving", "--run", "a"]
    assert saved["options"]["clients"] == [1, 4, 16]
    assert saved["versions"]["torch"] == torch.__version__
    assert saved["rows"] == [{"name": "a", "rounds": {"x": [1.0]}}]
    assert {"date", "commit", "cpu"} <= set(saved)


@pytest.mark.parametrize("threads", [1, 2])
def test_environment_of_a_process(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    tuned, plain = measuring.environment(threads, True), measuring.environment(threads, False)
    assert tuned["OMP_NUM_THREADS"] == plain["OMP_NUM_THREADS"] == str(threads)
    assert tuned["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "OMP_WAIT_POLICY" not in plain
    assert tuned["PYTHONPATH"].split(":") == ["/elsewhere", str(ROOT / "scripts")]


def test_fresh_process_measures_its_own_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    held = np.ones(2**26)  # 512 MiB, more than the process needs
    settings = {"source": str(corpus_file(tmp_path)), "engine": "processes", "workers": 1}
    found = measuring.fresh("corpora:measure_preparation", settings, 1)
    assert 10 < found["main MiB"] < measuring.peak_memory()
    assert measuring.peak_memory() > held.nbytes / 2**20
    with pytest.raises(UserError, match="missing"):
        measuring.fresh("corpora:measure_preparation", settings | {"source": str(tmp_path / "missing.txt")}, 1)
    with pytest.raises(RuntimeError, match="failed in its process"):
        measuring.fresh("corpora:measure_preparation", {}, 1)


def test_timed_batches_are_counted_after_the_first_steps(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    split = workloads.Timed(corpus, "cpu", seconds=5.0)
    moments = iter([0.0, 1.0, 2.0, 10.0, 11.0, 16.0])
    monkeypatch.setattr(workloads.time, "perf_counter", lambda: next(moments))
    gather = split.rows("sentence").gather
    for i in range(workloads.WARM + 2):
        assert len(gather(np.array([i, i + 1])).inputs) == 2
    with pytest.raises(workloads.EnoughError):
        gather(np.array([0]))
    assert split.speed == (pytest.approx((corpus.lengths[[3, 4, 4, 5]] + 1).sum() / 6), 3.0)


def test_recipes_have_the_sizes() -> None:
    found = recipe("tgvae", TINY, "bf16", "cuda")
    assert (found.model.sentence.hidden_size, found.model.sentence.flow_length, found.train.precision) == (6, 5, "bf16")
    (phase,) = found.train.phases.values()
    assert (phase.unit, phase.batch, found.train.device) == ("sentence", 24, "auto")
    adaptive = recipe("sentence-vae", replace(TINY, softmax="adaptive"), "no", "cpu").model
    assert (adaptive.softmax, adaptive.flow_length) == ("adaptive", 0)


# Peers

STUB = """
import json, sys, time
data = json.load(open("data/ptb.train.json"))
vocabulary = json.load(open("data/ptb.vocab.json"))
size = int(sys.argv[sys.argv.index("-bs") + 1])
longest = int(sys.argv[sys.argv.index("--max_sequence_length") + 1])
for item in data.values():
    assert len(item["input"]) == len(item["target"]) == longest
    assert item["input"][0] == vocabulary["w2i"]["<sos>"]
    assert item["target"][item["length"] - 1] == vocabulary["w2i"]["<eos>"]
    assert max(item["target"]) < len(vocabulary["w2i"]) == VOCABULARY
for batch in range(0, len(data) // size, 10):
    print("TRAIN Batch %04d/%i, Loss 1.0" % (batch, len(data) // size))
    time.sleep(0.01)
print("VALID Batch 0000/1, Loss 1.0")
"""
LAGGING_STUB = """
import importlib, sys, time
params = importlib.import_module("config.config_" + sys.argv[2]).params
rows = [line.split() for line in open(params["train_data"])]
assert all(rows)
assert len({word for row in rows for word in row}) + 4 == VOCABULARY
assert open(params["val_data"]).read() and params["epochs"] == 1
for i in range(3):
    print("epoch: 0, iter: %d, avg_loss: 1.0" % i)
    time.sleep(0.01)
time.sleep(60)
"""


@pytest.fixture
def checkouts(tmp_path: Path, prepared: PreparedFolder) -> tuple[Path, Path]:
    """Stand-ins for the two peers, which check the data that they get."""
    size = str(len(prepared.tokenizer))
    for name, script, text in (("a", "train.py", STUB), ("b", "text.py", LAGGING_STUB)):
        (tmp_path / name / "config").mkdir(parents=True)
        (tmp_path / name / script).write_text(text.replace("VOCABULARY", size))
    return tmp_path / "a", tmp_path / "b"


def test_peers_compared_with_tgvae(measured: Any, checkouts: tuple[Path, Path], prepared: PreparedFolder) -> None:
    a, b = checkouts
    peers_given = ("--sentence-vae", a, "--lagging", b, "--prepared", prepared.path)
    arguments = ("--sentences", 200, "--threads", 1, "--precision", "no", "--rounds", 1, "--seconds", 0.001)
    found = measured("training", *peers_given, *arguments)
    names = ("peer Sentence-VAE", "peer vae-lagging-encoder", "textbook", "sentence-vae, float32", "tgvae, float32")
    assert list(found) == [f"{name}, 1 thread" for name in names]
    best = max(found[f"{name}, 1 thread"]["tokens/s"][0] for name in names[:2])
    for rounds in found.values():
        assert rounds["x faster peer"][0] == pytest.approx(rounds["tokens/s"][0] / best)
    assert found["textbook, 1 thread"]["x textbook"] == [1.0]
    assert sorted(path.name for path in a.iterdir()) == ["config", "train.py"]  # the checkout is as it was


def test_a_peer_that_fails_is_quoted(checkouts: tuple[Path, Path], prepared: PreparedFolder) -> None:
    a, _ = checkouts
    (a / "train.py").write_text("raise SystemExit('no tensorboardX here')")
    rows = workloads.token_rows(workloads.first_documents(prepared, 200))
    peer = peers.sentence_vae(a, rows, replace(TINY, vocabulary=len(prepared.tokenizer)))
    with pytest.raises(UserError, match="no tensorboardX here"):
        peers.peer_speed(a, peer, 1.0, "cpu", 1)


def test_tokens_of_a_peers_batch(tmp_path: Path) -> None:
    """Sixty sentences of two tokens and sixty-three of four; batches of one length leave three behind."""
    rows = [[5, 6]] * 60 + [[7, 8, 9, 10]] * 63
    sizes = replace(TINY, vocabulary=11, sentences=4, length=4)
    (tmp_path / "config").mkdir()
    mean = (60 * 3 + 63 * 5) / 123  # eos counted
    assert peers.sentence_vae(tmp_path, rows, sizes).tokens == pytest.approx(4 * mean)
    total = 60 * 3 + 63 * 5 + 2  # one more line for the word that no sentence has
    assert peers.lagging(tmp_path, rows, sizes).tokens == pytest.approx(total / (15 + 16 + 1))
    with pytest.raises(UserError, match="too few to time a peer"):
        peers.lagging(tmp_path, rows[:50], sizes)


def test_token_rows_are_the_sentences(prepared: PreparedFolder) -> None:
    corpus = Corpus(prepared, "train")
    expected = sorted(ids for row in corpus.table["tokens"].to_pylist() for ids in row if ids)
    assert sorted(workloads.token_rows(corpus)) == expected


# Textbook models


def test_the_textbook_vae_does_not_see_padding() -> None:
    torch.manual_seed(0)
    model = training.PackedVAE(TINY).eval()
    nn.init.zeros_(model.log_variance.weight)
    nn.init.constant_(model.log_variance.bias, -60.0)  # no noise in z
    inputs, targets = torch.tensor([[2, 5, 6], [2, 7, 0]]), torch.tensor([[5, 6, 3], [7, 3, 0]])
    both = model(inputs, targets, torch.tensor([3, 2]))
    alone = [
        model(inputs[:1], targets[:1], torch.tensor([3])),
        model(inputs[1:, :2], targets[1:, :2], torch.tensor([2])),
    ]
    assert both.item() == pytest.approx(sum(x.item() for x in alone) / 2, rel=1e-5)
