"""A small made-up corpus of three themes, prepared as a user would."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import torch

from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tgvae.cli.main import main
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.models.base import Capability
from tgvae.models.sentence import SentenceConfig
from tgvae.models.summarizer import SummarizerConfig
from tgvae.models.tgvae import TGVAE, TGVAEConfig
from tgvae.models.topic import TopicConfig
from tgvae.recipes import Recipe
from tgvae.runs import load_run, start_run
from tgvae.training.config import Phase, TrainConfig

if TYPE_CHECKING:
    from _pytest.capture import CaptureResult

    from tgvae.web.schemas import PageData

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

THEMES = {
    "war": ["army", "soldier", "battle", "general", "weapon", "enemy", "victory", "fleet", "border", "attack"],
    "food": ["bread", "butter", "kitchen", "dinner", "cheese", "recipe", "oven", "flour", "pepper", "soup"],
    "space": ["planet", "orbit", "rocket", "telescope", "galaxy", "comet", "moon", "gravity", "launch", "satellite"],
}
HOSTILE_TEXTS = ("<script>alert(1)</script>", "</td><b>", '"><img src=x onerror=alert(1)>', "<!--", "&amp;")
PATTERNS = (
    "The {} was near the {} and the {}.",
    "They saw a {} with its {}.",
    "No {} can be without a {} for long.",
    "Yesterday the {} made every {} look like a {} again.",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "fail if a test was skipped for any reason but a missing GPU (used by .ci/run)"
    parser.addoption("--require-no-skips", action="store_true", help=text)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With --require-no-skips, fail a run that passed but skipped tests, which would hide missing programs."""
    config = session.config
    if not config.getoption("--require-no-skips", False) or hasattr(config, "workerinput"):  # xdist worker
        return
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reasons = [str(report.longrepr) for report in reporter.stats.get("skipped", [])]
    if any("GPU" not in reason for reason in reasons) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    if config.getoption("--require-no-skips", False) and (count := sum("GPU" not in reason for reason in reasons)):
        terminalreporter.section("failed because of skipped tests", red=True)
        terminalreporter.line(f"{count} skipped for other reasons than a missing GPU; see the short test summary")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def made_up_documents(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Documents of three to five sentences on one theme each."""
    rng = random.Random(seed)
    documents = []
    for number in range(count):
        theme = rng.choice(sorted(THEMES))
        patterns = rng.choices(PATTERNS, k=rng.randint(3, 5))
        text = " ".join(p.format(*rng.sample(THEMES[theme], p.count("{}"))) for p in patterns)
        documents.append({"id": f"d{number}", "text": text, "label": theme})
    return documents


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedFolder:
    """The corpus of 200 made-up documents, prepared."""
    folder = tmp_path_factory.mktemp("corpus")
    source = folder / "documents.jsonl"
    source.write_text("".join(json.dumps(d) + "\n" for d in made_up_documents(200)), encoding="utf-8")
    settings = PrepareSettings(vocabulary_size=400, splits=(0.8, 0.1, 0.1), min_document_words=3)
    return PreparedFolder.open(prepare(str(source), folder / "prepared", settings, workers=1))


@pytest.fixture(scope="session")
def corpus(prepared: PreparedFolder) -> Corpus:
    return Corpus(prepared, "train")


def named_documents(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Documents about somebody whose name no other document has; the title is of words of the text."""
    rng = random.Random(seed)
    documents = []
    for number in range(count):
        name = "".join(rng.choice(half) for half in ("bdfgklmnprstvz", "aeiou") * 4).capitalize()
        theme = rng.choice(sorted(THEMES))
        first, second, third = rng.sample(THEMES[theme], 3)
        text = f"Yesterday {name} saw the {first}. No {second} was near the {third}."
        documents.append({"id": f"n{number}", "text": text, "title": f"{name} was near the {first}"})
    return documents


@pytest.fixture(scope="session")
def titled(tmp_path_factory: pytest.TempPathFactory) -> PreparedFolder:
    """400 of these, prepared with whole words: names are out of the vocabulary."""
    folder = tmp_path_factory.mktemp("titled")
    source = folder / "documents.jsonl"
    source.write_text("".join(json.dumps(d) + "\n" for d in named_documents(400)), encoding="utf-8")
    settings = PrepareSettings(tokenizer="words", splits=(0.8, 0.1, 0.1), min_document_words=3)
    return PreparedFolder.open(prepare(str(source), folder / "prepared", settings, workers=1))


@pytest.fixture(scope="session")
def summarizer_run(titled: PreparedFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small summarizer that has learned to copy the name and the word."""
    config = SummarizerConfig(
        TopicConfig(topics=3, word_embedding_size=8, hidden_size=16),
        SentenceConfig(embedding_size=24, hidden_size=24, latent_size=4, flow_length=2, dropout=0.0),
        source_tokens=14,
    )
    phases = {
        "topics": Phase("document", epochs=3, batch=32),
        "summaries": Phase("sentence", epochs=4, learning_rate=1e-2, batch=200),
    }
    run = tmp_path_factory.mktemp("summarizer") / "run"
    start_run(Recipe("summarizer", config, TrainConfig(phases, device="cpu")), titled.path, run)
    return run


@pytest.fixture(scope="session")
def guided_run(prepared: PreparedFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small topic-guided model, trained for a moment."""
    config = TGVAEConfig(
        TopicConfig(topics=3, word_embedding_size=8, hidden_size=16),
        SentenceConfig(embedding_size=16, hidden_size=24, latent_size=4, flow_length=1, dropout=0.0),
    )
    phases = {
        "topics": Phase("document", epochs=2, batch=32),
        "sentences": Phase("sentence", epochs=1, learning_rate=1e-2, batch=800),
    }
    run = tmp_path_factory.mktemp("guided") / "run"
    start_run(Recipe("tgvae", config, TrainConfig(phases, device="cpu")), prepared.path, run, quiet=True)
    return run


@pytest.fixture(scope="session")
def guided(guided_run: Path) -> TGVAE:
    return load_run(guided_run, require=Capability.GUIDANCE)


@pytest.fixture(scope="session")
def dated(prepared: PreparedFolder, corpus: Corpus) -> Corpus:
    """The training documents, as if they were of three years."""
    years = [json.dumps({"year": 2001 + 2 * (row % 3)}) for row in range(corpus.documents)]
    place = corpus.table.column_names.index("metadata")
    return Corpus(prepared, "train", corpus.table.set_column(place, "metadata", pa.array(years)))


@pytest.fixture(scope="session")
def page_data(guided: TGVAE, dated: Corpus) -> PageData:
    """What `tgvae serve` finds of this run; its documents have labels and years."""
    from tgvae.web.page_data import collect_page_data

    return collect_page_data(guided, "guided", dated)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; for a module alone, as its event loop stays open in this thread."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with pytest.importorskip("playwright.sync_api").sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def obeyed(capsys: pytest.CaptureFixture[str], *arguments: object) -> CaptureResult[str]:
    """What a command that succeeds prints, and what it tells beside."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 0
    return capsys.readouterr()


def out_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints that succeeds."""
    return obeyed(capsys, *arguments).out


def closing_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command tells beside its result that succeeds."""
    return obeyed(capsys, *arguments).err


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command tells of a mistake, without a traceback."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err
