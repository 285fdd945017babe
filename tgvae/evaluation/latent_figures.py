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
from tgvae.evaluation.metric import Metric, Metrics
from tgvae.progress import step


def information_figure(found: Aggregate, row: str, seed: int) -> Metrics:
    """Mutual information of z and the rows of a split, called ``row``; none of a single row."""
    rows = len(found)
    if rows < 2:
        return {}
    draws = min(500, rows)
    information = mutual_information(found, draws, seed)
    figure = Metric(
        information.nats,
        f"nats (cap ln {rows} = {information.cap:.2f})",
        f"aggregate posterior of the whole split, {draws} draws",
        rows,
        seed,
        information.standard_error,
    )
    return {f"mutual information of {row} and z": figure}


def gaussian_figures(found: Posteriors, row: str, seed: int) -> Metrics:
    """How much a Gaussian latent of rows of any kind holds, and in how many of its units."""
    unit, how = f"of {found.loc.shape[1]}", f"variance of posterior means > {ACTIVE_VARIANCE}, in units of the prior's"
    active = Metric(active_units(found.means / found.prior_scale), unit, how, len(found))
    return information_figure(found, row, seed) | {"active units": active}


@step("measuring the latent")
def latent_figures(found: Posteriors, kl: TopicKL | None, seed: int) -> Metrics:
    """How much the latent of sentences holds, in how many of its units, and what the flow does."""
    figures, sentences = gaussian_figures(found, "sentence", seed), len(found)
    own, active = active_units(found.deviations / found.prior_scale), figures["active units"]
    figures["active units of the sentence"] = Metric(
        own, active.unit, f"{active.estimator}, component taken out", sentences
    )
    flow, how = total_correlation(found), "KL to the closest diagonal Gaussian: what the flow adds"
    figures["total correlation of the posterior"] = Metric(flow.nats, "nats", how, sentences)
    share = Metric(flow.off_diagonal, "share", "Frobenius norms", sentences)
    figures["off-diagonal share of the covariance"] = share
    if kl is not None:
        live, how = kl.nats[kl.sentences > 0], "closed form, mean over the sentences of a topic"
        for name, value in (("least", live.min()), ("largest", live.max())):
            figures[f"KL of z, {name} of topics"] = Metric(value.item(), "nats per sentence", how, len(live))
    return figures
