"""The model card of a run, README.md: for people, and for the Hub, which reads its YAML header.

It states only what was measured, and no path of the machine of training. Text from corpora is escaped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
from tgvae.formatting import Table, escape_markdown, format_estimate, format_number
from tgvae.models.base import CARD, Capability, Model

UNSTATED = "not stated"


class Use(NamedTuple):
    """What a card says about models with certain capabilities.

    Attributes:
        requires: the capabilities.
        about: completes "A KIND of N parameters that ...".
        code: how to use it in Python.
        command: how to use it on the command line.
        limits: key of LIMITS.
        task: the task that the Hub files it under.
    """

    requires: frozenset[Capability]
    about: str
    code: str
    command: str
    limits: str
    task: str | None = None


LIMITS = {
    "text": (
        "Made for research on topics and latent variables, and for text that readers know to be generated. Sentences "
        "are sampled from the distribution of the corpus: they are not facts, may be wrong, repeat its prejudices, and "
        "repeat short passages of it. Not for news, advice, or decisions about people; the output is not filtered. One "
        "sentence at a time, in the language of the corpus."
    ),
    "summary": (
        "Made for research on short summaries of texts like those of the corpus. A summary may state what the text "
        "does not: check it against the text. Not for advice, or decisions about people."
    ),
    "topics": (
        "Topics are words that occur together in this corpus, not opinions or facts; another seed or number of topics "
        "gives other topics. Read their words before using a proportion, and decide nothing about people by it."
    ),
    "other": (
        "Made for research and teaching. It was trained on one data set and is not reliable on other data; not for "
        "decisions about people."
    ),
}
_TOPICS = "for topic in tgvae.topics(model):\n    print(topic.number, *topic.words)"
_GENERATE = "for sentence in model.generate(num=5, seed=0):\n    print(sentence.text)"
USES = (  # the first whose capabilities the model has
    Use(
        frozenset({Capability.GUIDANCE}),
        "learns topics and generates sentences about them (Wang et al. 2019, arXiv 1903.07137)",
        f"{_TOPICS}\nfor sentence in model.generate(topic=0, num=5, seed=0):\n    print(sentence.text)",
        "tgvae generate FOLDER --topic 0",
        "text",
        "text-generation",
    ),
    Use(
        frozenset({Capability.SUMMARIES}),
        "summarizes documents in a sentence",
        'for summary in model.summarize(["The text of a document."])[0]:\n    print(summary.text)',
        "tgvae summarize FOLDER FILE",
        "summary",
        "summarization",
    ),
    Use(
        frozenset({Capability.GENERATION, Capability.LATENT}),
        "generates sentences from a continuous latent (Bowman et al. 2016, arXiv 1511.06349)",
        _GENERATE,
        "tgvae generate FOLDER",
        "text",
        "text-generation",
    ),
    Use(
        frozenset({Capability.GENERATION}),
        "generates sentences word by word",
        _GENERATE,
        "tgvae generate FOLDER",
        "text",
        "text-generation",
    ),
    Use(
        frozenset({Capability.TOPICS}),
        "learns topics of documents",
        _TOPICS,
        "tgvae topics FOLDER  # needs the corpus",
        "topics",
    ),
    Use(
        frozenset({Capability.VECTORS}),
        "learns a latent representation of vectors (Kingma & Welling 2014, arXiv 1312.6114)",
        "print(model.sample(5).shape)  # for a model with a prior",
        "tgvae show samples --run FOLDER  # needs the data",
        "other",
    ),
    Use(
        frozenset({Capability.GRAPH}),
        "learns a latent representation of the nodes of a graph (Kipf & Welling 2016, arXiv 1611.07308)",
        "print(model.config)  # model.embed takes a graph",
        "tgvae plot FOLDER --what latent  # needs the data",
        "other",
    ),
    Use(
        frozenset(),
        "learns a latent representation of its data",
        "print(model.config)",
        "tgvae evaluate FOLDER  # needs the data",
        "other",
    ),
)


def write_card(run: Path, description: Mapping[str, Any], model: Model, data: PreparedFolder | Vectors | Graph) -> Path:
    """Write the card into a run folder, with metrics if the run was evaluated with its current weights.

    Args:
        run: the folder.
        description: content of its run.json.
        model: its model.
        data: the data it was trained on.

    Raises:
        UnwritableError: see ``write_text``.
    """
    try:
        evaluated = load_evaluation(run)
    except UserError:  # not evaluated, or with other weights: the card says how to evaluate it
        evaluated = None
    parameters = sum(weights.numel() for weights in model.parameters())
    text = render_card(run.name, description, model.capabilities, parameters, data_sizes(data), evaluated)
    write_text(run / CARD, text)
    return run / CARD


def data_sizes(data: PreparedFolder | Vectors | Graph) -> dict[str, str]:
    """Return the size of the data, by what is counted."""
    if isinstance(data, Vectors):
        return {"vectors": _per_split({split: len(data.splits[split].x) for split in SPLITS})}
    if isinstance(data, Graph):
        return {"nodes": f"{data.nodes:,}", "edges": f"{len(data.edges):,}"}
    counts = data.manifest["counts"]
    sizes = {name: _per_split(counts[name]) for name in ("documents", "sentences", "words")}
    vocabularies = f"{counts['topic_vocabulary']:,} topic words, {counts['sentence_vocabulary']:,} tokens"
    return sizes | {"vocabularies": vocabularies}


def _per_split(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[split]:,} {split}" for split in SPLITS)


def use_of(capabilities: Collection[Capability]) -> Use:
    """Return what the card says about a model with these capabilities."""
    return next(use for use in USES if use.requires <= frozenset(capabilities))


def render_card(
    name: str,
    description: Mapping[str, Any],
    capabilities: Collection[Capability],
    parameters: int,
    sizes: Mapping[str, str],
    evaluated: tuple[Mapping[str, Any], Report] | None,
) -> str:
    """Return the card as Markdown with its header. The same arguments give the same text.

    Args:
        name: of the run.
        description: content of run.json: recipe, data, versions, machine.
        capabilities: of the model.
        parameters: number of its weights.
        sizes: of the data, by what is counted.
        evaluated: description and metrics of an evaluation, if any.
    """
    recipe, data = description["recipe"], description["data"]
    use = use_of(capabilities)
    source = data.get("name") or Path(data["path"]).name
    data_rows = {
        "source": source,
        **sizes,
        "licence": data.get("licence", UNSTATED),
        **{part: data[part] for part in ("citation", "version") if part in data},
        "SHA-256": data.get("manifest_sha256") or data.get("sha256", ""),
    }
    parts = [
        _header(recipe["kind"], use, Capability.TOPICS in capabilities, data_rows["licence"]),
        f"# {escape_markdown(name)}",
        f"A {recipe['kind']} of {parameters:,} parameters that {use.about}, trained on {escape_markdown(source)} by "
        "[tgvae](https://github.com/tgvae/tgvae).",
        "## Use",
        "FOLDER is this folder; in Python it may be OWNER/NAME on the Hub.",
        f'```python\nimport tgvae\n\nmodel = tgvae.load("FOLDER")\n{use.code}\n```',
        f"```bash\npip install tgvae\n{use.command}\n```",
        "## Intended use and limits",
        f"{LIMITS[use.limits]} The licence of the data is below; that of the weights is for their author to state.",
        "## Data",
        _table("data", data_rows),
        "## Settings",
        _table("setting", flatten(recipe["model"]) | _training(recipe["train"])),
        "## Metrics",
        _metrics(*evaluated) if evaluated else "Not evaluated yet; run `tgvae evaluate FOLDER`.",
        "## Versions",
        _table("trained with", {**description["versions"], **description.get("machine", {})}),
    ]
    return "\n\n".join(parts) + "\n"


def _header(kind: str, use: Use, topics: bool, licence: str) -> str:
    """Return the YAML for the Hub; its licence is that of the weights, which is not settled by that of the data."""
    stated = "unknown" if licence == UNSTATED else "other"
    tags = ["tgvae", kind] + (["topic-model"] if topics else [])
    header = ModelCardData(license=stated, library_name="tgvae", tags=tags, pipeline_tag=use.task)
    return f"---\n{header.to_yaml()}\n---"


def _table(name: str, rows: Mapping[str, Any]) -> str:
    return Table((name, "value"), [(key, str(value)) for key, value in rows.items()]).to_markdown()


def _training(train: Mapping[str, Any]) -> dict[str, Any]:
    """Return the most important settings of training; run.json has all of them."""
    phases = {
        f"phase {name}": f"at most {p['epochs']} epochs, batches of {_batch(p)}, rate {p['learning_rate']:g}"
        for name, p in train.get("phases", {}).items()
    }
    return phases | {part: train[part] for part in ("seed", "precision") if part in train}


def _batch(phase: Mapping[str, Any]) -> str:
    if phase["unit"] == "node":
        return "the whole graph"
    return f"{phase['batch']} {'padded token' if phase['unit'] == 'sentence' else phase['unit']}s"


def _metrics(about: Mapping[str, Any], report: Report) -> str:
    """Return one table of metrics per section."""
    split = about.get("split", "held-out")
    parts = [f"Measured on the {split} split by `tgvae evaluate`; ± is the standard error."]
    for section, metrics in report.items():
        rows = [
            (
                display_name(id, metric),
                format_estimate(metric.value, metric.error),
                metric.unit,
                ", ".join(f"{baseline_name(name)} {format_number(x)}" for name, x in metric.baselines.items()),
                metric.estimator,
            )
            for id, metric in metrics.items()
        ]
        table = Table(("metric", "value", "unit", "baselines", "estimator"), rows).to_markdown()
        parts += [f"### {escape_markdown(section.capitalize())}", table]
    return "\n\n".join(parts)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat
