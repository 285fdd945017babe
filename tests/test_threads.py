"""Several threads write with one model at the same time: each gets what it would alone, whatever else draws."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from campaigns import soak
from tests.conftest import THEMES
from tgvae.data.schema import PreparedFolder
from tgvae.data.vectors import Space
from tgvae.evaluation.likelihood import evaluating
from tgvae.generation.decode import DecodeSettings
from tgvae.models.imputation import complete
from tgvae.models.sentence import LanguageModel, SentenceConfig, SentenceVAE
from tgvae.models.summarizer import Summarizer, SummarizerConfig
from tgvae.models.tgvae import TGVAE, TGVAEConfig
from tgvae.models.topic import TopicConfig
from tgvae.models.vae import VectorConfig, VectorVAE
from tgvae.random import fork_rng, make_generator

CPU = torch.device("cpu")
SIZES = SentenceConfig(embedding_size=12, hidden_size=10, latent_size=4, flow_length=2)
TOPIC = TopicConfig(topics=3, word_embedding_size=4, hidden_size=6)
SHORT = DecodeSettings(max_length=12)
FILTERED = DecodeSettings(top_p=0.9, no_repeat_ngram=2, max_length=12)
BEAM = DecodeSettings("beam", beams=3, max_length=8)
TEXTS = [" ".join(f"The {word} was near the {words[0]}." for word in words[1:4]) for words in THEMES.values()]
SEEDS = (0, 1, 2**31)
Call = Callable[[], Any]


@pytest.fixture(scope="module")
def models(prepared: PreparedFolder) -> dict[str, Any]:
    """Fresh models, whose words are all about as likely: what is drawn shows."""
    with fork_rng(0, CPU):
        data = prepared.tokenizer, prepared.topic_vocabulary
        found = {
            "tgvae": TGVAE(TGVAEConfig(TOPIC, SIZES), *data),
            "sentence-vae": SentenceVAE(SIZES, *data),
            "language-model": LanguageModel(SIZES, *data),
            "summarizer": Summarizer(SummarizerConfig(TOPIC, SIZES), *data),
            "vector-vae": VectorVAE(VectorConfig((8,), latent_size=3), Space(6)),
        }
        return {name: model.eval() for name, model in found.items()}


def writing(models: dict[str, Any]) -> Iterator[tuple[str, Call]]:
    """Every way of writing by a seed, with some seeds."""
    tgvae, vae, language_model, summarizer, _ = models.values()
    for seed in SEEDS:
        yield from {
            f"topic {seed}": partial(tgvae.generate, 1, num=6, settings=SHORT, seed=seed),
            f"mixture {seed}": partial(tgvae.generate, mixture={0: 1, 2: 3}, num=6, settings=FILTERED, seed=seed),
            f"like {seed}": partial(tgvae.generate, like=TEXTS[0], num=4, strength=2.0, settings=BEAM, seed=seed),
            f"reconstruct {seed}": partial(tgvae.reconstruct, TEXTS, SHORT, seed),
            f"interpolate {seed}": partial(tgvae.interpolate, *TEXTS[:2], 5, SHORT, seed),
            f"write {seed}": lambda seed=seed: vae.write(torch.eye(4), SHORT, make_generator(seed, CPU)),
            f"of the prior {seed}": partial(vae.generate, 6, SHORT, seed),
            f"without latent {seed}": partial(language_model.generate, 6, SHORT, seed),
            f"summaries {seed}": partial(summarizer.summarize_documents, TEXTS, 3, settings=BEAM, seed=seed),
            f"sampled summaries {seed}": partial(
                summarizer.summarize_documents, TEXTS, 3, 1, settings=SHORT, seed=seed
            ),
        }.items()


def drawing_vectors(models: dict[str, Any]) -> Iterator[tuple[str, Call]]:
    """The same for vectors."""
    model, x, known = models["vector-vae"], torch.eye(6), torch.tensor([True, False] * 3)
    for seed in SEEDS:
        yield f"vectors {seed}", lambda seed=seed: model.sample(7, seed).tolist()
        yield f"completed {seed}", lambda seed=seed: complete(model, x, known, 3, 4, seed).z.tolist()


def test_threads_get_what_each_would_alone(models: dict[str, Any]) -> None:
    """8 threads of which each asks everything, from another place on, while one draws from torch's own generator."""
    asked = list(writing(models))
    alone = {name: call() for name, call in asked}
    assert len({str(answer) for answer in alone.values()}) >= len(alone) - 2, "seeds differ, but for beams"
    end = threading.Event()

    def ask(first: int) -> list[str]:
        return [name for name, call in asked[first:] + asked[:first] if call() != alone[name]]

    def draw() -> None:
        while not end.wait(0.001):
            torch.rand(3)

    with ThreadPoolExecutor(9) as pool:
        drawing_too = pool.submit(draw)
        wrong = list(pool.map(ask, range(0, 24, 3)))
        end.set()
        drawing_too.result()
    assert wrong == [[]] * 8


