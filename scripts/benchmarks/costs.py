"""What a size costs and what it gives: models trained on slices of a corpus, one setting changed at a time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_array, hstack

from benchmarks.reporting import Row
from benchmarks.running import Metrics, Rounds, add_ratio, fresh, interleaved, peak_memory, rows
from benchmarks.sizes import SIZES, Softmax
from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tgvae.config_io import from_json
from tgvae.data.corpus import Corpus
from tgvae.data.schema import SPLITS, PreparedFolder
from tgvae.evaluation.coherence import npmi
from tgvae.evaluation.likelihood import sentence_bound
from tgvae.evaluation.topic_fidelity import ask_every_topic, generated_fidelity
from tgvae.evaluation.topics import diversity, top_words
from tgvae.models.base import Model
from tgvae.models.tgvae import TGVAE, TGVAEConfig
from tgvae.recipes import RECIPES, Recipe
from tgvae.runs import build, settled, watch
from tgvae.training.config import Phase
from tgvae.training.loop import train

Setting = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """Seconds of preparation, of the topics and of an epoch of sentences (validation counted), peak memory, size on
    disk, and of the validation split perplexity per word, NPMI, diversity, and fidelity of sentences at strength 1;
    microseconds a token of training and their ratio to the centre's, measured in turn at the end; beside, a GRU
    language model of the same sizes.

    The middle value of each option (the first of two) makes the centre; every other value is tried with all else as
    there. Seconds are those of the processor, so of an idle core. A slice is drawn at random from the training
    documents and prepared anew; validation documents are all the same ones, and NPMI counts the whole training split.
    """

    prepared: Path
    """A prepared folder."""
    documents: tuple[int, ...] = (400, 1300, 4000)
    """Of a slice, for training."""
    vocabulary: tuple[int, ...] = (2000, 5000, 8000)
    """V of the sentences."""
    topics: tuple[int, ...] = (10, 30, 100)
    """T."""
    hidden: tuple[int, ...] = (100, 200, 400)
    """H."""
    batch: tuple[int, ...] = (512, 1536)
    """Padded tokens."""
    epochs: tuple[int, ...] = (2, 5, 10)
    """Of sentences, at most; of topics as many as the recipe has."""
    softmax: tuple[Softmax, ...] = ("full", "adaptive")
    """Over the words."""
    precision: tuple[Literal["auto", "no", "bf16"], ...] = ("auto",)
    """no is float32."""
    beside: tuple[str, ...] = ("documents",)
    """Settings at whose every value a language model is trained too."""
    asked: int = 600
    """Sentences whose fidelity is measured, about."""
    steps: int = 40
    """Steps timed, for the microseconds a token."""
    rounds: int = 2
    """Of these, in turn."""
    seed: int = 0
    """Of the slices and of training."""
    threads: int = 1
    """Of torch."""
    out: Path | None = None
    """File for the result as JSON."""


AXES = ("documents", "topics", "hidden", "epochs", "vocabulary", "batch", "softmax", "precision")


def run(options: Options) -> list[Row]:
    found: Rounds = {}
    steps: dict[str, Callable[[], Metrics]] = {}
    with TemporaryDirectory() as place:

        @cache
        def sliced(documents: int, vocabulary: int) -> tuple[str, Metrics]:
            out = Path(place) / f"{documents}-{vocabulary}"
            wanted = {"source": str(options.prepared), "out": str(out), "seed": options.seed}
            return str(out), fresh("costs:slice_of", wanted | {"documents": documents, "vocabulary": vocabulary}, 1)

        for name, setting in settings_of(options).items():
            folder, prepared = sliced(setting["documents"], setting["vocabulary"])
            wanted = setting | {"folder": folder, "source": str(options.prepared), "asked": options.asked}
            wanted |= {"seed": options.seed}
            steps[name] = partial(step, wanted | {"recipe": "tgvae"}, options)
            found[name] = [prepared | fresh("costs:measure", wanted | {"recipe": "tgvae"}, options.threads)]
            if name.split()[0] in ("centre", *options.beside):
                wanted |= {"recipe": "language-model"}
                steps[f"LM {name}"] = partial(step, wanted, options)
                found[name][0]["LM perplexity"] = fresh("costs:measure", wanted, options.threads)["perplexity"]
            print(name, found[name], file=sys.stderr)
        speeds = interleaved(steps, options.rounds)
    add_ratio(speeds, "us/token", list(speeds), ["centre"], "x centre")
    return [with_speeds(row, speeds) for row in rows(found)]


def step(setting: Setting, options: Options) -> Metrics:
    """Microseconds a token in training, of the processor: a few steps, in a process of their own."""
    small = replace(SIZES["small"], hidden=setting["hidden"], topics=setting["topics"], softmax=setting["softmax"])
    wanted = {"folder": setting["folder"], "kind": setting["recipe"], "device": "cpu", "steps": options.steps}
    wanted |= {"sizes": asdict(replace(small, sentences=setting["batch"], length=1))}  # as many padded tokens a batch
    wanted |= {"precision": settled(recipe_of(setting)).train.precision}
    figures = fresh("loop:measure", wanted, options.threads)
    return {"us/token": 1e6 * figures["cores"] / figures["tokens/s"]}


def with_speeds(row: Row, speeds: Rounds) -> Row:
    """The row with the cost of its steps, and of the language model's where there is one."""
    found = {mark: speeds[mark + row.name] for mark in ("", "LM ") if mark + row.name in speeds}
    added = {f"{mark}{name}": [f[name] for f in each] for mark, each in found.items() for name in each[0]}
    return Row(row.name, row.rounds | added)


