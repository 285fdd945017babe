"""The README's commands and Python run, word for word, with recipes made small."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import made_up_documents
from tgvae import recipes
from tgvae.cli import COMMANDS, main
from tgvae.commands import demo, evaluate, show
from tgvae.evaluation.report import Protocol
from tgvae.recipes import Recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    """Every command line of the README's shell blocks, continuation lines joined, comments cut."""
    lines = "".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip()]


def made_small(recipe: Recipe) -> Recipe:
    phases = {name: replace(phase, epochs=1) for name, phase in recipe.train.phases.items()}
    model = recipe.model
    if hasattr(model, "sentence"):
        model = replace(model, sentence=replace(model.sentence, embedding_size=8, hidden_size=8))
    elif hasattr(model, "embedding_size"):
        model = replace(model, embedding_size=8, hidden_size=8)
    return replace(recipe, model=model, train=replace(recipe.train, phases=phases, device="cpu"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes of one epoch and little width; the demo's corpus is that of a few years."""
    for name, make in list(recipes.RECIPES.items()):
        monkeypatch.setitem(recipes.RECIPES, name, lambda make=make: made_small(make()))
    monkeypatch.setattr(demo, "demo", recipes.RECIPES["demo"])
    monkeypatch.setattr(show, "recipe_of", lambda options: recipes.RECIPES[options.recipe]())
    monkeypatch.setattr(demo, "SETTINGS", replace(demo.SETTINGS, since=2020))
    quick = Protocol(samples=2, weighted_sentences=10, generated=10, reverse=10, per_topic=1, summaries=5)
    measure = evaluate.measure

    def measure_little(run, model, judge, split="test", protocol=None, data=None):  # type: ignore[no-untyped-def]
        return measure(run, model, judge, split, quick, data)

    monkeypatch.setattr(evaluate, "measure", measure_little)


def test_readme_names_every_command_and_file() -> None:
    assert all(f"tgvae {name}" in README for name in COMMANDS)
    tree = re.findall(r"^    (\S+)\s{2,}\S", README, flags=re.MULTILINE)
    assert len(tree) > 8
    assert [path for path in tree if not (ROOT / path).exists()] == []


@pytest.mark.slow
def test_readme_from_top_to_bottom(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = ["id,text,section,title"]
    lines += [f'{d["id"]},"{d["text"]}",{d["label"]},{d["text"][:20]}' for d in made_up_documents(300)]
    (tmp_path / "articles.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "speech.txt").write_text("The soldier and the general saw the army.", encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    ran = set()
    for line in commands():
        program, *arguments = shlex.split(line)
        if program == "make":
            assert f"\n{arguments[0]}:" in makefile
        elif program == "tgvae":
            assert main(arguments) == 0, line
            ran.add(arguments[0])
        else:
            assert program == "pip", line
    assert main(["demo"]) == 0, "make demo"
    assert ran | {"demo", "serve"} == set(COMMANDS), "serve ends with Ctrl-C alone: tests/test_web.py"
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