def test_seeded_draws_of_vectors_take_turns(models: dict[str, Any]) -> None:
    """Threads that change often, and no wrong draw: they all go through one door."""
    asked = list(drawing_vectors(models))
    alone = {name: call() for name, call in asked}
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = [(name, pool.submit(call)) for name, call in asked * 8]
    finally:
        sys.setswitchinterval(interval)
    assert all(answer.result() == alone[name] for name, answer in found)


def test_writing_leaves_the_common_generator_alone(models: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not set even for a moment, as other threads may draw from it then."""
    monkeypatch.setattr(torch, "manual_seed", lambda seed: pytest.fail("the common generator is set"))
    before = torch.get_rng_state()
    for name, call in writing(models):
        call()
        assert torch.equal(torch.get_rng_state(), before), name


def test_one_seed_gives_the_sentences_it_always_gave(models: dict[str, Any]) -> None:
    """By the common generator, as before there were others: the numbers of a seed are the same."""
    model = models["sentence-vae"]
    with fork_rng(3, CPU):
        expected = model.write(model.prior().sample((5,)), SHORT)
    assert model.generate(5, SHORT, seed=3) == expected
    tgvae = models["tgvae"]
    with fork_rng(3, CPU):
        expected = tgvae.write(tgvae.sample_latents(tgvae.one_hot_topic(2).expand(5, -1)), SHORT)
    assert tgvae.generate(2, num=5, settings=SHORT, seed=3) == expected


def test_evaluation_takes_turns_and_puts_the_mode_back(models: dict[str, Any]) -> None:
    """A thread that evaluates must not find the mode that another one is about to put back."""
    model, inside, go_on, found = models["vector-vae"], threading.Event(), threading.Event(), []

    def first() -> None:
        with evaluating(model, 0):
            inside.set()
            go_on.wait(10)

    def second() -> None:
        inside.wait(10)
        with evaluating(model, 0):
            found.append(model.training)

    model.train()
    try:
        threads = [threading.Thread(target=first), threading.Thread(target=second)]
        for thread in threads:
            thread.start()
        threads[1].join(0.05)
        assert not found, "the second one waits"
        go_on.set()
        for thread in threads:
            thread.join(10)
        assert found == [False]
        assert model.training
    finally:
        model.eval()


def test_soak_compares_with_known_answers(models: dict[str, Any]) -> None:
    """One known answer differs and one request fails; both are counted."""
    ask = partial(soak.request, models["tgvae"], models["summarizer"], 0)
    known = [ask(number)[1]() for number in range(4)]
    answers: list[soak.Answer] = []
    end = threading.Event()

    def asked(number: int) -> soak.Request:
        if number >= 9:
            end.set()
        return ("odd", lambda: 1 / 0) if number == 7 else ask(number)

    soak.work(asked, [*known[:2], "another answer", *known[3:]], count(), answers, end)
    wrong = [answer.wrong for answer in answers if answer.wrong]
    assert wrong == ["ZeroDivisionError: division by zero", "the answer differs from that of a single thread"]
    assert (len(answers), sum(answer.known for answer in answers)) == (6, 3)


@pytest.mark.parametrize(("memory", "lost"), [([100, 300, 301, 299], 0), ([100, 300, 310], 0), ([100, 300, 320], 1)])
def test_soak_reports_growing_memory(memory: list[float], lost: int) -> None:
    """What memory does in the first half does not count."""
    assert soak.Soak().outcome([], memory).lost == lost
