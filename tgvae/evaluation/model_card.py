"""The model card of a run, README.md: for people, and for the Hub, which reads its YAML header.

Nothing stands in it that was not measured, and no place on the machine of training. Text of corpora is escaped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import ModelCardData

from tgvae.data.graphs import Graph
from tgvae.data.schema import SPLITS, PreparedFolder
from tgvae.data.vectors import Vectors
from tgvae.errors import UserError
from tgvae.evaluation.metric import Report
from tgvae.evaluation.registry import baseline_name, display_name
from tgvae.evaluation.report_io import load_evaluation
from tgvae.files import write_text
from tgvae.formatting import format_number as number
from tgvae.models.base import CARD, Model

UNSTATED = "not stated"


class Kind(NamedTuple):
    """What is said of a kind of model: what it is, how to use it, the task that the Hub files it under."""

    about: str
    code: str
    commands: str
    task: str | None = None


LIMITS = {
    "text": (
        "Made for research on topics and latent variables, and for text that people read as invented. Sentences are "
        "drawn from the distribution of the corpus: they state no facts, may be wrong, repeat its prejudices, and "
        "repeat short passages of it. Not for news, advice, or decisions about people; nothing filters what is "
        "written. One sentence at a time, in the language of the corpus."
    ),
    "summary": (
        "Made for research on short summaries of texts like those of the corpus. A summary may state what the text "
        "does not: read it beside the text. Not for advice, or decisions about people."
    ),
    "topics": (
        "Topics are words that occur together in this corpus, not opinions or facts; another seed or another number "
        "of topics gives others. Read their words before a proportion is used, and decide nothing about people by it."
    ),
    "other": (
        "Made for research and teaching. It knows data like that of training alone, and says nothing reliable of "
        "other data; not for decisions about people."
    ),
}
GENERATE = "for sentence in model.generate(num=5, seed=0):\n    print(sentence.text)"
TOPICS = "for topic in tgvae.topics(model):\n    print(topic.number, *topic.words)"
KINDS = {
    "tgvae": Kind(
        "writes sentences on topics that it has found itself (Wang et al. 2019, arXiv 1903.07137)",
        f"{TOPICS}\nfor sentence in model.generate(topic=0, num=5, seed=0):\n    print(sentence.text)",
        "tgvae generate FOLDER --topic 0",
        "text-generation",
    ),
    "topic": Kind("finds topics in documents", TOPICS, "tgvae topics FOLDER  # with the corpus at hand"),
    "sentence-vae": Kind(
        "writes sentences from a continuous latent (Bowman et al. 2016, arXiv 1511.06349)",
        GENERATE,
        "tgvae generate FOLDER",
        "text-generation",
    ),
    "language-model": Kind("writes sentences word by word", GENERATE, "tgvae generate FOLDER", "text-generation"),
    "pretrained-lm": Kind(
        "writes sentences and paragraphs, as an adapted pretrained language model", GENERATE, "tgvae generate FOLDER"
    ),
    "pretrained-tgvae": Kind(
        "writes sentences and paragraphs on topics that it has found itself, with a pretrained language model",
        f"{TOPICS}\nfor sentence in model.generate(topic=0, num=5, seed=0):\n    print(sentence.text)",
        "tgvae generate FOLDER --topic 0",
        "text-generation",
    ),
    "summarizer": Kind(
        "summarizes documents in a sentence",
        'for summary in model.summarize(["The text of a document."])[0]:\n    print(summary.text)',
        "tgvae summarize FOLDER FILE",
        "summarization",
    ),
    "vector-vae": Kind(
        "learns a latent of vectors (Kingma & Welling 2014, arXiv 1312.6114)",
        "print(model.sample(5).shape)  # of a model with a prior",
        "tgvae show samples --run FOLDER  # with the data at hand",
    ),
    "graph-vae": Kind(
        "learns a latent of the nodes of a graph (Kipf & Welling 2016, arXiv 1611.07308)",
        "print(model.config)  # model.embed reads a graph",
        "tgvae plot FOLDER --what latent  # with the data at hand",
    ),
}


def write_card(run: Path, described: Mapping[str, Any], model: Model, data: PreparedFolder | Vectors | Graph) -> Path:
    """Write the card into a run folder, with figures where it was evaluated with the weights that it has now.

    Args:
        run: the folder.
        described: what its run.json says.
        model: its model.
        data: what it was trained on.

    Raises:
        UnwritableError: see ``write_text``.
    """
    try:
        evaluated = load_evaluation(run)
    except UserError:  # not evaluated, or with other weights: the card says what to do
        evaluated = None
    parameters = sum(weights.numel() for weights in model.parameters())
    write_text(run / CARD, card(run.name, described, parameters, sizes_of(data), evaluated))
    return run / CARD


def sizes_of(data: PreparedFolder | Vectors | Graph) -> dict[str, str]:
    """How large the data is, by what is counted."""
    if isinstance(data, Vectors):
        return {"vectors": _splits({split: len(data.splits[split].x) for split in SPLITS})}
    if isinstance(data, Graph):
        return {"nodes": f"{data.nodes:,}", "edges": f"{len(data.edges):,}"}
    counts = data.manifest["counts"]
    found = {name: _splits(counts[name]) for name in ("documents", "sentences", "words")}
    found["vocabularies"] = f"{counts['topic_vocabulary']:,} topic words, {counts['sentence_vocabulary']:,} tokens"
    return found


def _splits(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[split]:,} {split}" for split in SPLITS)


def card(
    name: str,
    described: Mapping[str, Any],
    parameters: int,
    sizes: Mapping[str, str],
    evaluated: tuple[Mapping[str, Any], Report] | None,
) -> str:
    """The card as Markdown with its header. The same arguments give the same text.

    Args:
        name: of the run.
        described: what run.json says: recipe, data, versions, machine.
        parameters: how many the model has.
        sizes: of the data, by what is counted.
        evaluated: what was measured and how, and the figures; None where nothing was.
    """
    recipe, data = described["recipe"], described["data"]
    kind = KINDS.get(recipe["kind"], Kind(f"is a {recipe['kind']}", "print(model)", "tgvae evaluate FOLDER"))
    source = data.get("name") or Path(data["path"]).name
    data_rows = {
        "source": source,
        **sizes,
        "licence": data.get("licence", UNSTATED),
        **{part: data[part] for part in ("citation", "version") if part in data},
        "SHA-256": data.get("manifest_sha256") or data.get("sha256", ""),
    }
    parts = [
        _header(recipe["kind"], kind, data_rows["licence"]),
        f"# {plain(name)}",
        f"A {recipe['kind']} of {parameters:,} parameters that {kind.about}, trained on {plain(source)} by "
        "[tgvae](https://github.com/tgvae/tgvae).",
        "## Use",
        "FOLDER is this folder; in Python it may be OWNER/NAME on the Hub.",
        f'```python\nimport tgvae\n\nmodel = tgvae.load("FOLDER")\n{kind.code}\n```',
        f"```bash\npip install tgvae\n{kind.commands}\n```",
        "## Intended use and limits",
        LIMITS[_family(recipe["kind"])] + " What licence the weights have beside that of the data is for their maker "
        "to say.",
        "## Data",
        _table(("of the data", ""), data_rows.items()),
        "## Settings",
        _table(("setting", "value"), {**flat(recipe["model"]), **_training(recipe["train"])}.items()),
        "## Metrics",
        _figures(*evaluated) if evaluated else "Not evaluated yet; run `tgvae evaluate FOLDER`.",
        "## Versions",
        _table(("trained with", ""), {**described["versions"], **described.get("machine", {})}.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _header(name: str, kind: Kind, licence: str) -> str:
    """YAML for the Hub: the licence of the data is not that of the weights, which nobody has stated."""
    tags = ["tgvae", name] + (["topic-model"] if name in ("tgvae", "topic", "summarizer") else [])
    known = "unknown" if licence == UNSTATED else "other"
    told = ModelCardData(license=known, library_name="tgvae", tags=tags, pipeline_tag=kind.task)
    return f"---\n{told.to_yaml()}\n---"


def _family(kind: str) -> str:
    families = {"topic": "topics", "summarizer": "summary", "vector-vae": "other", "graph-vae": "other"}
    return families.get(kind, "text")


def _training(train: Mapping[str, Any]) -> dict[str, Any]:
    """What of the settings of training matters most; run.json has them all."""
    phases = {
        f"phase {name}": f"at most {p['epochs']} epochs, {_batch(p)} at once, rate {p['learning_rate']:g}"
        for name, p in train.get("phases", {}).items()
    }
    return phases | {part: train[part] for part in ("seed", "precision") if part in train}


def _batch(phase: Mapping[str, Any]) -> str:
    """What is trained on at once."""
    if phase["unit"] == "node":
        return "the whole graph"
    return f"{phase['batch']} {'padded token' if phase['unit'] == 'sentence' else phase['unit']}s"


def _figures(about: Mapping[str, Any], report: Report) -> str:
    """Tables of figures by section, and what they are of."""
    parts = [f"Measured on the {about.get('split', 'held-out')} split by `tgvae evaluate`; ± is the standard error."]
    for section, figures in report.items():
        rows = (
            (
                display_name(id, f),
                number(f.value) + ("" if f.error is None else f" ± {number(f.error)}"),
                f.unit,
                ", ".join(f"{baseline_name(mark)} {number(value)}" for mark, value in f.baselines.items()),
                f.estimator,
            )
            for id, f in figures.items()
        )
        parts += [f"### {plain(section.capitalize())}", _table(("figure", "value", "unit", "beside", "how"), rows)]
    return "\n\n".join(parts)


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {before + name: value}
    return found


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [head, ["---"] * len(head), *([plain(str(cell)) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*\[\]|~$#]|(?<!\w)_|_(?!\w))", r"\\\1", escaped)
