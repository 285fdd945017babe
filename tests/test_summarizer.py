"""Every form of the summarizer through one contract; what it writes, draws and refuses."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import named_documents
from tgvae import Summarizer
from tgvae.cli.main import main
from tgvae.data.batch import PairBatch
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.data.tokenizers import word_tokenize
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import importance_weighted_nll, sentence_bound
from tgvae.generation.decode import DecodeSettings
from tgvae.models.base import Capability, load
from tgvae.models.sentence import SentenceConfig
from tgvae.models.summarization import SummaryRequest, TopicGuide
from tgvae.models.summarizer import SummarizerConfig
from tgvae.models.topic import TopicConfig, TopicModel
from tgvae.nn.pointer_generator import Source
from tgvae.recipes import RECIPES
from tgvae.runs import load_run, start_run
from tgvae.trace import importance_weighted, objective

FULL = SummarizerConfig(
    TopicConfig(topics=4, word_embedding_size=8, hidden_size=16),
    SentenceConfig(embedding_size=12, hidden_size=10, latent_size=6, flow_length=2),
)
FORMS = {
    "full": FULL,
    "variational": replace(FULL, prior="variational"),
    "jensen": replace(FULL, prior="jensen"),
    "monte-carlo": replace(FULL, prior="monte_carlo"),
    "guided": replace(FULL, backprop_to_topics=True),
    "normal": replace(FULL, latent="normal"),
    "plain": replace(FULL, latent="none"),
    "without-copy": replace(FULL, copy=False),
    "coverage": replace(FULL, coverage=True),
}
GREEDY = DecodeSettings("greedy", max_length=8)


def build(name: str, folder: PreparedFolder) -> Summarizer:
    torch.manual_seed(0)
    return Summarizer(FORMS[name], folder.tokenizer, folder.topic_vocabulary)


@pytest.fixture(scope="module")
def batch(titled: PreparedFolder) -> PairBatch:
    return build("full", titled).examples(Corpus(titled, "train")).gather(np.arange(0, 16, 2))


@pytest.fixture(scope="module")
def trained(summarizer_run: Path) -> Summarizer:
    return load_run(summarizer_run, require=Capability.SUMMARIES)


@pytest.mark.parametrize("name", FORMS)
def test_terms_are_one_finite_value_a_row(name: str, titled: PreparedFolder, batch: PairBatch) -> None:
    trace = build(name, titled).trace(batch, samples=3)
    expected = {"nll/tokens"} | ({"kl/z"} if name != "plain" else set())
    expected |= (
        {"kl/c"} if build(name, titled).config.prior == "component" and name not in ("plain", "normal") else set()
    )
    terms = trace.terms("sentence")
    assert set(terms) == expected
    for term, value in (terms | trace.terms("document")).items():
        assert value.shape == (len(batch.lengths),), term
        assert torch.isfinite(value).all(), term
        assert not term.startswith("kl/") or name == "monte-carlo" or (value > -1e-4).all(), term
    assert trace.log_weights("sentence").shape == (1 if name == "plain" else 3, len(batch.lengths))
    assert ("aux/coverage" in trace.terms()) == (name == "coverage")


@torch.no_grad()
def test_the_component_is_that_of_the_summarys_words(titled: PreparedFolder, batch: PairBatch) -> None:
    """KL of c against Bayes' rule by loops; nothing without evidence."""
    model = build("full", titled).eval()
    trace, beta = model.trace(batch), model.topic.log_beta.exp()
    t = model.topic.proportions(trace.latents["g"].z)[0]
    for row, (own, found) in enumerate(zip(batch.sentence_bow.dense(), trace.terms("sentence")["kl/c"], strict=True)):
        q = [float(t[row, c]) * float((beta[c] ** own).prod()) for c in range(4)]
        expected = sum(p / sum(q) * math.log(p / sum(q) / float(t[row, c])) for c, p in enumerate(q))
        assert float(found) == pytest.approx(expected, abs=1e-4)
    assert batch.sentence_bow.sizes.sum() > 0
    model.component.evidence_weight = 0.0
    torch.testing.assert_close(model.trace(batch).terms("sentence")["kl/c"], torch.zeros(len(batch.sentence_bow)))


