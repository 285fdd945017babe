"""Commands from files to sentences and evaluations, on a small corpus."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import closing_of, made_up_documents, out_of, refused
from tgvae.cli.main import keep_memory, main
from tgvae.data.graph_io import open_graph
from tgvae.data.schema import PreparedFolder

ROOT = Path(__file__).parents[1]
RUNS = ("run", "vae", "lm")
SMALL = [
    "--model.topic.topics=3",
    "--model.topic.hidden-size=16",
    "--model.sentence.embedding-size=16",
    "--model.sentence.hidden-size=16",
    "--model.sentence.latent-size=4",
    "--train.phases.topics.epochs=4",
    "--train.phases.sentences.epochs=2",
    "--train.phases.sentences.batch=600",
    "--train.device=cpu",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with documents, a prepared corpus, and runs of three recipes."""
    place = tmp_path_factory.mktemp("cli")
    source = place / "documents.jsonl"
    source.write_text("".join(json.dumps(d) + "\n" for d in made_up_documents(200)), encoding="utf-8")
    prepare = ["prepare", str(source), "--out", str(place / "data"), "--vocabulary-size", "400", "--workers", "1"]
    assert main([*prepare, "--min-document-words", "3", "--splits", "0.8", "0.1", "0.1"]) == 0
    train = ["train", str(place / "data"), "--out"]
    assert main([*train, str(place / "run"), *SMALL]) == 0
    sizes = [a.replace("model.sentence", "model") for a in SMALL if "topic" not in a]
    assert main([*train, str(place / "lm"), "--recipe", "language-model", *sizes]) == 0
    assert main([*train, str(place / "vae"), "--recipe", "sentence-vae", *sizes]) == 0
    return place


