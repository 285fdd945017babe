"""A pretrained decoder compared with the GRU on one corpus: perplexity, guidance, sentences and paragraphs.

python scripts/compare_decoders.py --lm runs/lm --fusion runs/fusion --gru-lm runs/gru-lm --gru-tgvae runs/gru-tgvae

Writes docs/results/pretrained-*.json; `python scripts/tables.py` then updates the pages.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from tgvae.cli.main import keep_memory
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.evaluation.bleu import ngrams
from tgvae.evaluation.generation import distinct, words_of
from tgvae.evaluation.likelihood import Bound, importance_weighted_nll, sentence_bound
from tgvae.evaluation.topic_fidelity import inferred_topics, surrounding_topics
from tgvae.evaluation.topics import top_words
from tgvae.generation.decode import DecodeSettings
from tgvae.models.base import Capability
from tgvae.models.pretrained_lm import PretrainedConfig, PretrainedLanguageModel
from tgvae.random import make_generator
from tgvae.runs import load_run, open_folder

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Options:
    """Measure runs on the test split and write docs/results/pretrained-*.json."""

    lm: Path
    """Run of pretrained-lm."""
    fusion: Path
    """Run of pretrained-tgvae with the adapter of that run."""
    gru_lm: Path | None = None
    gru_tgvae: Path | None = None
    per_topic: int = 15
    """Samples of every topic and strength."""
    strengths: tuple[float, ...] = (1.0, 1.5, 2.0)
    tables: tuple[Literal["perplexity", "sentences", "steering"], ...] = ("perplexity", "sentences", "steering")
    made_by: str = ""
    """Commands that made the runs, to note in the results."""
    out: Path = ROOT / "docs" / "results"
    seed: int = 0


def main(arguments: Sequence[str]) -> int:
    options = tyro.cli(Options, args=arguments, description=Options.__doc__)
    keep_memory()
    folder, lm, fusion = open_folder(options.lm), load_run(options.lm), load_run(options.fusion)
    assert isinstance(lm, PretrainedLanguageModel)
    for name in options.tables:
        write(options, name, *TABLES[name](options, folder, lm, fusion))
    return 0


def write(options: Options, name: str, what: str, columns: list[str], rows: list[list[str]]) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    result = {
        "what": what,
        "command": options.made_by.strip() + "\npython scripts/compare_decoders.py " + " ".join(sys.argv[1:5]) + " ...",
        "commit": commit.stdout.strip(),
        "seeds": [options.seed],
        "versions": f"torch {torch.__version__.split('+')[0]}",
        "machine": "one core of a shared machine, bfloat16",
        "columns": columns,
        "rows": rows,
    }
    path = options.out / f"pretrained-{name}.json"
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(path, *("\t".join(row) for row in [columns, *rows]), sep="\n", flush=True)


def perplexity_table(
    options: Options, folder: PreparedFolder, lm: PretrainedLanguageModel, fusion: Any
) -> tuple[str, list[str], list[list[str]]]:
    """Test perplexity per word with and without the sentences before."""
    context = lm.context_tokens
    alone, within = (Corpus(folder, "test", context=tokens) for tokens in (0, context))
    base = PretrainedLanguageModel.from_data(PretrainedConfig(lm.config.base, rank=0, context=context), folder)
    rows = []
    for run, name in ((options.gru_lm, "GRU language model"), (options.gru_tgvae, "GRU TGVAE")):
        if run is not None:
            model, corpus = load_run(run), Corpus(open_folder(run), "test")
            text = f"{sentence_bound(model, corpus, options.seed).perplexity:.1f}"
            if Capability.LATENT in model.capabilities:
                weighted = importance_weighted_nll(model, corpus, 20, options.seed).perplexity
                text += f"; importance-weighted {weighted:.1f}"
            rows.append([name, text, ""])
    models = (("base model without training", base), ("adapted", lm), ("adapted, fused with topics", fusion))
    for name, model in models:
        found = [perplexity(sentence_bound(model, corpus, options.seed)) for corpus in (alone, within)]
        rows.append([name, *(f"{value:.1f}" for value in found)])
    what = f"Test perplexity per word of {len(alone.lengths):,} sentences, alone and after those before in the passage"
    return what, ["", "sentence alone", "after the sentences before it"], rows


def perplexity(bound: Bound) -> float:
    """Per word, of the tokens alone: the topics of a document are given by its other sentences."""
    return float(torch.tensor(bound.per("word", "nll/tokens")).exp())


def steering_table(
    options: Options, folder: PreparedFolder, lm: PretrainedLanguageModel, fusion: Any
) -> tuple[str, list[str], list[list[str]]]:
    """Plain samples of every topic: are they about it, and what does that cost?"""
    train, test = (Corpus(folder, split) for split in ("train", "test"))
    known = {gram for words in words_of(train.texts) for gram in ngrams(words, 4)}
    rows = [["real text", natural_fidelity(fusion, test), *quality(lm, folder, test.texts, known)]]
    free = [sentence.text for sentence in lm.generate(20 * options.per_topic, seed=options.seed)]
    rows.append(["adapted, not guided", "", *quality(lm, folder, free, known)])
    for name, run in (("GRU TGVAE", options.gru_tgvae), ("fused", options.fusion)):
        if run is None:
            continue
        model: Any = load_run(run)
        for strength in options.strengths:
            topics = torch.arange(model.topic.size).repeat_interleave(options.per_topic)
            generator = make_generator(options.seed)
            weights = torch.nn.functional.one_hot(topics, model.topic.size).float()
            written = model.write(model.sample_latents(weights, strength, generator), DecodeSettings(), generator)
            texts = [sentence.text for sentence in written]
            hits = inferred_topics(model, model.counts(texts)) == topics
            rows.append(
                [f"{name}, strength {strength:g}", f"{hits.float().mean():.2f}", *quality(lm, folder, texts, known)]
            )
    what = f"Guidance by topics: {fusion.topic.size} topics, {options.per_topic} plain samples of each"
    columns = [
        "",
        "on the topic",
        "perplexity under the adapted model",
        "distinct bigrams",
        "4-grams of training",
        "loops",
    ]
    return what, columns, rows


def natural_fidelity(model: Any, held_out: Corpus) -> str:
    """Share of real sentences whose topic is that of their document without them."""
    around = surrounding_topics(model, held_out)
    own = torch.empty_like(around)
    for index in held_out.sentence_batches(8192):
        own[torch.from_numpy(index)] = inferred_topics(model, held_out.gather(index).sentence_bow)
    return f"{(own == around)[around >= 0].float().mean():.2f}"


def quality(lm: PretrainedLanguageModel, folder: PreparedFolder, texts: list[str], known: set[Any]) -> list[str]:
    """Perplexity, variety, copies and loops: a word three times in a row."""
    texts = [text for text in texts if text.strip()]
    words = words_of(texts)
    grams = [gram for row in words for gram in ngrams(row, 4)]
    loops = sum(any(a == b == c for a, b, c in zip(row, row[1:], row[2:], strict=False)) for row in words)
    return [
        f"{sentence_bound(lm, Corpus.of_sentences(folder, 'test', texts)).perplexity:.0f}",
        f"{distinct(texts, 2):.2f}",
        f"{sum(gram in known for gram in grams) / max(len(grams), 1):.3f}",
        f"{loops / len(texts):.3f}",
    ]


def sentence_table(
    options: Options, folder: PreparedFolder, lm: PretrainedLanguageModel, fusion: Any
) -> tuple[str, list[str], list[list[str]]]:
    """Sentences and paragraphs of the first topics by a fixed seed, not chosen."""
    names = top_words(fusion.topic.log_beta.detach().numpy(), 5)
    rows = []
    for topic in range(3):
        label = ", ".join(fusion.vocabulary.words[i] for i in names[topic])
        for sentence in fusion.generate(topic, num=10, seed=options.seed):
            rows.append([label, escaped(sentence.text)])
        for paragraph in fusion.generate_paragraphs(topic, num=2, sentences=4, seed=options.seed):
            rows.append([f"paragraph: {label}", escaped(" ".join(sentence.text for sentence in paragraph))])
    return "Plain samples at strength 1, of the first three topics, not chosen", ["topic", "text"], rows


def escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("<", r"\<").replace("*", r"\*")


TABLES = {"perplexity": perplexity_table, "steering": steering_table, "sentences": sentence_table}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
