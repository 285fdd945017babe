"""Corruption: what is hit and how often, what never is, and distributions worked out by hand."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest
from torch import Tensor

from tgvae.config_io import from_json
from tgvae.data.corruption import Corruption, Kind, corrupt_sentences, corrupt_vectors
from tgvae.errors import UserError
from tgvae.random import fork_rng

PAD, UNK, EOS = 0, 1, 2
FIRST_WORD = 10
CPU = torch.device("cpu")
IMAGE_KINDS: list[Kind] = ["mask", "salt-and-pepper", "gaussian"]
TEXT_KINDS: list[Kind] = ["mask", "drop", "swap", "substitute"]
RATES = (0.0, 0.1, 0.5, 0.9, 1.0)
thoroughly = settings(deadline=None, max_examples=150)


def images(rows: int, size: int) -> Tensor:
    """Values between 0.05 and 0.95."""
    return 0.05 + 0.9 * torch.rand(rows, size, generator=torch.Generator().manual_seed(5))


def sentences(lengths: list[int], padding: int = 0) -> tuple[Tensor, Tensor]:
    """Rows in which every word is another one, over the whole batch."""
    tokens = FIRST_WORD + torch.arange(len(lengths) * (max(lengths) + padding)).view(len(lengths), -1)
    for row, length in zip(tokens, lengths, strict=True):
        row[length - 1], row[length:] = EOS, PAD
    return tokens, torch.tensor(lengths)


def corrupted(tokens: Tensor, lengths: Tensor, kind: Kind, rate: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    with fork_rng(seed, CPU):
        return corrupt_sentences(tokens, lengths, Corruption(kind, rate), unk_id=UNK, pad_id=PAD)


def corrupted_vectors(x: Tensor, kind: Kind, rate: float, seed: int = 0) -> Tensor:
    with fork_rng(seed, CPU):
        return corrupt_vectors(x, Corruption(kind, rate))


def words_of(tokens: Tensor, lengths: Tensor) -> list[list[int]]:
    """The words of every row, after a check that eos stands behind them and padding behind eos."""
    rows = []
    for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True):
        assert length >= 1
        assert row[length - 1 :] == [EOS] + [PAD] * (len(row) - length)
        rows.append(row[: length - 1])
    return rows


def assert_share(hit: Tensor, rate: float) -> None:
    """Hits come at ``rate`` within five binomial standard deviations: in all, in every row and in every column."""
    shares = hit.double()
    for part in (shares, shares.T, shares.reshape(-1, 1)):
        assert ((part.mean(0) - rate).abs() <= 5 * math.sqrt(rate * (1 - rate) / len(part))).all()


BATCHES = st.tuples(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(0, 2))
SHARES = st.floats(0, 1)
SEEDS = st.integers(0, 10**6)


@pytest.mark.parametrize("rate", RATES)
def test_mask_sets_values_to_0(rate: float) -> None:
    x = images(400, 300)
    seen = corrupted_vectors(x, "mask", rate)
    assert_share(seen == 0, rate)
    assert ((seen == 0) | (seen == x)).all()


@pytest.mark.parametrize("rate", RATES)
def test_salt_and_pepper_are_equally_frequent(rate: float) -> None:
    x = images(400, 300)
    seen = corrupted_vectors(x, "salt-and-pepper", rate)
    assert_share(seen == 0, rate / 2)
    assert_share(seen == 1, rate / 2)
    assert ((seen == 0) | (seen == 1) | (seen == x)).all()


@pytest.mark.parametrize("rate", [0.3, 2.0])
def test_gaussian_noise_is_normal_and_not_clipped(rate: float) -> None:
    x = images(100, 200)
    seen = corrupted_vectors(x, "gaussian", rate)
    noise = ((seen - x) / rate).double()
    assert kstest(noise.flatten().numpy(), "norm").pvalue > 1e-3
    assert noise.mean(0).abs().max() < 5 / math.sqrt(100)
    assert noise.mean(1).abs().max() < 5 / math.sqrt(200)
    assert seen.min() < 0
    assert seen.max() > 1


@thoroughly
@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from(IMAGE_KINDS),
    SHARES,
    st.sampled_from([torch.float32, torch.float64]),
)
def test_vectors_keep_shape_and_type_and_the_clean_ones_stay(
    rows: int, size: int, kind: Kind, rate: float, dtype: torch.dtype
) -> None:
    x = torch.full((rows, size), 0.5, dtype=dtype)
    seen = corrupted_vectors(x, kind, rate)
    assert (seen.shape, seen.dtype) == (x.shape, dtype)
    assert (x == 0.5).all()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", ["mask", "drop", "substitute"])
def test_words_are_hit_at_the_rate(kind: Kind, rate: float) -> None:
    tokens, lengths = sentences([151] * 200)
    seen, _ = corrupted(tokens, lengths, kind, rate)
    if kind == "drop":
        assert_share(~torch.isin(tokens[:, :-1], seen), rate)
    else:  # with 30,000 words, all of them different, hardly a substitute is the word itself
        assert_share(seen[:, :-1] != tokens[:, :-1], rate)


@thoroughly
@given(BATCHES, SHARES, SEEDS)
def test_mask_hides_words_alone(batch: tuple[list[int], int], rate: float, seed: int) -> None:
    tokens, lengths = sentences(*batch)
    seen, seen_lengths = corrupted(tokens, lengths, "mask", rate, seed)
    assert seen_lengths.equal(lengths)
    for row, clean in zip(words_of(seen, lengths), words_of(tokens, lengths), strict=True):
        assert all(word in (UNK, before) for word, before in zip(row, clean, strict=True))


@thoroughly
@given(BATCHES, SHARES, SEEDS)
def test_drop_leaves_words_in_their_order(batch: tuple[list[int], int], rate: float, seed: int) -> None:
    tokens, lengths = sentences(*batch)
    seen, seen_lengths = corrupted(tokens, lengths, "drop", rate, seed)
    assert seen.shape == tokens.shape
    for row, clean in zip(words_of(seen, seen_lengths), words_of(tokens, lengths), strict=True):
        assert row == [word for word in clean if word in row]


def test_drop_may_leave_eos_alone() -> None:
    tokens, lengths = sentences([4, 1, 6])
    seen, seen_lengths = corrupted(tokens, lengths, "drop", 1.0)
    assert words_of(seen, seen_lengths) == [[], [], []]


@thoroughly
@given(BATCHES, SHARES, SEEDS)
def test_swap_moves_words_by_one_place_at_most(batch: tuple[list[int], int], rate: float, seed: int) -> None:
    tokens, lengths = sentences(*batch)
    seen, seen_lengths = corrupted(tokens, lengths, "swap", rate, seed)
    assert seen_lengths.equal(lengths)
    for row, clean in zip(words_of(seen, lengths), words_of(tokens, lengths), strict=True):
        assert sorted(row) == clean  # rising ids
        assert all(abs(row.index(word) - place) <= 1 for place, word in enumerate(clean))


def test_swap_has_the_distribution_worked_out_by_hand() -> None:
    """Four words: by a coin the pairs are ab, cd or bc alone; each is exchanged with probability 1/4."""
    rows = 20_000
    tokens = torch.tensor([[10, 11, 12, 13, EOS]]).repeat(rows, 1)
    seen, lengths = corrupted(tokens, torch.full((rows,), 5), "swap", 0.25)
    counts = Counter("".join("abcd"[word - 10] for word in row) for row in words_of(seen, lengths))
    expected = {"abcd": 9 / 32 + 3 / 8, "bacd": 3 / 32, "abdc": 3 / 32, "badc": 1 / 32, "acbd": 1 / 8}
    assert set(counts) == set(expected)
    assert chisquare([counts[k] for k in expected], [rows * p for p in expected.values()]).pvalue > 1e-3


def test_swap_exchanges_every_pair_at_rate_1() -> None:
    tokens, lengths = sentences([6] * 50)
    seen, _ = corrupted(tokens, lengths, "swap", 1.0)
    outcomes = {tuple((row - clean[0]).tolist()[:5]) for row, clean in zip(seen, tokens, strict=True)}
    assert outcomes == {(1, 0, 3, 2, 4), (0, 2, 1, 4, 3)}


@thoroughly
@given(BATCHES, SHARES, SEEDS)
def test_substitutes_are_words_of_the_batch(batch: tuple[list[int], int], rate: float, seed: int) -> None:
    tokens, lengths = sentences(*batch)
    seen, seen_lengths = corrupted(tokens, lengths, "substitute", rate, seed)
    assert seen_lengths.equal(lengths)
    assert {w for row in words_of(seen, lengths) for w in row} <= {w for row in words_of(tokens, lengths) for w in row}


def test_substitutes_come_by_their_frequency_in_the_batch() -> None:
    frequencies = {10: 6, 11: 3, 12: 1}
    long = [word for word, count in frequencies.items() for _ in range(count)]
    tokens = torch.tensor([[*long[:7], EOS, PAD], [*long[7:], EOS, PAD, PAD, PAD, PAD, PAD]]).repeat(2000, 1)
    seen, lengths = corrupted(tokens, torch.tensor([8, 4]).repeat(2000), "substitute", 1.0)
    counts = Counter(word for row in words_of(seen, lengths) for word in row)
    assert set(counts) == set(frequencies)
    assert chisquare([counts[w] for w in frequencies], [2000 * n for n in frequencies.values()]).pvalue > 1e-3


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_sentences_without_words_stay(kind: Kind) -> None:
    for padding in (0, 2):
        tokens, lengths = sentences([1, 1], padding)
        seen, seen_lengths = corrupted(tokens, lengths, kind, 1.0)
        assert seen.equal(tokens)
        assert seen_lengths.equal(lengths)


def test_none_gives_back_its_input() -> None:
    x, (tokens, lengths) = images(3, 4), sentences([3, 5])
    seen, seen_lengths = corrupted(tokens, lengths, "none", 0.0)
    assert corrupt_vectors(x, Corruption(latent=0.7)) is x
    assert seen is tokens
    assert seen_lengths is lengths
    with pytest.raises(UserError, match="is none; name a kind"):
        Corruption("none", 0.7)


def test_rate_0_changes_nothing() -> None:
    x, (tokens, lengths) = images(30, 40), sentences([30, 1, 17] * 10)
    assert all(corrupted_vectors(x, kind, 0.0).equal(x) for kind in IMAGE_KINDS)
    for kind in TEXT_KINDS:
        seen, seen_lengths = corrupted(tokens, lengths, kind, 0.0)
        assert seen.equal(tokens)
        assert seen_lengths.equal(lengths)


def test_draws_depend_on_the_seed_alone_and_clean_data_stay() -> None:
    x, (tokens, lengths) = images(30, 40), sentences([30, 1, 17] * 10)
    before = x.clone(), tokens.clone(), lengths.clone()
    for kind in IMAGE_KINDS:
        again, other = (corrupted_vectors(x, kind, 0.5, seed) for seed in (3, 4))
        assert corrupted_vectors(x, kind, 0.5, 3).equal(again)
        assert not again.equal(other)
    for kind in TEXT_KINDS:
        again, other = (corrupted(tokens, lengths, kind, 0.5, seed)[0] for seed in (3, 4))
        assert corrupted(tokens, lengths, kind, 0.5, 3)[0].equal(again)
        assert not again.equal(other)
    assert all(now.equal(then) for now, then in zip((x, tokens, lengths), before, strict=True))


def test_nothing_is_made_on_the_default_device() -> None:
    """With another default device than that of the data, a tensor made without naming one would show."""
    x, (tokens, lengths) = images(3, 4), sentences([3, 5])
    with torch.device("meta"):
        seen = [corrupt_vectors(x, Corruption(kind, 0.5)) for kind in IMAGE_KINDS]
        for kind in TEXT_KINDS:
            seen += corrupt_sentences(tokens, lengths, Corruption(kind, 0.5), UNK, PAD)
    assert {part.device for part in seen} == {CPU}


@pytest.mark.parametrize("kind", ["drop", "swap", "substitute"])
def test_images_have_no_words(kind: Kind) -> None:
    with pytest.raises(UserError, match=rf"'{kind}' is for text; images have none, mask, salt-and-pepper, gaussian"):
        corrupt_vectors(images(2, 3), Corruption(kind, 0.1))


@pytest.mark.parametrize("kind", ["salt-and-pepper", "gaussian"])
def test_text_has_no_values(kind: Kind) -> None:
    with pytest.raises(UserError, match=rf"'{kind}' is for images; text has none, mask, drop, swap, substitute"):
        corrupted(*sentences([3, 5]), kind, 0.1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "blur"}, r"corruption\.kind 'blur' is not one of none, mask"),
        ({"kind": "mask", "rate": -0.1}, r"corruption\.rate is -0\.1; a share"),
        ({"kind": "drop", "rate": 1.1}, r"corruption\.rate is 1\.1; a share"),
        ({"kind": "swap", "rate": math.nan}, r"corruption\.rate is nan; a share"),
        ({"kind": "gaussian", "rate": -1.0}, r"corruption\.rate is -1\.0; a standard deviation"),
        ({"kind": "gaussian", "rate": math.inf}, r"corruption\.rate is inf; a standard deviation"),
        ({"latent": -0.5}, r"corruption\.latent is -0\.5; a standard deviation"),
        ({"latent": math.nan}, r"corruption\.latent is nan; a standard deviation"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Corruption(**wrong)


@pytest.mark.parametrize("good", [Corruption(), Corruption("drop", 1.0, 0.3), Corruption("gaussian", 1.5)])
def test_settings_survive_json(good: Corruption) -> None:
    assert from_json(Corruption, json.loads(json.dumps(asdict(good))), "config") == good