@pytest.mark.parametrize("name", FORMS)
def test_every_parameter_has_a_gradient(name: str, titled: PreparedFolder, batch: PairBatch) -> None:
    model = build(name, titled)
    objective(model(batch), {}).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("name", FORMS)
def test_summary_loss_shapes_topics_only_when_asked(name: str, titled: PreparedFolder, batch: PairBatch) -> None:
    model = build(name, titled)
    torch.stack([value.mean() for value in model.trace(batch).terms("sentence").values()]).sum().backward()
    topics = model.topic.parameters() if model.guided else []
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in topics) == (name == "guided")


@pytest.mark.parametrize("name", FORMS)
def test_save_and_load_keep_the_function(name: str, titled: PreparedFolder, batch: PairBatch, tmp_path: Path) -> None:
    model = build(name, titled)
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, Summarizer)
    assert again.config == model.config
    torch.manual_seed(1)
    expected = model.eval()(batch)
    torch.manual_seed(1)
    for term, value in again(batch).items():
        torch.testing.assert_close(value, expected[term])


@torch.no_grad()
def bound(model: Summarizer, batch: PairBatch) -> torch.Tensor:
    torch.manual_seed(0)
    return importance_weighted(model.eval().trace(batch, 2).log_weights("sentence"))


@pytest.mark.parametrize("name", FORMS)
def test_padding_changes_nothing(name: str, titled: PreparedFolder, batch: PairBatch) -> None:
    pad = torch.nn.functional.pad
    more = {field: pad(getattr(batch, field), (0, 5)) for field in ("inputs", "targets", "source")}
    model = build(name, titled)
    torch.testing.assert_close(bound(model, replace(batch, **more)), bound(model, batch))


def test_the_likelihood_of_an_unknown_name_is_that_of_copying_it(titled: PreparedFolder, batch: PairBatch) -> None:
    assert (batch.targets >= len(titled.tokenizer)).any(1).all(), "every title holds a name"
    with_copy, without = (build(name, titled).eval() for name in ("full", "without-copy"))
    at_names = batch.targets >= len(titled.tokenizer)
    for model in (with_copy, without):
        y = model.trace(batch).observed["tokens"]
        assert (y.dist.token_log_prob(y.x)[0][at_names] > -20).all()
    assert (without.trace(batch).observed["tokens"].x < len(titled.tokenizer)).all()


def test_bounds_of_a_split(titled: PreparedFolder) -> None:
    model = build("full", titled)
    pairs = model.examples(Corpus(titled, "valid"))
    found = sentence_bound(model, pairs)
    assert found.rows == len(pairs.index)
    assert found.perplexity > 1
    assert importance_weighted_nll(model, pairs, samples=20).nll < found.negative_elbo


def test_it_has_learned_to_copy_names_that_it_never_met(trained: Summarizer) -> None:
    documents = named_documents(30, seed=99)
    found = trained.summarize([d["text"] for d in documents])
    right = [summaries[0].text == d["title"] for summaries, d in zip(found, documents, strict=True)]
    assert np.mean(right) > 0.8, [s[0].text for s in found[:5]]
    for (summary,) in found:
        tokens = len(word_tokenize(summary.text)) + 1  # whole words, and the end
        assert summary.finished
        assert summary.score == pytest.approx(summary.log_prob / tokens)


@pytest.mark.parametrize("settings", [GREEDY, DecodeSettings("beam", beams=3, max_length=8)])
def test_a_batch_gives_what_single_documents_give(trained: Summarizer, settings: DecodeSettings) -> None:
    texts = [d["text"] * (1 + i % 3) for i, d in enumerate(named_documents(7, seed=5))]
    together = trained.summarize(texts, num=3, settings=settings, seed=4)
    for text, summaries in zip(texts, together, strict=True):
        (alone,) = trained.summarize([text], num=3, settings=settings, seed=4)
        assert [s.text for s in alone] == [s.text for s in summaries]
        assert [s.log_prob for s in alone] == pytest.approx([s.log_prob for s in summaries], abs=1e-3)
    (one,) = trained.summarize(texts[:1], settings=settings)
    assert one[0].text == together[0][0].text, "the first of several is the best guess"


