"""`tgvae score`: log-probability and perplexity of sentences or documents."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from heapq import nlargest
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from data_prep.settings import Fields
from tgvae.cli.inputs import Columns, Document, batched, find_inputs, read_documents, sentences_of
from tgvae.cli.options import parse, require_device
from tgvae.cli.output import command, open_output, print_next_steps, table_console
from tgvae.config_io import SEEDS, require_range
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.evaluation.likelihood import importance_weighted_nll, sentence_bound
from tgvae.formatting import Table, format_number
from tgvae.models.base import Capability
from tgvae.progress import showing, track
from tgvae.random import derive_seed
from tgvae.runs import load_run

WINDOW = 256  # documents in memory at a time
LONGEST = 4000  # characters of a sentence: memory grows with the tokens of a sentence times the vocabulary
SHOWN = 200  # characters of a sentence in the table
BoundName = Literal["importance-weighted", "elbo"]


@dataclass(frozen=True)
class Score:
    """Compute log p in nats, and perplexity per word, of every sentence or document, in order.

    For a model with latents, log p is a lower bound. A sentence is scored alone, with topics from the prior; with
    --by document, the rest of its document is its context, as in `tgvae evaluate`.

    Examples:
      tgvae score runs/sotu speech.txt
      tgvae score runs/sotu articles.jsonl --by document --json > scores.jsonl
      tgvae score runs/sotu articles.jsonl --top 20
    """

    run: tyro.conf.Positional[Path]
    """A run folder of a model of sentences."""
    inputs: tyro.conf.Positional[tuple[str, ...]] = ("-",)
    """Texts (.gz), folders of .txt, tables of one document per row (.jsonl, .csv, .parquet; .gz); - for stdin."""
    by: Literal["sentence", "document"] = "sentence"
    """What gets a score; that of a document is the sum over its sentences."""
    bound: BoundName = "importance-weighted"
    """Lower bound of log p for a model with latents; the importance-weighted one is tighter."""
    samples: int = 20
    """Samples of the latents per sentence."""
    top: int | None = None
    """Print only this many, the most surprising per word first."""
    seed: int = 0
    """Equal seeds give equal bounds of equal inputs."""
    json: bool = False
    """Print one JSON object per sentence or document."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, cuda:1, ..."""
    fields: Columns = field(default_factory=Columns)


@dataclass(frozen=True)
class Scored:
    """The score of a sentence or document.

    Attributes:
        id: of the document.
        sentence: number of the sentence in the document, from 1; None for a document.
        log_prob: nats; NaN if nothing could be scored.
        words: predicted words, the end of a sentence included.
        perplexity: per word.
        unscored: sentences without a token, or too long.
        bound: ``exact``, ``elbo`` or ``importance-weighted``.
        samples: of the latents; None if exact.
        given: what a sentence is conditioned on.
        text: the sentence, or the beginning of the document.
    """

    id: str
    sentence: int | None
    log_prob: float
    words: int
    perplexity: float
    unscored: int
    bound: str
    samples: int | None
    given: str
    text: str


def main(arguments: Sequence[str]) -> None:
    options = parse(Score, "score", arguments)
    require_range(options, 1, 10_001, "samples")
    require_range(options, 0, SEEDS, "seed")
    if options.top is not None:
        require_range(options, 1, math.inf, "top")
    require_device(options.device)
    files = find_inputs(options.inputs)
    model = load_run(options.run, options.device, require=Capability.GENERATION)
    documents = read_documents(files, Fields(text=options.fields.text, id=options.fields.id))
    total = Total()
    rows = total.count(score(model, track(documents, "scoring documents"), options))
    with open_output(None) as output, showing(not sys.stdout.isatty()):
        if options.top is not None:
            rows = iter(nlargest(options.top, rows, key=surprise))
        for part in batched(rows, WINDOW):
            if options.json:
                output.writelines(f"{json_line(row)}\n" for row in part)
            else:
                table_console().print(table(part).to_rich())
    if not options.json:
        print(f"perplexity per word {format_number(total.perplexity)}, {total.words:,} words; {how(model, options)}")
        print_next_steps(steps=[command("evaluate", options.run)])


@dataclass
class Total:
    """Sums over all rows."""

    log_prob: float = 0.0
    words: int = 0

    def count(self, rows: Iterable[Scored]) -> Iterator[Scored]:
        for row in rows:
            if row.words:
                self.log_prob, self.words = self.log_prob + row.log_prob, self.words + row.words
            yield row

    @property
    def perplexity(self) -> float:
        return perplexity(self.log_prob, self.words)


