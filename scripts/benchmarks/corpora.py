"""Benchmarks on a corpus: preparation, topic models of other libraries, and costs of model sizes."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import tyro
from numpy.typing import NDArray
from scipy.sparse import csr_array

from benchmarks.measuring import Metrics, Rounds, Row, fresh, interleaved, peak_memory, rows
from benchmarks.workloads import Softmax, sized
from data_prep.pipeline import Engine, prepare
from data_prep.settings import PrepareSettings
from tgvae.config_io import from_json
from tgvae.data.corpus import Corpus
from tgvae.data.schema import SPLITS, PreparedFolder
from tgvae.errors import UserError
from tgvae.evaluation.coherence import npmi
from tgvae.evaluation.likelihood import sentence_bound
from tgvae.evaluation.topic_fidelity import generate_for_every_topic, generated_fidelity
from tgvae.evaluation.topics import diversity, lda_topics, top_words
from tgvae.models.base import Capability
from tgvae.models.tgvae import TGVAE
from tgvae.recipes import RECIPES
from tgvae.runs import start_run

Topics = NDArray[np.floating[Any]]  # weights of the words of every topic, with shape (T, D)


@dataclass(frozen=True)
class Preparation:
    """Documents per second, each in a fresh process, with the start of the workers.

    `main ms` is the processor time of the main process per document; its inverse is the speed that no number of workers
    can exceed. `KB` is the size of a document in the prepared folder.
    """

    source: tyro.conf.Positional[str]
    """A corpus as for `tgvae prepare`."""
    engines: tuple[Engine, ...] = ("processes",)
    """processes and ray."""
    workers: tuple[int, ...] = (1, 2)
    """Processes, or CPUs of Ray."""
    rounds: int = 1
    """Measurements of each, in turn."""
    out: Path | None = None
    """JSON file for the result."""

    def measure(self) -> list[Row]:
        measures: dict[str, Callable[[], Metrics]] = {}
        for engine in self.engines:
            for workers in self.workers:
                settings = {"source": self.source, "engine": engine, "workers": workers}
                measures[f"{engine}, {workers}"] = partial(fresh, "corpora:measure_preparation", settings, 1)
        return rows(interleaved(measures, self.rounds))


def measure_preparation(settings: Mapping[str, Any]) -> Metrics:
    with TemporaryDirectory() as place:
        begin, used = time.perf_counter(), cpu_seconds()
        out = prepare(settings["source"], Path(place) / "out", workers=settings["workers"], engine=settings["engine"])
        seconds, used = time.perf_counter() - begin, cpu_seconds() - used
        documents = sum(PreparedFolder.open(out).manifest["counts"]["documents"].values())
        size = sum(path.stat().st_size for path in out.iterdir())
    found = {"documents/s": documents / seconds, "main ms": 1000 * used / documents}
    return found | {"main MiB": peak_memory(), "KB": size / documents / 1000}


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Tools:
    """Processor seconds, peak memory, NPMI of ten words per topic in the training documents, and diversity.

    Every library has its defaults, except for passes: 500 Gibbs sweeps of tomotopy, 20 passes of gensim's online
    variational Bayes. NMF is scikit-learn's, of TF-IDF. One thread.
    """

    prepared: Path
    """A prepared folder."""
    topics: int = 30
    """T."""
    rounds: int = 3
    """Measurements of each, in turn; the number of the round is the seed."""
    out: Path | None = None
    """JSON file for the result."""

    def measure(self) -> list[Row]:
        found: Rounds = {name: [] for name in TOOLS}
        for seed in range(self.rounds):
            for name in TOOLS:
                settings = {"folder": str(self.prepared), "topics": self.topics, "seed": seed, "name": name}
                found[name].append(fresh("corpora:measure_tool", settings, 1))
        return rows(found)


def measure_tool(settings: Mapping[str, Any]) -> Metrics:
    folder = PreparedFolder.open(settings["folder"])
    bags = Corpus(folder, "train").bags
    begin = time.process_time()
    topics = TOOLS[settings["name"]](folder, bags, settings["topics"], settings["seed"])
    found = {"seconds": time.process_time() - begin, "memory MiB": peak_memory()}
    top = top_words(topics)
    return found | {"NPMI": float(npmi(top, bags).mean()), "diversity": diversity(top)}


def ours(recipe: str, folder: PreparedFolder, bags: csr_array, topics: int, seed: int) -> Topics:
    found = RECIPES[recipe]()
    config: Any = found.model
    found = replace(found, model=replace(config, topics=topics), train=replace(found.train, seed=seed))
    with TemporaryDirectory() as place:
        model: Any = start_run(found, folder.path, Path(place) / "run", quiet=True)
    return model.topic.log_beta.detach().cpu().numpy()


def gensim_lda(folder: PreparedFolder, bags: csr_array, topics: int, seed: int) -> Topics:
    try:
        from gensim.matutils import Sparse2Corpus
        from gensim.models import LdaModel
    except ImportError:
        raise UserError("gensim is not installed: pip install gensim") from None
    names, documents = dict(enumerate(folder.topic_vocabulary.words)), Sparse2Corpus(bags, documents_columns=False)
    return LdaModel(documents, topics, names, passes=20, random_state=seed).get_topics()


def nmf(folder: PreparedFolder, bags: csr_array, topics: int, seed: int) -> Topics:
    from sklearn.decomposition import NMF
    from sklearn.feature_extraction.text import TfidfTransformer

    return NMF(topics, random_state=seed, max_iter=400).fit(TfidfTransformer().fit_transform(bags)).components_


TOOLS: dict[str, Callable[[PreparedFolder, csr_array, int, int], Topics]] = {
    "ours, topic": partial(ours, "topic"),
    "ours, prodlda": partial(ours, "prodlda"),
    "tomotopy, LDA": lambda folder, bags, topics, seed: lda_topics(bags, topics, seed),
    "gensim, LDA": gensim_lda,
    "scikit-learn, NMF": nmf,
}


@dataclass(frozen=True)
class Costs:
    """Processor microseconds per token of training, memory, size on disk, and quality on the validation split.

    The middle value of each option is the reference; every other value is tried with all else as there. Documents are
    sampled from the training split and prepared again. A language model of the same sizes is trained at the reference.
    """

    prepared: Path
    """A prepared folder."""
    documents: tuple[int, ...] = (400, 1300, 4000)
    """Training documents."""
    vocabulary: tuple[int, ...] = (2000, 5000, 8000)
    """V of the sentences."""
    topics: tuple[int, ...] = (10, 30, 100)
    """T."""
    hidden: tuple[int, ...] = (100, 200, 400)
    """H."""
    batch: tuple[int, ...] = (512, 1536)
    """Padded tokens per batch."""
    epochs: tuple[int, ...] = (2, 5, 10)
    """Of sentences; of topics as many as the recipe has."""
    softmax: tuple[Softmax, ...] = ("full", "adaptive")
    """Over the words."""
    precision: tuple[Literal["auto", "no", "bf16"], ...] = ("auto",)
    """no is float32."""
    samples: int = 600
    """Sentences whose topic fidelity is measured, about."""
    seed: int = 0
    """Of the documents and of training."""
    threads: int = 1
    """Threads of torch."""
    out: Path | None = None
    """JSON file for the result."""

    def measure(self) -> list[Row]:
        found: Rounds = {}
        for name, setting in self.settings():
            print(name, file=sys.stderr)
            found[name] = [fresh("corpora:measure_costs", setting, self.threads)]
        for values in found.values():
            values[0]["x reference"] = values[0]["us/token"] / found["reference"][0]["us/token"]
        return rows(found)

    def settings(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the reference, its language model, and the reference with one option changed."""
        names = ("documents", "topics", "hidden", "epochs", "vocabulary", "batch", "softmax", "precision")
        values = {name: getattr(self, name) for name in names}
        reference = {name: tried[(len(tried) - 1) // 2] for name, tried in values.items()}
        common = {"recipe": "tgvae", "source": str(self.prepared), "samples": self.samples, "seed": self.seed}
        yield "reference", common | reference
        yield "reference, language model", common | reference | {"recipe": "language-model"}
        for name, tried in values.items():
            for value in tried:
                if value != reference[name]:
                    yield f"{name} {value}", common | reference | {name: value}


def measure_costs(settings: Mapping[str, Any]) -> Metrics:
    """Prepare a sample of ``source``, train ``recipe`` on it, and evaluate."""
    with TemporaryDirectory() as place:
        folder = sample(settings, Path(place))
        run = Path(place) / "run"
        sentence = {"hidden_size": settings["hidden"], "softmax": settings["softmax"]}
        epochs = settings["epochs"]
        phase = {"epochs": epochs, "patience": epochs, "batch": settings["batch"]}  # nothing stops it early
        train = {"seed": settings["seed"], "precision": settings["precision"]}
        recipe = sized(settings["recipe"], sentence, phase, settings["topics"], **train)
        begin = time.process_time()
        model = start_run(recipe, folder.path, run, quiet=True)
        seconds, memory = time.process_time() - begin, peak_memory()
        disk = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
        tokens = Corpus(folder, "train").lengths.sum() * epochs
        found = {"train s": seconds, "us/token": 1e6 * seconds / float(tokens), "memory MiB": memory}
        found |= {"disk MiB": disk / 2**20, "perplexity": sentence_bound(model, Corpus(folder, "valid")).perplexity}
        if Capability.GUIDANCE in model.capabilities:
            assert isinstance(model, TGVAE)
            top, bags = top_words(model.topic.log_beta.detach().cpu().numpy()), Corpus(folder, "train").bags
            asked = generate_for_every_topic(model, max(1, settings["samples"] // model.topic.size))
            found |= {"NPMI": float(npmi(top, bags).mean()), "diversity": diversity(top)}
            found |= {"fidelity": generated_fidelity(model, asked), "chance": 1 / model.topic.size}
    return found


def sample(settings: Mapping[str, Any], place: Path) -> PreparedFolder:
    """Prepare some training ``documents`` of ``source`` and all held-out ones, with another ``vocabulary`` size."""
    folder = PreparedFolder.open(settings["source"])
    chosen = np.random.default_rng(settings["seed"]).permutation(len(folder.split("train")))[: settings["documents"]]
    with (place / "sample.jsonl").open("w", encoding="utf-8") as file:
        for split in SPLITS:
            table = folder.split(split).select(["id", "label", "sentences"])
            for row in (table.take(np.sort(chosen)) if split == "train" else table).to_pylist():
                file.write(json.dumps({**row, "text": row.pop("sentences"), "split": split}) + "\n")
    changed = folder.manifest["settings"] | {"vocabulary_size": settings["vocabulary"], "fields": {}, "limit": None}
    options = from_json(PrepareSettings, changed, str(folder.path))
    return PreparedFolder.open(prepare(place / "sample.jsonl", place / "data", options, workers=1))