def settings_of(options: Options) -> dict[str, Setting]:
    """The centre, and each of its settings changed alone, by name."""
    values = {axis: getattr(options, axis) for axis in AXES}
    centre = {axis: tried[(len(tried) - 1) // 2] for axis, tried in values.items()}
    others = {f"{a} {v}": centre | {a: v} for a, tried in values.items() for v in tried if v != centre[a]}
    return {"centre": centre} | others


def slice_of(settings: Mapping[str, Any]) -> Metrics:
    """Prepare some training ``documents`` of ``source``, and all that are held out, with another ``vocabulary``."""
    folder = PreparedFolder.open(settings["source"])
    chosen = np.random.default_rng(settings["seed"]).permutation(len(folder.split("train")))[: settings["documents"]]
    index = {"train": np.sort(chosen)}
    source = Path(settings["out"]).with_suffix(".jsonl")
    with source.open("w", encoding="utf-8") as file:
        for split in SPLITS:
            table = folder.split(split).select(["id", "label", "sentences"])
            for row in (table.take(index[split]) if split in index else table).to_pylist():
                text = {"text": row.pop("sentences"), "split": split}
                file.write(json.dumps(row | text) + "\n")
    changed = folder.manifest["settings"] | {"vocabulary_size": settings["vocabulary"], "fields": {}, "limit": None}
    begin = time.process_time()
    prepare(source, settings["out"], from_json(PrepareSettings, changed, str(folder.path)), workers=1)
    return {"prepare s": time.process_time() - begin}


def measure(settings: Mapping[str, Any]) -> Metrics:
    """Train ``recipe`` on ``folder``: what it takes, and what comes of it beside the whole corpus, ``source``."""
    folder = PreparedFolder.open(settings["folder"])
    recipe = settled(recipe_of(settings))
    corpora = {split: Corpus(folder, split) for split in SPLITS[:2]}
    times = [time.process_time()]
    model = build(recipe, folder)

    def look(model: Model, phase: Phase) -> dict[str, float]:
        figures = watch(model, phase, corpora["train"]) if isinstance(model, TGVAE) else {}
        times.append(time.process_time())
        return figures

    with TemporaryDirectory() as place:
        train(model, corpora, recipe.train, Path(place), watch=look, quiet=True)
        disk = sum(file.stat().st_size for file in Path(place).rglob("*") if file.is_file())
    memory = peak_memory("cpu")
    epochs = recipe.train.phases["sentences"].epochs
    before = len(times) - 1 - epochs  # the last validation of topics, or the start
    found = {
        "topics s": times[before] - times[0],
        "epoch s": (times[-1] - times[before]) / epochs,
        "memory MiB": memory,
        "disk MiB": disk / 2**20,
        "perplexity": sentence_bound(model, corpora["valid"]).perplexity,
    }
    return found | (of_topics(model, folder, settings) if isinstance(model, TGVAE) else {})


def recipe_of(settings: Mapping[str, Any]) -> Recipe:
    """The recipe in these sizes, its last phase with ``epochs`` and ``batch``; nothing stops that one early."""
    recipe = RECIPES[settings["recipe"]]()
    sizes = {"hidden_size": settings["hidden"], "softmax": settings["softmax"]}
    model: Any = recipe.model
    if isinstance(model, TGVAEConfig):
        topic = replace(model.topic, topics=settings["topics"])
        model = replace(model, topic=topic, sentence=replace(model.sentence, **sizes))
    else:
        model = replace(model, **sizes)
    epochs = settings["epochs"]
    last = replace(recipe.train.phases["sentences"], epochs=epochs, batch=settings["batch"], patience=epochs)
    phases = recipe.train.phases | {"sentences": last}
    changed = replace(recipe.train, phases=phases, seed=settings["seed"], precision=settings["precision"])
    return replace(recipe, model=model, train=changed)


def of_topics(model: TGVAE, folder: PreparedFolder, settings: Mapping[str, Any]) -> Metrics:
    """Coherence and diversity of the topics, whose words are counted in the whole corpus; fidelity of sentences."""
    whole = Corpus(PreparedFolder.open(settings["source"]), "train")
    top = top_words(model.topic.log_beta.detach().cpu().numpy())
    asked = ask_every_topic(model, max(1, settings["asked"] // model.topic.size))
    return {
        "NPMI": float(npmi(top, count_words(whole, folder.topic_vocabulary.words)).mean()),
        "diversity": diversity(top),
        "fidelity": generated_fidelity(model, asked),
        "chance": 1 / model.topic.size,
    }


def count_words(corpus: Corpus, words: list[str]) -> csr_array:
    """Counts of words in the documents of a corpus, with shape (documents, words); 0 of what it has no column for."""
    places = {word: place for place, word in enumerate(corpus.folder.topic_vocabulary.words)}
    missing = csr_array((corpus.documents, 1), dtype=corpus.bags.dtype)
    whole = csr_array(hstack([corpus.bags, missing]))
    return csr_array(whole[:, [places.get(word, len(places)) for word in words]])
