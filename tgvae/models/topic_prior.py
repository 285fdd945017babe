"""The prior that topics give to a latent z, and the inference that goes with it.

Every model whose latent is guided by topics uses this module, whatever its encoder and decoder are:

    p(c | t) = Cat(t)            p(z | c) = N(mu(beta_c), diag sigma^2(beta_c))
    p(z | t) = sum_c t_c p(z | c)
    q(c | y, d) ∝ t_c prod_{w in y} beta_{c,w}^evidence_weight
    q(z | y, c): z = mu(beta_c) + U delta, delta ~ N(delta(y), diag), see ``HouseholderNormal``

The KL to the mixture has no closed form. ``PriorKind`` names the four ways to take it:

    component      c is a latent variable: KL(q(c) || p(c)) + E_c KL(q(z | y, c) || p(z | c)), both closed forms
    jensen, variational, monte_carlo    one q(z | y) against the whole mixture, see ``tgvae.divergences.kl``

``component`` is the default. With a single z against the whole mixture each sentence's z ends near *some* component,
seldom that of its topic, and guidance fails silently: topic fidelity .05 against .16 (docs/results.md).

Shape legend: S samples, B sentences, T topics, Z latent, D bag-of-words vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import OneHotCategorical

from tgvae.data.bow import BagOfWords
from tgvae.distributions import GaussianMixture, HouseholderNormal, gumbel_softmax, safe_log
from tgvae.nn.heads import scale_of
from tgvae.trace import Latent

PriorKind = Literal["component", "jensen", "variational", "monte_carlo"]
Posterior = Callable[[Tensor | None], HouseholderNormal]
"""q(z | y) as a function of its centre: the mean of a component with shape (..., B, Z), or None for zero."""


class TopicPrior(nn.Sequential):
    """The map from topics to components, with the inference of c and z.

    Args:
        vocabulary_size: D.
        latent_size: Z.
        kind: how the KL to the mixture is taken.
        evidence_weight: exponent of the sentence's own words in q(c | y, d); 0 gives q(c | y, d) = t.
        backprop_to_topics: let the gradient of the sentence reach t and beta. By default it stops here, or the sentence
            loss would bend the topics.
        straight_through: relaxed samples of c are one-hot in the forward pass (always so in evaluation).
    """

    def __init__(
        self,
        vocabulary_size: int,
        latent_size: int,
        *,
        kind: PriorKind = "component",
        evidence_weight: float = 1.0,
        backprop_to_topics: bool = False,
        straight_through: bool = True,
    ) -> None:
        hidden = 4 * latent_size
        super().__init__(nn.Linear(vocabulary_size, hidden), nn.Tanh(), nn.Linear(hidden, 2 * latent_size))
        self.kind, self.evidence_weight = kind, evidence_weight
        self.backprop_to_topics, self.straight_through = backprop_to_topics, straight_through

    def forward(self, beta: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations of the components, each (T, Z), from the *direction* of each beta_i, (T, D)."""
        loc, log_scale = super().forward(F.normalize(self._guiding(beta), dim=-1)).chunk(2, dim=-1)
        return loc, scale_of(log_scale)

    def mixture(self, t: Tensor, beta: Tensor) -> GaussianMixture:
        """p(z | t) for topic proportions t with shape (..., T) and topics beta with shape (T, D)."""
        return GaussianMixture(self._guiding(t), *self(beta))

    def component_posterior(self, t: Tensor, log_beta: Tensor, sentence_bow: BagOfWords) -> OneHotCategorical:
        """q(c | y, d), see the function of the same name; ``log_beta`` has shape (T, D)."""
        return component_posterior(self._guiding(t), self._guiding(log_beta), sentence_bow, self.evidence_weight)

    def latents(
        self,
        prior: GaussianMixture,
        log_beta: Tensor,
        sentence_bow: BagOfWords,
        posterior: Posterior,
        temperature: float,
    ) -> dict[str, Latent]:
        """Sample the latents of sentences: ``c`` and ``z`` for the kind ``component``, else ``z`` alone.

        Args:
            prior: from ``mixture``, with weights of shape (S, B, T): one sample of the latents per sample of t.
            log_beta: with shape (T, D).
            sentence_bow: the sentences' own words, (B, D).
            posterior: q(z | y); it is called once, after c has been sampled.
            temperature: of the relaxed samples of c.
        """
        if self.kind != "component":
            q = posterior(None)
            return {"z": Latent(q, prior, q.rsample(prior.weights.shape[:1]), "sentence", self.kind)}
        q_c = self.component_posterior(prior.weights, log_beta, sentence_bow)
        p_c = OneHotCategorical(logits=prior.log_weights, validate_args=False)
        c = gumbel_softmax(q_c.logits, temperature, hard=self.straight_through or not self.training)
        q = posterior(c @ prior.loc)
        return {"c": Latent(q_c, p_c, c, "sentence"), "z": Latent(q, prior.given(c), q.rsample(), "sentence")}

    def posterior_mean(
        self, prior: GaussianMixture, log_beta: Tensor, sentence_bow: BagOfWords, posterior: Posterior
    ) -> Tensor:
        """Mean of q(z | y, c) with shape (B, Z), at the most probable c. Arguments as in ``latents``."""
        if self.kind != "component":
            return posterior(None).mean
        c = self.component_posterior(prior.weights, log_beta, sentence_bow).mode
        return posterior(c @ prior.loc).mean

    def _guiding(self, x: Tensor) -> Tensor:
        return x if self.backprop_to_topics else x.detach()


def component_posterior(
    t: Tensor, log_beta: Tensor, sentence_bow: BagOfWords, evidence_weight: float = 1.0
) -> OneHotCategorical:
    """q(c | y, d) ∝ t_c prod_{w in y} beta_{c,w}^evidence_weight: the topic of a sentence by Bayes' rule.

    Components and topics agree by construction, because the topic model itself assigns sentences to components.

    Args:
        t: topic proportions of the document with shape (..., B, T).
        log_beta: with shape (T, D).
        sentence_bow: the sentence's own words, (B, D).
        evidence_weight: exponent of these words; 0 gives q(c | y, d) = t.

    Examples:
        Both topics are equally likely in the document; the word is three times as probable under the second:

        >>> import torch
        >>> from tgvae.data.bow import BagOfWords, count_words
        >>> beta, bow = torch.tensor([[0.25, 0.75], [0.75, 0.25]]), BagOfWords.of(count_words([[0]], size=2))
        >>> q = component_posterior(torch.tensor([[0.5, 0.5]]), beta.log(), bow)
        >>> [round(p, 4) for p in q.probs[0].tolist()]
        [0.25, 0.75]
    """
    return OneHotCategorical(logits=safe_log(t) + evidence_weight * (sentence_bow @ log_beta.T), validate_args=False)
