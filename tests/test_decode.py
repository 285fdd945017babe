"""Decoding against exhaustive enumeration, a plain beam search on lists, and known distributions."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from dataclasses import replace
from typing import Any, NamedTuple, get_args

import pytest
import torch
from torch import Tensor, nn

from tgvae.errors import UserError
from tgvae.generation.decode import READABLE, Decoded, DecodeSettings, Strategy, _argmax, _sample, decode, select
from tgvae.models.summarization import SUMMARY

PAD, BOS, EOS, FIRST_WORD = 0, 1, 2, 3
FORBIDDEN = (PAD, BOS)


class Recurrent(nn.Module):
    """A random GRU whose state nests a tuple and a dict; sharp enough that rows end at different lengths."""

    def __init__(self, seed: int, words: int = 3, sharpness: float = 4.0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        vocabulary = FIRST_WORD + words
        self.embedding = nn.Embedding(vocabulary, 6)
        self.cell = nn.GRUCell(6 + 4, 8)
        self.output = nn.Linear(8, vocabulary)
        self.sharpness = sharpness
        self.steps = self.rows = 0

    def start(self, rows: int) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.zeros(rows, 8), {"z": 2 * torch.randn(rows, 4)}

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        self.steps, self.rows = self.steps + 1, self.rows + len(tokens)
        h, context = state
        h = self.cell(torch.cat((self.embedding(tokens), context["z"]), dim=-1), h)
        return self.sharpness * self.output(h), (h, context)


class Table:
    """A Markov chain: row i of the table holds the logits after token i. The state counts the steps."""

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def step(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.table[tokens], state + 1


def fixed(probs: list[float]) -> Table:
    """Words with these probabilities at every step, the last entry being eos."""
    row = torch.tensor([0.0, 0.0, probs[-1], *probs[:-1]]).log()
    return Table(row.expand(len(row), -1))


def run(decoder: Any, state: Any, seed: int = 0, **settings: Any) -> Decoded:
    generator = torch.Generator().manual_seed(seed)
    return decode(
        decoder,
        state,
        bos_id=BOS,
        eos_id=EOS,
        pad_id=PAD,
        settings=DecodeSettings(**settings),
        generator=generator,
        forbidden=FORBIDDEN,
    )


def words(decoded: Decoded) -> list[tuple[int, ...]]:
    return [tuple(i for i in row if i != PAD) for row in decoded.ids.tolist()]


@torch.no_grad()
def enumerate_all(decoder: Any, state: Any, max_length: int) -> dict[tuple[int, ...], float]:
    """log p of everything one row can emit in ``max_length`` steps; finished sequences end in EOS."""
    found: dict[tuple[int, ...], float] = {}
    stack: list[tuple[tuple[int, ...], float, Any]] = [((), 0.0, state)]
    while stack:
        prefix, log_prob, state = stack.pop()
        if len(prefix) == max_length or EOS in prefix:
            found[prefix] = log_prob
            continue
        logits, state = decoder.step(torch.tensor([(BOS, *prefix)[-1]]), state)
        following = logits[0].double().log_softmax(-1).tolist()
        stack += [((*prefix, i), log_prob + following[i], state) for i in range(EOS, len(following))]
    return found


def repeats(tokens: tuple[int, ...], n: int) -> bool:
    grams = [tokens[i : i + n] for i in range(len(tokens) - n + 1)]
    return len(set(grams)) < len(grams)


@torch.no_grad()
def plain_beam(decoder: Any, state: Any, beams: int, penalty: float, max_length: int) -> tuple[tuple[int, ...], float]:
    """Beam search for one row on Python lists, to the last step: no early stop."""
    hypotheses: list[tuple[float, tuple[int, ...], Any]] = [(0.0, (), state)]
    finished: list[tuple[float, float, tuple[int, ...]]] = []
    for _ in range(max_length):
        grown = []
        for log_prob, tokens, state in hypotheses:
            logits, after = decoder.step(torch.tensor([(BOS, *tokens)[-1]]), state)
            following = logits[0].log_softmax(-1).tolist()
            grown += [(log_prob + following[i], (*tokens, i), after) for i in range(EOS, len(following))]
        kept = sorted(grown, key=lambda hypothesis: -hypothesis[0])[:beams]
        finished += [(lp / len(y) ** penalty, lp, y[:-1]) for lp, y, _ in kept if y[-1] == EOS]
        hypotheses = [hypothesis for hypothesis in kept if hypothesis[1][-1] != EOS]
    if finished:
        _, log_prob, tokens = max(finished)
        return tokens, log_prob
    return hypotheses[0][1], hypotheses[0][0]


@pytest.mark.parametrize("limits", [{}, {"min_length": 2}, {"no_repeat_ngram": 2}], ids=str)
@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_wide_beam_is_exhaustive_search(seed: int, penalty: float, limits: dict[str, int]) -> None:
    decoder, max_length = Recurrent(seed), 5
    state = decoder.start(3)
    decoded = run(
        decoder,
        state,
        strategy="beam",
        beams=3**max_length,
        length_penalty=penalty,
        max_length=max_length,
        **limits,
    )
    for row, found in enumerate(words(decoded)):
        everything = enumerate_all(decoder, select(state, torch.tensor([row])), max_length)
        allowed = {
            y[:-1]: log_prob
            for y, log_prob in everything.items()
            if y[-1] == EOS
            and len(y) > limits.get("min_length", 0)
            and not repeats(y, limits.get("no_repeat_ngram", max_length))
        }
        best = max(allowed, key=lambda y: allowed[y] / (len(y) + 1) ** penalty)
        assert found == best
        assert decoded.log_prob[row].item() == pytest.approx(allowed[best], abs=1e-4)
    assert decoded.finished.all()


@pytest.mark.parametrize("penalty", [0.0, 1.0, 1.5])
@pytest.mark.parametrize("beams", [1, 2, 4])
def test_narrow_beam_matches_a_plain_one(beams: int, penalty: float) -> None:
    finished = []
    for seed in range(6):
        decoder = Recurrent(seed, words=6)
        state = decoder.start(8)
        settings: dict[str, Any] = {"beams": beams, "length_penalty": penalty, "max_length": 9}
        decoded = run(decoder, state, strategy="beam", **settings)
        for row, found in enumerate(words(decoded)):
            expected, log_prob = plain_beam(decoder, select(state, torch.tensor([row])), beams, penalty, max_length=9)
            assert found == expected
            assert decoded.log_prob[row].item() == pytest.approx(log_prob, abs=1e-4)
        finished += decoded.finished.tolist()
    assert set(finished) == {True, False}  # both kinds of ending were compared


def test_beam_stops_as_soon_as_nothing_can_win() -> None:
    decoder = Recurrent(0)
    decoder.output.bias.data[EOS] += 3  # ends early
    run(decoder, decoder.start(4), strategy="beam", beams=3, length_penalty=0.0, max_length=200)
    assert decoder.steps < 20


@pytest.mark.parametrize("strategy", ["greedy", "beam"])
def test_rows_that_are_done_cost_no_step(strategy: str) -> None:
    decoder = Recurrent(5, words=10)
    state = decoder.start(12)
    run(decoder, state, strategy=strategy, max_length=15)
    together, decoder.rows = decoder.rows, 0
    for row in range(12):
        run(decoder, select(state, torch.tensor([row])), strategy=strategy, max_length=15)
    assert together == decoder.rows


@pytest.mark.parametrize("seed", range(4))
def test_greedy_is_a_beam_of_one(seed: int) -> None:
    decoder = Recurrent(seed, words=8)
    state = decoder.start(10)
    greedy = run(decoder, state, strategy="greedy", max_length=12)
    beam = run(decoder, state, strategy="beam", beams=1, max_length=12)
    assert words(greedy) == words(beam)
    assert torch.equal(greedy.finished, beam.finished)
    torch.testing.assert_close(greedy.log_prob, beam.log_prob)


def test_greedy_follows_the_largest_logit() -> None:
    table = torch.zeros(6, 6)
    for here, there in ((BOS, 4), (4, 3), (3, 5), (5, EOS)):
        table[here, there] = 5.0
    decoded = run(Table(table), torch.zeros(2, 1), strategy="greedy")
    assert decoded.ids.tolist() == [[4, 3, 5]] * 2
    assert decoded.log_prob[0].item() == pytest.approx(4 * (5 - math.log(math.exp(5) + 5)), abs=1e-5)


PROBS = [0.4, 0.25, 0.15, 0.1, 0.07, 0.03]


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({}, PROBS),
        ({"temperature": 0.5}, [p**2 for p in PROBS]),
        ({"temperature": 2}, [p**0.5 for p in PROBS]),
        ({"top_k": 3}, [*PROBS[:3], 0, 0, 0]),
        ({"top_k": 100}, PROBS),
        ({"top_p": 0.75}, [*PROBS[:3], 0, 0, 0]),
        ({"top_p": 0.01}, [1, 0, 0, 0, 0, 0]),
        ({"temperature": 0.5, "top_p": 0.75}, [0.16, 0.0625, 0, 0, 0, 0]),
        ({"top_k": 4, "top_p": 0.8}, [*PROBS[:3], 0, 0, 0]),
        ({"min_p": 0.3}, [*PROBS[:3], 0, 0, 0]),  # at least 0.3 times 0.4
        ({"temperature": 0.5, "min_p": 0.3}, [0.16, 0.0625, 0, 0, 0, 0]),
        ({"typical_p": 0.3}, [0, *PROBS[1:3], 0, 0, 0]),  # entropy 1.52; -log p of 0.25 and 0.15: 1.39 and 1.90 nats
        ({"min_length": 1}, [*PROBS[:5], 0]),
    ],
    ids=str,
)
def test_samples_follow_the_shaped_distribution(settings: dict[str, Any], weights: list[float]) -> None:
    rows = 20_000
    decoded = run(fixed(PROBS), torch.zeros(rows, 1), max_length=2, **settings)
    first = [y[0] if y else EOS for y in words(decoded)]
    for token, weight in zip([3, 4, 5, 6, 7, EOS], weights, strict=True):
        p = weight / sum(weights)
        assert abs(first.count(token) / rows - p) <= 4 * math.sqrt(p * (1 - p) / rows)


def test_sampled_sentences_follow_the_model() -> None:
    """Two kinds of rows, interleaved: states must stay with their rows while others leave the batch."""
    decoder, rows, max_length = Recurrent(3, words=2, sharpness=2.0), 20_000, 3
    decoder.output.bias.data[list(FORBIDDEN)] = -1e9  # nothing is lost to the forbidden ids
    two = decoder.start(2)
    decoded = run(decoder, select(two, torch.arange(rows) % 2), max_length=max_length)
    drawn = [y + (EOS,) * int(f) for y, f in zip(words(decoded), decoded.finished.tolist(), strict=True)]
    for kind in range(2):
        expected = enumerate_all(decoder, select(two, torch.tensor([kind])), max_length)
        assert sum(map(math.exp, expected.values())) == pytest.approx(1, abs=1e-6)
        mine = drawn[kind::2]
        for sentence, log_prob in expected.items():
            p = math.exp(log_prob)
            assert abs(mine.count(sentence) / len(mine) - p) <= 4.5 * math.sqrt(p / len(mine))


@pytest.mark.parametrize("size", [5, 300])
def test_at_either_end_of_the_uniform_numbers(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first and the last of the permitted tokens, however rare, and never one beside them."""
    torch.manual_seed(0)
    scores = torch.randn(200, size) - 25
    scores[:, 2] += 25
    scores[:, [0, -1]] = -math.inf
    for number, token in ((0.0, size - 2), (1 - 2**-53, 1)):
        monkeypatch.setattr(torch, "rand", lambda *size, n=number, **kind: torch.full(size, n, dtype=kind["dtype"]))
        assert _sample(scores, None).tolist() == [token] * len(scores)


