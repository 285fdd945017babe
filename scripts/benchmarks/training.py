"""Training throughput, compared with a textbook text VAE and two public ones, on the same sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from benchmarks.measuring import (
    PRECISIONS,
    Metrics,
    Rounds,
    Row,
    add_ratio,
    fresh,
    interleaved,
    peak_memory,
    rows,
    threads_of,
)
from benchmarks.peers import PEERS, copied, peer_speed
from benchmarks.workloads import (
    SIZES,
    EnoughError,
    Kind,
    Sizes,
    Softmax,
    Timed,
    first_documents,
    recipe,
    token_rows,
    train_for,
)
from tgvae.data.schema import PreparedFolder
from tgvae.data.tokenizers import BOS, EOS, PAD


@dataclass(frozen=True)
class Training:
    """Tokens per second (with eos, without padding) of one epoch, or of as much of it as fits into ``seconds``.

    tgvae runs its real loop with loading, clipping and logging. ``textbook`` is an nn.GRU VAE with packed sequences and
    plain cross-entropy. Peers run unchanged in a copy of their checkout (it may need `pip install tensorboardX`).
    """

    prepared: Path
    """A prepared folder, whose vocabulary counts."""
    sentence_vae: Path | None = None
    """A checkout of timbmg/Sentence-VAE."""
    lagging: Path | None = None
    """A checkout of jxhe/vae-lagging-encoder."""
    size: Literal["small", "peer", "large"] = "small"
    """E, H, Z, sentences per batch; small: 128, 200, 32, 64; peer: 300, 256, 16, 32; large: 400, 600, 32, 64."""
    models: tuple[Kind, ...] = ("sentence-vae", "tgvae")
    """Recipes of tgvae."""
    bidirectional: bool = False
    """Encoders of tgvae and the textbook read in both directions; those of the peers read forwards."""
    sentences: int = 10_000
    """Sentences to train on, at most."""
    seconds: float = 20.0
    """Time of each measurement, at most."""
    threads: tuple[int, ...] = (1, 2)
    """Threads of torch."""
    precision: tuple[Literal["no", "bf16"], ...] = ("no", "bf16")
    """Of tgvae; no is float32."""
    softmax: tuple[Softmax, ...] = ("full",)
    """Of tgvae; adaptive is another parametrisation and as exact."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train."""
    rounds: int = 3
    """Measurements of each, in turn."""
    out: Path | None = None
    """JSON file for the result."""

    def measure(self) -> list[Row]:
        found: Rounds = {}
        with self.measures() as measures:
            for threads in self.threads:
                each = {f"{name}, {threads_of(threads)}": partial(f, threads=threads) for name, f in measures.items()}
                of_threads = interleaved(each, self.rounds)
                if peers := [name for name in each if name.startswith("peer ")]:
                    add_ratio(of_threads, "tokens/s", list(each), peers, "x faster peer")
                add_ratio(of_threads, "tokens/s", list(each), [f"textbook, {threads_of(threads)}"], "x textbook")
                found |= of_threads
        return rows(found)

    @contextmanager
    def measures(self) -> Iterator[dict[str, Callable[..., Metrics]]]:
        """Yield a measurement of each program, by name."""
        with TemporaryDirectory() as name:
            place, sizes = Path(name), SIZES[self.size]
            folder = PreparedFolder.open(self.prepared)
            tokens = token_rows(first_documents(folder, self.sentences))
            length = round(float(np.mean([len(row) + 1 for row in tokens])))
            sizes = replace(
                sizes, vocabulary=len(folder.tokenizer), length=length, bidirectional=self.bidirectional
            )  # batches have as many tokens as that many sentences of mean length
            common: dict[str, Any] = {"folder": str(self.prepared), "sentences": self.sentences, "device": self.device}
            common |= {"seconds": self.seconds, "sizes": asdict(sizes)}
            found: dict[str, Callable[..., Metrics]] = {}
            for peer, checkout in {"Sentence-VAE": self.sentence_vae, "vae-lagging-encoder": self.lagging}.items():
                if checkout is not None:
                    copy = copied(checkout, place / peer)
                    program = PEERS[peer](copy, tokens, sizes)
                    found[f"peer {peer}"] = partial(peer_speed, copy, program, self.seconds, self.device)
            found["textbook"] = partial(fresh, "training:measure_textbook", common, tuned=False)
            for kind, softmax, precision in product(self.models, self.softmax, self.precision):
                settings = common | {"kind": kind, "precision": precision}
                settings |= {"sizes": asdict(replace(sizes, softmax=softmax))}
                title = f"{kind}{'' if softmax == 'full' else f' ({softmax})'}, {PRECISIONS[precision]}"
                found[title] = partial(fresh, "training:measure", settings)
            yield found


def measure(settings: Mapping[str, Any]) -> Metrics:
    """Train a model of ``kind`` by the real loop."""
    folder = PreparedFolder.open(settings["folder"])
    split = Timed(first_documents(folder, settings["sentences"]), settings["device"], settings["seconds"])
    sizes = Sizes(**settings["sizes"])
    train_for(split, folder, recipe(settings["kind"], sizes, settings["precision"], settings["device"]))
    tokens, step = split.speed
    return {"tokens/s": tokens, "step ms": 1000 * step, "memory MiB": peak_memory(settings["device"])}


class PackedVAE(nn.Module):
    """GRU encoder, GRU decoder that gets z at every token, output weights tied to the embedding."""

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
        """Return the negative ELBO in nats per sentence, of tokens (B, L) and their lengths (B,)."""

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


def measure_textbook(settings: Mapping[str, Any]) -> Metrics:
    """Train ``PackedVAE`` by a plain loop with Adam and clipping, on batches of sentences in random order."""
    sizes, device = Sizes(**settings["sizes"]), settings["device"]
    torch.manual_seed(0)
    corpus = first_documents(PreparedFolder.open(settings["folder"]), settings["sentences"])
    sentences, split = [torch.tensor(row) for row in token_rows(corpus)], Timed(corpus, device, settings["seconds"])
    model, bos, eos = PackedVAE(sizes).to(device), torch.tensor([BOS]), torch.tensor([EOS])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with suppress(EnoughError):
        for index in torch.randperm(len(sentences)).split(sizes.sentences):
            chosen = [sentences[i] for i in index]
            lengths = torch.tensor([len(r) + 1 for r in chosen])
            split.note(int(lengths.sum()))
            inputs = pad_sequence([torch.cat((bos, r)) for r in chosen], batch_first=True, padding_value=PAD)
            targets = pad_sequence([torch.cat((r, eos)) for r in chosen], batch_first=True, padding_value=PAD)
            optimizer.zero_grad()
            model(inputs.to(device), targets.to(device), lengths).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
    return {"tokens/s": split.speed[0]}
