"""The report of every kind of model: its sections, its units, its file and its page."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.test_models import build
from tgvae.data.corpus import Corpus
from tgvae.data.schema import DOCUMENT, PreparedFolder
from tgvae.errors import UserError
from tgvae.evaluation import report_io
from tgvae.evaluation.generation import ReferenceLM, perplexity_under
from tgvae.evaluation.html_report import render_report
from tgvae.evaluation.metric import Metric, Parts, Report, difference
from tgvae.evaluation.report import EvalConfig, Evaluation, evaluate
from tgvae.evaluation.report_data import TopicRow, collect_report_data
from tgvae.evaluation.report_io import FOLDER, PAGE, PARTS, REPORT, load_evaluation, report_to_json, save_evaluation
from tgvae.models.base import WEIGHTS, Model
from tgvae.models.sentence import LanguageModel

SECTIONS = {
    "topic": ["topics"],
    "topic-product": ["topics"],
    "language-model": ["language", "generation"],
    "vae": ["language", "latent", "generation"],
    "vae-householder": ["language", "latent", "generation"],
    "tgvae": ["language", "latent", "generation", "topics", "guidance"],
    "tgvae-variational": ["language", "latent", "generation", "topics", "guidance"],
}
LATENT = [name for name, sections in SECTIONS.items() if "latent" in sections]
QUICK = EvalConfig(samples=2, weighted_sentences=10, generated=8, reverse=0, per_topic=2)


@pytest.fixture(scope="module")
def held_out(prepared: PreparedFolder) -> Corpus:
    return Corpus(prepared, "test")


@pytest.fixture(scope="module")
def models(prepared: PreparedFolder) -> dict[str, Model]:
    models = {name: build(name, prepared) for name in SECTIONS}
    with torch.no_grad():  # as after training: subwords have no unk
        models["language-model"].decoder.bias[prepared.tokenizer.unk_id] = -30
    return models


@pytest.fixture(scope="module")
def found(models: dict[str, Model], corpus: Corpus, held_out: Corpus) -> dict[str, Evaluation]:
    """Every kind of model measured, the language model being the judge."""
    judge = judge_of(models, held_out)
    return {name: evaluate(model, corpus, held_out, QUICK, judge) for name, model in models.items()}


def judge_of(models: dict[str, Model], held_out: Corpus) -> ReferenceLM:
    model = models["language-model"]
    assert isinstance(model, LanguageModel)
    return ReferenceLM.of(model, held_out, "small")


def with_column(corpus: Corpus, name: str, values: Sequence[str | None]) -> Corpus:
    """The same split with another column."""
    at = DOCUMENT.get_field_index(name)
    table = corpus.table.set_column(at, DOCUMENT.field(at), pa.array(values, DOCUMENT.field(at).type))
    return Corpus(corpus.folder, corpus.split, table)


@pytest.mark.parametrize("name", SECTIONS)
def test_sections_are_those_of_the_kind(name: str, found: dict[str, Evaluation]) -> None:
    report = found[name].report
    assert list(report) == SECTIONS[name]
    assert all(report.values())
    assert (found[name].theta is not None) == ("topics" in report)
    assert (found[name].posteriors is not None) == ("latent" in report)
    assert (found[name].generated is not None) == ("generation" in report)
    assert list(found[name].topic_samples) == ([1.0, 1.5] if "guidance" in report else [])


@pytest.mark.parametrize("name", SECTIONS)
def test_every_figure_is_finite_and_says_what_it_is(name: str, found: dict[str, Evaluation]) -> None:
    for section, figures in found[name].report.items():
        for title, figure in figures.items():
            where = f"{section}/{title}"
            assert math.isfinite(figure.value), where
            assert figure.unit, where
            assert figure.estimator, where
            assert figure.size is not None, where
            assert figure.size > 0, where
            assert figure.error is None or 0 <= figure.error < math.inf, where
            assert all(map(math.isfinite, figure.baselines.values())), where
            if figure.parts is not None:
                assert figure.value == figure.parts.value, where
                assert len(figure.parts.x) == len(figure.parts.w) == len(figure.parts.unit) == figure.size, where


@pytest.mark.parametrize("name", LATENT)
def test_reconstruction_and_kl_are_the_bound_in_every_unit(name: str, found: dict[str, Evaluation]) -> None:
    figures = {title: figure.value for title, figure in found[name].report["language"].items()}
    for unit in ("sentence", "word", "token"):
        assert figures[f"reconstruction_per_{unit}"] + figures[f"kl_per_{unit}"] == pytest.approx(
            figures[f"neg_elbo_per_{unit}"]
        )
    assert figures["perplexity_elbo"] == pytest.approx(math.exp(figures["neg_elbo_per_word"]))
    assert figures["perplexity_iw"] == pytest.approx(math.exp(figures["nll_iw_per_word"]))
    of = [value for title, value in figures.items() if title.startswith(("kl_c_", "kl_z_"))]
    assert len(of) == (2 if name == "tgvae" else 0)
    if of:
        assert sum(of) == pytest.approx(figures["kl_per_sentence"])


@pytest.mark.parametrize("name", ["language-model", "tgvae"])
def test_units_are_the_same_nats_divided_otherwise(name: str, found: dict[str, Evaluation], held_out: Corpus) -> None:
    rows = held_out.table.to_pylist()
    sentences = [(len(ids) + 1, n + 1) for r in rows for ids, n in zip(r["tokens"], r["words"], strict=True) if ids]
    tokens, words = map(sum, zip(*sentences, strict=True))
    figures = found[name].report["language"]
    nats = figures["neg_elbo_per_sentence"].value * len(sentences)
    assert figures["neg_elbo_per_word"].value * words == pytest.approx(nats)
    assert figures["neg_elbo_per_token"].value * tokens == pytest.approx(nats)
    assert set(figures["neg_elbo_per_word"].parts.unit) <= set(range(len(rows))), "documents are the units"


def test_a_language_model_is_exact(models: dict[str, Model], found: dict[str, Evaluation], held_out: Corpus) -> None:
    figures = found["language-model"].report["language"]
    assert not any(title.startswith(("kl_", "reconstruction")) for title in figures), "it has no latent"
    texts = [held_out.text(i) for i in range(len(held_out.lengths))]
    exact = perplexity_under(models["language-model"], texts)
    assert figures["perplexity_elbo"].value == pytest.approx(exact, rel=1e-5)
    assert figures["neg_elbo_per_word"].seed is None, "nothing is drawn"
    assert not any("_iw" in title for title in figures), "nothing to weigh"


def test_runs_are_compared_document_by_document(found: dict[str, Evaluation]) -> None:
    """A perplexity is paired whatever the kind of model; what was written freely is not."""
    exact, bound, other = (
        found[name].report["language"]["perplexity_elbo"] for name in ("language-model", "tgvae", "vae")
    )
    assert difference(exact, bound).paired
    assert difference(other, bound).paired
    lengths = [found[name].report["generation"]["length"] for name in ("language-model", "tgvae")]
    assert not difference(*lengths).paired


def test_the_judge_is_the_mark_of_the_others_and_not_its_own(found: dict[str, Evaluation]) -> None:
    own = found["language-model"].report
    assert "forward_perplexity" not in own["generation"], "its own samples would please it"
    assert all(figure.baselines == {} for figure in own["language"].values())
    for name in ("vae", "tgvae"):
        report = found[name].report
        assert report["generation"]["forward_perplexity"].baselines["real_text"] > 1
        beside = own["language"]["perplexity_elbo"].value
        assert report["language"]["perplexity_elbo"].baselines == {"language_model": pytest.approx(beside)}


def test_a_judge_knows_itself_by_its_weights(prepared: PreparedFolder) -> None:
    judge = ReferenceLM.of(build("language-model", prepared), Corpus(prepared, "test"), "judge")
    twin = copy.deepcopy(judge.model)
    assert judge.is_same_model(twin)
    with torch.no_grad():
        next(twin.parameters()).add_(1e-3)
    assert not judge.is_same_model(twin)
    assert not judge.is_same_model(build("vae-householder", prepared))


def test_the_weighted_bound_stands_beside_others_on_its_sentences(
    found: dict[str, Evaluation], models: dict[str, Model], corpus: Corpus, held_out: Corpus
) -> None:
    """On all sentences these are the figures of the whole split; on few of them they are not."""
    judge, everything = judge_of(models, held_out), replace(QUICK, weighted_sentences=10**6)
    whole = evaluate(models["vae"], corpus, held_out, everything, judge).report["language"]
    all_of, some = whole["perplexity_iw"], found["vae"].report["language"]["perplexity_iw"]
    marks = {"elbo": whole["perplexity_elbo"].value, "language_model": judge.bound.perplexity}
    assert all_of.baselines == pytest.approx(marks)
    assert all_of.size == len(held_out.lengths)
    assert some.size == 10
    assert set(some.baselines) == set(marks)
    assert some.baselines != pytest.approx(marks)


def test_fidelity_stands_beside_real_text_and_chance(found: dict[str, Evaluation]) -> None:
    guidance = found["tgvae"].report["guidance"]
    for strength in ("1", "1.5"):
        for name in ("fidelity", "fidelity_classifier"):
            figure = guidance[f"{name}_{strength}"]
            assert set(figure.baselines) == {"real_text", "chance"}
            assert figure.size == 4 * QUICK.per_topic
        assert f"forward_perplexity_{strength}" in guidance
    assert guidance["fidelity_1"].baselines["chance"] == 1 / 4


def test_the_protocol_decides_what_is_measured(models: dict[str, Model], corpus: Corpus, held_out: Corpus) -> None:
    fitted: list[int] = []
    fluent = models["language-model"]

    def fit(texts: Sequence[str]) -> LanguageModel:
        fitted.append(len(texts))
        return fluent

    plain = evaluate(models["vae"], corpus, held_out, replace(QUICK, samples=0), fit_lm=fit).report
    assert not any("_iw" in name for name in plain["language"])
    assert not any("perplexity" in name for name in plain["generation"]), "no judge, and reverse is 0"
    assert fitted == []
    more = evaluate(models["vae"], corpus, held_out, replace(QUICK, reverse=5), fit_lm=fit).report
    assert "reverse_perplexity" in more["generation"]
    assert fitted == [5, 5], "generated text and as much real text"
    assert "nll_iw_per_word" in more["language"]


def test_the_seed_alone_decides_the_figures(
    models: dict[str, Model], found: dict[str, Evaluation], corpus: Corpus, held_out: Corpus
) -> None:
    judge = judge_of(models, held_out)
    again = evaluate(models["tgvae"], corpus, held_out, QUICK, judge)
    assert report_to_json(again.report) == report_to_json(found["tgvae"].report)
    other = evaluate(models["tgvae"], corpus, held_out, replace(QUICK, seed=1), judge)
    assert report_to_json(other.report) != report_to_json(again.report)


def test_lda_stands_beside_the_topics(models: dict[str, Model], corpus: Corpus, held_out: Corpus) -> None:
    figures = evaluate(models["topic"], corpus, held_out, replace(QUICK, lda=True)).report["topics"]
    beside = {name for name, figure in figures.items() if "lda" in figure.baselines}
    assert beside == {"topic_npmi", "topic_npmi_window_10", "topic_c_v", "topic_diversity", "inverted_rbo"}
    assert figures["topic_npmi"].baselines["lda"] > figures["topic_npmi"].value, "LDA has learned, the model has not"


def test_a_corpus_without_labels(models: dict[str, Model], corpus: Corpus, held_out: Corpus) -> None:
    train, test = (with_column(c, "label", [None] * c.documents) for c in (corpus, held_out))
    report = evaluate(models["tgvae"], train, test, QUICK).report
    assert not {"purity", "label_nmi", "probe_accuracy"} & set(report["topics"])
    assert not any("classifier" in name for name in report["guidance"])


def test_a_split_without_sentences_is_refused(models: dict[str, Model], corpus: Corpus, held_out: Corpus) -> None:
    empty = Corpus(held_out.folder, "test", pa.Table.from_pylist([], schema=DOCUMENT))
    with pytest.raises(UserError, match="test split has no sentence"):
        evaluate(models["vae"], corpus, empty, QUICK)


@pytest.mark.parametrize(
    ("name", "value"), [("weighted_sentences", 0), ("generated", 1), ("per_topic", 0), ("samples", -1), ("reverse", -1)]
)
def test_protocols_that_cannot_work_are_refused(name: str, value: int) -> None:
    with pytest.raises(UserError, match=f"{name} is {value}; it must be at least {value + 1}"):
        EvalConfig(**{name: value})
    assert getattr(EvalConfig(**{name: value + 1}), name) == value + 1


# On disk


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder, as far as evaluations look at it."""
    (tmp_path / WEIGHTS).write_bytes(b"weights")
    return tmp_path


