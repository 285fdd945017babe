"""Autoencoders of vectors: one model whose choices of latent and likelihood make the whole family.

    latent        q(z|x)                              p(z)              name
    normal        N(mu(x), diag sigma^2(x))           N(0, I)           VAE (Kingma & Welling 2014, 1312.6114)
    categorical   prod_j Cat(pi_j(x))                 uniform           discrete VAE (Jang et al. 2017, 1611.01144)
    point         z = mu(x), no distribution          none              autoencoder

beta-VAE: another weight of the term kl/z in training. Denoising VAE: an encoder that sees corrupted x. Neither is a
model of its own: see ``training/config.py``.
Shape legend: S samples, B batch, D values of a vector, Z latent variables, C categories of each (no such dimension
unless the latent is categorical).
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, OneHotCategorical

from tgvae.config_io import read_config, require_range
from tgvae.data.vectors import Space, VectorBatch, Vectors, VectorSplit
from tgvae.distributions import diagonal_normal, gumbel_softmax, standard_normal
from tgvae.errors import UserError
from tgvae.files import write_text
from tgvae.models.base import Capability, Model, add_noise
from tgvae.models.serialization import REMEDY
from tgvae.nn.heads import NormalHead, mlp
from tgvae.random import fork_rng
from tgvae.trace import Latent, Observed, Trace

SPACE = "space.json"
MOST_LAYERS = 100
LEAST_SPREAD = math.exp(-6)
"""Standard deviation that a normal likelihood never goes below; it has no upper limit, as data has none."""


@dataclass(frozen=True)
class VectorConfig:
    """Settings of an autoencoder of vectors.

    Attributes:
        hidden_sizes: of the encoder, and backwards of the decoder; none makes both linear.
        latent_size: Z.
        latent: ``normal``, ``categorical``, or ``point`` for a deterministic autoencoder.
        categories: C of each categorical variable.
        straight_through: relaxed draws are one-hot forward in training (they always are in evaluation).
        likelihood: ``bernoulli`` for values that are 0 or 1 (others in [0, 1] are drawn once), or ``normal`` with one
            standard deviation for all values, which is learnt.

    Raises:
        UserError: a size below 1, or more than a hundred layers.
    """

    hidden_sizes: tuple[int, ...] = (256, 256)
    latent_size: int = 10
    latent: Literal["normal", "categorical", "point"] = "normal"
    categories: int = 10
    straight_through: bool = False
    likelihood: Literal["bernoulli", "normal"] = "bernoulli"

    def __post_init__(self) -> None:
        require_range(self, 1, math.inf, "latent_size", "categories")
        if bad := [size for size in self.hidden_sizes if not 1 <= size < sys.maxsize]:
            raise UserError(f"hidden_sizes is {bad[0]}; it must be at least 1 and less than {sys.maxsize}")
        if len(self.hidden_sizes) > MOST_LAYERS:
            raise UserError(f"hidden_sizes has {len(self.hidden_sizes)} layers; give at most {MOST_LAYERS}")


class VectorVAE(Model):
    """p(z), q(z|x), p(x|z) of vectors.

    A trace has the latent ``z``, with shape (S, B, Z), or (S, B, Z, C) one-hot, and the observed ``x``. With the
    latent ``point`` there is no latent in the trace, and -log p(x | mu(x)) is no bound of anything: it compares
    autoencoders alone.

    Examples:
        One of random weights, for pictures of 8 x 8:

        >>> import torch
        >>> from tgvae.data.vectors import Space
        >>> model = VectorVAE(VectorConfig(latent_size=2), Space(64, picture=(8, 8))).eval()
        >>> model.sample(num=3, seed=0).shape, model.embed(torch.zeros(5, 64)).shape
        (torch.Size([3, 64]), torch.Size([5, 2]))
    """

    kind = "vector-vae"
    units = ("vector",)
    supports_denoising = True
    data_type = "vectors"
    config_class = VectorConfig

    @classmethod
    def capabilities_of(cls, config: VectorConfig) -> frozenset[Capability]:
        return frozenset({Capability.VECTORS})

    def __init__(self, config: VectorConfig, space: Space) -> None:
        super().__init__(config)
        self.space = space
        code = self.code_size = config.latent_size * (config.categories if config.latent == "categorical" else 1)
        forwards, backwards = [space.size, *config.hidden_sizes], [code, *reversed(config.hidden_sizes)]
        head = NormalHead if config.latent == "normal" else nn.Linear
        self.encoder, self.head, self.decoder = mlp(forwards), head(forwards[-1], code), mlp(backwards)
        self.output = nn.Linear(backwards[-1], space.size)
        if config.likelihood == "normal":
            self.log_scale = nn.Parameter(torch.zeros(()))

    @classmethod
    def from_data(cls, config: VectorConfig, data: Vectors) -> Self:
        """The standard deviation of a normal likelihood starts at that of the training values around their means.

        From 1 it would take so many steps to come down to the data that z is given up meanwhile.
        """
        model = cls(config, data.space)
        if config.likelihood == "normal":
            x = torch.from_numpy(data.splits["train"].x)
            spread = (x - x.mean(0)).square().mean().sqrt()
            model.log_scale.data = spread.clamp_min(LEAST_SPREAD).log()
        return model

    def examples(self, split: VectorSplit) -> VectorSplit:
        """A split as the model learns from it: values drawn as 0 or 1 where the likelihood is Bernoulli."""
        return split.binarised() if self.config.likelihood == "bernoulli" else split

    def posterior(self, x: Tensor) -> Independent | None:
        """q(z | x) for x with shape (B, D); None for the latent ``point``."""
        if self.config.latent == "point":
            return None
        h = self.head(self.encoder(x))
        return h if self.config.latent == "normal" else self._one_hot(h)

    def prior(self) -> Independent:
        """p(z)."""
        if self.config.latent == "categorical":
            return self._one_hot(torch.zeros(self.code_size, device=self.device))
        return standard_normal(self.code_size, self.device)

    def likelihood(self, z: Tensor) -> Independent:
        """p(x | z) for z with shape (..., Z) or (..., Z, C), over the last dimension of x."""
        code = z.flatten(-2) if self.config.latent == "categorical" else z
        h = self.output(self.decoder(code)).float()
        if self.config.likelihood == "normal":
            return diagonal_normal(h, self.log_scale.exp().clamp_min(LEAST_SPREAD).expand_as(h))
        return Independent(Bernoulli(logits=h, validate_args=False), 1, validate_args=False)

    def trace(self, batch: VectorBatch, samples: int = 1, temperature: float = 1.0, latent_noise: float = 0.0) -> Trace:
        q = self.posterior(batch.encoder_inputs)
        z = self.embed(batch.encoder_inputs).unsqueeze(0) if q is None else self._sample(q, samples, temperature)
        x = self.likelihood(add_noise(z, latent_noise))
        latents = {} if q is None else {"z": Latent(q, self.prior(), z, "vector")}
        return Trace(latents, {"x": Observed(x, batch.x, "vector")})

    def embed(self, x: Tensor) -> Tensor:
        """E_q[z | x], (B, Z) or (B, Z, C): posterior means, the probabilities of categories, or the code itself."""
        q = self.posterior(x)
        return self.head(self.encoder(x)) if q is None else q.mean

    @torch.no_grad()
    def sample(self, num: int, seed: int = 0) -> Tensor:
        """E[x | z] of ``num`` draws z ~ p(z), with shape (num, D).

        Raises:
            UserError: a deterministic autoencoder has no p(z).
        """
        if self.config.latent == "point":
            raise UserError("a deterministic autoencoder has no prior to draw from; use a VAE")
        with fork_rng(seed, self.device):
            return self.likelihood(self.prior().sample((num,))).mean

    def _sample(self, q: Independent, samples: int, temperature: float) -> Tensor:
        """Return z ~ q with shape (S, B, ...), with a gradient; one-hot variables are relaxed in training."""
        if self.config.latent == "normal":
            return q.rsample((samples,))
        hard = self.config.straight_through or not self.training
        logits = q.base_dist.logits
        return gumbel_softmax(logits.expand(samples, *logits.shape), temperature, hard)

    def _one_hot(self, logits: Tensor) -> Independent:
        """Z variables of C categories from logits with shape (..., Z C)."""
        logits = logits.float().unflatten(-1, (self.config.latent_size, self.config.categories))
        return Independent(OneHotCategorical(logits=logits, validate_args=False), 1, validate_args=False)

    def save_data(self, folder: Path) -> list[Path]:
        write_text(folder / SPACE, json.dumps(asdict(self.space)) + "\n")
        return [folder / SPACE]

    @classmethod
    def read_data(cls, config: VectorConfig, folder: Path) -> Self:
        return cls(config, read_config(Space, folder / SPACE, REMEDY))