@pytest.mark.parametrize("settings", [GREEDY, DecodeSettings("beam", beams=3, max_length=8)])
def test_how_many_are_written_at_once_changes_nothing(
    trained: Summarizer, settings: DecodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [d["text"] for d in named_documents(5, seed=5)]
    expected = trained.summarize(texts, num=7, settings=settings, seed=4)
    for at_once in (1, 30):
        monkeypatch.setattr("tgvae.models.summarization.MAX_HYPOTHESES", at_once)
        found = trained.summarize(texts, num=7, settings=settings, seed=4)
        assert [[s.text for s in row] for row in found] == [[s.text for s in row] for row in expected]


def test_names_of_other_documents_are_never_written(titled: PreparedFolder) -> None:
    """Also by a model that has learned nothing, at high temperature."""
    names = [d["text"].split()[1] for d in named_documents(8, seed=7)]
    settings = DecodeSettings("sample", temperature=50.0, max_length=20)
    texts = [d["text"] for d in named_documents(8, seed=7)]
    copied = 0
    for i, summaries in enumerate(build("full", titled).eval().summarize(texts, num=20, settings=settings)):
        written = {word for summary in summaries for word in summary.text.split()}
        copied += names[i] in written
        assert not written & {name for name in names if name != names[i]}
    assert copied


def test_empty_long_and_odd_documents(trained: Summarizer) -> None:
    long = "No army was near the border. " * 30
    odd = "<b>Yesterday</b> \u0000 Zoë \u2028 saw\tthe “軍” &amp; the \U0001f680."
    empty, cut, strange, blank = trained.summarize_documents(["", long, odd, " \n\t"])
    assert empty.summaries == blank.summaries == []
    assert not empty.cut
    assert cut.cut
    assert all(len(d.topics) == 3 and len(d.summaries) == 1 for d in (cut, strange))
    assert all(c.isprintable() for c in strange.summaries[0].text)
    assert trained.summarize_documents([]) == []


def test_generation_depends_on_the_seed_alone(trained: Summarizer) -> None:
    text, settings = named_documents(1)[0]["text"], DecodeSettings("sample", max_length=8)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = trained.summarize([text], num=20, settings=settings, seed=1)
    assert torch.equal(torch.rand(2), expected)
    assert first == trained.summarize([text], num=20, settings=settings, seed=1)
    assert first != trained.summarize([text], num=20, settings=settings, seed=2)


def drawn(model: Summarizer, batch: PairBatch, num: int, guide: TopicGuide | None = None) -> tuple[Source, Any, Any]:
    source = model.read(batch.source, batch.source_lengths)
    t = model.topic(batch.documents.counts)
    return source, t, model.sample_latents(source, t, SummaryRequest(num, guide, GREEDY, seed=0))


@torch.no_grad()
@pytest.mark.parametrize("name", ["full", "variational"])
def test_a_topic_asked_for_moves_z_by_what_parts_the_components(
    name: str, titled: PreparedFolder, batch: PairBatch
) -> None:
    model = build(name, titled).eval()
    loc = model.prior(model.prior_topic_proportions()).loc
    for strength in (1.0, 2.0):
        z = [drawn(model, batch, 3, TopicGuide(topic, strength))[2] for topic in (1, 2)]
        torch.testing.assert_close(z[0] - z[1], (strength * (loc[1] - loc[2])).expand_as(z[0]))


@torch.no_grad()
@pytest.mark.parametrize("name", ["full", "variational"])
def test_no_strength_leaves_the_document_its_own_topics(name: str, titled: PreparedFolder, batch: PairBatch) -> None:
    model = build(name, titled).eval()
    source, t, z = drawn(model, batch, 3, TopicGuide(1, 0.0))
    own = model.head(source.final).mean
    expected = own + model.prior(t).mean if name == "full" else own
    torch.testing.assert_close(z[0], expected)


@torch.no_grad()
def test_components_are_drawn_by_the_topics_of_the_document(titled: PreparedFolder, batch: PairBatch) -> None:
    model = build("full", titled).eval()
    source, t, z = drawn(model, batch, 4000)
    q, prior = model.head(source.final), model.prior(t)
    torch.testing.assert_close(z[0], q.mean + prior.loc[t.argmax(-1)])
    noise = torch.randn(4000, 1, 6, generator=torch.Generator().manual_seed(0))
    noise[0] = 0
    centre = (z - q.place(noise)).unsqueeze(-2)
    chosen = (centre - prior.loc).square().sum(-1).argmin(-1)[1:, 0]
    counts = Counter(chosen.tolist())
    torch.testing.assert_close(torch.tensor([counts[c] / 3999 for c in range(4)]), t[0], atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("full", {"num": 0}, "at least 1"),
        ("full", {"topic": 4}, "no topic 4"),
        ("full", {"topic": "qwertz"}, "topic vocabulary"),
        ("full", {"topic": 1, "strength": -1.0}, "strength is -1"),
        ("plain", {"num": 2}, "has no latent"),
        ("plain", {"topic": 1}, "has no topics"),
        ("normal", {"topic": 1}, "has no topics"),
        ("full", {"texts": "The army was near."}, "give a list of texts"),
    ],
)
def test_what_cannot_be_is_refused(name: str, arguments: dict[str, Any], message: str, titled: PreparedFolder) -> None:
    with pytest.raises(UserError, match=message):
        build(name, titled).eval().summarize(**{"texts": ["The army was near."]} | arguments)


