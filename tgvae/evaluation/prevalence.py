"""How much of documents topics have, by year and by label."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tgvae.evaluation.projections import Floats

MOST_LABELS = 30


@dataclass(frozen=True, eq=False)
class Prevalence:
    """Mean topic proportions of groups of documents.

    Attributes:
        names: of G groups, in order.
        documents: of each group, with shape (G,).
        means: mean proportions, with shape (G, T).
    """

    names: list[str]
    documents: NDArray[np.int64]
    means: Floats


def by_year(theta: Floats, dates: Sequence[str | None]) -> Prevalence | None:
    """Of the years of documents, from their proportions (documents, T); None with fewer than two years.

    A date is a year or starts with one (ISO 8601); documents with another, or none, are left out.
    """
    return _by(theta, [match[1] if (match := re.match(r"(\d{4})(-|$)", date or "")) else None for date in dates])


def by_label(theta: Floats, labels: Sequence[str | None]) -> Prevalence | None:
    """Of the labels of documents, the 30 most frequent; None with fewer than two."""
    frequent = {label for label, _ in Counter(x for x in labels if x is not None).most_common(MOST_LABELS)}
    return _by(theta, [label if label in frequent else None for label in labels])


def _by(theta: Floats, keys: Sequence[str | None]) -> Prevalence | None:
    """Of groups by their key, without those of None."""
    known = sorted({key for key in keys if key is not None})
    if len(known) < 2:
        return None
    place = {key: i for i, key in enumerate(known)}
    rows = np.array([-1 if key is None else place[key] for key in keys], dtype=np.int64)
    means = np.array([theta[rows == i].mean(0) for i in range(len(known))])
    return Prevalence(known, np.bincount(rows[rows >= 0], minlength=len(known)), means)