def score(model: Any, documents: Iterable[Document], options: Score) -> Iterator[Scored]:
    """Yield the scores of sentences or documents in order."""
    # A run folder has the vocabularies of the prepared folder; sentences of any number of words are scored
    folder = PreparedFolder(options.run, {"settings": {"max_sentence_words": sys.maxsize}})
    for number, window in enumerate(batched(documents, WINDOW)):
        split = [sentences_of(document, folder.topic_vocabulary.language) for document in window]
        yield from _score_window(model, folder, window, split, options, derive_seed(options.seed, number))


def _score_window(
    model: Any, folder: PreparedFolder, documents: list[Document], split: list[list[str]], options: Score, seed: int
) -> Iterator[Scored]:
    bound, samples, given = description(model, options)
    if options.by == "sentence":
        names = [(d.id, n) for d, texts in zip(documents, split, strict=True) for n in range(1, len(texts) + 1)]
        rows = [[text] for texts in split for text in texts]
    else:
        names, rows = [(document.id, 0) for document in documents], split
    log_prob, words, scored = bounds(model, folder, rows, options, seed)
    for row, ((name, number), texts) in enumerate(zip(names, rows, strict=True)):
        known = scored[row] > 0
        yield Scored(
            id=name,
            sentence=number or None,
            log_prob=float(log_prob[row]) if known else math.nan,
            words=int(words[row]),
            perplexity=perplexity(log_prob[row], words[row]),
            unscored=len(texts) - int(scored[row]),
            bound=bound,
            samples=samples,
            given=given,
            text=texts[0][:LONGEST] if texts else "",
        )


def bounds(
    model: Any, folder: PreparedFolder, documents: Sequence[Sequence[str]], options: Score, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return log p in nats, words and numbers of scored sentences of documents, given as sentences."""
    log_prob, words, scored = np.zeros(len(documents)), *np.zeros((2, len(documents)), dtype=np.int64)
    corpus = model.examples(Corpus.of_documents(folder, "test", documents, LONGEST))
    if not len(corpus.lengths):
        return log_prob, words, scored
    bound, samples, _ = description(model, options)
    if bound == "importance-weighted":
        found = importance_weighted_nll(model, corpus, options.samples, seed).bound
        nll = found.total()
    else:
        runs = [sentence_bound(model, corpus, derive_seed(seed, k)) for k in range(samples or 1)]
        found, nll = runs[0], torch.stack([run.total() for run in runs]).mean(0)
    parent = corpus.sentences[:, 0]
    np.add.at(log_prob, parent, -nll.numpy())
    np.add.at(words, parent, found.words.numpy())
    np.add.at(scored, parent, 1)
    return log_prob, words, scored


def description(model: Any, options: Score) -> tuple[str, int | None, str]:
    """Return the name of the bound, its samples, and what a sentence is conditioned on."""
    guided = Capability.GUIDANCE in model.capabilities
    context = {"rest of the document": guided, "sentences before it": bool(model.context_tokens)}
    used = [name for name, applies in context.items() if applies and options.by == "document"]
    given = ", ".join(used) or "sentence alone"
    if guided or Capability.LATENT in model.capabilities:
        return options.bound, options.samples, given
    return "exact", None, given


def how(model: Any, options: Score) -> str:
    bound, samples, given = description(model, options)
    return f"{bound}{f', {samples} samples' if samples else ''}, given: {given}"


def perplexity(log_prob: float, words: int) -> float:
    """exp(-log p / words); NaN without words, infinite from 710 nats per word."""
    with np.errstate(over="ignore"):
        return float(np.exp(-log_prob / words)) if words else math.nan


def surprise(row: Scored) -> float:
    """Nats per word; rows without a score come last."""
    return -row.log_prob / row.words if row.words else -math.inf


def json_line(row: Scored) -> str:
    """Return one JSON object; a score that is not a finite number is null."""
    values = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(row).items()}
    return json.dumps(values, ensure_ascii=False)


def table(rows: Sequence[Scored]) -> Table:
    cells = [
        (
            row.id if row.sentence is None else f"{row.id}:{row.sentence}",
            format_number(row.log_prob),
            str(row.words),
            format_number(row.perplexity),
            row.text[:SHOWN],
        )
        for row in rows
    ]
    return Table(("document", "log p, nats", "words", "perplexity", "text"), cells, numeric={1, 2, 3})