def a_report(shift: float = 0.0) -> Report:
    paired = Parts(np.array([1.0, 4.0, 2.0]) + shift, np.array([1.0, 2.0, 1.0]), np.array([3, 3, 5]), True, True)
    nothing = Parts(np.zeros(2), np.zeros(2), np.arange(2))
    return {
        "language": {
            "perplexity_elbo": Metric.of(paired, "per word", "one draw", 7, lda=0.5, real_text=2.0),
            "nothing": Metric.of(nothing, "nats", "exact"),
        },
        "latent": {"active_units": Metric(3, "of 6", "variances", 12), "odd / name": Metric(0.25, "Anteil für é")},
    }


def strict(text: str) -> Any:
    """JSON as its standard has it: no NaN, no Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def same(a: Report, b: Report) -> bool:
    """Equal figures, parts included."""

    def plain(report: Report) -> list[Any]:
        parts = [f.parts for figures in report.values() for f in figures.values() if f.parts is not None]
        return [report_to_json(report), [[p.x.tolist(), p.w.tolist(), p.unit.tolist(), p.paired, p.exp] for p in parts]]

    return plain(a) == plain(b)


@pytest.mark.parametrize("name", SECTIONS)
def test_reports_of_models_are_kept_whole(name: str, found: dict[str, Evaluation], run: Path) -> None:
    report = found[name].report
    save_evaluation(run, {"split": "test"}, report, "<html>")
    about, again = load_evaluation(run)
    assert about["split"] == "test"
    assert same(report, again)
    for section, figures in report.items():
        for title, figure in figures.items():
            assert difference(figure, again[section][title]).value == 0


def test_report_on_disk_is_plain_json(run: Path) -> None:
    folder = save_evaluation(run, {"run": "größe", "split": "test"}, a_report(), "<html>é")
    assert {path.name for path in folder.iterdir()} == {REPORT, PARTS, PAGE}
    content = strict((folder / REPORT).read_text(encoding="utf-8"))
    assert (content["format"], content["run"], content["split"]) == (2, "größe", "test")
    saved = content["sections"]["language"]["perplexity_elbo"]
    assert saved["value"] == pytest.approx(math.exp(7 / 4))
    assert saved["baselines"] == {"lda": 0.5, "real_text": 2.0}
    assert {key: saved[key] for key in ("unit", "estimator", "size", "seed", "parts")} == {
        "unit": "per word",
        "estimator": "one draw",
        "size": 3,
        "seed": 7,
        "parts": {"paired": True, "exp": True},
    }
    assert content["sections"]["language"]["nothing"]["value"] is None, "NaN"
    assert "parts" not in content["sections"]["latent"]["active_units"]
    assert (folder / PAGE).read_text(encoding="utf-8") == "<html>é"


def test_round_trip(run: Path) -> None:
    save_evaluation(run, {"split": "test"}, a_report(), "<html>")
    about, report = load_evaluation(run)
    assert (about["format"], about["split"], about["topics"]) == (2, "test", [])
    assert same(report, a_report())
    assert math.isnan(report["language"]["nothing"].value)
    assert isinstance(report["latent"]["active_units"].value, int)
    save_evaluation(run, {"split": "valid"}, a_report(shift=1), "<html>")
    about, report = load_evaluation(run)
    assert about["split"] == "valid"
    assert same(report, a_report(shift=1)), "evaluated again"


def test_a_run_without_figures_of_parts(run: Path) -> None:
    report: Report = {"latent": {"active_units": Metric(3, "of 6", "variances", 12)}}
    save_evaluation(run, {}, report, "")
    assert same(load_evaluation(run)[1], report)


@pytest.mark.parametrize("name", [REPORT, PARTS])
@pytest.mark.parametrize("damage", ["missing", "cut", "nonsense"])
def test_damaged_files_are_told(name: str, damage: str, run: Path) -> None:
    path = save_evaluation(run, {}, a_report(), "") / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-40] if damage == "cut" else b"nonsense")
    message = "not evaluated yet" if damage == "missing" else "damaged.*evaluate the run again"
    with pytest.raises(UserError, match=message):
        load_evaluation(run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 3}, "format 3, but this tgvae reads 2; update tgvae"),
        ({"format": None}, "format is None"),
        ({"sections": None}, "damaged"),
        ({"sections": {"language": {"x": {"unit": "nats"}}}}, "damaged"),
        ({"sections": {"language": {"x": {"value": 1, "unit": "", "parts": {"paired": True}}}}}, "damaged"),
        ({"sections": {"language": {"x": {"value": 1, "colour": "red"}}}}, "damaged"),
    ],
)
def test_reports_of_another_make_are_told(changes: dict[str, Any], message: str, run: Path) -> None:
    path = save_evaluation(run, {}, a_report(), "") / REPORT
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_evaluation(run)
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match="damaged"):
        load_evaluation(run)


@pytest.mark.parametrize(("module", "name"), [(report_io, "save_file"), (report_io.json, "dumps")])
def test_a_stop_while_writing_keeps_the_old_report(
    module: ModuleType, name: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first figure, and after all but the report have been written."""
    folder = save_evaluation(run, {"split": "test"}, a_report(), "old")

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, name, stopped)
        with pytest.raises(KeyboardInterrupt):
            save_evaluation(run, {"split": "valid"}, a_report(shift=1), "new")
    about, report = load_evaluation(run)
    assert about["split"] == "test"
    assert same(report, a_report())
    assert (folder / PAGE).read_text(encoding="utf-8") == "old"
    save_evaluation(run, {"split": "valid"}, a_report(shift=1), "new")
    assert {path.name for path in folder.iterdir()} == {REPORT, PARTS, PAGE}, "what was left is taken up"


