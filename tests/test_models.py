"""One list of models through the same contract: shapes, gradients, invariances, save and load."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from scipy.sparse import csr_array

from tgvae.data.batch import Batch
from tgvae.data.bow import BagOfWords
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.errors import UserError
from tgvae.models import base
from tgvae.models.base import Model, load
from tgvae.models.sentence import LanguageModel, SentenceConfig, SentenceVAE
from tgvae.models.tgvae import TGVAE, TGVAEConfig
from tgvae.models.topic import TopicConfig, TopicModel
from tgvae.trace import importance_weighted, objective

SENTENCE = SentenceConfig(embedding_size=12, hidden_size=10, latent_size=6, flow_length=2)
TOPIC = TopicConfig(topics=4, word_embedding_size=8, hidden_size=16)
JOINT = TGVAEConfig(TOPIC, SENTENCE)
MODELS: dict[str, tuple[type[Model], Any]] = {
    "topic": (TopicModel, TOPIC),
    "topic-product": (TopicModel, replace(TOPIC, likelihood="product", concentration=1.0)),
    "language-model": (LanguageModel, SENTENCE),
    "vae": (SentenceVAE, replace(SENTENCE, flow_length=0)),
    "vae-householder": (SentenceVAE, SENTENCE),
    "tgvae": (TGVAE, JOINT),
    "tgvae-guided": (TGVAE, replace(JOINT, backprop_to_topics=True)),
    "tgvae-no-evidence": (TGVAE, replace(JOINT, evidence_weight=0.0)),
    "tgvae-jensen": (TGVAE, replace(JOINT, prior="jensen")),
    "tgvae-variational": (TGVAE, replace(JOINT, prior="variational")),
    "tgvae-consistent": (TGVAE, replace(JOINT, consistency_sentences=4)),
    "tgvae-soft": (TGVAE, replace(JOINT, consistency_sentences=4, straight_through=False)),
    "tgvae-monte-carlo": (TGVAE, replace(JOINT, prior="monte_carlo")),
}
JOINT_MODELS = [name for name in MODELS if name.startswith("tgvae")]


def build(name: str, prepared: PreparedFolder) -> Model:
    torch.manual_seed(0)
    kind, config = MODELS[name]
    return kind(config, prepared.tokenizer, prepared.topic_vocabulary)


@pytest.fixture
def batch(corpus: Corpus) -> Batch:
    return corpus.gather(np.arange(0, 24, 2))


def repad(batch: Batch, extra: int) -> Batch:
    """The same batch with more padding."""
    pad = torch.nn.functional.pad
    return replace(batch, inputs=pad(batch.inputs, (0, extra)), targets=pad(batch.targets, (0, extra)))


def reorder(batch: Batch, order: torch.Tensor) -> Batch:
    names = ("inputs", "targets", "lengths", "words", "parent")
    bags = {name: sparse(getattr(batch, name).dense()[order]) for name in ("sentence_bow", "context")}
    return replace(batch, **{name: getattr(batch, name)[order] for name in names}, **bags)


def sparse(counts: torch.Tensor) -> BagOfWords:
    return BagOfWords.of(csr_array(counts.numpy()))


def sentence_nll(model: Model, batch: Batch) -> torch.Tensor:
    """The bound of every sentence with the noise of every latent set to the same value for all rows."""
    model.eval()
    torch.manual_seed(0)
    with torch.no_grad():
        return -importance_weighted(model.trace(batch, 2).log_weights("sentence"))


@pytest.mark.parametrize("name", MODELS)
def test_terms_are_one_finite_value_a_row(name: str, prepared: PreparedFolder, batch: Batch) -> None:
    trace = build(name, prepared).trace(batch, samples=3)
    rows = {"sentence": len(batch.lengths), "document": len(batch.documents.counts)}
    for unit, count in rows.items():
        for term, value in trace.terms(unit).items():
            assert value.shape == (count,), term
            assert torch.isfinite(value).all(), term
            assert not term.startswith("kl/") or "monte" in name or (value > -1e-4).all(), term
    for unit in {part.unit for part in trace.observed.values()}:
        assert trace.log_weights(unit).shape == (1 if name == "language-model" else 3, rows[unit])


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_has_a_gradient(name: str, prepared: PreparedFolder, batch: Batch) -> None:
    model = build(name, prepared)
    objective(model(batch), {}).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("name", MODELS)
def test_save_and_load_keep_the_function(name: str, prepared: PreparedFolder, batch: Batch, tmp_path: Path) -> None:
    model = build(name, prepared)
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert type(again) is type(model)
    assert again.config == model.config
    torch.manual_seed(1)
    expected = model.eval()(batch)
    torch.manual_seed(1)
    for term, value in again(batch).items():
        torch.testing.assert_close(value, expected[term])
    suffixes = {p.suffix for p in tmp_path.iterdir()}
    assert suffixes == {".json", ".md", ".model", ".safetensors", ".txt"}, "no pickle"


@pytest.mark.parametrize("name", [n for n in MODELS if not n.startswith("topic")])
def test_padding_changes_nothing(name: str, prepared: PreparedFolder, batch: Batch) -> None:
    model = build(name, prepared)
    torch.testing.assert_close(sentence_nll(model, repad(batch, 7)), sentence_nll(model, batch))


def test_order_of_the_batch_changes_nothing(prepared: PreparedFolder, batch: Batch) -> None:
    order = torch.randperm(len(batch.lengths), generator=torch.Generator().manual_seed(0))
    model = build("language-model", prepared)
    torch.testing.assert_close(sentence_nll(model, reorder(batch, order)), sentence_nll(model, batch)[order])
    encoder = build("tgvae", prepared).eval().sentence
    mean = encoder.posterior(batch.targets, batch.lengths).mean
    torch.testing.assert_close(encoder.posterior(batch.targets[order], batch.lengths[order]).mean, mean[order])


@pytest.mark.parametrize("name", JOINT_MODELS)
def test_a_sentence_does_not_see_itself_in_its_topics(name: str, prepared: PreparedFolder, batch: Batch) -> None:
    """Other words in the sentence (and so in its document) must leave its prior as it was."""
    model = build(name, prepared).eval()
    own, counts = batch.sentence_bow.dense(), batch.documents.counts.dense()
    own[0, :5] += 3.0
    counts[batch.parent[0], :5] += 3.0
    other = replace(batch, sentence_bow=sparse(own), documents=replace(batch.documents, counts=sparse(counts)))
    priors = []
    for b in (batch, other):
        torch.manual_seed(0)
        latents = model.trace(b).latents
        p = latents["c"].p.probs if "c" in latents else latents["z"].p.weights
        priors.append(p[0, 0])
    torch.testing.assert_close(*priors)


@pytest.mark.parametrize("name", JOINT_MODELS)
def test_sentence_loss_shapes_topics_only_when_asked(name: str, prepared: PreparedFolder, batch: Batch) -> None:
    model = build(name, prepared)
    terms = model.trace(batch).terms("sentence")
    torch.stack([value.mean() for value in terms.values()]).sum().backward()
    reached = any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.topic.parameters())
    assert reached == (name == "tgvae-guided")


def test_document_without_words_has_the_prior(prepared: PreparedFolder) -> None:
    model = build("topic", prepared)
    q = model.topic.posterior(torch.zeros(2, len(prepared.topic_vocabulary)))
    assert (q.mean == 0).all()
    assert (q.stddev == 1).all()


def test_assignment_is_bayes_rule(prepared: PreparedFolder, batch: Batch) -> None:
    """q(c | y, d) = t_c prod_w beta_cw / sum, by a loop."""
    model = build("tgvae", prepared)
    t = torch.rand(len(batch.sentence_bow), 4).softmax(-1)
    found, own = (
        model.component.component_posterior(t, model.topic.log_beta, batch.sentence_bow).probs,
        batch.sentence_bow.dense().double(),
    )
    beta = model.topic.log_beta.exp().double()
    for row in range(len(batch.sentence_bow)):
        joint = t[row].double() * (beta ** own[row]).prod(-1)
        torch.testing.assert_close(found[row].double(), joint / joint.sum(), rtol=1e-4, atol=1e-6)


def test_generation(prepared: PreparedFolder) -> None:
    model = build("tgvae", prepared).eval()
    word = prepared.topic_vocabulary.words[0]
    assert isinstance(model, TGVAE)
    first = model.generate(1, num=3, seed=5)
    assert [s.text for s in first] == [s.text for s in model.generate(1, num=3, seed=5)]
    assert len(model.generate(word, num=2)) == 2
    assert len(model.generate(mixture={0: 1, 3: 2.5}, num=2)) == 2
    assert len(model.generate(like=f"The {word} again.", num=2)) == 2
    assert len(model.interpolate("The army was near.", "No bread.", 4)) == 4
    assert len(model.reconstruct(["The army was near."])) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"topic": 4}, "no topic 4"),
        ({"topic": -1}, "no topic -1"),
        ({"topic": "qwertz"}, "topic vocabulary"),
        ({"topic": 1, "like": "army"}, "not several"),
        ({"mixture": {0: 0.0}}, "weight 0"),
        ({"mixture": {0: float("nan")}}, "from 0 to"),
        ({"topic": 0, "num": 0}, "at least 1"),
        ({"like": ""}, "topic vocabulary"),
    ],
)
def test_generation_refuses(arguments: dict[str, Any], message: str, prepared: PreparedFolder) -> None:
    with pytest.raises(UserError, match=message):
        build("tgvae", prepared).generate(**arguments)


def test_damaged_folders_are_refused(prepared: PreparedFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        load(tmp_path)
    build("vae", prepared).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="not a TGVAE"):
        TGVAE.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    weights = (tmp_path / "model.safetensors").read_bytes()
    cases = {
        "config.json": [
            (b"{", "damaged"),
            (json.dumps(config | {"format": 99}).encode(), "format 99"),
            (json.dumps(config | {"model": "nonsense"}).encode(), "nonsense"),
            (json.dumps(config | {"config": {"latent_size": "big"}}).encode(), "latent_size"),
            (json.dumps(config | {"config": {"depth": 3}}).encode(), "depth"),
            (json.dumps(config | {"config": {"latent_size": 7}}).encode(), r"config\.json: changed"),
        ],
        "model.safetensors": [(weights[:100], "model.safetensors"), (b"", "model.safetensors")],
    }
    for name, damages in cases.items():
        good = (tmp_path / name).read_bytes()
        for content, message in damages:
            (tmp_path / name).write_bytes(content)
            with pytest.raises(UserError, match=message):
                load(tmp_path)
        (tmp_path / name).write_bytes(good)


def test_missing_local_folder_is_reported_without_asking_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def download(name: str, **hub: Any) -> str:
        asked.append(name)
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(base, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "sotu").mkdir(parents=True)
    for name in ("runs/typo", "../typo", "./typo", "/typo", "~/typo", "typo", "a/b/c", str(tmp_path / "a" / "b")):
        with pytest.raises(UserError, match="no such folder"):
            load(name)
    with pytest.raises(UserError, match="did you mean runs/sotu"):
        load("runs/sotuu")
    assert asked == []
    with pytest.raises(UserError, match="owner/name: no such folder, and it cannot be downloaded"):
        load("owner/name")
    assert asked == ["owner/name"]


def test_load_knows_every_kind_in_a_fresh_process(prepared: PreparedFolder, tmp_path: Path) -> None:
    build("tgvae", prepared).save_pretrained(tmp_path)
    code = f"from tgvae import load; print(type(load({str(tmp_path)!r})).__name__)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "TGVAE"


def test_bfloat16_gives_finite_gradients_to_topics_alike(prepared: PreparedFolder, batch: Batch) -> None:
    """Two equal topics: their cosine is 1, where arccos has no gradient unless care is taken."""
    model = build("tgvae", prepared)
    with torch.no_grad():
        model.topic.topics[1] = model.topic.topics[0]
    with torch.autocast("cpu", torch.bfloat16):
        terms = model(batch)
    assert terms["kl/z"].dtype == terms["kl/g"].dtype == torch.float32
    objective(terms, {"aux/similarity": 10.0}).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_generation_leaves_the_callers_randomness_alone(prepared: PreparedFolder) -> None:
    model = build("tgvae", prepared).eval()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    model.generate(0, num=1)
    assert torch.equal(torch.rand(2), expected)
