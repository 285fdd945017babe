"""Is the latent used, and by what: the topic or the sentence?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import OneHotCategorical

from tgvae.data.corpus import Corpus
from tgvae.distributions import HouseholderNormal
from tgvae.evaluation.likelihood import evaluating
from tgvae.models.sentence import LatentWriter
from tgvae.models.tgvae import TGVAE
from tgvae.trace import Trace

ACTIVE_VARIANCE = 0.01


def posterior_means(model: LatentWriter, corpus: Corpus) -> tuple[Tensor, Tensor]:
    """Posterior means of every modelled sentence in the order of the corpus, each with shape (N, Z).

    First E_q[z | y], with the component averaged out; second its deviation from the component, which is
    what the sentence adds to its topic (for a model without components both are the same).
    """
    whole = torch.empty(len(corpus.lengths), model.sentence.head.loc.out_features)
    deviation = torch.empty_like(whole)
    with evaluating(model, seed=0):
        for index in corpus.sentence_batches(8192):
            rows = torch.from_numpy(index)
            whole[rows], deviation[rows] = _means(model, model.trace(corpus.gather(index).to(model.device)))
    return whole, deviation


def _means(model: LatentWriter, trace: Trace) -> tuple[Tensor, Tensor]:
    q = trace.latents["z"].q
    assert isinstance(q, HouseholderNormal)
    if not (isinstance(model, TGVAE) and "c" in trace.latents):
        return q.mean.cpu(), q.mean.cpu()
    q_c = trace.latents["c"].q
    assert isinstance(q_c, OneHotCategorical)
    deviation = (q.mean - q.centre)[0]
    centre = q_c.probs[0] @ model.components()[0]
    return (deviation + centre).cpu(), deviation.cpu()


def active_units(means: Tensor) -> int:
    """Coordinates of z whose posterior mean varies: Var_y E_q[z_j | y] > 0.01 (Burda et al. 2016)."""
    return int((means.var(0) > ACTIVE_VARIANCE).sum())