def test_the_folder_is_below_the_run(run: Path) -> None:
    assert save_evaluation(run, {}, {}, "") == run / FOLDER
    with pytest.raises(UserError, match="nowhere: not evaluated yet; run `tgvae evaluate"):
        load_evaluation(run / "nowhere")


def test_an_evaluation_of_other_weights_is_told(run: Path) -> None:
    save_evaluation(run, {}, a_report(), "")
    (run / WEIGHTS).write_bytes(b"better weights")
    with pytest.raises(UserError, match="trained further since it was evaluated; run `tgvae evaluate"):
        load_evaluation(run)


def test_reports_of_format_1_are_migrated(tmp_path: Path) -> None:
    """A report written before metrics had ids loads with ids, and its parts are found."""
    (tmp_path / WEIGHTS).write_bytes(b"weights")
    shutil.copytree(Path(__file__).parent / "fixtures" / "report_format_1", tmp_path / FOLDER)
    old = json.loads((tmp_path / FOLDER / REPORT).read_text(encoding="utf-8"))
    about, report = load_evaluation(tmp_path)
    assert about["format"] == report_io.FORMAT
    assert about["config"] == old["protocol"]
    assert (about["data"], about["reference_lm"], about["training_seed"]) == (old["corpus"], "abc", 3)
    assert {section: list(metrics) for section, metrics in report.items()} == {
        "language": ["kl_z_per_sentence", "perplexity_elbo", "perplexity_iw"],
        "latent": ["active_units"],
        "generation": ["test_bleu_2"],
        "topics": ["topic_npmi_window_10"],
        "guidance": ["fidelity_classifier_1.5"],
    }
    weighted = report["language"]["perplexity_iw"]
    assert weighted.name == "perplexity, IW 100"
    assert weighted.baselines == {"elbo": 3.0, "language_model": 0.5}
    assert weighted.parts is not None
    assert weighted.parts.value == weighted.value == old["sections"]["language"]["perplexity, IW 100"]["value"]
    assert math.isnan(report["topics"]["topic_npmi_window_10"].value)
    (tmp_path / FOLDER / PARTS).write_bytes(b"")
    with pytest.raises(UserError, match="does not belong to"):
        load_evaluation(tmp_path)


