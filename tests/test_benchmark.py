"""The benchmarks at tiny sizes: what they count, how they report, and every command; never how fast anything is."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.errors import UserError
from tgvae.generation.decode import DecodeSettings
from tgvae.models.sentence import SentenceConfig, SentenceVAE
from tgvae.training.config import Phase
from tgvae.training.loop import Trainer

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import benchmark  # noqa: E402
from benchmarks import (  # noqa: E402
    ab,
    compare,
    costs,
    generation,
    lda,
    loop,
    peak,
    peer_files,
    peers,
    profile,
    reporting,
    running,
    scale,
    synthetic,
    textbook,
    tools,
    worker,
)
from benchmarks import sizes as sizes_module  # noqa: E402
from benchmarks.sizes import SIZES, TOPIC_HIDDEN, WORD_EMBEDDING, Sizes, flops, recipe  # noqa: E402

TINY = Sizes(8, 6, 4, 50, sentences=4, length=6, topics=3, topic_words=40, flow=2)
SHAPE = synthetic.Shape(12, sentences=3, length=6, words=5, vocabulary=50, topic_words=40)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sizes, no products to find a peak, and measurements in this process in place of fresh ones."""
    real = subprocess.run

    def run(command: list[str], **kwargs: Any) -> Any:
        if "benchmarks.worker" not in command:
            return real(command, **kwargs)
        try:
            figures = worker.measured(command[command.index("benchmarks.worker") + 1], json.loads(kwargs["input"]))
        except UserError as error:
            return subprocess.CompletedProcess(command, 2, "", f"warning\n{error}\n")
        return subprocess.CompletedProcess(command, 0, f"noise\n{json.dumps(figures)}\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setitem(SIZES, "small", TINY)
    monkeypatch.setitem(SIZES, "peer", TINY)
    monkeypatch.setattr(peak, "product_speed", lambda n, dtype, device: {"float32": 4.0, "bfloat16": 8.0}[dtype])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> PreparedFolder:
    return PreparedFolder.open(synthetic.write_folder(tmp_path_factory.mktemp("made up") / "corpus", SHAPE))


@pytest.fixture
def measured(tmp_path: Path) -> Callable[..., dict[str, dict[str, list[float]]]]:
    """Metrics of a command as its JSON has them, every round, by row."""

    def call(*arguments: object) -> dict[str, dict[str, list[float]]]:
        out = tmp_path / "result.json"
        assert benchmark.main([*map(str, arguments), "--out", str(out)]) == 0
        found = {row.name: row.rounds for row in reporting.read(out)}
        assert all(math.isfinite(x) for rounds in found.values() for values in rounds.values() for x in values)
        return found

    return call


# What is counted


@pytest.mark.parametrize("bidirectional", [True, False])
def test_flops_are_those_that_torch_counts(bidirectional: bool) -> None:
    """One sentence of the sentence parts in torch's own modules, forward and back; z enters the gates by a product."""
    s = replace(TINY, bidirectional=bidirectional)
    e, h, z, tokens = s.embedding, s.hidden, s.latent, 5
    features = h * (1 + bidirectional)
    encoder = nn.GRU(e, h, batch_first=True, bidirectional=bidirectional)
    first, second = nn.Linear(features, z), nn.Linear(z, z)
    heads, flow = nn.Linear(features, 2 * z), nn.Sequential(first, second)
    latent = nn.ModuleList([nn.Linear(z, h), nn.Linear(z, 3 * h), nn.Linear(z, e)])
    decoder, project, words = nn.GRU(e, h, batch_first=True), nn.Linear(h, e), nn.Linear(e, s.vocabulary)
    x, state, drawn = torch.randn(1, tokens, e), torch.randn(1, features), torch.randn(1, z)
    ran = {
        "encoder": lambda: encoder(x.clone().requires_grad_())[0],
        "latent": lambda: torch.cat([heads(state), flow(state), *(m(drawn) for m in latent)], -1),
        "decoder": lambda: decoder(x)[0],
        "projection": lambda: project(torch.randn(tokens, h)),
        "vocabulary": lambda: words(torch.randn(tokens, e)),
    }
    found = flops("tgvae", s, {"tokens": tokens, "sentences": 1, "documents": 0, "words": 0})
    for part, forward in ran.items():
        with FlopCounterMode(display=False) as counter:
            forward()
        assert found[part] == 3 * counter.get_total_flops(), part


def test_backward_has_two_products_for_each_one() -> None:
    words, x = nn.Linear(8, 50), torch.randn(5, 8, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        words(x).sum().backward()
    load = {"tokens": 5, "sentences": 1, "documents": 0, "words": 0}
    assert flops("sentence-vae", TINY, load)["vocabulary"] == counter.get_total_flops()


def test_flops_of_the_topic_model_where_every_word_occurs() -> None:
    d, t, z = TINY.topic_words, TINY.topics, TINY.latent
    h = TOPIC_HIDDEN
    encoder = nn.Sequential(nn.Linear(d, h), nn.Linear(h, h), nn.Linear(h, 2 * t))
    component = nn.Sequential(nn.Linear(d, 4 * z), nn.Linear(4 * z, 2 * z))
    mix, beta = nn.Linear(t, t), torch.randn(t, d)
    documents, sentences = 3, 4
    with FlopCounterMode(display=False) as counter:
        for rows in (documents, sentences):
            encoder(torch.randn(rows, d))
            mix(torch.randn(rows, t))
        torch.randn(documents, t) @ beta
        torch.randn(t, WORD_EMBEDDING) @ torch.randn(WORD_EMBEDDING, d)
        beta @ beta.T
        component(beta)
    load = {"tokens": 1, "sentences": sentences, "documents": documents, "words": d}
    assert flops("tgvae", TINY, load)["topics"] == 3 * counter.get_total_flops()
    assert "topics" not in flops("sentence-vae", TINY, load)
    assert set(flops("language-model", TINY, load)) == {"decoder", "projection", "vocabulary"}


def test_timed_batches_are_counted_after_the_first_steps(folder: PreparedFolder) -> None:
    corpus = Corpus(folder, "train")
    timed = loop.Timed(corpus, "cpu", steps=2)
    gather = timed.rows("sentence").gather
    for i in range(loop.WARM + 2):
        assert gather(np.array([i, i + 1])).inputs.shape == (2, SHAPE.length)
    with pytest.raises(loop.EnoughError):
        gather(np.array([0]))
    timed.moments = [0.0] * loop.WARM + [10.0, 11.0, 14.0]
    timed.work = [0.0] * loop.WARM + [3.0, 4.0, 9.0]
    # sentences 3, 4 and 4, 5 of documents of three: two documents' parts, all of length 6
    assert timed.load("sentence") == {
        "steps": 2,
        "seconds": 4.0,
        "cores": 1.5,
        "tokens": 12,
        "sentences": 2,
        "documents": 1,
    }


def test_too_few_batches_are_told() -> None:
    with pytest.raises(UserError, match="too few to time"):
        loop.Timed(None, "cpu", 5, moments=[0.0] * (loop.WARM + 1)).load("sentence")  # type: ignore[arg-type]


def test_first_documents_hold_the_sentences_asked_for(folder: PreparedFolder) -> None:
    whole = Corpus(folder, "train")
    assert len(loop.first_documents(folder, None).lengths) == len(whole.lengths) == 36
    part = loop.first_documents(folder, 9)
    assert part.documents == 3
    assert part.gather([8]).targets.tolist() == whole.gather([8]).targets.tolist()


def test_a_gpu_that_is_not_there_is_told() -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is present")
    with pytest.raises(UserError, match="no GPU"):
        loop.require_device("cuda")


def test_peak_memory_is_that_of_the_process_and_not_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    held = np.ones(2**26)  # 512 MiB, more than the process needs
    code = "from benchmarks.running import peak_memory; print(peak_memory('cpu'))"
    command = [*running.PYTHON, "-c", code]
    ran = subprocess.run(command, env=running.environment(1, True), capture_output=True, text=True, check=True)
    assert 10 < float(ran.stdout) < held.nbytes / 2**20 < running.peak_memory("cpu")


def test_product_speed_is_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert peak.product_speed(16, "bfloat16", "cpu") > 0


# Made-up data


def test_a_made_up_folder_has_the_shape_asked_for(folder: PreparedFolder, tmp_path: Path) -> None:
    corpus = Corpus(folder, "train")
    assert (corpus.documents, len(corpus.lengths)) == (12, 36)
    assert set(corpus.lengths) == {SHAPE.length - 1}
    assert set(corpus.bags.sum(1)) == {15.0}
    batch = corpus.gather(np.arange(36))
    assert batch.targets[:, :-1].min() >= 4
    assert batch.targets.max() < 50
    assert (len(folder.tokenizer), len(folder.topic_vocabulary)) == (50, 40)
    again = PreparedFolder.open(synthetic.write_folder(tmp_path, SHAPE))
    assert all(again.split(name).equals(folder.split(name)) for name in ("train", "valid", "test"))


def test_documents_are_written_some_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(synthetic, "AT_ONCE", 5)
    corpus = Corpus(PreparedFolder.open(synthetic.write_folder(tmp_path, SHAPE)), "train")
    assert corpus.names(np.arange(12)) == [str(i) for i in range(12)]
    assert corpus.gather(np.arange(36)).targets.shape == (36, 6)


def test_zipf_draws_follow_the_law() -> None:
    drawn = np.bincount(synthetic.zipf(200_000, 30, np.random.default_rng(0)), minlength=30) / 200_000
    expected = 1 / (np.arange(30) + 2.7)
    np.testing.assert_allclose(drawn, expected / expected.sum(), atol=0.003)


# Rounds and reports


def test_rounds_take_turns_and_ratios_stay_within_one() -> None:
    calls: list[str] = []

    def measure(name: str, values: list[float]) -> Callable[[], dict[str, float]]:
        return lambda: (calls.append(name), {"speed": values[calls.count(name) - 1]})[1]

    found = running.interleaved({"a": measure("a", [2, 9]), "b": measure("b", [4, 3]), "c": measure("c", [1, 6])}, 2)
    assert calls == ["a", "b", "c"] * 2
    running.add_ratio(found, "speed", ["a"], ["b", "c"], "x best")
    rows = running.rows(found)
    assert rows[0].rounds == {"speed": [2, 9], "x best": [0.5, 1.5]}
    assert rows[0].median == {"speed": 5.5, "x best": 1.0}
    assert rows[0].spread == {"speed": 3.5, "x best": 0.5}
    with pytest.raises(UserError, match="rounds is 0"):
        running.interleaved({}, 0)


def test_the_slope_of_a_power_law_is_its_power() -> None:
    assert running.slope([1, 10, 50], [3 * n**1.5 for n in (1, 10, 50)]) == pytest.approx(1.5)
    assert running.slope([7], [3]) == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_the_environment_of_a_process(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    tuned, plain = running.environment(threads, True), running.environment(threads, False)
    assert tuned["OMP_NUM_THREADS"] == plain["OMP_NUM_THREADS"] == str(threads)
    assert tuned["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "OMP_WAIT_POLICY" not in plain
    assert tuned["PYTHONPATH"].split(":") == ["/elsewhere", str(ROOT / "scripts")]


def test_results_survive_the_file_and_tell_the_machine(tmp_path: Path) -> None:
    rows = [reporting.Row("a", {"x": [1.0, 3.0]}), reporting.Row("b", {"y": [2.0]})]
    options = compare.Options(Path("a"), Path("b"))
    reporting.write(tmp_path / "new" / "r.json", ["compare", "a", "b"], options, rows)
    assert reporting.read(tmp_path / "new" / "r.json") == rows
    saved = json.loads((tmp_path / "new" / "r.json").read_text())
    assert saved["command"] == ["benchmark.py", "compare", "a", "b"]
    assert saved["settings"] == {"a": "a", "b": "b", "out": None}
    assert set(saved["machine"]) == {"date", "commit", "torch", "python", "cpu", "flags", "gpu"}
    assert saved["machine"]["torch"] == torch.__version__
    assert saved["rows"][0]["median"] == {"x": 2.0}
    table = reporting.table("t", rows)
    assert [column.header for column in table.columns] == ["", "x", "y"]
    assert [list(column.cells) for column in table.columns] == [["a", "b"], ["2 ± 1", ""], ["", "2"]]


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": [{}]}'])
def test_other_files_are_no_results(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(UserError, match="not a result"):
        reporting.read(tmp_path / "r.json")
    with pytest.raises(UserError, match="cannot be read"):
        reporting.read(tmp_path / "missing.json")


def test_compare_gives_the_ratios_of_medians(tmp_path: Path) -> None:
    a = [reporting.Row("r", {"x": [1.0, 2.0, 30.0], "zero": [0.0], "gone": [1.0]}), reporting.Row("s", {"x": [1.0]})]
    b = [reporting.Row("r", {"x": [5.0], "zero": [1.0]})]
    assert compare.ratios(a, b) == [reporting.Row("r", {"x": [2.5]})]
    with pytest.raises(UserError, match="in common"):
        compare.ratios(a, [reporting.Row("q", {"x": [1.0]})])


def test_ab_compares_within_rounds_with_an_interval() -> None:
    row = ab.compared("speed", [2.0, 8.0], [1.0, 2.0], np.random.default_rng(0))
    assert row.rounds["ratio"] == [pytest.approx(math.sqrt(2 * 4))]
    assert (row.rounds["from"], row.rounds["to"]) == ([pytest.approx(2)], [pytest.approx(4)])
    same = ab.compared("speed", [3.0, 6.0], [1.0, 2.0], np.random.default_rng(0)).rounds
    assert same["from"] == same["to"] == [pytest.approx(3)]
    assert set(ab.compared("share", [0.0], [1.0], np.random.default_rng(0)).rounds) == {ab.HERE, ab.OTHER}


@pytest.fixture
def another_tree(tmp_path: Path) -> Path:
    """A stand-in for another commit, with as much of tgvae as `peak` needs; there every product is told as 7 GF/s."""
    package = tmp_path / "tree" / "tgvae"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "errors.py").write_text("class UserError(Exception):\n    pass\n")
    stub = "from benchmarks import peak\n\ndef keep_memory():\n    peak.product_speed = lambda *_: 7.0\n"
    (package / "cli.py").write_text(stub)
    return package.parent


def test_ab_measures_the_tree_named_whatever_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, another_tree: Path
) -> None:
    monkeypatch.undo()  # a benchmark in its process, which measures in another one
    monkeypatch.chdir(ROOT)
    found = {row.name: row.rounds for row in ab.run(ab.Options(another_tree, "peak --n 16 --threads 1", rounds=1))}
    assert set(found) == {"1 thread: float32", "1 thread: bfloat16"}
    for figures in found.values():
        assert figures[ab.OTHER] == [7.0]
        assert figures[ab.HERE] != [7.0]
    with pytest.raises(RuntimeError, match="failed with tgvae from"):
        ab.measure("nothing", ROOT)


def test_ab_alternates_between_trees(
    monkeypatch: pytest.MonkeyPatch, measured: Any, another_tree: Path, tmp_path: Path
) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(ab, "measure", lambda command, tree: (seen.append(tree), {"a: x": float(len(seen))})[1])
    assert measured("ab", another_tree, "peak", "--rounds", 2)["a: x"]["ratio"] == [
        pytest.approx(math.sqrt(1 / 2 * 3 / 4))
    ]
    assert seen == [ROOT, another_tree] * 2
    assert benchmark.main(["ab", str(tmp_path), "peak"]) == 2


# Commands


def test_training_reports_what_it_counts(measured: Any) -> None:
    arguments = ("--sizes", "small", "--precision", "no", "--threads", 1, "--steps", 2, "--rounds", 1)
    found = measured("training", *arguments)
    assert set(found) == {"peak, 1 thread"} | {
        f"small {kind}, float32, 1 thread" for kind in ("sentence-vae", "tgvae", "language-model")
    }
    for name, rounds in found.items():
        if name.startswith("small"):
            value = {figure: values[0] for figure, values in rounds.items()}
            assert value["tokens/s"] * value["step ms"] / 1000 == pytest.approx(TINY.sentences * TINY.length)
            assert value["of peak"] == pytest.approx(value["GF/s"] / 4.0)
            assert value["memory MiB"] > 10
            assert value["start s"] > 0
    plain = found["small language-model, float32, 1 thread"]
    load = {"tokens": 24, "sentences": 4, "documents": 2, "words": 1}
    work = sum(flops("language-model", TINY, load).values())
    assert plain["GF/s"][0] == pytest.approx(work / plain["step ms"][0] / 1e6)


def test_training_on_a_prepared_folder_has_its_vocabulary(measured: Any, prepared: PreparedFolder) -> None:
    arguments = ("--sizes", "small", "--models", "sentence-vae", "--precision", "no", "--threads", 1, "--rounds", 1)
    (_, found) = measured("training", *arguments, "--steps", 3, "--prepared", prepared.path).values()
    tokens = found["tokens/s"][0] * found["step ms"][0] / 1000
    assert 0 < tokens <= TINY.sentences * TINY.length


def test_profile_has_a_time_for_every_part(measured: Any) -> None:
    found = measured("profile", "--models", "tgvae", "--steps", 2, "--rounds", 1)
    spent = {part: rounds["tgvae, 1 thread"][0] for part, rounds in found.items()}
    forward = {part for *_, part in profile.PARTS}
    backward = {f"{part}, backward" for part in forward - {"clipping", "optimiser", "data"}}
    assert set(spent) == {*forward, *backward, "gradient sums", profile.REST, "step"}
    assert min(spent.values()) > 0  # of the rest too: operations take less than the step does


def test_every_method_that_the_profile_knows_runs_in_training(
    monkeypatch: pytest.MonkeyPatch, folder: PreparedFolder
) -> None:
    """Otherwise one that the loop calls no more would hide behind others of its part."""
    methods = [(owner, name, f"{owner.__name__}.{name}") for owner, name, _ in profile.PARTS]
    monkeypatch.setattr(profile, "PARTS", methods)
    settings = {"folder": str(folder.path), "kind": "tgvae", "sizes": asdict(TINY), "precision": "no"}
    spent = profile.measure(settings | {"device": "cpu", "steps": 1})
    assert {name for *_, name in methods} <= set(spent)


def test_ranges_go_when_the_profile_is_done() -> None:
    before = nn.Embedding.forward
    with profile.ranges():
        assert nn.Embedding.forward is not before
    assert nn.Embedding.forward is before


def test_generation_beside_the_token_loop(monkeypatch: pytest.MonkeyPatch, measured: Any) -> None:
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
    arguments = ("--threads", 1, "--rounds", 1, "--seconds", 0, "--length", 4)
    found = measured("generation", *arguments, "--batches", 1, 2)
    assert found["greedy, token loop, 1 thread"]["x token loop"] == [1.0]
    assert len(found) == 3 * 2 + 2
    assert {len(text.split()) for text in looped} == {4}
    assert {len(text.split()) for text in written} <= {3, 4}  # with eos or, cut at the end, without: four steps each
    assert len(written) == 3 * 2 * (1 + 2)  # strategies, calls (the first is not counted), batches


def test_the_token_loop_writes_what_greedy_search_writes() -> None:
    settings = {"run": None, "sizes": asdict(TINY), "device": "cpu"}
    model, z = generation.writer(settings), torch.randn(3, TINY.latent)
    wanted = DecodeSettings("greedy", min_length=6, max_length=7)
    written = [sentence.text.split()[:6] for sentence in model.write(z, wanted)]
    assert [text.split()[:6] for text in generation.token_loop(model, z, wanted)] == written
    sampled = generation.token_loop(model, z, replace(wanted, strategy="sample"))
    assert [len(text.split()) for text in sampled] == [7, 7, 7]


def test_generation_of_a_summarizer_is_by_document(measured: Any, summarizer_run: Path) -> None:
    arguments = ("--threads", 1, "--rounds", 1, "--seconds", 0, "--batches", 2)
    found = measured("generation", "--run", summarizer_run, *arguments)
    assert set(found) == {"greedy, batch 2, 1 thread", "beam, batch 2, 1 thread"}
    assert all(set(rounds) == {"documents/s"} for rounds in found.values())


def test_topics_beside_a_textbook(measured: Any) -> None:
    arguments = ("--threads", 1, "--rounds", 1, "--topics", 3, "--topic-words", 40, "--documents", 900)
    found = measured("topics", *arguments)
    ours = {f"ours, {kind}, float32, 1 thread" for kind in ("topic", "prodlda")}
    assert set(found) == {"textbook ProdLDA, 1 thread"} | ours
    assert found["textbook ProdLDA, 1 thread"]["x textbook"] == [1.0]


def test_lda_goes_on_until_it_is_as_coherent(measured: Any, prepared: PreparedFolder) -> None:
    found = measured("lda", "--prepared", prepared.path, "--topics", 3, "--epochs", 1, "--seconds", 0)
    assert found["ours, topic, 1 thread"]["passes"] == [1]
    for name in lda.OTHERS:
        assert found[f"{name}, 1 thread"]["passes"] == [1]  # no time for another
    settings = {"folder": str(prepared.path), "topics": 3, "threads": 1, "seconds": 60, "name": "tomotopy", "seed": 0}
    reached = lda.measure_other(settings | {"goal": found["tomotopy, 1 thread"]["NPMI"][0]})
    assert reached["passes"] == 1
    assert reached["documents/s"] == pytest.approx(Corpus(prepared, "train").documents / reached["seconds"])


@pytest.mark.parametrize("name", sorted(lda.OTHERS))
def test_topics_of_lda_change_with_every_pass(name: str, prepared: PreparedFolder) -> None:
    bags = Corpus(prepared, "train").bags
    passes = lda.OTHERS[name](bags, 3, 1, 0)
    first, second = (np.array(next(passes)()) for _ in range(2))
    assert first.shape == (3, len(prepared.topic_vocabulary))
    assert not np.allclose(first, second)
    again, other = (next(lda.OTHERS[name](bags, 3, 1, seed))() for seed in (0, 1))
    np.testing.assert_allclose(again, first)
    assert not np.allclose(other, first)


def test_every_round_of_lda_has_its_seed_and_its_goal(measured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, float | None]] = []

    def fresh(task: str, settings: dict[str, Any], threads: int) -> dict[str, float]:
        seen.append((settings.get("name", "ours"), settings["seed"], settings.get("goal")))
        return {"NPMI": 0.1 * (1 + settings["seed"])}

    monkeypatch.setattr(lda, "fresh", fresh)
    found = measured("lda", "--prepared", "somewhere", "--threads", 1, "--rounds", 2)
    assert seen == [
        (name, seed, goal if name != "ours" else None)
        for seed, goal in ((0, 0.1), (1, 0.2))
        for name in ("ours", *lda.OTHERS)
    ]
    assert found["tomotopy, 1 thread"]["NPMI"] == [0.1, 0.2]


def test_epochs_that_patience_saves_are_not_counted(monkeypatch: pytest.MonkeyPatch, prepared: PreparedFolder) -> None:
    def never_better(trainer: Trainer, phase: Phase) -> None:
        trainer.progress.stale += 1

    monkeypatch.setattr(Trainer, "_validate", never_better)
    recipe = lda.RECIPES["prodlda"]()
    phases = {name: replace(phase, patience=2) for name, phase in recipe.train.phases.items()}
    impatient = replace(recipe, train=replace(recipe.train, phases=phases))
    monkeypatch.setitem(lda.RECIPES, "prodlda", lambda: impatient)
    settings = {"folder": str(prepared.path), "recipe": "prodlda", "topics": 3, "epochs": 9, "seed": 0}
    assert lda.measure_ours(settings)["passes"] == 2


def test_scale_has_a_slope_for_every_axis(measured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "TOKENS", 24)
    axes = {"--vocabulary": (50, 60), "--length": (6,), "--topics": (2,), "--documents": (40, 80)}
    arguments = [x for axis, values in axes.items() for x in (axis, *values)]
    found = measured("scale", *arguments, "--steps", 1)
    assert list(found)[:3] == ["vocabulary 50", "vocabulary 60", "vocabulary, slope"]
    costs = [found[f"vocabulary {v}"]["us/token"][0] for v in (50, 60)]
    slope = math.log(costs[1] / costs[0]) / math.log(60 / 50)
    assert found["vocabulary, slope"]["us/token"] == [pytest.approx(slope)]
    assert found["topics, slope"]["us/document"] == [0]
    assert set(found["documents 40"]) == {"open s", "batches s", "corpus MiB", "us/token", "trained MiB"}


def test_costs_change_one_setting_at_a_time() -> None:
    options = costs.Options(Path("folder"), documents=(1, 2, 3), softmax=("full", "adaptive"))
    found = costs.settings_of(options)
    centre = found.pop("centre")
    assert centre["documents"] == 2
    assert centre["softmax"] == "full"
    for name, setting in found.items():
        axis, value = name.split()
        assert str(setting[axis]) == value
        assert {a for a in costs.AXES if setting[a] != centre[a]} == {axis}
    assert {name for name in found if name.startswith(("documents", "softmax"))} == {
        "documents 1",
        "documents 3",
        "softmax adaptive",
    }


def test_a_slice_is_a_corpus_of_its_own(prepared: PreparedFolder, tmp_path: Path) -> None:
    settings = {"source": str(prepared.path), "out": str(tmp_path / "slice"), "documents": 50, "vocabulary": 350}
    costs.slice_of(settings | {"seed": 0})
    found = PreparedFolder.open(tmp_path / "slice")
    assert found.manifest["counts"]["documents"] == prepared.manifest["counts"]["documents"] | {"train": 50}
    assert found.manifest["settings"]["vocabulary_size"] == 350
    whole, part = (folder.split("train").to_pydict() for folder in (prepared, found))
    sentences = dict(zip(whole["id"], whole["sentences"], strict=True))
    assert [sentences[name] for name in part["id"]] == part["sentences"]
    assert found.split("valid")["id"].equals(prepared.split("valid")["id"])
    assert found.manifest["settings"]["min_document_words"] == prepared.manifest["settings"]["min_document_words"]


def test_words_are_counted_in_the_whole_corpus_by_their_names(corpus: Corpus) -> None:
    words = corpus.folder.topic_vocabulary.words
    found = costs.count_words(corpus, [words[2], "not-there", words[0]]).toarray()
    whole = corpus.bags.toarray()
    assert (found == np.stack([whole[:, 2], 0 * whole[:, 0], whole[:, 0]], axis=1)).all()


def test_costs_of_sizes_and_what_they_give(measured: Any, prepared: PreparedFolder) -> None:
    one = {"--vocabulary": 350, "--hidden": 6, "--batch": 100, "--epochs": 2, "--softmax": "full", "--precision": "no"}
    arguments = [x for pair in one.items() for x in pair]
    sizes = ("--documents", 60, "--topics", 3, 2, "--asked", 6, "--steps", 1, "--rounds", 1)
    found = measured("costs", "--prepared", prepared.path, *sizes, *arguments)
    assert list(found) == ["centre", "topics 2"]
    assert found["centre"]["chance"] == [pytest.approx(1 / 3)]
    assert found["topics 2"]["chance"] == [0.5]
    assert all(row[f"{n} s"][0] > 0 for row in found.values() for n in ("prepare", "topics", "epoch"))
    assert all(row["perplexity"][0] > 1 and row["disk MiB"][0] > 0 for row in found.values())
    assert found["centre"]["x centre"] == [1]
    ratio = found["topics 2"]["us/token"][0] / found["centre"]["us/token"][0]
    assert found["topics 2"]["x centre"] == [pytest.approx(ratio)]
    assert {"LM perplexity", "LM us/token"} <= set(found["centre"])
    assert not {"LM perplexity", "LM us/token"} & set(found["topics 2"])  # the language model has none


def test_tools_find_topics_in_the_same_words(measured: Any, prepared: PreparedFolder) -> None:
    found = measured("tools", "--prepared", prepared.path, "--topics", 3, "--rounds", 1)
    assert list(found) == list(tools.TOOLS)
    bags = Corpus(prepared, "train").bags
    for name, tool in tools.TOOLS.items():
        assert 0 < found[name]["diversity"][0] <= 1
        if not name.startswith("ours"):
            assert tool(prepared, bags, 3, 0).shape == (3, bags.shape[1])


def test_startup_of_commands_and_a_first_sentence(measured: Any) -> None:
    found = measured("startup", "--rounds", 1)
    assert list(found) == ["python", "tgvae --help", "import tgvae", "a run loaded", "a first sentence"]


def test_help_and_mistakes(capsys: pytest.CaptureFixture[str], tmp_path: Path, prepared: PreparedFolder) -> None:
    assert benchmark.main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(
        (ROOT / "scripts" / "benchmarks" / f"{name}.py").is_file() and name in told for name in benchmark.COMMANDS
    )
    assert benchmark.main(["trainig"]) == benchmark.main([]) == 2
    arguments = ["peers", "--prepared", str(prepared.path), "--lagging", str(tmp_path / "missing")]
    assert benchmark.main(arguments) == 2
    assert "give a checkout of the peer" in capsys.readouterr().err
    run = ["generation", "--run", str(prepared.path)]
    assert benchmark.main(run) == 2
    assert "no trained model" in capsys.readouterr().err


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


def test_peers_beside_ours(measured: Any, checkouts: tuple[Path, Path], prepared: PreparedFolder) -> None:
    a, b = checkouts
    peers_given = ("--sentence-vae", a, "--lagging", b, "--prepared", prepared.path)
    arguments = ("--sentences", 200, "--threads", 1, "--precision", "no", "--rounds", 1, "--seconds", 0.001)
    found = measured("peers", *peers_given, *arguments)
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
    rows = peer_files.token_rows(loop.first_documents(prepared, 200))
    peer = peer_files.sentence_vae(a, rows, replace(TINY, vocabulary=len(prepared.tokenizer)))
    with pytest.raises(UserError, match="no tensorboardX here"):
        peers.peer_speed(a, peer, 1.0, "cpu", 1)


def test_tokens_of_a_peers_batch(tmp_path: Path) -> None:
    """Sixty sentences of two tokens and sixty-three of four; batches of one length leave three behind."""
    rows = [[5, 6]] * 60 + [[7, 8, 9, 10]] * 63
    sizes = replace(TINY, vocabulary=11, sentences=4, length=4)
    (tmp_path / "config").mkdir()
    mean = (60 * 3 + 63 * 5) / 123  # eos counted
    assert peer_files.sentence_vae(tmp_path, rows, sizes).tokens == pytest.approx(4 * mean)
    total = 60 * 3 + 63 * 5 + 2  # one more line for the word that no sentence has
    assert peer_files.lagging(tmp_path, rows, sizes).tokens == pytest.approx(total / (15 + 16 + 1))
    with pytest.raises(UserError, match="too few to time a peer"):
        peer_files.lagging(tmp_path, rows[:50], sizes)


def test_token_rows_are_the_sentences(prepared: PreparedFolder) -> None:
    corpus = Corpus(prepared, "train")
    expected = sorted(ids for row in corpus.table["tokens"].to_pylist() for ids in row if ids)
    assert sorted(peer_files.token_rows(corpus)) == expected


# Textbook models


def test_the_textbook_vae_does_not_see_padding() -> None:
    torch.manual_seed(0)
    model = textbook.PackedVAE(TINY).eval()
    nn.init.zeros_(model.log_variance.weight)
    nn.init.constant_(model.log_variance.bias, -60.0)  # no noise in z
    inputs, targets = torch.tensor([[2, 5, 6], [2, 7, 0]]), torch.tensor([[5, 6, 3], [7, 3, 0]])
    both = model(inputs, targets, torch.tensor([3, 2]))
    alone = [
        model(inputs[:1], targets[:1], torch.tensor([3])),
        model(inputs[1:, :2], targets[1:, :2], torch.tensor([2])),
    ]
    assert both.item() == pytest.approx(sum(x.item() for x in alone) / 2, rel=1e-5)


def test_the_textbook_prodlda_knows_nothing_of_uniform_words() -> None:
    """With experts of weight zero every word has p = 1/D: the bound is n log D and the KL."""
    model = textbook.DenseProdLDA(3, 40).eval()
    for weight in (model.experts[1].weight, model.loc[0].weight, model.log_variance[0].weight):
        nn.init.zeros_(weight)
    for bias in (model.loc[0].bias, model.log_variance[0].bias):
        nn.init.zeros_(bias)  # q(g | d) is N(0, I), the prior
    assert model(torch.full((2, 40), 0.5)).item() == pytest.approx(20 * math.log(40), rel=1e-5)


def test_recipes_have_the_sizes() -> None:
    found = recipe("tgvae", TINY, "bf16", "cuda")
    assert (found.model.sentence.hidden_size, found.model.topic.topics, found.train.precision) == (6, 3, "bf16")
    (phase,) = found.train.phases.values()
    assert (phase.unit, phase.batch, found.train.device) == ("sentence", 24, "auto")
    adaptive = recipe("sentence-vae", replace(TINY, softmax="adaptive"), "no", "cpu").model
    assert (adaptive.softmax, adaptive.flow_length) == ("adaptive", 0)
    assert recipe("prodlda", TINY, "no", "cpu").kind == "topic"


def test_recipes_name_no_option_that_an_older_commit_may_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    named: dict[str, Any] = {}

    class Older:
        def __init__(self, **options: Any) -> None:
            named.clear()
            named.update(options)

    monkeypatch.setattr(sizes_module, "SentenceConfig", Older)
    recipe("sentence-vae", TINY, "no", "cpu")
    assert set(named) == {"embedding_size", "hidden_size", "latent_size", "flow_length"}
    recipe("sentence-vae", replace(TINY, bidirectional=False), "no", "cpu")
    assert named["bidirectional"] is False
    monkeypatch.setattr(sizes_module, "SentenceConfig", SentenceConfig)
    for value in (True, False):
        assert recipe("sentence-vae", replace(TINY, bidirectional=value), "no", "cpu").model.bidirectional is value
