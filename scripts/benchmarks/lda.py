"""How long until topics are as coherent as ours: the topic recipe, then LDA until it has the same NPMI."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from benchmarks.reporting import Row
from benchmarks.running import Metrics, Rounds, fresh, numbers, rows, threads_of
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.evaluation.baselines import gibbs_sampler, word_distributions
from tgvae.evaluation.coherence import npmi
from tgvae.evaluation.topics import top_words
from tgvae.models.topic import TopicModel
from tgvae.recipes import RECIPES
from tgvae.runs import start_run
from tgvae.training.checkpoint import read_progress
from tgvae.training.loop import CHECKPOINT

Passes = Iterator[Callable[[], NDArray[np.floating]]]  # each makes a pass and gives what tells the topics (T, D) then


@dataclass(frozen=True)
class Options:
    """Seconds, passes over the documents, documents a second (documents x passes / seconds) and NPMI of topics.

    Ours is trained as its recipe says, start and validation counted; then tomotopy (collapsed Gibbs) and
    scikit-learn (online variational Bayes) go on until they have its NPMI, or for ``seconds``; reading their topics
    off and scoring these is not counted. NPMI is that of ten words a topic in the training documents.
    """

    prepared: Path
    """A prepared folder."""
    recipe: Literal["topic", "prodlda"] = "topic"
    """Of ours."""
    topics: int = 50
    """T."""
    epochs: int | None = None
    """Of ours, at most; the recipe's own where not given."""
    threads: tuple[int, ...] = (1,)
    """Of torch, and workers of the others."""
    seconds: float = 120.0
    """At most, for LDA."""
    rounds: int = 1
    """Measurements of each, in turn; the round's number is the seed of all, and its goal is the NPMI of ours in it."""
    out: Path | None = None
    """File for the result as JSON."""


def run(options: Options) -> list[Row]:
    found: Rounds = {}
    for threads in options.threads:
        settings = {"folder": str(options.prepared), "topics": options.topics, "threads": threads}
        settings |= {"recipe": options.recipe, "epochs": options.epochs, "seconds": options.seconds}
        for seed in numbers(options.rounds):
            for name, figures in one_round(settings | {"seed": seed}, threads).items():
                found.setdefault(f"{name}, {threads_of(threads)}", []).append(figures)
    return rows(found)


def one_round(settings: Mapping[str, Any], threads: int) -> dict[str, Metrics]:
    """Ours, then the others until they are as coherent as it, by name."""
    ours = fresh("lda:measure_ours", settings, threads)
    goal = {"goal": ours["NPMI"]}
    others = {name: fresh("lda:measure_other", {**settings, **goal, "name": name}, threads) for name in OTHERS}
    return {f"ours, {settings['recipe']}": ours} | others


def measure_ours(settings: Mapping[str, Any]) -> Metrics:
    """Train ``recipe`` on ``folder`` with ``topics`` and ``seed``, for ``epochs`` at most, or its own where None."""
    folder = PreparedFolder.open(settings["folder"])
    recipe = RECIPES[settings["recipe"]]()
    (name, phase), *_ = recipe.train.phases.items()
    phase = replace(phase, epochs=settings["epochs"] or phase.epochs)
    model_config: Any = replace(recipe.model, topics=settings["topics"])
    train = replace(recipe.train, phases={name: phase}, seed=settings["seed"])
    with TemporaryDirectory() as place:
        run = Path(place) / "run"
        begin = time.perf_counter()
        model = start_run(replace(recipe, model=model_config, train=train), folder.path, run, quiet=True)
        seconds = time.perf_counter() - begin
        passes = read_progress(run / CHECKPOINT).epoch
    assert isinstance(model, TopicModel)
    bags = Corpus(folder, "train").bags
    return _figures(model.topic.log_beta.detach().cpu().numpy(), bags, passes, seconds)


def measure_other(settings: Mapping[str, Any]) -> Metrics:
    """Passes of ``OTHERS[name]`` until the topics have the NPMI ``goal`` or ``seconds`` have passed."""
    bags, seconds = Corpus(PreparedFolder.open(settings["folder"]), "train").bags, 0.0
    begin = time.perf_counter()
    passes = OTHERS[settings["name"]](bags, settings["topics"], settings["threads"], settings["seed"])
    for number, topics in enumerate(passes, start=1):
        seconds += time.perf_counter() - begin
        figures = _figures(topics(), bags, number, seconds)
        if figures["NPMI"] >= settings["goal"] or seconds > settings["seconds"]:
            break
        begin = time.perf_counter()
    return figures


def _figures(beta: NDArray[np.floating], bags: csr_array, passes: int, seconds: float) -> Metrics:
    coherence = float(npmi(top_words(beta), bags).mean())
    speed = bags.shape[0] * passes / seconds
    return {"seconds": seconds, "passes": passes, "documents/s": speed, "NPMI": coherence}


def gibbs(bags: csr_array, topics: int, threads: int, seed: int) -> Passes:
    """tomotopy's LDA with its defaults. Raises UserError where it is not installed."""
    model = gibbs_sampler(bags, topics, seed)
    while True:
        model.train(1, workers=threads)
        yield partial(word_distributions, model, bags.shape[1])


def variational(bags: csr_array, topics: int, threads: int, seed: int) -> Passes:
    """scikit-learn's LDA, online, with its defaults and batches of 128 as ours."""
    from sklearn.decomposition import LatentDirichletAllocation

    documents = bags.shape[0]
    model = LatentDirichletAllocation(topics, total_samples=documents, n_jobs=threads, random_state=seed)
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(documents)
        for first in range(0, documents, 128):
            model.partial_fit(bags[order[first : first + 128]])
        yield lambda: model.components_


OTHERS: dict[str, Callable[[csr_array, int, int, int], Passes]] = {"tomotopy": gibbs, "scikit-learn": variational}
