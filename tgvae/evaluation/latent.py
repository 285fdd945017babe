"""Is the latent used?"""

from __future__ import annotations

import torch
from torch import Tensor

from tgvae.data.corpus import Corpus
from tgvae.evaluation.likelihood import evaluating
from tgvae.models.sentence import LatentWriter

ACTIVE_VARIANCE = 0.01


def posterior_means(model: LatentWriter, corpus: Corpus) -> Tensor:
    """Means of q(z | y) of every modelled sentence, with shape (N, Z), in the order of the corpus."""
    means = torch.empty(len(corpus.lengths), model.sentence.head.loc.out_features)
    with evaluating(model, seed=0):
        for index in corpus.sentence_batches(8192):
            q = model.trace(corpus.gather(index).to(model.device)).latents["z"].q
            mean = q.mean
            means[torch.from_numpy(index)] = (mean[0] if mean.dim() > 2 else mean).cpu()
    return means


def active_units(model: LatentWriter, corpus: Corpus) -> int:
    """Coordinates of z whose posterior mean varies: Var_y E_q[z_j | y] > 0.01 (Burda et al. 2016)."""
    return int((posterior_means(model, corpus).var(0) > ACTIVE_VARIANCE).sum())
