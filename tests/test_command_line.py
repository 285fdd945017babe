"""What all commands share: help, results on standard output, next steps on standard error, --json, exit status."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tyro

from tests.conftest import made_up_documents, obeyed, refused
from tgvae.cli import demo as demo_command
from tgvae.cli.completion import options_class
from tgvae.cli.generate import Generate
from tgvae.cli.main import COMMANDS, main
from tgvae.cli.options import parse, recipe_name, suggest_choices, wrap_paragraphs
from tgvae.cli.output import command, print_json, print_next_steps
from tgvae.cli.plot import Plot
from tgvae.cli.show import Show
from tgvae.cli.train import Resume, train_options
from tgvae.data.schema import PreparedFolder
from tgvae.errors import Stopped, UserError, closest, path_suggestion, suggestion
from tgvae.evaluation.report import EvalConfig
from tgvae.recipes import RECIPES, Recipe, demo, in_phases
from tgvae.runs import load_run

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
QUICK = ["--samples", "2", "--weighted-sentences", "5", "--generated", "5", "--reverse", "0", "--per-topic", "2"]
WITHOUT_JSON = {"completion", "download"}


def small_demo() -> Recipe:
    recipe = in_phases(demo(), lambda phase: replace(phase, epochs=1))
    model = replace(recipe.model, sentence=replace(recipe.model.sentence, embedding_size=8, hidden_size=8))  # type: ignore[type-var, attr-defined]
    return replace(recipe, model=model, train=replace(recipe.train, device="cpu"))


@pytest.fixture(scope="module")
def place(
    guided_run: Path, titled: PreparedFolder, prepared: PreparedFolder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A working folder with articles, a prepared corpus, and runs of three kinds, two of them evaluated."""
    place, before = tmp_path_factory.mktemp("place"), Path.cwd()
    for name, source in {"run": guided_run, "twin": guided_run, "data": prepared.path}.items():
        shutil.copytree(source, place / name)
    rows = "".join(json.dumps(document) + "\n" for document in made_up_documents(60))
    (place / "articles.jsonl").write_text(rows, encoding="utf-8")
    (place / "speech.txt").write_text("The army was near the fleet.", encoding="utf-8")
    os.chdir(place)
    sizes = [f"--model.sentence.{name}-size=8" for name in ("embedding", "hidden", "latent")]
    epochs = [f"--train.phases.{name}.epochs=1" for name in ("topics", "summaries")]
    titles = ["train", str(titled.path), "--recipe", "summarizer", "--out", "titles", "--model.topic.topics", "2"]
    assert main([*titles, *sizes, *epochs, "--train.device", "cpu"]) == 0
    vectors = ["train", "--recipe", "digits-vae", "--out", "digits", "--train.phases.vectors.epochs", "1"]
    assert main(vectors) == main(["evaluate", "run", *QUICK]) == main(["evaluate", "twin", *QUICK]) == 0
    yield place
    os.chdir(before)


def calls() -> dict[str, list[str]]:
    """Arguments for every command with --json; files are created in the working folder."""
    sizes = ["--model.topics", "3", "--train.phases.topics.epochs", "1", "--train.device", "cpu"]
    prepare = ["--min-document-frequency", "1", "--min-document-words", "3", "--workers", "1"]
    return {
        "demo": ["--out", "demo"],
        "prepare": ["articles.jsonl", "--out", "articles", "--vocabulary-size", "300", *prepare],
        "inspect": ["data"],
        "train": ["data", "--recipe", "topic", "--out", "topic", *sizes],
        "topics": ["run"],
        "generate": ["run", "--num", "2"],
        "infer": ["run", "articles.jsonl"],
        "score": ["run", "speech.txt", "--samples", "2"],
        "summarize": ["titles", "speech.txt"],
        "evaluate": ["run", *QUICK],
        "show": ["interpolation", "--run", "digits"],
        "reproduce": ["digits"],
        "serve": ["run", "--port", "0"],
        "compare": ["run", "twin"],
        "plot": ["run", "--what", "topics", "training"],
    }


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo of one epoch on few addresses, and a server that stops at once."""
    monkeypatch.setattr(demo_command, "demo", small_demo)
    monkeypatch.setattr(demo_command, "SETTINGS", replace(demo_command.SETTINGS, since=2022))
    monkeypatch.setattr(
        demo_command, "EVAL_CONFIG", EvalConfig(samples=2, weighted_sentences=5, generated=5, reverse=0, per_topic=1)
    )
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)


def fresh(place: Path) -> None:
    for made in ("articles", "topic", "digits.again"):
        shutil.rmtree(place / made, ignore_errors=True)


def sections() -> dict[str, str]:
    """Sections of docs/reference/commands.md by command."""
    return dict(re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))


def test_every_command_is_tested_and_documented() -> None:
    assert calls().keys() | WITHOUT_JSON == COMMANDS.keys()
    assert set(sections()) == set(COMMANDS)


@pytest.mark.parametrize("name", calls())
def test_json_is_printed_alone(name: str, place: Path, small: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Its keys are those in the documentation; there are no next steps."""
    fresh(place)
    captured = obeyed(capsys, name, *calls()[name], "--json")
    rows = captured.out.splitlines() if name in ("generate", "infer", "score", "summarize") else [captured.out]
    said = re.search(r"^JSON.*?: (.*?)(;|$)", sections()[name], flags=re.MULTILINE)
    assert said is not None
    for row in rows:
        found = json.loads(row)
        assert isinstance(found, dict)
        if name != "compare":
            assert list(found) == re.findall(r"`([^`]+)`", said[1])
    assert not re.search(r"^(wrote|next): ", captured.err, flags=re.MULTILINE)


