"""`tgvae demo`: all steps on the embedded corpus."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tgvae.cli import evaluate, topics
from tgvae.cli.options import parse
from tgvae.cli.output import command, print_json, print_next_steps, table_console
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.evaluation.report import EvalConfig
from tgvae.evaluation.report_io import FOLDER, PAGE, report_to_json
from tgvae.generation.decode import DecodeSettings
from tgvae.models.base import Capability
from tgvae.progress import step
from tgvae.recipes import demo
from tgvae.runs import ensure_run, load_run

SETTINGS = PrepareSettings(since=1960, max_sentence_words=30, vocabulary_size=3000)
EVAL_CONFIG = EvalConfig(samples=10, reverse=0)
FLUENT = DecodeSettings("beam", no_repeat_ngram=2)


@dataclass(frozen=True)
class Demo:
    """Prepare the State of the Union addresses since 1960, train a small model and show its topics and sentences.

    After an interruption, the same command continues.

    Examples:
      tgvae demo
      tgvae demo --out /tmp/demo
    """

    out: Path = Path("demo")
    """Folder for the prepared corpus and the run."""
    json: bool = False
    """Print JSON."""


def main(arguments: Sequence[str]) -> None:
    options = parse(Demo, "demo", arguments)
    out, console, started = options.out, table_console(), time.monotonic()
    console.quiet = options.json
    data, run = out / "prepared", out / "run"
    console.rule("1. Prepare: State of the Union addresses since 1960")
    if not data.exists():
        prepare("sotu", data, SETTINGS)
    console.print(f"written to {data}; see {command('inspect', data)}", markup=False, soft_wrap=True)

    console.rule("2. Train: topics, then topics and sentences jointly")
    ensure_run(demo(), data, run)
    model, folder = load_run(run, require=Capability.GUIDANCE), PreparedFolder.open(data)
    train = Corpus(folder, "train")

    console.rule("3. Topics")
    found = topics.describe(model, train, sentences=0)
    topics.show(found, console, most=12)

    console.rule("4. Sentences for topics")
    coherent = sorted(found["topics"][:12], key=lambda topic: -topic["npmi"])[:5]
    generated = {}
    for topic in coherent:
        console.print(f"\n[bold]topic {topic['topic']}[/bold]: {', '.join(topic['words'][:6])}")
        with step(f"generating for topic {topic['topic']}"):
            sentences = model.generate(topic["topic"], num=3, strength=1.4, settings=FLUENT)
        generated[topic["topic"]] = [sentence.text for sentence in sentences]
        for text in generated[topic["topic"]]:
            console.print(f"  {text}", markup=False)

    console.rule("5. Metrics on held-out documents")
    report, page = evaluate.evaluate_run(run, model, None, config=EVAL_CONFIG).report, run / FOLDER / PAGE
    evaluate.show({str(run): report}, console)
    seconds = time.monotonic() - started
    if options.json:
        paths = {"prepared": str(data), "run": str(run), "page": str(page), "seconds": round(seconds, 1)}
        print_json(paths | {"topics": found["topics"], "sentences": generated, "metrics": report_to_json(report)})
        return
    console.print(f"Done in {seconds / 60:.1f} minutes.")
    steps = [command("generate", run, "--topic", "war", "peace"), command("topics", run), command("serve", run)]
    print_next_steps([data, run, page], ["open the page in a browser", *steps])
