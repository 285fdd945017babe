"""What the page shows of a run before anything is asked: its topics, and pictures of them and of its documents.

Found once, when the page is started.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from math import nan
from typing import Any

import numpy as np

from tgvae.data.corpus import Corpus
from tgvae.evaluation.exhibits import Exhibits, TopicRow
from tgvae.evaluation.page import CONFIG
from tgvae.evaluation.plots import Name, drawn, gathered
from tgvae.evaluation.projections import topic_distances
from tgvae.evaluation.topics import WithTopics, diversity, has_topics, top_words, topics_in_use
from tgvae.models.base import Model
from tgvae.web.answers import abilities, topics_of
from tgvae.web.asked import CHARACTERS, LINE, TOKENS

PICTURES: tuple[Name, ...] = ("map", "documents", "time", "labels", "similarity")


@dataclass(frozen=True)
class Context:
    """Answers that are ready.

    Attributes:
        about: the run, what can be asked of it and how much, its corpus, and what is missing and why.
        topics: by falling share, with words, coherence and nearest sentences; and the figures of the whole set.
        pictures: of topics and documents, as Plotly has them.
    """

    about: dict[str, Any]
    topics: dict[str, Any] = field(default_factory=lambda: {"topics": []})
    pictures: dict[str, Any] = field(default_factory=lambda: {"pictures": []})


def look(
    model: Model, name: str, corpus: Corpus | None, missing: str = "", tell: Callable[[str], object] = lambda _: None
) -> Context:
    """All that is known of a run.

    Args:
        model: its model.
        name: its name.
        corpus: the training split; None where it is not there.
        missing: why it is not.
        tell: is told what comes next, as it takes some seconds.
    """
    about = {
        "run": name,
        "model": model.kind,
        "version": version("tgvae"),
        "can": abilities(model),
        "limits": {"characters": CHARACTERS, "line": LINE, "tokens": TOKENS},
        "corpus": None if corpus is None else describe(corpus),
        "missing": missing,
    }
    if not has_topics(model):
        return Context(about)
    if corpus is not None:
        tell(f"topics of {corpus.documents:,} documents and {len(corpus.lengths):,} sentences ...")
    exhibits = by_itself(model) if corpus is None else gathered(model, corpus, corpus, PICTURES)
    tell("pictures ...")
    return Context(about, described(exhibits), pictured(exhibits))


def describe(corpus: Corpus) -> dict[str, Any]:
    """Where documents came from, and how many there are."""
    source = corpus.folder.manifest["source"]
    counts = {"documents": corpus.documents, "sentences": len(corpus.lengths)}
    return {"name": source["name"], "licence": source["licence"], **counts}


def by_itself(model: WithTopics) -> Exhibits:
    """What a model has to show without documents: shares are those of an empty one, and no coherence is known (NaN)."""
    beta = model.topic.log_beta.detach().exp().cpu().double().numpy()
    top, share = top_words(beta), topics_of(model, []).detach().cpu().numpy()
    rows = [
        TopicRow(int(i), float(share[i]), nan, [model.vocabulary.words[w] for w in top[i]], beta[i, top[i]].tolist())
        for i in (-share).argsort(kind="stable")
    ]
    return Exhibits("", topics=rows, topic_distances=topic_distances(beta))


def described(exhibits: Exhibits) -> dict[str, Any]:
    """The topics in JSON's terms: coherence is null where it is not known."""
    rows = exhibits.topics or ()
    return {
        "npmi": _known(float(np.mean([row.npmi for row in rows]))),
        "diversity": diversity(np.array([row.words for row in rows])),
        "in_use": None if exhibits.theta is None else topics_in_use(exhibits.theta),
        "topics": [
            {
                "topic": row.number,
                "name": row.name,
                "share": row.share,
                "npmi": _known(row.npmi),
                "words": [{"word": w, "probability": p} for w, p in zip(row.words, row.probabilities, strict=True)],
                "sentences": list(row.nearest),
            }
            for row in rows
        ],
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def pictured(exhibits: Exhibits) -> dict[str, Any]:
    """Pictures with headings and captions, and how Plotly is to show them."""
    found = drawn(exhibits, PICTURES).values()
    shown = [
        {"heading": p.heading, "caption": p.caption, "figure": json.loads(str(p.figure.to_json()))}
        for p in found
        if p.figure is not None
    ]
    return {"config": CONFIG, "pictures": shown}