@pytest.mark.parametrize("name", calls())
def test_next_steps_are_printed_to_standard_error(
    name: str, place: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files named as written exist, and commands named as next steps can be parsed."""
    fresh(place)
    captured = obeyed(capsys, name, *calls()[name])
    assert not re.search(r"^(wrote|next): ", captured.out, flags=re.MULTILINE)
    wrote, then = closing(captured.err)
    assert then
    assert [path for path in wrote if not Path(path).exists()] == []
    assert bool(wrote) == (name in ("demo", "prepare", "train", "evaluate", "show", "reproduce", "plot"))
    for line in then:
        if line.startswith("tgvae "):
            parsed(line)


def closing(stderr: str) -> tuple[list[str], list[str]]:
    """Return the files written and the next steps."""
    found: dict[str, list[str]] = {"wrote": [], "next": []}
    name = ""
    for line in stderr.splitlines():
        if match := re.fullmatch(r"(wrote|next): (.+)", line):
            name = match[1]
            found[name].append(match[2])
        elif name and line.startswith(" " * (len(name) + 2)):
            found[name].append(line.strip())
        else:
            name = ""
    return found["wrote"], found["next"]


def parsed(line: str) -> Any:
    """Parse a command line. Raises SystemExit for an unknown option."""
    program, name, *arguments = shlex.split(line, comments=True)
    assert program == "tgvae"
    arguments = [a for i, a in enumerate(arguments) if not {"<", ">"} & {a, *arguments[i - 1 : i]}]
    kind: Any = options_class(name)
    if name == "train":
        recipe = recipe_name(arguments, RECIPES, "tgvae")
        kind = Resume if "--resume" in arguments else train_options(recipe, RECIPES[recipe]())
    return tyro.cli(kind, args=arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_in_help_and_documentation_can_be_parsed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    before, _, examples = capsys.readouterr().out.partition("Examples:\n")
    lines = [line.strip() for line in examples.split("\n\n")[0].splitlines()]
    assert lines
    assert before.startswith(f"usage: tgvae {name}")
    shown = re.findall(r"^tgvae .*$", sections()[name], flags=re.MULTILINE)
    assert shown
    for line in [*lines, *shown]:
        assert line.startswith(f"tgvae {name}")
        parsed(line)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_commands_in_results_can_be_parsed(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ").replace("$SIZES", "")
    for line in re.findall(r"^    (tgvae [a-z].*)$", text, flags=re.MULTILINE):
        parsed(line)


def test_values_are_compared_with_the_choices_of_their_option() -> None:
    assert suggest_choices(Plot, ["topic", "--what", "mapp", "latent"]) == ["'map'"]
    assert suggest_choices(Plot, ["run", "--out=mapp"]) == []
    assert suggest_choices(Show, ["smaples"]) == ["'samples'"]


def test_help_explains_first_steps_and_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for line in re.findall(r"^  (tgvae .*?)(?:   .*)?$", shown, flags=re.MULTILINE):
        parsed(line)
    statuses = [n for row in re.findall(r"^\| ([\d, ]+) \|", PAGE, flags=re.MULTILINE) for n in row.split(", ")]
    assert statuses == ["0", "1", "2", "130", "143"]
    assert all(re.search(rf"\b{status}\b", shown) for status in statuses)
    assert "docs/reference/commands.md" in shown


def test_help_is_wrapped_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    words = " ".join(f"word{number}" for number in range(40))
    text = wrap_paragraphs(f"{words}\n\nExamples:\n  tgvae {words}")
    first, _, examples = text.partition("\n\n")
    assert max(map(len, first.splitlines())) <= 60
    assert " ".join(first.split()) == words
    assert examples == f"Examples:\n  tgvae {words}"


def test_status_1_for_a_difference(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Path(shutil.copytree(place / "digits", tmp_path / "other"))
    model = load_run(other)
    next(model.parameters()).data.view(-1)[0] += 1
    model.save(other)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", str(other), "--json"])
    assert stop.value.code == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["reproduced"]
    assert [row["what"] for row in found["comparisons"] if row["equal"] is False] == ["weights"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), 130),
        (Stopped("stopped", signal.SIGTERM), 143),
        (UserError("a mistake"), 2),
        (OSError(28, "no room", "file"), 2),
        (MemoryError(), 2),
    ],
)
def test_exit_status(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("tgvae.cli.inspect.summarize_folder", fail)
    assert main(["inspect", "data"]) == status
    assert capsys.readouterr().err.startswith("tgvae: ")


def test_windows_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert refused(capsys, "inspect", "data").splitlines() == [
        "tgvae: Windows is not supported; use Linux, macOS, or WSL 2 on Windows"
    ]
    assert main(["--help"]) == main(["--version"]) == 0


def test_home_is_expanded_in_every_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for out in (["--out=~/x y"], ["--out", "~/x y"]):
        assert parse(Plot, "plot", ["~/run", *out]).out == tmp_path / "x y"
    options: Any = parse(train_options("tgvae", RECIPES["tgvae"]()), "train", ["~/data"])
    assert options.data == str(tmp_path / "data")
    assert parse(Generate, "generate", ["run", "--topic", "~5"]).topic == ("~5",)


def test_status_1_and_a_traceback_for_a_bug(place: Path) -> None:
    code = (
        "import sys, tgvae.cli.inspect as c; c.summarize_folder = None; "
        "from tgvae.cli.main import main; sys.exit(main(['inspect', 'data']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=place)
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "daat"], "did you mean data?"),
        (["topics", "rnu"], "did you mean run?"),
        (["plot", "twinn"], "did you mean twin?"),
        (["compare", "run", "twinn"], "did you mean twin?"),
        (["train", "dta", "--out", "x"], "did you mean data?"),
        (["train", "digts", "--recipe", "digits-vae", "--out", "x"], "did you mean 'digits'?"),
        (["prepare", "artcles.jsonl", "--out", "x"], "did you mean articles.jsonl?"),
        (["prepare", "articles.jsonl", "--out", "x", "--fields.label", "lable"], "did you mean 'label'?"),
        (["summarize", "titles", "spech.txt"], "did you mean speech.txt?"),
        (["generate", "run", "--topic", "armyy", "batle"], "did you mean army, battle?"),
        (["generate", "run", "--like", "spech.txt"], "did you mean speech.txt?"),
        (["show", "samples", "--recipe", "digit-vae"], "did you mean 'digits-vae'?"),
        (["tropics", "run"], "did you mean 'topics'?"),
    ],
)
def test_mistyped_names_get_a_suggestion(
    arguments: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, *arguments)
    assert not (place / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plot", "run", "--what", "mop"], "did you mean 'map'?"),
        (["show", "complition"], "did you mean 'completion'?"),
        (["generate", "run", "--decode.strategy=beem"], "did you mean 'beam'?"),
        (["topics", "run", "--sentecnes", "3"], "--sentences"),
    ],
)
def test_mistyped_choices_and_options_get_a_suggestion(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_closest() -> None:
    assert closest("Econmy", ["war", "Economy"]) == "Economy"
    assert closest("xyz", ["war", "economy"]) is None
    assert closest("war", []) is None
    assert suggestion("xyz", ["war"]) == ""


def test_suggestions_for_any_part_of_a_path(tmp_path: Path) -> None:
    (tmp_path / "runs" / "sotu").mkdir(parents=True)
    assert path_suggestion(tmp_path / "rusn" / "sout") == f"; did you mean {tmp_path / 'runs' / 'sotu'}?"
    assert path_suggestion(tmp_path / "runs" / "wiki") == ""
    assert path_suggestion(tmp_path / "elsewhere" / "sotu") == ""
    assert path_suggestion(tmp_path / "runs" / "sotu") == ""


def test_nan_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"value": math.nan, "parts": [1, {"a": (math.nan, "nan")}]})
    assert json.loads(capsys.readouterr().out) == {"value": None, "parts": [1, {"a": [None, "nan"]}]}


def test_next_steps_are_quoted_for_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    print_next_steps([Path("my runs/a"), "b"], [command("topics", Path("my runs/a")), "open it"])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "wrote: my runs/a\n       b\nnext: tgvae topics 'my runs/a'\n      open it\n"