def test_other_batches_are_refused(titled: PreparedFolder, corpus: Corpus) -> None:
    with pytest.raises(UserError, match="documents with summaries"):
        build("full", titled).trace(corpus.gather([0]))
    with pytest.raises(UserError, match="no topics"):
        build("plain", titled).trace(corpus.gather_documents([0]))
    with pytest.raises(UserError, match="source_tokens is 0"):
        SummarizerConfig(source_tokens=0)


@pytest.mark.parametrize("name", ["summarizer", "summarizer-vae", "summarizer-plain"])
def test_recipes_train_from_the_command_line(
    name: str, titled: PreparedFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, topics = tmp_path / "run", ["--model.topic.topics", "3", "--train.phases.topics.epochs", "1"]
    sizes = ["--model.sentence.embedding-size", "8", "--model.sentence.hidden-size", "8", "--train.device", "cpu"]
    options = [*sizes, "--train.phases.summaries.epochs", "1", *(topics if name == "summarizer" else [])]
    assert main(["train", str(titled.path), "--out", str(run), "--recipe", name, *options]) == 0
    shown = capsys.readouterr()
    assert "316 documents with a title, 0 without, 0 longer" in shown.err
    assert f"tgvae summarize {run} FILE" in shown.err
    assert load_run(run, require=Capability.SUMMARIES).config.latent == {
        "summarizer": "topics",
        "summarizer-vae": "normal",
    }.get(name, "none")
    assert (main(["topics", str(run)]) == 0) == (name == "summarizer")


def test_runs_of_other_kinds_cannot_summarize(prepared: PreparedFolder, tmp_path: Path) -> None:
    TopicModel(FULL.topic, prepared.tokenizer, prepared.topic_vocabulary).save(tmp_path)
    with pytest.raises(UserError, match=r"a topic does not support summaries; .* recipes summarizer, summarizer-vae"):
        load_run(tmp_path, require=Capability.SUMMARIES)


def test_a_corpus_without_titles_cannot_be_trained_on(prepared: PreparedFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no document of the train split has a title"):
        start_run(RECIPES["summarizer-plain"](), prepared.path, tmp_path / "run")
