"""`tgvae demo`: the whole way on the embedded corpus."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tgvae.commands import evaluate, topics
from tgvae.commands.parsing import parse
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.evaluation.archive import FOLDER, PAGE
from tgvae.evaluation.report import Protocol
from tgvae.generation.decode import DecodeSettings
from tgvae.recipes import demo
from tgvae.runs import ensure_run, load_tgvae

SETTINGS = PrepareSettings(since=1960, max_sentence_words=30, vocabulary_size=3000)


PROTOCOL = Protocol(samples=10, reverse=0)
FLUENT = DecodeSettings("beam", no_repeat_ngram=2)


@dataclass(frozen=True)
class Demo:
    """Prepare the State of the Union addresses since 1960, train a small model, and show what it does.

    Called again after it was interrupted, it goes on from where it was.
    """

    out: Path = Path("demo")
    """Folder for the corpus and the run."""


def main(arguments: Sequence[str]) -> None:
    out = parse(Demo, "demo", arguments).out
    console, started = Console(highlight=False), time.monotonic()
    data, run = out / "prepared", out / "run"
    console.rule("1. Prepare: State of the Union addresses since 1960")
    if not data.exists():
        prepare("sotu", data, SETTINGS)
    console.print(f"in {data}; look inside with: tgvae inspect {data}")

    console.rule("2. Train: topics first, then topics and sentences together")
    ensure_run(demo(), data, run)
    model, folder = load_tgvae(run), PreparedFolder.open(data)
    train = Corpus(folder, "train")

    console.rule("3. Topics")
    found = topics.describe(model, train, sentences=0)
    topics.show(found, console, most=12)

    console.rule("4. Sentences by topic")
    coherent = sorted(found["topics"][:12], key=lambda topic: -topic["npmi"])[:5]
    for topic in coherent:
        console.print(f"\n[bold]topic {topic['topic']}[/bold]: {', '.join(topic['words'][:6])}")
        for sentence in model.generate(topic["topic"], num=3, strength=1.4, settings=FLUENT):
            console.print(f"  {sentence.text}", markup=False)

    console.rule("5. Figures on held-out documents")
    evaluate.show({str(run): evaluate.measure(run, model, None, protocol=PROTOCOL).report}, evaluate.wide_console())
    minutes = (time.monotonic() - started) / 60
    console.print(f"\nDone in {minutes:.1f} minutes. Corpus: {data}. Run: {run}.")
    console.print(f"Pictures: open {run / FOLDER / PAGE} in a browser. Next:")
    console.print(f"  tgvae generate {run} --topic war peace\n  tgvae topics {run}", markup=False)
