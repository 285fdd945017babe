"""KL divergences in nats: closed forms in torch's table of pairs, and estimators where there is none.

A Gaussian against the topic mixture has no closed form; three estimators are offered here. The fourth way, to make the
component a latent variable, needs only a categorical and a Gaussian KL, see ``models/topic_prior.py``.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence, register_kl

from tgvae.distributions import GaussianMixture, HouseholderNormal

Estimator = Literal["analytic", "jensen", "variational", "monte_carlo"]


def kl(q: Distribution, p: Distribution, z: Tensor, estimator: Estimator = "analytic") -> Tensor:
    """Return KL(q || p) with the batch shape of q, in nats.

    Args:
        q: posterior with batch shape (B,).
        p: prior with batch shape (B,) or ().
        z: samples of q with shape (S, B, Z), used only by ``monte_carlo``.
        estimator: ``analytic``: closed form. ``monte_carlo``: mean over S of log q(z) - log p(z), unbiased. Against a
            ``GaussianMixture`` also two upper bounds: ``jensen``, sum_i t_i KL_i, and ``variational``,
            -log sum_i t_i exp(-KL_i) (Hershey & Olsen 2007), which is never larger.

    Raises:
        ValueError: unknown estimator, or a bound for mixtures with another prior.
        NotImplementedError: ``analytic`` for a pair without a closed form.

    Examples:
        KL(N(1, 1) || N(0, 1)) is 1/2. Against two components at -1 and 1 the bounds are (2 + 0) / 2 and
        -log((e^-2 + 1) / 2):

        >>> import torch
        >>> from tgvae.distributions import GaussianMixture, HouseholderNormal, diagonal_normal
        >>> one, none = torch.ones(1, 1), torch.zeros(1, 0, 1)
        >>> q = HouseholderNormal(loc=one, scale=one, vectors=none)
        >>> round(kl(q, diagonal_normal(torch.zeros(1), torch.ones(1)), z=one).item(), 4)
        0.5
        >>> weights, loc = torch.tensor([[0.5, 0.5]]), torch.tensor([[-1.0], [1.0]])
        >>> p = GaussianMixture(weights, loc, scale=torch.ones(2, 1))
        >>> [round(kl(q, p, one, estimator).item(), 4) for estimator in ("jensen", "variational")]
        [1.0, 0.5662]
    """
    if estimator not in get_args(Estimator):
        raise ValueError(f"unknown KL estimator {estimator!r}; choose from {get_args(Estimator)}")
    if estimator == "monte_carlo":
        return (q.log_prob(z) - p.log_prob(z)).mean(0)
    if estimator == "analytic":
        return kl_divergence(q, p)
    if not (isinstance(q, HouseholderNormal) and isinstance(p, GaussianMixture)):
        raise ValueError(f"the {estimator} bound is for a Gaussian against a GaussianMixture")
    per_component = kl_to_components(q, p)
    if estimator == "jensen":
        return (p.weights * per_component).sum(-1)
    return -(p.log_weights - per_component).logsumexp(-1)


def kl_to_components(q: HouseholderNormal, p: GaussianMixture) -> Tensor:
    """Return KL(q || N(loc_i, diag(scale_i^2))) for every component i, with shape (B, T).

    Examples:
        >>> import torch
        >>> from tgvae.distributions import GaussianMixture, HouseholderNormal
        >>> q = HouseholderNormal(torch.ones(1, 1), torch.ones(1, 1), torch.zeros(1, 0, 1))
        >>> weights, loc = torch.tensor([[0.5, 0.5]]), torch.tensor([[-1.0], [1.0]])
        >>> p = GaussianMixture(weights, loc, scale=torch.ones(2, 1))
        >>> [round(x, 4) + 0.0 for x in kl_to_components(q, p)[0].tolist()]
        [2.0, 0.0]
    """
    return _to_diagonal(q.mean.unsqueeze(-2), q.variance.unsqueeze(-2), q.entropy().unsqueeze(-1), p.components)


@register_kl(HouseholderNormal, Independent)
def _householder_diagonal(q: HouseholderNormal, p: Independent) -> Tensor:
    return _to_diagonal(q.mean, q.variance, q.entropy(), p)


def _to_diagonal(mean: Tensor, variance: Tensor, entropy: Tensor, p: Independent) -> Tensor:
    """Return the KL to a diagonal Gaussian, -H[q] - E_q[log p]; only the diagonal of q's covariance matters."""
    base = p.base_dist
    if not isinstance(base, Normal):
        raise NotImplementedError(f"no closed form of KL(HouseholderNormal || {type(base).__name__})")
    cross = (variance + (mean - base.loc).square()) / base.scale.square() + torch.log(
        2 * torch.pi * base.scale.square()
    )
    return 0.5 * cross.sum(-1) - entropy
