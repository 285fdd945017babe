"""`tgvae topics`: the topics of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tgvae.cli.options import parse
from tgvae.cli.output import command, print_json, print_next_steps, table_console
from tgvae.config_io import require_range
from tgvae.data.corpus import Corpus
from tgvae.data.graph_io import require_new, write_edges
from tgvae.data.graphs import graph_of
from tgvae.evaluation.topics import WithTopics, nearest_sentences, theta, top_words, topic_quality
from tgvae.models.base import Capability
from tgvae.runs import load_run, open_folder


@dataclass(frozen=True)
class Topics:
    """Show the topics of a run: share of the corpus, coherence, top words, typical sentences.

    --links also writes a graph that links each training document to the documents with the most similar topics.

    Examples:
      tgvae topics runs/sotu
      tgvae topics runs/sotu --links links.tsv
    """

    run: tyro.conf.Positional[Path]
    """A run folder."""
    words: int = 10
    """Words per topic, also for coherence."""
    sentences: int = 1
    """Training sentences per topic."""
    links: Path | None = None
    """File to create, with one line for every two linked documents: their ids, separated by a TAB."""
    neighbours: int = 5
    """Links per document; links made by other documents come on top."""
    data: Path | None = None
    """Where the prepared folder is now, if it was moved."""
    json: bool = False
    """Print JSON."""


def main(arguments: Sequence[str]) -> None:
    options = parse(Topics, "topics", arguments)
    require_range(options, 2, math.inf, "words")
    require_range(options, 0, math.inf, "sentences")
    model: Any = load_run(options.run, require=Capability.TOPICS)
    corpus = Corpus(open_folder(options.run, options.data), "train")
    if options.links:
        require_new(options.links)
        graph = graph_of(theta(model, corpus), corpus.names(np.arange(corpus.documents)), options.neighbours)
        write_edges(graph, options.links)
    found = describe(model, corpus, options.words, options.sentences)
    if options.json:
        print_json(found | ({"links": str(options.links)} if options.links else {}))
        return
    show(found, table_console())
    steps = [command("plot", options.run, "--what", "topics", "map")]
    if Capability.GUIDANCE in model.capabilities:
        steps.insert(0, command("generate", options.run, "--topic", found["topics"][0]["topic"]))
    if options.links:
        steps.append(command("train", options.links, "--recipe", "graph-vae"))
    print_next_steps([options.links] if options.links else [], steps)


def describe(model: WithTopics, corpus: Corpus, words: int = 10, sentences: int = 1) -> dict[str, Any]:
    """Return the topics by decreasing share, and metrics of the set."""
    quality = topic_quality(model, corpus, words)
    top = top_words(model.topic.log_beta.detach().cpu().numpy(), words)
    near = nearest_sentences(model, corpus, sentences)
    topics = [
        {
            "topic": int(i),
            "share": float(quality.share[i]),
            "npmi": float(quality.npmi[i]),
            "words": [model.vocabulary.words[w] for w in top[i]],
            "sentences": near[i],
        }
        for i in (-quality.share).argsort()
    ]
    return {
        "npmi": float(quality.npmi.mean()),
        "diversity": quality.diversity,
        "topics_in_use": quality.in_use,
        "topics": topics,
    }


def show(found: dict[str, Any], console: Console, most: int | None = None) -> None:
    """Print a table of the ``most`` frequent topics; None prints all."""
    has_sentences = bool(found["topics"][0]["sentences"])
    table = Table("topic", "share", "NPMI", "top words and typical sentences", show_lines=has_sentences)
    for topic in found["topics"][:most]:
        text = "\n".join([", ".join(topic["words"]), *(f"[dim]{escape(s)}[/dim]" for s in topic["sentences"])])
        table.add_row(str(topic["topic"]), f"{topic['share']:.1%}", f"{topic['npmi']:.2f}", text)
    console.print(table)
    console.print(
        f"mean NPMI {found['npmi']:.3f} (co-occurrence of top words in training documents), diversity "
        f"{found['diversity']:.2f} (share of distinct top words), topics in use {found['topics_in_use']:.0%}"
    )
