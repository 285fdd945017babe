"""What a textbook writes: a GRU text VAE with packed sequences and plain cross-entropy, and a dense ProdLDA."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from benchmarks.loop import WARM, first_documents
from benchmarks.peak import synchronize
from benchmarks.peer_files import token_rows
from benchmarks.sizes import TOPIC_HIDDEN, Sizes
from tgvae.data.schema import PreparedFolder
from tgvae.data.tokenizers import BOS, EOS, PAD


class PackedVAE(nn.Module):
    """GRU encoder, GRU decoder fed z at every token, output weights tied to the embedding."""

    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.embedding = nn.Embedding(s.vocabulary, s.embedding, padding_idx=PAD)
        self.encoder = nn.GRU(s.embedding, s.hidden, batch_first=True, bidirectional=s.bidirectional)
        features = s.hidden * (1 + s.bidirectional)
        self.loc, self.log_variance = nn.Linear(features, s.latent), nn.Linear(features, s.latent)
        self.initial = nn.Linear(s.latent, s.hidden)
        self.decoder = nn.GRU(s.embedding + s.latent, s.hidden, batch_first=True)
        self.project = nn.Linear(s.hidden, s.embedding)
        self.bias = nn.Parameter(torch.zeros(s.vocabulary))
        self.dropout = nn.Dropout(0.3)

    def forward(self, inputs: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
        """Negative ELBO in nats a sentence, of tokens (B, L) and their lengths (B,)."""

        def packed(x: Tensor) -> Any:
            return pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)

        _, ends = self.encoder(packed(self.dropout(self.embedding(targets))))
        h = torch.cat(tuple(ends), dim=-1)
        loc, log_variance = self.loc(h), self.log_variance(h)
        z = loc + (log_variance / 2).exp() * torch.randn_like(loc)
        fed = torch.cat((self.dropout(self.embedding(inputs)), z.unsqueeze(1).expand(-1, inputs.shape[1], -1)), dim=-1)
        states, _ = self.decoder(packed(fed), self.initial(z).tanh().unsqueeze(0))
        states = self.project(self.dropout(pad_packed_sequence(states, batch_first=True)[0]))
        logits = F.linear(states, self.embedding.weight, self.bias)
        nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, reduction="sum")
        kl = 0.5 * (loc**2 + log_variance.exp() - 1 - log_variance).sum()
        return (nll + kl) / len(lengths)


class DenseProdLDA(nn.Module):
    """ProdLDA (Srivastava & Sutton 2017) on dense bags of words."""

    def __init__(self, topics: int, words: int) -> None:
        super().__init__()
        h = TOPIC_HIDDEN
        self.encoder = nn.Sequential(nn.Linear(words, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU(), nn.Dropout(0.2))
        self.loc = nn.Sequential(nn.Linear(h, topics), nn.BatchNorm1d(topics))
        self.log_variance = nn.Sequential(nn.Linear(h, topics), nn.BatchNorm1d(topics))
        self.experts = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(topics, words, bias=False), nn.BatchNorm1d(words), nn.LogSoftmax(-1)
        )

    def forward(self, counts: Tensor) -> Tensor:
        """Negative ELBO in nats a document, of counts (U, D)."""
        h = self.encoder(counts)
        loc, log_variance = self.loc(h), self.log_variance(h)
        t = (loc + (log_variance / 2).exp() * torch.randn_like(loc)).softmax(-1)
        kl = 0.5 * (loc**2 + log_variance.exp() - 1 - log_variance).sum(-1)
        return (kl - (counts * self.experts(t)).sum(-1)).mean()


def measure_sentences(settings: Mapping[str, Any]) -> dict[str, float]:
    """Tokens (eos counted) a second of ``PackedVAE``, batches of sentences in random order.

    Args:
        settings: ``folder``, ``first`` sentences of it, ``sizes``, ``seconds`` at most, ``device``.
    """
    sizes, device = Sizes(**settings["sizes"]), settings["device"]
    torch.manual_seed(0)
    rows = [
        torch.tensor(r) for r in token_rows(first_documents(PreparedFolder.open(settings["folder"]), settings["first"]))
    ]
    bos, eos = torch.tensor([BOS]), torch.tensor([EOS])

    def batch(index: np.ndarray) -> tuple[int, list[Tensor]]:
        chosen = [rows[i] for i in index]
        inputs = pad_sequence([torch.cat((bos, r)) for r in chosen], batch_first=True, padding_value=PAD)
        targets = pad_sequence([torch.cat((r, eos)) for r in chosen], batch_first=True, padding_value=PAD)
        lengths = torch.tensor([len(r) + 1 for r in chosen])
        return int(lengths.sum()), [x.to(device) for x in (inputs, targets, lengths)]

    model = PackedVAE(sizes).to(device)
    return {"tokens/s": units_a_second(model, batch, len(rows), sizes.sentences, settings["seconds"], device)}


def measure_documents(settings: Mapping[str, Any]) -> dict[str, float]:
    """Documents a second of ``DenseProdLDA``.

    Args:
        settings: ``folder``, ``topics``, ``batch`` documents, ``seconds`` at most, ``device``.
    """
    bags, device = first_documents(PreparedFolder.open(settings["folder"]), None).bags, settings["device"]
    torch.manual_seed(0)

    def batch(index: np.ndarray) -> tuple[int, list[Tensor]]:
        return len(index), [torch.from_numpy(bags[index].toarray()).to(device)]

    model = DenseProdLDA(settings["topics"], bags.shape[1]).to(device)
    return {"documents/s": units_a_second(model, batch, bags.shape[0], settings["batch"], settings["seconds"], device)}


def units_a_second(
    model: nn.Module,
    batch: Callable[[np.ndarray], tuple[int, list[Tensor]]],
    count: int,
    size: int,
    seconds: float,
    device: str,
) -> float:
    """One epoch of plain training, Adam and clipping, or as much of it as fits: units a second after ``WARM`` steps."""
    optimizer, order = torch.optim.Adam(model.parameters(), lr=1e-3), np.random.default_rng(0).permutation(count)
    done, begin = 0, time.perf_counter()
    for step, first in enumerate(range(0, count - size + 1, size)):
        if step == WARM:
            synchronize(device)
            done, begin = 0, time.perf_counter()
        units, inputs = batch(order[first : first + size])
        optimizer.zero_grad()
        model(*inputs).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        done += units
        if step > WARM and time.perf_counter() - begin > seconds:
            break
    synchronize(device)
    return done / (time.perf_counter() - begin)
