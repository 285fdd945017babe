"""The figures of latents: how much z holds of what it stands for, and in how many of its units."""

from __future__ import annotations

from tgvae.evaluation.latent import (
    ACTIVE_VARIANCE,
    Aggregate,
    Posteriors,
    TopicKL,
    active_units,
    mutual_information,
    total_correlation,
)
from tgvae.evaluation.metric import Metrics
from tgvae.evaluation.registry import measure
from tgvae.progress import step


def information_figure(found: Aggregate, row: str, seed: int) -> Metrics:
    """Mutual information of z and the rows of a split, called ``row``; none of a single row."""
    rows = len(found)
    if rows < 2:
        return {}
    draws = min(500, rows)
    information = mutual_information(found, draws, seed)
    return measure(
        "mutual_information",
        information.nats,
        rows,
        seed,
        information.standard_error,
        row=row,
        rows=rows,
        cap=information.cap,
        draws=draws,
    )


def gaussian_figures(found: Posteriors, row: str, seed: int) -> Metrics:
    """How much a Gaussian latent of rows of any kind holds, and in how many of its units."""
    active = active_units(found.means / found.prior_scale)
    return information_figure(found, row, seed) | measure(
        "active_units", active, len(found), latent_size=found.loc.shape[1], threshold=ACTIVE_VARIANCE
    )


@step("measuring the latent")
def latent_figures(found: Posteriors, kl: TopicKL | None, seed: int) -> Metrics:
    """How much the latent of sentences holds, in how many of its units, and what the flow does."""
    figures, sentences = gaussian_figures(found, "sentence", seed), len(found)
    own = active_units(found.deviations / found.prior_scale)
    figures |= measure(
        "active_units_sentence", own, sentences, latent_size=found.loc.shape[1], threshold=ACTIVE_VARIANCE
    )
    flow = total_correlation(found)
    figures |= measure("total_correlation", flow.nats, sentences)
    figures |= measure("off_diagonal_share", flow.off_diagonal, sentences)
    if kl is not None:
        live = kl.nats[kl.sentences > 0]
        figures |= measure("kl_z_min_topic", live.min().item(), len(live))
        figures |= measure("kl_z_max_topic", live.max().item(), len(live))
    return figures
