"""Networks against torch's packed GRU, step by step against all at once, and rates by counting."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tgvae.distributions import HouseholderNormal
from tgvae.nn.dropout import STEPS, Dropout
from tgvae.nn.gru import GRUDecoder, GRUEncoder, drop_words
from tgvae.nn.heads import HouseholderHead, NormalHead, mlp, scale_of

B, L, E, H, Z, V, S = 4, 6, 5, 7, 3, 11, 3
PAD, UNK, BOS = 0, 1, 2
LENGTHS = torch.tensor([6, 1, 3, 5])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_encoder_is_torchs_gru_with_packing(bidirectional: bool) -> None:
    ours, torchs = GRUEncoder(E, H, bidirectional), nn.GRU(E, H, batch_first=True, bidirectional=bidirectional)
    weights = ours.forwards.state_dict()
    if ours.backwards is not None:
        weights |= {f"{name}_reverse": value for name, value in ours.backwards.state_dict().items()}
    torchs.load_state_dict(weights)
    embedded = torch.randn(B, L, E)
    packed = nn.utils.rnn.pack_padded_sequence(embedded, LENGTHS, batch_first=True, enforce_sorted=False)
    states, last = torchs(packed)
    torch.testing.assert_close(ours(embedded, LENGTHS), torch.cat(tuple(last), dim=-1))
    unpacked, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(ours.states(embedded, LENGTHS)[row, :length], unpacked[row, :length])


def test_padding_does_not_reach_the_encoder() -> None:
    encoder, embedded = GRUEncoder(E, H), torch.randn(B, L, E)
    padding = torch.arange(L + 3) >= LENGTHS.unsqueeze(1)
    longer = torch.cat((embedded, torch.zeros(B, 3, E)), dim=1)
    noisy = torch.where(padding.unsqueeze(-1), 100 * torch.randn(B, L + 3, E), longer)
    torch.testing.assert_close(encoder(noisy, LENGTHS), encoder(embedded, LENGTHS))
    last_padded = embedded.clone()
    last_padded[0, 5] += 1
    assert not torch.allclose(encoder(last_padded, LENGTHS)[0], encoder(embedded, LENGTHS)[0])


def decoder(latent: int = Z, dropout: float = 0.0) -> GRUDecoder:
    made = GRUDecoder(nn.Embedding(V, E, padding_idx=PAD), H, latent, dropout)
    nn.init.normal_(made.bias)
    return made


def sentences() -> tuple[Tensor, Tensor]:
    """Decoder inputs and targets."""
    targets = torch.randint(3, V, (B, L)).masked_fill(torch.arange(L) >= LENGTHS.unsqueeze(1), PAD)
    return torch.cat((torch.full((B, 1), BOS), targets[:, :-1]), dim=1), targets


@pytest.mark.parametrize("latent", [Z, 0])
def test_all_at_once_is_step_by_step(latent: int) -> None:
    model, (inputs, targets), z = decoder(latent), sentences(), torch.randn(S, B, latent)
    got = model(inputs, z).token_log_prob(targets)
    for s in range(S):
        state = model.start(z[s])
        for m in range(L):
            logits, state = model.step(inputs[:, m], state)
            expected = logits.log_softmax(-1).gather(-1, targets[:, m : m + 1]).squeeze(-1)
            torch.testing.assert_close(got[s, :, m], expected * (targets[:, m] != PAD))


def test_samples_are_separate() -> None:
    model, (inputs, targets), z = decoder(), sentences(), torch.randn(S, B, Z)
    together = model(inputs, z)
    assert (together.batch_shape, together.event_shape) == ((S, B), (L,))
    alone = torch.cat([model(inputs, z[s : s + 1]).log_prob(targets) for s in range(S)])
    torch.testing.assert_close(together.log_prob(targets), alone)
    assert not torch.isclose(alone[0], alone[1]).any()


def test_padding_does_not_change_the_likelihood() -> None:
    model, (inputs, targets), z = decoder(), sentences(), torch.randn(S, B, Z)
    longer = [nn.functional.pad(x, (0, 4), value=PAD) for x in (inputs, targets)]
    torch.testing.assert_close(model(longer[0], z).log_prob(longer[1]), model(inputs, z).log_prob(targets))


def test_gradients_reach_latent_and_every_weight() -> None:
    model, (inputs, targets), z = decoder(), sentences(), torch.randn(S, B, Z, requires_grad=True)
    model(inputs, z).log_prob(targets).sum().backward()
    for name, value in [("z", z), *model.named_parameters()]:
        assert value.grad is not None, name
        assert value.grad.abs().sum() > 0, name


def test_dropout_is_off_in_evaluation() -> None:
    model, (inputs, targets), z = decoder(dropout=0.5), sentences(), torch.randn(S, B, Z)
    once, twice = (model(inputs, z).log_prob(targets) for _ in range(2))
    assert not torch.allclose(once, twice)
    model.eval()
    once, twice = (model(inputs, z).log_prob(targets) for _ in range(2))
    assert torch.equal(once, twice)


def test_decoder_wants_a_padding_token() -> None:
    with pytest.raises(ValueError, match="padding_idx"):
        GRUDecoder(nn.Embedding(V, E), H, Z, 0.0)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_drop_words_hides_the_right_share_but_never_the_first(rate: float) -> None:
    inputs = torch.randint(3, V, (200, 101))
    before = inputs.clone()
    got = drop_words(inputs, rate, UNK)
    assert torch.equal(inputs, before)
    assert torch.equal(got[:, 0], inputs[:, 0])
    hidden = got[:, 1:] == UNK
    error = (rate * (1 - rate) / hidden.numel()) ** 0.5
    assert abs(hidden.float().mean().item() - rate) <= 5 * error
    assert torch.equal(got[:, 1:][~hidden], inputs[:, 1:][~hidden])


@pytest.mark.parametrize("flow", [0, 1, 4])
def test_householder_head_chains_its_vectors(flow: int) -> None:
    head, h = HouseholderHead(H, Z, flow), torch.randn(B, H)
    q = head(h)
    assert isinstance(q, HouseholderNormal)
    assert q.vectors.shape == (B, flow, Z)
    torch.testing.assert_close(q.loc, head.loc(h))
    torch.testing.assert_close(q.scale, head.log_scale(h).exp())
    v = h
    for k, layer in enumerate(head.flow):
        v = layer(v)
        torch.testing.assert_close(q.vectors[:, k], v)
    centre = torch.randn(S, B, Z)
    torch.testing.assert_close(head(h, centre).mean, q.mean + centre)


@pytest.mark.parametrize("flow", [0, 4])
def test_every_weight_of_the_head_learns(flow: int) -> None:
    head = HouseholderHead(H, Z, flow)
    (head(torch.randn(B, H)).rsample() * torch.randn(B, Z)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


def test_normal_head() -> None:
    head, h = NormalHead(H, Z), torch.randn(S, B, H)
    q = head(h)
    assert (q.batch_shape, q.event_shape) == ((S, B), (Z,))
    torch.testing.assert_close(q.mean, head.loc(h))
    torch.testing.assert_close(q.stddev, head.log_scale(h).exp())


def test_scale_stays_within_bounds() -> None:
    got = scale_of(torch.tensor([-1e6, -6.0, 0.0, 1.0, 3.0, 1e6]))
    torch.testing.assert_close(got, torch.tensor([-6.0, -6.0, 0.0, 1.0, 3.0, 3.0]).exp())


def test_mlp_has_the_sizes_and_ends_in_relu() -> None:
    net = mlp([H, 8, 9], dropout=0.5).eval()
    first, second = (m for m in net if isinstance(m, nn.Linear))
    h = torch.randn(B, H)
    torch.testing.assert_close(net(h), second(first(h).relu()).relu())
    assert net(h).shape == (B, 9)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.999])
def test_dropout_hides_its_share_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(1000, 999, requires_grad=True)
    y = Dropout(rate)(x)
    shown = y != 0
    assert (~shown).double().mean() == pytest.approx(rate, abs=4 * (rate * (1 - rate) / x.numel()) ** 0.5 + 1 / STEPS)
    torch.testing.assert_close(y[shown], torch.full_like(y[shown], 1 / (1 - rate)), rtol=1e-2, atol=0)
    assert y.double().mean().item() == pytest.approx(1, abs=4 * (rate / (1 - rate) / x.numel()) ** 0.5 + 1e-6)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, y.detach())


def test_draws_of_dropout_are_independent_within_and_between_its_draws_of_64_bits() -> None:
    torch.manual_seed(1)
    hidden = (Dropout(0.5)(torch.ones(100_000, 8)) == 0).double()
    correlation = torch.corrcoef(hidden.T) - torch.eye(8)
    assert correlation.abs().max() < 5 / 100_000**0.5


def test_dropout_is_torchs_in_evaluation_and_repeats_by_seed() -> None:
    dropout, x = Dropout(0.5), torch.randn(7, 3)
    torch.manual_seed(2)
    first = dropout(x)
    torch.manual_seed(2)
    assert torch.equal(dropout(x), first)
    assert torch.equal(dropout.eval()(x), x)
    assert dropout.train()(x.bfloat16()).dtype == torch.bfloat16
    assert dropout(torch.empty(0, 3)).shape == (0, 3)
