"""Topics of ours beside those of other libraries, from the same words and documents: time, coherence, diversity."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from benchmarks.reporting import Row
from benchmarks.running import Metrics, Rounds, fresh, numbers, peak_memory, rows
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.errors import UserError
from tgvae.evaluation.baselines import lda_topics
from tgvae.evaluation.coherence import npmi
from tgvae.evaluation.topics import diversity, top_words
from tgvae.models.topic import TopicModel
from tgvae.recipes import RECIPES
from tgvae.runs import start_run

Topics = NDArray[np.floating]  # what tells the words of every topic, the larger the better, with shape (T, D)


@dataclass(frozen=True)
class Options:
    """Seconds of the processor, peak memory, NPMI of ten words a topic in the training documents, and diversity.

    Each library has its own defaults, but for passes: 500 Gibbs sweeps of tomotopy, 20 passes of gensim's online
    variational Bayes (its default of one is too few here). NMF is scikit-learn's, of TF-IDF. One thread.
    """

    prepared: Path
    """A prepared folder."""
    topics: int = 30
    """T."""
    rounds: int = 3
    """Measurements of each, in turn; the round's number is the seed of all."""
    out: Path | None = None
    """File for the result as JSON."""


def run(options: Options) -> list[Row]:
    found: Rounds = {}
    for seed in numbers(options.rounds):
        for name in TOOLS:
            settings = {"folder": str(options.prepared), "topics": options.topics, "seed": seed, "name": name}
            found.setdefault(name, []).append(fresh("tools:measure", settings, 1))
    return rows(found)


def measure(settings: Mapping[str, Any]) -> Metrics:
    """The topics that ``TOOLS[name]`` finds in the training documents of ``folder``."""
    folder = PreparedFolder.open(settings["folder"])
    bags = Corpus(folder, "train").bags
    begin = time.process_time()
    topics = TOOLS[settings["name"]](folder, bags, settings["topics"], settings["seed"])
    found = {"seconds": time.process_time() - begin, "memory MiB": peak_memory("cpu")}
    top = top_words(topics)
    return found | {"NPMI": float(npmi(top, bags).mean()), "diversity": diversity(top)}


def ours(recipe: str, folder: PreparedFolder, bags: csr_array, topics: int, seed: int) -> Topics:
    """A recipe of topics alone, trained as it says."""
    found = RECIPES[recipe]()
    model: Any = found.model
    found = replace(found, model=replace(model, topics=topics), train=replace(found.train, seed=seed))
    with TemporaryDirectory() as place:
        trained = start_run(found, folder.path, Path(place) / "run", quiet=True)
    assert isinstance(trained, TopicModel)
    return trained.topic.log_beta.detach().cpu().numpy()


def gibbs(folder: PreparedFolder, bags: csr_array, topics: int, seed: int) -> Topics:
    """tomotopy's LDA, as `tgvae evaluate --lda` has it."""
    return lda_topics(bags, topics, seed)


def variational(folder: PreparedFolder, bags: csr_array, topics: int, seed: int) -> Topics:
    """gensim's LDA. Raises UserError where it is not installed."""
    try:
        from gensim.matutils import Sparse2Corpus
        from gensim.models import LdaModel
    except ImportError:
        raise UserError("gensim is not installed: pip install gensim") from None
    names = dict(enumerate(folder.topic_vocabulary.words))
    documents = Sparse2Corpus(bags, documents_columns=False)
    return LdaModel(documents, topics, names, passes=20, random_state=seed).get_topics()


def factors(folder: PreparedFolder, bags: csr_array, topics: int, seed: int) -> Topics:
    """scikit-learn's NMF of TF-IDF."""
    from sklearn.decomposition import NMF
    from sklearn.feature_extraction.text import TfidfTransformer

    model = NMF(topics, random_state=seed, max_iter=400)
    model.fit(TfidfTransformer().fit_transform(bags))
    return model.components_


TOOLS: dict[str, Callable[[PreparedFolder, csr_array, int, int], Topics]] = {
    "ours, topic": partial(ours, "topic"),
    "ours, prodlda": partial(ours, "prodlda"),
    "tomotopy, LDA": gibbs,
    "gensim, LDA": variational,
    "scikit-learn, NMF": factors,
}