@pytest.mark.parametrize("words", [1, 63, 64, 65, 300])
def test_samples_are_where_the_distribution_function_reaches_a_uniform_number(words: int) -> None:
    """By brute force, over all tokens in double precision; a third of them is not permitted."""
    torch.manual_seed(words)
    scores = 3 * torch.randn(500, words)
    scores[:, 1::3] = -math.inf
    generator = torch.Generator().manual_seed(1)
    drawn = _sample(scores, generator)
    uniform = 1 - torch.rand(500, 1, dtype=torch.float64, generator=generator.manual_seed(1))
    reached = scores.double().softmax(-1).cumsum(-1)
    rows = torch.arange(500)
    before = (reached - scores.double().softmax(-1))[rows, drawn]
    assert (before - 1e-6 < uniform[:, 0]).all()
    assert (uniform[:, 0] < reached[rows, drawn] + 1e-6).all()
    assert (scores[rows, drawn] > -math.inf).all()


@pytest.mark.parametrize("words", [1, 63, 64, 65, 300])
def test_the_argmax_is_the_first_of_the_largest(words: int) -> None:
    torch.manual_seed(words)
    scores = torch.randint(5, (500, words)).float()
    scores[::2, : words // 2] = -math.inf
    first = [row.index(max(row)) for row in scores.tolist()]
    assert _argmax(scores).tolist() == first


def test_samples_depend_on_the_generator_alone() -> None:
    decoder = Recurrent(0, words=20, sharpness=1.0)
    state = decoder.start(5)
    once = run(decoder, state, seed=1, max_length=20)
    torch.manual_seed(99)
    again = run(decoder, state, seed=1, max_length=20)
    assert torch.equal(once.ids, again.ids)
    assert words(once) != words(run(decoder, state, seed=2, max_length=20))


@pytest.mark.parametrize("settings", [{"strategy": "greedy"}, {"strategy": "beam", "beams": 4}], ids=str)
def test_a_batch_equals_its_rows(settings: dict[str, Any]) -> None:
    decoder = Recurrent(5, words=10)
    state = decoder.start(12)
    together = run(decoder, state, no_repeat_ngram=2, max_length=15, **settings)
    assert len({len(y) for y in words(together)}) > 2
    for row, expected in enumerate(words(together)):
        alone = run(decoder, select(state, torch.tensor([row])), no_repeat_ngram=2, max_length=15, **settings)
        assert words(alone) == [expected]
        torch.testing.assert_close(alone.log_prob, together.log_prob[row : row + 1])
        assert alone.finished[0] == together.finished[row]


SHAPED = [
    {"strategy": "sample", "temperature": 1.5, "top_k": 6, "top_p": 0.9},
    {"strategy": "greedy"},
    {"strategy": "beam", "beams": 3},
]


@pytest.mark.parametrize("settings", SHAPED, ids=lambda s: s["strategy"])
def test_log_prob_is_that_of_the_untouched_model(settings: dict[str, Any]) -> None:
    decoder = Recurrent(7, words=8)
    state = decoder.start(16)
    decoded = run(decoder, state, min_length=2, no_repeat_ngram=3, max_length=8, **settings)
    assert set(decoded.finished.tolist()) == {True, False}
    for row, y in enumerate(words(decoded)):
        targets = (*y, EOS) if decoded.finished[row] else y
        step, log_prob = select(state, torch.tensor([row])), 0.0
        for before, after in itertools.pairwise((BOS, *targets)):
            with torch.no_grad():
                logits, step = decoder.step(torch.tensor([before]), step)
            log_prob += logits[0].log_softmax(-1)[after].item()
        assert decoded.log_prob[row].item() == pytest.approx(log_prob, abs=1e-4)


@pytest.mark.parametrize("settings", SHAPED, ids=lambda s: s["strategy"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_ngram_occurs_twice(n: int, settings: dict[str, Any]) -> None:
    decoder = Recurrent(2, words=12)
    decoder.output.bias.data[EOS] -= 3
    state = decoder.start(8)
    assert any(repeats(y, n) for y in words(run(decoder, state, max_length=12, **settings)))
    assert not any(repeats(y, n) for y in words(run(decoder, state, max_length=12, no_repeat_ngram=n, **settings)))


@pytest.mark.parametrize("settings", SHAPED, ids=lambda s: s["strategy"])
def test_repeatable_ids_may_come_again(settings: dict[str, Any]) -> None:
    decoder = Recurrent(2, words=12)
    decoder.output.bias.data[EOS] -= 3
    state, limits = decoder.start(8), DecodeSettings(max_length=12, no_repeat_ngram=1, **settings)
    some = [FIRST_WORD, FIRST_WORD + 1]
    decoded = decode(
        decoder, state, bos_id=BOS, eos_id=EOS, pad_id=PAD, settings=limits, forbidden=FORBIDDEN, repeatable=some
    )
    again = {i for y in words(decoded) for i in y if y.count(i) > 1}
    assert again
    assert again <= set(some)


@pytest.mark.parametrize(("penalty", "written"), [(1.0, "aaaaa"), (1.5, "aaaaa"), (1.6, "abaaa"), (3.0, "abcde")])
def test_repetition_penalty_multiplies_what_was_used(penalty: float, written: str) -> None:
    """log p is -0.92, -1.39, -1.90 and -2.30: 1.5 times the first is still the most, 1.6 times it is not."""
    decoded = run(fixed(PROBS), torch.zeros(1, 1), strategy="greedy", repetition_penalty=penalty, max_length=5)
    assert decoded.ids.tolist() == [["abcdef".index(letter) + FIRST_WORD for letter in written]]


def test_the_log_probability_of_a_beam_is_the_models_own() -> None:
    """A repetition penalty changes what is searched for, not what is said of it."""
    decoder = Recurrent(2, words=4)
    decoder.output.bias.data[EOS] -= 2
    state = decoder.start(6)
    decoded = run(decoder, state, strategy="beam", beams=3, repetition_penalty=3.0, max_length=8)
    for row, y in enumerate(words(decoded)):
        whole = (*y, EOS) if decoded.finished[row] else y
        own, log_prob, token = select(state, torch.tensor([row])), 0.0, BOS
        for after in whole:
            logits, own = decoder.step(torch.tensor([token]), own)
            log_prob, token = log_prob + logits[0].log_softmax(-1)[after].item(), after
        assert decoded.log_prob[row].item() == pytest.approx(log_prob, abs=1e-4)


@pytest.mark.parametrize("settings", SHAPED, ids=lambda s: s["strategy"])
def test_lengths_keep_their_limits(settings: dict[str, Any]) -> None:
    decoder = Recurrent(4, words=5)
    decoder.output.bias.data[EOS] += 2
    state = decoder.start(20)
    free = run(decoder, state, max_length=7, **settings)
    assert min(map(len, words(free))) < 4
    limited = run(decoder, state, min_length=4, max_length=7, **settings)
    assert min(map(len, words(limited))) >= 4
    for y, finished in zip(words(limited), limited.finished.tolist(), strict=True):
        assert len(y) < 7 if finished else len(y) == 7


@pytest.mark.parametrize("settings", SHAPED, ids=lambda s: s["strategy"])
def test_without_eos_the_sentence_is_cut(settings: dict[str, Any]) -> None:
    decoder = Recurrent(4)
    decoder.output.bias.data[EOS] = -1e9
    decoded = run(decoder, decoder.start(3), max_length=6, **settings)
    assert decoded.ids.shape == (3, 6)
    assert not decoded.finished.any()
    assert (decoded.log_prob > -100).all()  # no eos is counted


@pytest.mark.parametrize("settings", SHAPED, ids=lambda s: s["strategy"])
def test_an_immediate_eos_gives_empty_sentences(settings: dict[str, Any]) -> None:
    decoded = run(fixed([1e-30, 1.0]), torch.zeros(3, 1), **settings)
    assert decoded.ids.shape == (3, 0)
    assert decoded.finished.all()
    torch.testing.assert_close(decoded.log_prob, torch.zeros(3))


@pytest.mark.parametrize("settings", SHAPED, ids=lambda s: s["strategy"])
def test_forbidden_ids_never_appear(settings: dict[str, Any]) -> None:
    decoder = Recurrent(6, words=5)
    unk = 5
    decoder.output.bias.data[[PAD, BOS, unk]] += 4
    state = decoder.start(30)
    options: dict[str, Any] = {
        "bos_id": BOS,
        "eos_id": EOS,
        "pad_id": -1,  # a filler outside the vocabulary shows emitted pads
        "settings": DecodeSettings(max_length=10, **settings),
        "generator": torch.Generator().manual_seed(0),
    }
    forbidden = {PAD, BOS, unk}
    assert forbidden & set(decode(decoder, state, **options).ids.flatten().tolist())
    clean = decode(decoder, state, forbidden=tuple(forbidden), **options)
    assert not forbidden & set(clean.ids.flatten().tolist())


@pytest.mark.parametrize("settings", SHAPED, ids=lambda s: s["strategy"])
def test_a_row_without_any_choice_is_an_error(settings: dict[str, Any]) -> None:
    decoder = Recurrent(0, words=3)
    with pytest.raises(UserError, match=r"after 3 tokens.*min_length or no_repeat_ngram"):
        run(decoder, decoder.start(2), min_length=5, no_repeat_ngram=1, max_length=9, **settings)


class Wishes:
    """Follows a list of tokens a row, and if one of them may not be, the smallest that may. The state: (R, M)."""

    def step(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        wished = torch.nn.functional.one_hot(state[:, 0], FIRST_WORD + 2)
        return 20.0 * wished - torch.arange(FIRST_WORD + 2), state.roll(-1, 1)


@pytest.mark.parametrize("settings", [{"strategy": "greedy"}, {"strategy": "beam", "beams": 1}], ids=str)
def test_one_row_without_any_choice_is_enough(settings: dict[str, Any]) -> None:
    """Of two words with no pair twice: a b a a ends sooner than a a b b a, with which there is nothing wrong yet."""
    a, b = FIRST_WORD, FIRST_WORD + 1
    stuck, free = torch.tensor([a, b, a, a, b]), torch.tensor([a, a, b, b, a])
    with pytest.raises(UserError, match="after 5 tokens"):
        run(Wishes(), torch.stack([free, free]), min_length=8, no_repeat_ngram=2, **settings)
    for rows in ([stuck, free], [free, stuck]):
        with pytest.raises(UserError, match="after 4 tokens"):
            run(Wishes(), torch.stack(rows), min_length=8, no_repeat_ngram=2, **settings)


@pytest.mark.parametrize("settings", SHAPED, ids=lambda s: s["strategy"])
def test_logits_that_are_not_numbers_are_an_error(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="not numbers"):
        run(Table(torch.full((5, 5), math.nan)), torch.zeros(2, 1), **settings)


def strategy_for(field: str) -> dict[str, Any]:
    return {"strategy": "beam"} if field in ("beams", "length_penalty") else {}


@pytest.mark.parametrize(
    ("field", "values", "wanted"),
    [
        ("strategy", ["dream"], "one of sample, greedy, beam"),
        ("temperature", [0.0, math.nan, math.inf], "positive and finite"),
        ("top_k", [-1], "0 (off) or more"),
        ("top_p", [0.0, 1.1], "above 0 and at most 1 (off)"),
        ("min_p", [-0.1, 1.1, math.nan], "from 0 (off) to 1"),
        ("typical_p", [0.0, 1.1, math.nan], "above 0 and at most 1 (off)"),
        ("no_repeat_ngram", [-1], "0 (off) or more"),
        ("repetition_penalty", [0.99, math.nan, math.inf], "1 (off) or more, and finite"),
        ("beams", [0], "1 or more"),
        ("length_penalty", [-0.5, 5.1, math.nan], "from 0 to 5"),
        ("min_length", [-1, 60], "0 or more and below max_length"),
        ("max_length", [0], "1 or more"),
    ],
)
def test_settings_out_of_range_name_the_field(field: str, values: list[Any], wanted: str) -> None:
    for value in values:
        with pytest.raises(UserError) as error:
            DecodeSettings(**strategy_for(field) | {field: value})
        assert str(error.value) == f"decoding: {field} is {value!r} but must be {wanted}."


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("temperature", [1e-9, 1e9]),
        ("top_k", [0, 1]),
        ("top_p", [1e-9, 1]),
        ("min_p", [0, 1]),
        ("typical_p", [1e-9, 1]),
        ("no_repeat_ngram", [0, 1]),
        ("repetition_penalty", [1, 1e9]),
        ("beams", [1]),
        ("length_penalty", [0, 5]),
        ("min_length", [0, 59]),
        ("max_length", [1]),
    ],
)
def test_the_ends_of_a_range_are_in_it(field: str, values: list[float]) -> None:
    settings = [DecodeSettings(**strategy_for(field) | {field: value}) for value in values]
    assert [getattr(found, field) for found in settings] == values


@pytest.mark.parametrize("strategy", get_args(Strategy))
@pytest.mark.parametrize(
    ("field", "value", "used_by"),
    [
        ("temperature", 0.5, "sample"),
        ("top_k", 10, "sample"),
        ("top_p", 0.5, "sample"),
        ("min_p", 0.1, "sample"),
        ("typical_p", 0.5, "sample"),
        ("beams", 3, "beam"),
        ("length_penalty", 0.0, "beam"),
    ],
)
def test_options_without_effect_are_refused(field: str, value: float, used_by: str, strategy: str) -> None:
    settings: dict[str, Any] = {"strategy": strategy, field: value}
    if strategy == used_by:
        assert getattr(DecodeSettings(**settings), field) == value
    else:
        with pytest.raises(UserError, match=f"{field} has no effect with strategy {strategy}; .* use {used_by}"):
            DecodeSettings(**settings)


@pytest.mark.parametrize("strategy", get_args(Strategy))
@pytest.mark.parametrize("defaults", [DecodeSettings(), READABLE, SUMMARY], ids=["plain", "readable", "summary"])
def test_defaults_go_with_every_strategy(strategy: Strategy, defaults: DecodeSettings) -> None:
    assert replace(defaults, strategy=strategy).open_hypotheses == (5 if strategy == "beam" else 1)


@pytest.mark.parametrize("settings", SHAPED, ids=lambda s: s["strategy"])
def test_everything_is_made_on_the_device_of_the_state(settings: dict[str, Any]) -> None:
    """What names no device would be on "meta" here, and cannot be mixed with the rest."""
    decoder = Recurrent(1, words=8)
    state = decoder.start(6)
    expected = run(decoder, state, no_repeat_ngram=2, max_length=9, **settings)
    with torch.device("meta"):
        found = run(decoder, state, no_repeat_ngram=2, max_length=9, **settings)
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize(
    ("settings", "shapes"),
    [
        ({}, False),
        ({"min_length": 3}, False),
        ({"temperature": 0.5}, True),
        ({"top_k": 1}, True),
        ({"top_p": 0.9}, True),
        ({"min_p": 0.1}, True),
        ({"typical_p": 0.9}, True),
        ({"strategy": "greedy", "temperature": 0.7, "top_p": 0.9}, False),
        ({"strategy": "beam", "no_repeat_ngram": 1}, True),
        ({"repetition_penalty": 1.1}, True),
    ],
    ids=str,
)
def test_what_changes_scores(settings: dict[str, Any], shapes: bool) -> None:
    assert DecodeSettings(**settings).shapes is shapes


class WithinDict:
    """A decoder whose state is held in a dict."""

    def __init__(self, decoder: Recurrent) -> None:
        self.decoder = decoder

    def step(self, tokens: Tensor, state: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        logits, inner = self.decoder.step(tokens, state["inner"])
        return logits, {"inner": inner}


@pytest.mark.parametrize("settings", SHAPED, ids=lambda s: s["strategy"])
def test_a_state_may_be_a_dict(settings: dict[str, Any]) -> None:
    decoder = Recurrent(1)
    state = decoder.start(6)
    inside = run(WithinDict(decoder), {"inner": state}, max_length=9, **settings)
    assert words(inside) == words(run(decoder, state, max_length=9, **settings))


def test_select_reorders_every_tensor_and_keeps_the_structure() -> None:
    class Named(NamedTuple):
        a: Tensor
        b: dict[str, Tensor]

    state = (torch.arange(3), Named(torch.eye(3), {"c": 10 * torch.arange(3)}))
    first, named = select(state, torch.tensor([2, 0, 2, 1]))
    assert first.tolist() == [2, 0, 2, 1]
    assert isinstance(named, Named)
    assert torch.equal(named.a, torch.eye(3)[[2, 0, 2, 1]])
    assert named.b["c"].tolist() == [20, 0, 20, 10]
    with pytest.raises(TypeError, match="not list"):
        select([torch.zeros(2)], torch.tensor([0]))


def test_importing_leaves_transformers_alone() -> None:
    code = "import sys, tgvae.generation.decode; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