def test_inspect(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(out_of(capsys, "inspect", place / "data", "--json"))
    assert sum(found["counts"]["documents"].values()) == 200
    assert set(found["labels"]) == {"war", "food", "space"}
    assert "documents" in out_of(capsys, "inspect", place / "data")


def test_topics(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(out_of(capsys, "topics", place / "run", "--json"))
    assert sorted(t["topic"] for t in found["topics"]) == [0, 1, 2]
    assert abs(sum(t["share"] for t in found["topics"]) - 1) < 1e-5
    assert all(len(t["sentences"]) == 1 and len(t["words"]) == 10 for t in found["topics"])
    assert "NPMI" in out_of(capsys, "topics", place / "run")


def test_inspect_prints_labels_literally(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = itertools.cycle(["[news]", "[/b]"])
    rows = [json.dumps(document | {"label": next(labels)}) for document in made_up_documents(60)]
    (tmp_path / "made.jsonl").write_text("\n".join(rows), encoding="utf-8")
    closing_of(capsys, "prepare", tmp_path / "made.jsonl", "--out", tmp_path / "data", "--workers", 1)
    shown = out_of(capsys, "inspect", tmp_path / "data")
    assert "[news]" in shown
    assert "[/b]" in shown


def test_links_between_documents_train_a_graph_model(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    links, run = tmp_path / "links.tsv", tmp_path / "graph"
    assert "NPMI" in out_of(capsys, "topics", place / "run", "--links", links, "--neighbours", "3")
    graph = open_graph(str(links))
    documents = PreparedFolder.open(place / "data").split("train")["id"].to_pylist()
    assert set(graph.names) == set(documents)
    assert 1.5 * len(documents) <= len(graph.edges) <= 3 * len(documents), "of each three, some of them mutual"
    assert "exists already" in refused(capsys, "topics", place / "run", "--links", links)
    train = ["train", links, "--recipe", "graph-vae", "--out", run, "--train.phases.edges.epochs", "60"]
    assert f"next: tgvae evaluate {run}\n" in closing_of(capsys, *train)
    assert f"{run}: training already finished" in closing_of(capsys, "train", "--resume", run)
    (found,) = json.loads(out_of(capsys, "evaluate", run, "--json"))["runs"].values()
    assert found["links"]["auc"]["value"] > 0.6, "links are more than chance"


def test_models_without_topics_generate(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def count_lines(*arguments: str) -> int:
        return len(out_of(capsys, "generate", *arguments, "--json").splitlines())

    vae, lm = str(place / "vae"), str(place / "lm")
    assert count_lines(vae, "--num", "2") == count_lines(lm, "--num", "2") == 2
    assert out_of(capsys, "generate", lm) == out_of(capsys, "generate", lm)
    between = ("--between", "The army was near the fleet.", "The soup was near the oven.")
    assert count_lines(vae, *between, "--num", "3") == 3
    assert count_lines(vae, "--reconstruct", "No army can be.") == 1
    assert "a language-model has no latent" in refused(capsys, "generate", lm, *between)
    assert "cannot be guided" in refused(capsys, "generate", lm, "--strength", "2")


def test_a_recipe_has_default_data_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    stderr = closing_of(capsys, "train", "--recipe", "digits-vae", "--train.phases.vectors.epochs", "1")
    assert stderr.endswith("wrote: runs/digits-vae\nnext: tgvae evaluate runs/digits-vae\n")
    assert json.loads((tmp_path / "runs" / "digits-vae" / "run.json").read_text())["data"]["path"] == "digits"
    assert "does not support topics" in refused(capsys, "topics", "runs/digits-vae")
    assert "a vector-vae does not support generation" in refused(capsys, "generate", "runs/digits-vae")


def test_generate_in_every_mode(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    like = place / "like.txt"
    like.write_text("The army saw a battle.", encoding="utf-8")
    ways: list[list[str | Path]] = [
        [],
        ["--topic", "1"],
        ["--topic", "army", "soldier", "--strength", "1.5"],
        ["--mixture", "0=0.5", "2=2"],
        ["--like", like],
        ["--between", "The army was near.", "No bread."],
        ["--topic", "0", "--decode.strategy", "beam", "--decode.max-length", "12"],
    ]
    for way in ways:
        rows = out_of(capsys, "generate", place / "run", "--num", "3", "--json", *way).splitlines()
        assert len(rows) == 3
        assert all({"text", "log_prob", "finished"} == set(json.loads(row)) for row in rows)
    again = out_of(capsys, "generate", place / "run", "--topic", "1", "--seed", "4")
    assert again == out_of(capsys, "generate", place / "run", "--topic", "1", "--seed", "4")
    assert again != out_of(capsys, "generate", place / "run", "--topic", "1", "--seed", "5")
    assert out_of(capsys, "generate", place / "run", "--reconstruct", "The army was near.").count("\n") == 1


QUICK = ["--samples", "3", "--weighted-sentences", "20", "--generated", "8", "--reverse", "0", "--per-topic", "4"]


@pytest.fixture(scope="module")
def evaluated(place: Path) -> Path:
    """The same folder with its three runs evaluated together."""
    assert main(["evaluate", *(str(place / name) for name in RUNS), *QUICK, "--lda"]) == 0
    return place


def test_evaluate_several_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [place / name for name in RUNS]
    everything = ["--weighted-sentences", "100000"]
    report = json.loads(out_of(capsys, "evaluate", *runs, *QUICK, *everything, "--lda", "--json"))
    assert report["split"] == "test"
    assert report["config"]["samples"] == 3
    joint, vae, lm = (report["runs"][str(run)] for run in runs)
    for figures in (joint["language"], vae["language"]):
        assert figures["nll_iw_per_sentence"]["value"] < figures["neg_elbo_per_sentence"]["value"] + 0.5
        assert figures["neg_elbo_per_word"]["value"] == pytest.approx(
            figures["reconstruction_per_word"]["value"] + figures["kl_per_word"]["value"]
        )
        baselines = figures["perplexity_elbo"]["baselines"]["language_model"]
        assert baselines == pytest.approx(lm["language"]["perplexity_elbo"]["value"])
    assert not any("kl_" in name for name in lm["language"])
    assert "latent" not in lm
    assert {"language", "latent", "generation", "topics", "guidance"} == set(joint)
    assert set(joint["topics"]["topic_npmi"]["baselines"]) == {"lda"}
    assert set(joint["guidance"]["fidelity_1"]["baselines"]) == {"real_text", "chance"}
    assert "forward_perplexity_1.5" in joint["guidance"]
    assert joint["guidance"]["fidelity_classifier_1"]["value"] <= 1


def test_evaluate_writes_report_and_page(
    evaluated: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(evaluated)
    assert main(["evaluate", "lm", "--split", "valid", *QUICK]) == 0
    captured = capsys.readouterr()
    assert "perplexity, ELBO per word" in " ".join(captured.out.split())
    end = "wrote: lm/evaluation/report.html\nnext: open it in a browser\n      tgvae plot lm\n"
    assert captured.err.endswith(end)
    assert json.loads(Path("lm/evaluation/report.json").read_text(encoding="utf-8"))["split"] == "valid"
    assert main(["evaluate", *RUNS, *QUICK, "--lda"]) == 0  # as it was
    shown, stderr = capsys.readouterr()
    assert [line.split()[-1] for line in stderr.splitlines()[-5:-2]] == [f"{n}/evaluation/report.html" for n in RUNS]
    assert shown.index("Language") < shown.index("Guidance")
    for name in RUNS:
        folder = Path(name) / "evaluation"
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        assert (report["split"], report["config"]["per_topic"]) == ("test", 4)
        assert report["training_seed"] == 0
        assert report["data"]["manifest_sha256"]
        assert len(report["topics"]) == (3 if name == "run" else 0)
        assert f"<h1>Evaluation of {name}</h1>" in (folder / "report.html").read_text(encoding="utf-8")


def test_runs_on_different_corpora_are_not_evaluated_together(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(place / "vae", tmp_path / "other"))
    change(other / "run.json", "data", "manifest_sha256")
    assert "other data" in refused(capsys, "evaluate", place / "lm", other)


def change(path: Path, *keys: str) -> None:
    """Change a value in a JSON file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = "another"
    path.write_text(json.dumps(content), encoding="utf-8")


def test_compare_prints_differences(
    evaluated: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(evaluated)
    runs = [Path(name) for name in ("lm", "vae", "run")]
    shown = out_of(capsys, "compare", *runs)
    assert "perplexity, ELBO" in shown
    assert "difference [95 %]" in shown
    found = json.loads(out_of(capsys, "compare", *runs, "--json"))
    assert list(found) == [str(run) for run in runs[1:]], "the first is the baseline"
    reports = [json.loads((run / "evaluation" / "report.json").read_text(encoding="utf-8")) for run in runs]
    for run, report in zip(runs[1:], reports[1:], strict=True):
        section, name = "language", "perplexity_elbo"
        row = found[str(run)][f"{section}/{name}"]
        values = [r["sections"][section][name]["value"] for r in (reports[0], report)]
        assert row["value"] == pytest.approx(values[1] - values[0])
        assert row["paired"] is True
        assert row["low"] < row["value"] < row["high"]
    assert "latent/active_units" not in found[str(runs[1])], "the baseline has no latent"
    distinct = found[str(runs[2])]["generation/distinct_1"]
    assert (distinct["low"], distinct["high"], distinct["paired"]) == (None, None, False)
    assert out_of(capsys, "compare", *runs, "--json") == json.dumps(found, indent=2) + "\n", "the same every time"


def test_a_run_does_not_differ_from_itself(evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twin = shutil.copytree(evaluated / "vae", tmp_path / "twin")
    found = json.loads(out_of(capsys, "compare", evaluated / "vae", twin, "--json"))[str(twin)]
    assert {row["value"] for row in found.values()} == {0}
    assert all((row["low"], row["high"]) == (0, 0) for row in found.values() if row["paired"])
    assert "*" not in out_of(capsys, "compare", evaluated / "vae", twin), "no interval leaves out zero"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("data", "manifest_sha256"), "evaluated on another data set"),
        (("split",), "evaluated on another split"),
        (("config", "seed"), "evaluated with other options"),
        (("reference_lm",), "evaluated with another reference model"),
        (("weights_sha256",), "trained further since it was evaluated"),
        (("format",), "format is 'another'"),
    ],
)
def test_incomparable_runs_are_rejected(
    keys: tuple[str, ...], message: str, evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(evaluated / "vae", tmp_path / "other"))
    assert main(["compare", str(evaluated / "run"), str(other)]) == 0
    change(other / "evaluation" / "report.json", *keys)
    assert message in refused(capsys, "compare", evaluated / "run", other)


def test_compare_needs_two_evaluated_runs(evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "two run folders" in refused(capsys, "compare", evaluated / "run")
    assert "two run folders" in refused(capsys, "compare")
    other = Path(shutil.copytree(evaluated / "vae", tmp_path / "other"))
    shutil.rmtree(other / "evaluation")
    stderr = refused(capsys, "compare", evaluated / "run", other)
    assert f"{other}: not evaluated yet; run `tgvae evaluate {other}` first" in stderr


def test_prepare_with_the_recipe_paper(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its settings, except for those given, as the corpus is small."""
    options = ["--recipe", "paper", "--min-document-frequency", "2", "--min-word-count", "1"]
    out_of(capsys, "prepare", place / "documents.jsonl", "--out", tmp_path / "paper", *options, "--workers", "1")
    settings = json.loads((tmp_path / "paper" / "manifest.json").read_text(encoding="utf-8"))["settings"]
    assert (settings["min_document_frequency"], settings["min_word_count"]) == (2, 1)
    assert (settings["tokenizer"], settings["lowercase"], settings["drop_most_frequent"]) == ("words", True, 0.001)
    assert (settings["long_documents"], settings["max_document_words"]) == ("cut", 300)


@pytest.mark.parametrize("library", ["without mallopt", "glibc"])
def test_keep_memory_with_any_c_library(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    class Library:
        if library == "glibc":

            def mallopt(self, option: int, value: int) -> None:
                called.append((option, value))

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    keep_memory()
    assert called == ([(-4, 0), (-1, 2**31 - 1), (-8, 2)] if library == "glibc" else [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "data", "--out", "x", "--recipe", "tgvea"], "did you mean 'tgvae'"),
        (["train", "nowhere", "--out", "x"], "no such folder"),
        (["train", "data", "--out", "run"], "exists already"),
        (["train", "--resume", "data"], "not a run folder"),
        (["generate", "vae", "--topic", "1"], "cannot be guided"),
        (["generate", "run", "--topic", "99"], "no topic 99"),
        (["generate", "run", "--topic", "qwertz"], "topic vocabulary"),
        (["generate", "run", "--mixture", "1:2"], "TOPIC=WEIGHT"),
        (["generate", "run", "--like", "missing.txt"], "missing.txt"),
        (["generate", "run", "--topic", "1", "--mixture", "1=2"], "give one of"),
        (["topics", "lm"], "does not support topics"),
        (["evaluate"], "at least one"),
        (["inspect", "run"], "manifest.json"),
        (["prepare", "missing.txt", "--out", "x"], "missing.txt"),
        (["prepare", "missing.txt", "--out", "x", "--recipe=thesis"], "choose from default, paper"),
        (["evaluate", "run", "--generated", "1"], "generated is 1"),
    ],
)
def test_errors_of_the_user_are_explained(
    arguments: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    assert message in refused(capsys, *arguments)
    assert not (place / "x").exists()


def test_settings_out_of_range_are_rejected(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["generate", str(place / "run"), "--decode.temperature", "0"])
    assert stop.value.code == 2
    assert "temperature is 0.0" in " ".join(capsys.readouterr().err.split())


def test_debug_shows_the_traceback(place: Path) -> None:
    with pytest.raises(ValueError, match="did you mean"):
        main(["trian", "--debug"])


@pytest.mark.parametrize("arguments", [["--help"], ["inspect", "data", "--json"]], ids=lambda a: a[0])
@pytest.mark.parametrize("unbuffered", ["1", ""], ids=["unbuffered", "buffered"])
def test_a_closed_pipe_is_no_error(unbuffered: str, arguments: list[str], place: Path) -> None:
    """As with ``tgvae inspect data | head -0``."""
    reader, writer = os.pipe()
    os.close(reader)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "tgvae.cli.main", *arguments]
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False, cwd=place, env=environment)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, b"")