@pytest.mark.parametrize(
    ("section", "name", "id"),
    [
        ("likelihood", "-ELBO per image (density)", "neg_elbo_per_image_density"),
        ("likelihood", "nll, IW 100 per value (density)", "nll_iw_per_value_density"),
        ("language", "KL of c per title", "kl_c_per_title"),
        ("language", "KL per word", "kl_per_word"),
        ("language", "perplexity, z from the document", "perplexity_without_kl_z"),
        ("latent", "mutual information of image and z", "mutual_information"),
        ("latent", "KL of z, least of topics", "kl_z_min_topic"),
        ("topics", "topic C_V", "topic_c_v"),
        ("generation", "BLEU-F1-3", "bleu_f1_3"),
        ("generation", "length", "length"),
        ("summaries", "length", "summary_length"),
        ("summaries", "ROUGE-L, 75 bytes", "rouge_l_75_bytes"),
        ("guidance", "forward perplexity, strength -0.5", "forward_perplexity_-0.5"),
        ("links", "average precision", "average_precision"),
    ],
)
def test_names_of_format_1(section: str, name: str, id: str) -> None:
    assert report_io._format_1_id(section, name) == id


def test_topics_are_kept(run: Path) -> None:
    row = TopicRow(3, 0.5, 0.25, ["army", "fleet"], [0.5, 0.25], ["One."], ["Two."], 1.5, 7)
    save_evaluation(run, {}, {}, "", [row])
    (saved,) = load_evaluation(run)[0]["topics"]
    assert TopicRow(**saved) == row


