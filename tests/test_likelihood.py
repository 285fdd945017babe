"""Bounds of a split against counting from its table, one sentence at a time, and models whose log p is known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution

from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tests.conftest import made_up_documents
from tests.dense import DenseWords
from tests.test_models import build
from tgvae.data.batch import Batch, Documents
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.data.tokenizers import SentenceTokenizer
from tgvae.distributions import TokenSequence, diagonal_normal
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import (
    Bound,
    document_bound,
    evaluating,
    importance_weighted_nll,
    sentence_bound,
)
from tgvae.trace import Latent, Observed, Trace


@pytest.fixture
def held_out(prepared: PreparedFolder) -> Corpus:
    return Corpus(prepared, "test")


class Unigram(nn.Module):
    """Tokens and topic words drawn from fixed frequencies, and an idle latent that costs half a nat."""

    device = torch.device("cpu")

    def __init__(self, corpus: Corpus) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.tokens = torch.randn(len(corpus.folder.tokenizer)).log_softmax(0)
        self.words = torch.randn(len(corpus.folder.topic_vocabulary)).log_softmax(0)

    def trace(self, batch: Batch | Documents, samples: int = 1) -> Trace:
        assert not self.training
        unit, rows = ("sentence", batch.targets) if isinstance(batch, Batch) else ("document", batch.counts.dense())
        q = diagonal_normal(torch.ones(len(rows), 1), torch.ones(len(rows), 1))
        latent = Latent(q, diagonal_normal(torch.zeros(1), torch.ones(1)), q.rsample((samples,)), unit)
        if isinstance(batch, Documents):
            dist: Distribution = DenseWords(self.words.expand(samples, len(rows), -1))
        else:
            states = torch.ones(samples, *rows.shape, 1)
            dist = TokenSequence(states, self.tokens.unsqueeze(-1), torch.zeros_like(self.tokens), 0)
        return Trace({"z": latent}, {"x": Observed(dist, rows, unit)})


class TwoUnigrams(nn.Module):
    """p(y) = sum_k p(k) prod_m p(y_m | k): log p(y) is exact, and so is q(k | y) when ``tempered`` is 1.

    q is the posterior to the power ``tempered``; with 0 it is uniform.
    """

    device = torch.device("cpu")

    def __init__(self, corpus: Corpus, tempered: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.tempered = tempered
        self.prior = torch.tensor([0.3, 0.7]).log()
        self.tokens = (0.3 * torch.randn(len(corpus.folder.tokenizer), 2)).log_softmax(0)

    def joint(self, targets: Tensor) -> Tensor:
        """log p(k, y) with shape (B, 2); padding, token 0, counts nothing."""
        return self.prior + (self.tokens[targets] * (targets != 0).unsqueeze(-1)).sum(1)

    def trace(self, batch: Batch, samples: int = 1) -> Trace:
        q = Categorical(logits=self.tempered * self.joint(batch.targets))
        k = q.sample((samples,))
        states = torch.nn.functional.one_hot(k, 2).float().unsqueeze(-2).expand(*k.shape, batch.targets.shape[1], 2)
        y = TokenSequence(states, self.tokens, torch.zeros(len(self.tokens)), 0)
        latent = Latent(q, Categorical(logits=self.prior), k, "sentence")
        return Trace({"k": latent}, {"y": Observed(y, batch.targets, "sentence")})


def one_by_one(model: nn.Module, corpus: Corpus, name: str) -> Tensor:
    """A term of every sentence alone, without padding, in the order of the corpus."""
    with evaluating(model, seed=0):
        rows = [model.trace(corpus.gather([i])).terms("sentence")[name] for i in range(len(corpus.lengths))]
    return torch.cat(rows).double()


@pytest.mark.parametrize(("name", "term"), [("language-model", "nll/tokens"), ("vae-householder", "kl/z")])
def test_rows_are_those_of_each_sentence_alone(name: str, term: str, prepared: PreparedFolder) -> None:
    """Neither batches, nor padding, nor the order by length show in what the draws do not change."""
    held_out = Corpus(prepared, "test")
    model = build(name, prepared)
    bound = sentence_bound(model, held_out)
    torch.testing.assert_close(bound.terms[term], one_by_one(model, held_out, term), rtol=1e-4, atol=1e-4)
    assert bound.terms[term].dtype == torch.float64


def test_rows_count_what_the_table_holds(corpus: Corpus) -> None:
    rows = corpus.table.to_pylist()
    sentences = [(d, ids, n) for d, row in enumerate(rows) for ids, n in zip(row["tokens"], row["words"], strict=True)]
    modelled = [(d, len(ids) + 1, n + 1) for d, ids, n in sentences if ids]
    bound = sentence_bound(Unigram(corpus), corpus)
    assert list(zip(bound.documents.tolist(), bound.tokens.tolist(), bound.words.tolist(), strict=True)) == modelled

    documents = document_bound(Unigram(corpus), corpus)
    assert documents.words.tolist() == documents.tokens.tolist() == [sum(map(len, row["topic_words"])) for row in rows]
    assert documents.documents.tolist() == list(range(len(rows)))


def test_bounds_are_sums_over_the_table(corpus: Corpus) -> None:
    model = Unigram(corpus)
    rows = corpus.table.to_pylist()
    sentences = [ids for row in rows for ids in row["tokens"] if ids]
    words = sum(n + 1 for row in rows for n in row["words"] if n)
    nll = -sum(model.tokens[[*ids, corpus.folder.tokenizer.eos_id]].double().sum().item() for ids in sentences)
    bound = sentence_bound(model, corpus)
    assert bound.rows == len(sentences)
    assert bound.mean("nll/x") == pytest.approx(nll / len(sentences), rel=1e-5)
    assert bound.mean("kl/z") == pytest.approx(0.5)
    assert bound.negative_elbo == pytest.approx(nll / len(sentences) + 0.5, rel=1e-5)
    assert bound.perplexity == pytest.approx(math.exp((nll + 0.5 * len(sentences)) / words), rel=1e-5)

    topic_words = [i for row in rows for ids in row["topic_words"] for i in ids]
    documents = document_bound(model, corpus)
    assert documents.total("nll/").sum().item() == pytest.approx(-model.words[topic_words].double().sum().item())
    assert documents.per("word", "kl/") == pytest.approx(0.5 * len(rows) / len(topic_words))


def a_bound() -> Bound:
    terms = {"nll/x": torch.tensor([3.0, 5.0]), "nll/y": torch.tensor([1.0, 1.0]), "kl/z": torch.tensor([2.0, 4.0])}
    by_row = {name: value.double() for name, value in terms.items()}
    return Bound(by_row, torch.tensor([3, 5]), torch.tensor([4, 12]), torch.tensor([0, 1]))


def test_bound_figures_by_hand() -> None:
    bound = a_bound()
    assert bound.reconstruction.tolist() == [4, 6]
    assert bound.kl.tolist() == [2, 4]
    assert bound.total().tolist() == [6, 10]
    assert (bound.rows, bound.mean("kl/z"), bound.negative_elbo) == (2, 3, 8)
    assert (bound.per("word"), bound.per("token"), bound.per("token", "kl/")) == (2, 1, 6 / 16)
    assert bound.perplexity == math.exp(2)
    assert bound.parts("row").standard_error == pytest.approx(2, rel=1e-12)  # of 6 and 10: sqrt(8) / sqrt(2)
    assert bound.parts("word").standard_error == pytest.approx(0, abs=1e-12)  # both rows have 2 nats a word
    assert bound.parts("token", "kl/").standard_error == pytest.approx(math.sqrt(2 * 2 * 0.5**2) / 16)


def test_nothing_predicted_is_no_nat() -> None:
    """A split of documents without a topic word: no surprise, so perplexity 1."""
    zeros = torch.zeros(2, dtype=torch.long)
    bound = Bound({"nll/words": zeros.double(), "kl/g": zeros.double()}, zeros, zeros, torch.arange(2))
    assert (bound.per("word"), bound.perplexity, bound.parts("word").standard_error) == (0, 1, 0)
    alone = Bound({"nll/tokens": torch.ones(2).double()}, zeros + 1, zeros + 1, torch.arange(2))
    assert alone.kl.tolist() == [0, 0], "a model without latents"


def test_importance_weighting_by_the_posterior_is_exact(held_out: Corpus) -> None:
    """All weights are p(y) then, so no number of draws, order or batch changes a value."""
    model = TwoUnigrams(held_out)
    exact = torch.cat([-model.joint(held_out.gather([i]).targets).logsumexp(-1) for i in range(len(held_out.lengths))])
    for samples in (1, 13):
        found = importance_weighted_nll(model, held_out, samples)
        torch.testing.assert_close(found.bound.total(), exact.double(), rtol=1e-5, atol=1e-5)
    assert found.samples == 13
    assert found.nll == pytest.approx(exact.mean().item(), rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(exact.sum().item() / found.bound.words.sum().item()), rel=1e-5)
    assert sentence_bound(model, held_out).total().mean().item() == pytest.approx(found.nll, abs=1), "one draw of nll"

    some = importance_weighted_nll(model, held_out, 2, seed=5, rows=7)
    torch.testing.assert_close(some.bound.total(), exact.double()[some.index], rtol=1e-5, atol=1e-5)
    assert some.bound.documents.tolist() == held_out.sentences[some.index.numpy(), 0].tolist()


def test_the_bound_rises_with_the_draws(corpus: Corpus) -> None:
    """ELBO < IW 4 < IW 32 <= log p(y) with a posterior that knows nothing."""
    exact = importance_weighted_nll(TwoUnigrams(corpus), corpus, 1).nll
    model = TwoUnigrams(corpus, tempered=0)
    few, many = (importance_weighted_nll(model, corpus, samples).nll for samples in (4, 32))
    assert sentence_bound(model, corpus).negative_elbo > few + 0.1
    assert few > many
    assert many == pytest.approx(exact, abs=0.02)


def test_a_language_model_needs_no_draws(prepared: PreparedFolder, held_out: Corpus) -> None:
    model = build("language-model", prepared)
    weighted, exact = importance_weighted_nll(model, held_out, 12), sentence_bound(model, held_out)
    torch.testing.assert_close(weighted.bound.total(), exact.total(), rtol=1e-5, atol=1e-5)
    assert weighted.perplexity == pytest.approx(exact.perplexity, rel=1e-5)
    assert weighted.standard_error == pytest.approx(exact.parts("row").standard_error, rel=1e-3)


def test_the_seed_alone_chooses_the_sentences(prepared: PreparedFolder, held_out: Corpus) -> None:
    size = len(held_out.lengths)
    one, other = (importance_weighted_nll(build(n, prepared), held_out, 1, 3, 9) for n in ("tgvae", "language-model"))
    assert torch.equal(one.index, other.index)
    assert torch.equal(one.index, one.index.unique()), "rising, each once"
    assert len(one.index) == one.bound.rows == 9
    again = importance_weighted_nll(build("tgvae", prepared), held_out, 1, 3, 9)
    assert torch.equal(one.bound.total(), again.bound.total())
    assert not torch.equal(one.index, importance_weighted_nll(Unigram(held_out), held_out, 1, 4, 9).index)
    for wanted in (None, size, size + 1):
        assert importance_weighted_nll(Unigram(held_out), held_out, 1, 3, wanted).index.tolist() == list(range(size))
    single = importance_weighted_nll(Unigram(held_out), held_out, 1, 3, 1)
    assert (single.bound.rows, single.standard_error) == (1, None)


def test_chances_of_the_sentences_are_equal(held_out: Corpus) -> None:
    """Whatever their length: all are chosen about as often over many seeds."""
    model, size = TwoUnigrams(held_out), len(held_out.lengths)
    chosen = [importance_weighted_nll(model, held_out, 1, seed, size // 2).index for seed in range(60)]
    times = torch.cat(chosen).bincount(minlength=size)
    assert times.sum() == 60 * (size // 2)
    assert (times - 30).abs().max() < 5 * math.sqrt(60 / 4), "five standard deviations"


@pytest.mark.parametrize(("samples", "sentences"), [(0, None), (10, 0)])
def test_no_draw_and_no_sentence_are_refused(samples: int, sentences: int | None, held_out: Corpus) -> None:
    with pytest.raises(UserError, match="at least 1 sample of 1 sentence"):
        importance_weighted_nll(Unigram(held_out), held_out, samples, rows=sentences)


class Letters(nn.Module):
    """Every letter of the text, and its end, has probability 1/50, however the text is cut into tokens."""

    device = torch.device("cpu")

    def __init__(self, tokenizer: SentenceTokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def trace(self, batch: Batch, samples: int = 1) -> Trace:
        return Trace(observed={"y": Observed(_LettersOf(self.tokenizer), batch.targets, "sentence")})


class _LettersOf(Distribution):
    arg_constraints: dict[str, object] = {}

    def __init__(self, tokenizer: SentenceTokenizer) -> None:
        self.tokenizer, self.special = tokenizer, {tokenizer.pad_id, tokenizer.eos_id}
        super().__init__(validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        texts = [self.tokenizer.decode(i for i in row if i not in self.special) for row in value.tolist()]
        return -torch.tensor([[len(text) + 1.0 for text in texts]]) * math.log(50)


def test_perplexity_per_word_is_free_of_the_tokenizer(tmp_path: Path) -> None:
    source = tmp_path / "documents.jsonl"
    source.write_text("".join(json.dumps(d) + "\n" for d in made_up_documents(60)), encoding="utf-8")
    bounds = []
    for size in (310, 400):
        settings = PrepareSettings(vocabulary_size=size, splits=(0.6, 0.2, 0.2), min_document_words=3)
        folder = PreparedFolder.open(prepare(str(source), tmp_path / str(size), settings, workers=1))
        bounds.append(sentence_bound(Letters(folder.tokenizer), Corpus(folder, "test")))
    small, large = bounds
    assert small.tokens.sum() > 1.2 * large.tokens.sum(), "the tokens do differ"
    assert torch.equal(small.words, large.words)
    assert small.perplexity == pytest.approx(large.perplexity, rel=1e-9)
    assert small.per("token") < large.per("token")
