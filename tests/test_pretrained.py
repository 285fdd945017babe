"""A pretrained language model as decoder, on tiny models of random weights."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tests.conftest import made_up_documents
from tests.test_training import killed_run
from tests.tiny_base import ARCHITECTURES, make_base
from tgvae.cli.main import main
from tgvae.cli.score import Score, bounds, description
from tgvae.data.batch import Batch
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.data.tokenizers import BOS, EOS, PAD, BaseTokenizer
from tgvae.distributions import TokenSequence
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import importance_weighted_nll, sentence_bound
from tgvae.generation.decode import DecodeSettings, decode, select
from tgvae.models.base import Capability, load
from tgvae.models.pretrained_lm import BASE, FusionConfig, PretrainedConfig, PretrainedLanguageModel, PretrainedTGVAE
from tgvae.models.text_generation import decode_tokens, readable
from tgvae.models.topic import TopicConfig
from tgvae.nn.pretrained import FusedDecoder, FusedTokens, PretrainedDecoder
from tgvae.recipes import Recipe
from tgvae.runs import load_run, resume_run, start_run
from tgvae.training.config import Phase, TrainConfig

EXACT = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return [text for document in made_up_documents(200) for text in document["text"].split(". ")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, sentences: list[str]) -> Path:
    return make_base(tmp_path_factory.mktemp("base"), sentences)


@pytest.fixture(scope="module")
def folder(base: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedFolder:
    place = tmp_path_factory.mktemp("corpus")
    source = place / "documents.jsonl"
    source.write_text("".join(json.dumps(d) + "\n" for d in made_up_documents(60)), encoding="utf-8")
    settings = PrepareSettings(
        tokenizer="base", base=str(base), splits=(0.7, 0.2, 0.1), min_document_words=3, min_document_frequency=2
    )
    return PreparedFolder.open(prepare(str(source), place / "prepared", settings, workers=1))


def make_decoder(base: Path, tokenizer: BaseTokenizer, rank: int = 2) -> PretrainedDecoder:
    """With adapters and bias that are not zero."""
    decoder = PretrainedDecoder(base, tokenizer, rank, "float32").eval()
    torch.manual_seed(1)
    for parameter in decoder.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return decoder


@pytest.fixture(scope="module")
def decoder(base: Path, folder: PreparedFolder) -> PretrainedDecoder:
    assert isinstance(folder.tokenizer, BaseTokenizer)
    return make_decoder(base, folder.tokenizer)


def stepwise(decoder: PretrainedDecoder | FusedDecoder, z: Tensor, context: Tensor | None, targets: Tensor) -> Tensor:
    """log p(y) of every row, token by token through the cache, with rows that leave when they end."""
    state = decoder.start(z, context)
    rows, tokens = torch.arange(len(targets)), torch.full((len(targets),), BOS)
    found = torch.zeros(len(targets))
    for target in targets.T:
        logits, state = decoder.step(tokens, state)
        tokens = target[rows]
        found[rows] += logits.log_softmax(-1).gather(1, tokens.unsqueeze(1)).squeeze(1)
        going = (tokens != EOS).nonzero().squeeze(1)
        if not len(going):
            break
        rows, tokens, state = select((rows, tokens, state), going)
    return found


def contexts(batch: Batch) -> Tensor:
    """What comes before each sentence of a batch, padded at the end."""
    assert batch.passages is not None
    rows = [
        batch.passages.tokens[row, : start + 1]
        for row, start in zip(batch.passages.row.tolist(), batch.passages.start.tolist(), strict=True)
    ]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_steps_equal_teacher_forcing(
    architecture: str, folder: PreparedFolder, sentences: list[str], tmp_path: Path
) -> None:
    assert isinstance(folder.tokenizer, BaseTokenizer)
    decoder = make_decoder(make_base(tmp_path, sentences, architecture), folder.tokenizer)
    for context in (0, 200):
        corpus = Corpus(folder, "train", context=context)
        batch = corpus.gather([0, 1, 2, 7, 11, 12])
        z = torch.zeros(len(batch.lengths), 0)
        with torch.no_grad():
            forced = decoder(batch.inputs, z.unsqueeze(0), batch.passages).log_prob(batch.targets)[0]
        found = stepwise(decoder, z, contexts(batch) if context else None, batch.targets)
        torch.testing.assert_close(found, forced, **EXACT)


def test_context_changes_what_follows_only(decoder: PretrainedDecoder, folder: PreparedFolder) -> None:
    """The first sentence of a passage is as probable as alone, and the others are not."""
    alone, within = (Corpus(folder, "train", context=n).gather([0, 1, 2]) for n in (0, 200))
    z = torch.zeros(1, 3, 0)
    with torch.no_grad():
        a = decoder(alone.inputs, z).log_prob(alone.targets)[0]
        b = decoder(within.inputs, z, within.passages).log_prob(within.targets)[0]
    torch.testing.assert_close(a[0], b[0], **EXACT)
    assert (a[1:] - b[1:]).abs().min() > 1e-3


def test_pruned_softmax_is_the_full_one_renormalised(base: Path, folder: PreparedFolder) -> None:
    from transformers import AutoModelForCausalLM

    tokenizer = folder.tokenizer
    assert isinstance(tokenizer, BaseTokenizer)
    decoder = PretrainedDecoder(base, tokenizer, rank=0, precision="float32").eval()
    batch = Corpus(folder, "train").gather([3, 4])
    whole = AutoModelForCausalLM.from_pretrained(base).eval()
    kept = torch.tensor(tokenizer.base_ids[EOS:])
    with torch.no_grad():
        found = decoder(batch.inputs, torch.zeros(1, 2, 0)).token_log_prob(batch.targets)[0]
        logits = whole(torch.tensor(tokenizer.base_ids)[batch.inputs]).logits[..., kept]
    logits[:, 0, 0] = -math.inf  # a sentence has at least one token
    wanted = logits.log_softmax(-1).gather(-1, (batch.targets - EOS).clamp_min(0).unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(found, wanted.masked_fill(batch.targets == PAD, 0.0), **EXACT)
    assert len(kept) < whole.config.vocab_size


def test_adapters_start_at_the_base_model(base: Path, folder: PreparedFolder) -> None:
    assert isinstance(folder.tokenizer, BaseTokenizer)
    batch = Corpus(folder, "train").gather([0, 1])
    plain, adapted = (PretrainedDecoder(base, folder.tokenizer, rank, "float32").eval() for rank in (0, 4))
    torch.testing.assert_close(adapted.states(batch.inputs), plain.states(batch.inputs))
    assert [name for name, _ in plain.named_parameters()] == ["slow_bias"]
    adapted.states(batch.inputs).square().sum().backward()
    assert {name.split(".")[-4] for name, p in adapted.named_parameters() if p.grad is not None} == {
        "q_proj",
        "v_proj",
        "o_proj",
    }


@pytest.fixture(scope="module")
def fused(decoder: PretrainedDecoder) -> tuple[PretrainedDecoder, Tensor]:
    """The decoder and log gains of three topics."""
    torch.manual_seed(2)
    return decoder, torch.randn(3, len(decoder.weight)).index_fill(1, torch.tensor([PAD, BOS, EOS]), 0.0)


@pytest.mark.parametrize("context", [0, 200])
def test_fused_steps_equal_the_exact_sum(
    fused: tuple[PretrainedDecoder, Tensor], folder: PreparedFolder, context: int
) -> None:
    """With a sentence in which tokens repeat: their bonus is dropped in both."""
    decoder, log_gain = fused
    batch = Corpus(folder, "train", context=context).gather(range(6))
    if not context:
        batch.targets[0, 1] = batch.targets[0, 0]
        batch.inputs[0, 2] = batch.inputs[0, 1]
    t = torch.tensor([[0.2, 0.5, 0.3]]).expand(1, 6, -1)
    with torch.no_grad():
        y = FusedTokens(decoder.states(batch.inputs, batch.passages), decoder.weight, decoder.bias, log_gain, t)
        given = y.given_topic(batch.targets)
        total, tokens = y.log_prob(batch.targets), y.token_log_prob(batch.targets)
    for c in range(3):
        z = torch.nn.functional.one_hot(torch.tensor(c), 3).float().expand(6, -1)
        found = stepwise(FusedDecoder(decoder, log_gain), z, contexts(batch) if context else None, batch.targets)
        torch.testing.assert_close(given[:, c], found, **EXACT)
    torch.testing.assert_close(total, (given + t.log()).logsumexp(-1), **EXACT)
    torch.testing.assert_close(tokens.sum(-1), total, **EXACT)


def test_fusion_without_gain_is_the_language_model(decoder: PretrainedDecoder, folder: PreparedFolder) -> None:
    batch = Corpus(folder, "train").gather([0, 5, 9])
    with torch.no_grad():
        states, t = decoder.states(batch.inputs), torch.full((2, 3, 4), 0.25)
        y = FusedTokens(states, decoder.weight, decoder.bias, torch.zeros(4, len(decoder.weight)), t)
        plain = decoder(batch.inputs, torch.zeros(2, 3, 0))
        torch.testing.assert_close(y.token_log_prob(batch.targets), plain.token_log_prob(batch.targets), **EXACT)


def test_beam_search_is_exhaustive(base: Path, folder: PreparedFolder) -> None:
    """Among all sentences of at most two tokens, with few tokens permitted."""
    assert isinstance(folder.tokenizer, BaseTokenizer)
    decoder, allowed = make_decoder(base, folder.tokenizer), [4, 5, 6, 7]
    forbidden = [i for i in range(len(folder.tokenizer)) if i not in (EOS, *allowed)]
    settings = DecodeSettings("beam", beams=30, max_length=3, length_penalty=0.0)
    options = [[*ids, EOS] for n in (1, 2) for ids in itertools.product(allowed, repeat=n)]
    targets = torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, options)), batch_first=True)
    scores = stepwise(decoder, torch.zeros(len(options), 0), None, targets)
    best = decode(
        decoder,
        decoder.start(torch.zeros(1, 0)),
        bos_id=BOS,
        eos_id=EOS,
        pad_id=PAD,
        settings=settings,
        forbidden=forbidden,
    )
    assert best.ids[0].tolist() == [i for i in options[int(scores.argmax())] if i != EOS]
    torch.testing.assert_close(best.log_prob[0], scores.max(), **EXACT)


PHASES = {
    "topics": Phase("document", epochs=1, batch=16),
    "sentences": Phase("sentence", epochs=2, learning_rate=3e-3, batch=300),
}


def recipe(base: Path, kind: str) -> Recipe:
    config = PretrainedConfig(str(base), rank=2, context=100, precision="float32")
    if kind == "pretrained-lm":
        return Recipe(kind, config, TrainConfig({"sentences": PHASES["sentences"]}, device="cpu"))
    topic = TopicConfig(topics=3, word_embedding_size=4, hidden_size=8)
    return Recipe(kind, FusionConfig(topic, config), TrainConfig(dict(PHASES), device="cpu"))


@pytest.fixture(scope="module")
def runs(base: Path, folder: PreparedFolder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("runs")
    for kind in ("pretrained-lm", "pretrained-tgvae"):
        start_run(recipe(base, kind), folder.path, place / kind, quiet=True)
    return {kind: place / kind for kind in ("pretrained-lm", "pretrained-tgvae")}


@pytest.mark.parametrize("kind", ["pretrained-lm", "pretrained-tgvae"])
def test_training_improves_on_the_base_model(
    runs: dict[str, Path], kind: str, folder: PreparedFolder, base: Path
) -> None:
    held_out = Corpus(folder, "valid", context=100)
    untrained = PretrainedLanguageModel.from_data(PretrainedConfig(str(base), precision="float32"), folder)
    assert sentence_bound(load_run(runs[kind]), held_out).per("word", "nll/tokens") < (
        sentence_bound(untrained, held_out).per("word") - 0.1
    )


@pytest.mark.parametrize("kind", ["pretrained-lm", "pretrained-tgvae"])
def test_a_saved_run_is_the_same_model_without_base_weights(
    runs: dict[str, Path], kind: str, folder: PreparedFolder, tmp_path: Path
) -> None:
    model = load_run(runs[kind])
    names = model.state_dict().keys()
    assert all("lora_" in n or n.startswith("topic.") or n == "decoder.slow_bias" for n in names)
    model.save(tmp_path)
    again = load(tmp_path)
    batch = Corpus(folder, "valid", context=100).gather([0, 1])
    found = []
    for loaded in (model, again):
        torch.manual_seed(0)
        found.append(loaded.trace(batch).observed["tokens"].log_prob)
    assert torch.equal(*found)
    assert model.generate(num=3, seed=4) == again.generate(num=3, seed=4)


def test_resumed_run_equals_an_uninterrupted_one(
    base: Path, folder: PreparedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = recipe(base, "pretrained-lm")
    whole = replace(whole, train=replace(whole.train, save_minutes=0.0))
    start_run(whole, folder.path, tmp_path / "whole", quiet=True)
    killed_run(whole, folder.path, tmp_path / "cut", 5, monkeypatch)
    resume_run(tmp_path / "cut")
    weights = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_another_base_is_refused(
    runs: dict[str, Path], base: Path, sentences: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_base(tmp_path / "other", sentences, seed=7)
    monkeypatch.setenv("TGVAE_BASE", str(other))
    with pytest.raises(UserError, match=r"model\.safetensors differs by SHA-256"):
        load_run(runs["pretrained-lm"])
    monkeypatch.setenv("TGVAE_BASE", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="no such base model"):
        load_run(runs["pretrained-lm"])
    moved = shutil.copytree(base, tmp_path / "moved")
    monkeypatch.setenv("TGVAE_BASE", str(moved))
    assert load_run(runs["pretrained-lm"]).kind == "pretrained-lm"


def test_damaged_record_of_the_base_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    run = shutil.copytree(runs["pretrained-lm"], tmp_path / "run")
    (run / BASE).write_text("{}")
    with pytest.raises(UserError, match=r"base\.json"):
        load_run(run)


def test_a_corpus_for_another_tokenizer_is_refused(base: Path, prepared: PreparedFolder) -> None:
    with pytest.raises(UserError, match="--tokenizer base"):
        PretrainedLanguageModel.from_data(PretrainedConfig(str(base)), prepared)


def test_topics_steer(runs: dict[str, Path]) -> None:
    """Words of a topic become more frequent with strength, and the same seed gives the same text."""
    model = load_run(runs["pretrained-tgvae"])
    assert isinstance(model, PretrainedTGVAE)
    assert {Capability.TOPICS, Capability.GUIDANCE, Capability.PARAGRAPHS} < model.capabilities
    log_beta, settings = model.topic.log_beta, DecodeSettings(max_length=20)
    lift = (log_beta - (model.prior_topic_proportions() @ log_beta.exp()).log()).exp()

    def topical(strength: float) -> float:
        texts = model.generate(topic=1, num=40, strength=strength, settings=settings, seed=0)
        counts = model.counts([sentence.text for sentence in texts])
        return (counts @ lift[1].unsqueeze(1)).sum().item() / max(counts.sizes.sum().item(), 1)

    assert topical(3.0) > topical(0.0)
    assert model.generate(mixture={0: 1, 2: 3}, num=2, seed=1) == model.generate(mixture={0: 1, 2: 3}, num=2, seed=1)


def test_paragraphs_follow_their_own_sentences(runs: dict[str, Path], folder: PreparedFolder) -> None:
    """Every sentence has the probability that it has after the sentences before it."""
    model = load_run(runs["pretrained-lm"])
    assert isinstance(model, PretrainedLanguageModel)
    settings = DecodeSettings("greedy", max_length=12)
    written = model.generate_paragraphs(num=2, sentences=3, settings=settings)
    assert [len(paragraph) for paragraph in written] == [3, 3]
    assert model.generate_paragraphs(num=2, sentences=3, settings=settings) == written
    for paragraph in written:
        ids = model.tokenizer.encode_batch([sentence.text for sentence in paragraph])
        context = torch.tensor([[BOS, *ids[0], *ids[1]]])
        decoded = decode_tokens(
            model.decoder, model.decoder.start(torch.zeros(1, 0), context), model.tokenizer, settings, None
        )
        assert readable(decoded, model.tokenizer)[0].text == paragraph[2].text


def test_adapter_of_another_run(runs: dict[str, Path], base: Path, folder: PreparedFolder) -> None:
    config = recipe(base, "pretrained-tgvae").model
    assert isinstance(config, FusionConfig)
    trained = load_run(runs["pretrained-lm"])
    sentence = replace(config.sentence, adapter=str(runs["pretrained-lm"]))
    model = PretrainedTGVAE.from_data(replace(config, sentence=sentence), folder)
    for name, value in model.decoder.state_dict().items():
        assert torch.equal(value, trained.state_dict()[f"decoder.{name}"])
    with pytest.raises(UserError, match="rank"):
        PretrainedTGVAE.from_data(replace(config, sentence=replace(sentence, rank=3)), folder)


def test_sentence_tokens_are_padded_like_others(decoder: PretrainedDecoder, folder: PreparedFolder) -> None:
    batch = Corpus(folder, "train").gather([0, 9])
    y = decoder(batch.inputs, torch.zeros(2, 2, 0))
    assert isinstance(y, TokenSequence)
    assert y.log_prob(batch.targets).shape == (2, 2)
    assert (y.token_log_prob(batch.targets)[:, batch.targets == PAD] == 0).all()


def test_paragraphs_on_the_command_line(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str], guided_run: Path
) -> None:
    run, short = str(runs["pretrained-tgvae"]), ["--decode.max-length", "8", "--num", "2"]
    assert main(["generate", run, "--topic", "1", "--paragraph", "3", "--json", *short]) == 0
    paragraphs = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [len(paragraph) for paragraph in paragraphs] == [3, 3]
    assert main(["generate", run, "--topic", "1", "--paragraph", "3", *short]) == 0
    texts = [" ".join(sentence["text"] for sentence in paragraph) for paragraph in paragraphs]
    assert capsys.readouterr().out == "\n\n".join(texts) + "\n"
    assert main(["generate", str(guided_run), "--paragraph", "3"]) == 2
    assert "writes single sentences; give a run of one of the recipes" in capsys.readouterr().err
    assert main(["generate", str(runs["pretrained-lm"]), "--paragraph", "3", "--topic", "1"]) == 2
    assert "cannot be guided by topics" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["pretrained-lm", "pretrained-tgvae"])
def test_what_works_for_every_run(
    runs: dict[str, Path], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(shutil.copytree(runs[kind], tmp_path / "run"))
    few = ["--generated", "10", "--per-topic", "2", "--weighted-sentences", "20", "--samples", "2", "--reverse", "0"]
    assert main(["evaluate", run, "--json", *few]) == 0, capsys.readouterr().err
    assert "perplexity" in capsys.readouterr().out
    assert "model.generate" in (tmp_path / "run" / "README.md").read_text()
    if kind == "pretrained-tgvae":
        assert main(["topics", run]) == 0


@pytest.mark.parametrize("kind", ["pretrained-lm", "pretrained-tgvae"])
def test_documents_score_as_in_evaluation(kind: str, runs: dict[str, Path], folder: PreparedFolder) -> None:
    model: Any = load(runs[kind])
    held_out = model.examples(Corpus(folder, "test"))
    documents = held_out.table["sentences"].to_pylist()
    vocabularies = PreparedFolder(runs[kind], {"settings": {"max_sentence_words": 1000}})
    options = Score(runs[kind], by="document", samples=3)
    log_prob, words, _ = bounds(model, vocabularies, documents, options, seed=5)
    expected = importance_weighted_nll(model, held_out, 3, seed=5).bound
    parent = held_out.sentences[:, 0]
    np.testing.assert_allclose(log_prob, -np.bincount(parent, expected.total().numpy()), rtol=1e-3)
    np.testing.assert_array_equal(words, np.bincount(parent, expected.words.numpy()))
    bound, _, given = description(model, options)
    exact = kind == "pretrained-lm"
    assert bound == ("exact" if exact else "importance-weighted")
    assert given == ("" if exact else "rest of the document, ") + "sentences before it"


def test_context_dropout_is_of_training_alone(base: Path, folder: PreparedFolder) -> None:
    config = PretrainedConfig(str(base), rank=0, context=100, context_dropout=0.999999, precision="float32")
    model = PretrainedLanguageModel.from_data(config, folder)
    within, alone = (Corpus(folder, "train", context=n).gather([0, 1, 2]) for n in (100, 0))

    def nll(batch: Batch) -> Tensor:
        with torch.no_grad():
            return model.trace(batch).terms()["nll/tokens"]

    torch.testing.assert_close(nll(within), nll(alone))
    model.eval()
    assert (nll(within) - nll(alone)).abs().max() > 1e-3