# The page


@pytest.mark.parametrize("name", SECTIONS)
def test_page_of_every_kind(
    name: str, models: dict[str, Model], found: dict[str, Evaluation], corpus: Corpus, held_out: Corpus, tmp_path: Path
) -> None:
    model = models[name]
    shown = collect_report_data(found[name], model, corpus, held_out, "A title", {"corpus": "made up"}, tmp_path)
    sections = SECTIONS[name]
    assert shown.metrics == found[name].report
    assert shown.history == [], "a folder without metrics"
    assert (shown.topics is not None) == ("topics" in sections)
    assert (shown.embeddings is not None) == ("latent" in sections)
    assert (shown.lengths is not None) == (shown.bleu is not None) == ("generation" in sections)
    assert (shown.guidance is not None) == ("guidance" in sections)
    if name in ("topic", "language-model"):
        html = render_report(shown)
        assert "A title" in html
        assert "made up" in html
        assert all(m.name in html for section in sections for m in found[name].report[section].values())


def test_report_data_is_that_of_the_evaluation(
    models: dict[str, Model], found: dict[str, Evaluation], corpus: Corpus, held_out: Corpus, tmp_path: Path
) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "step": 1}\n{"kind": "valid", "step": 2}\n')
    model, evaluation = models["tgvae"], found["tgvae"]
    shown = collect_report_data(evaluation, model, corpus, held_out, "t", {}, tmp_path)
    assert [row["step"] for row in shown.history] == [1, 2]
    assert sorted(topic.number for topic in shown.topics) == [0, 1, 2, 3]
    shares = [topic.share for topic in shown.topics]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    beta = model.topic.log_beta.detach().exp().numpy()
    strongest = evaluation.topic_samples[1.5]
    for topic in shown.topics:
        best = beta[topic.number].argsort()[::-1][:3]
        assert list(topic.words[:3]) == [model.vocabulary.words[i] for i in best]
        assert topic.probabilities == sorted(topic.probabilities, reverse=True)
        asked = [text for i, text in zip(strongest.topics, strongest.texts, strict=True) if i == topic.number]
        assert topic.samples == asked
        assert len(topic.nearest) == 3
    html = render_report(shown)
    assert all(word in html for topic in shown.topics for word in topic.words)
    assert shown.embeddings.group_names == shown.topic_names
    assert len(shown.embeddings.means) == len(shown.embeddings.texts) == len(held_out.lengths)
    assert [point[0] for point in shown.guidance] == [1.0, 1.5]
    assert shown.guidance[0][1] == evaluation.report["guidance"]["fidelity_1"].value
    assert shown.bleu["test-BLEU"][2] == pytest.approx(evaluation.report["generation"]["test_bleu_2"].value)
    assert len(shown.lengths[0]) == len(held_out.lengths)
    assert len(shown.lengths[1]) == QUICK.generated


@pytest.mark.parametrize(
    ("metadata", "date"), [({"year": 1990}, "1990"), ({"date": "1990-05-01", "year": 1990}, "1990-05-01"), ({}, None)]
)
def test_dates_are_those_of_the_metadata(
    metadata: dict[str, Any],
    date: str | None,
    models: dict[str, Model],
    found: dict[str, Evaluation],
    corpus: Corpus,
    held_out: Corpus,
    tmp_path: Path,
) -> None:
    dated = with_column(corpus, "metadata", [json.dumps(metadata)] * corpus.documents)
    shown = collect_report_data(found["topic"], models["topic"], dated, held_out, "t", {}, tmp_path)
    assert shown.dates == [date] * corpus.documents
    assert shown.labels == corpus.table["label"].to_pylist()
    assert len(shown.theta) == corpus.documents
