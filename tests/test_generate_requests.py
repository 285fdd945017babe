"""`tgvae generate --requests`: every request gets what the command gives it on its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import obeyed, refused
from tgvae.models.sentence import LanguageModel, SentenceConfig

REQUESTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "number": ({"topic": 1, "num": 3, "seed": 7}, ["--topic", "1", "--num", "3", "--seed", "7"]),
    "words": ({"topic": "army battle", "strength": 2}, ["--topic", "army", "battle", "--strength", "2"]),
    "digits": ({"topic": "2", "num": 1}, ["--topic", "2", "--num", "1"]),
    "mixture": ({"mixture": {"0": 0.7, "2": 0.3}, "like": None}, ["--mixture", "0=0.7", "2=0.3"]),
    "like": ({"like": "The army saw a battle.", "seed": 3}, ["--like", "like.txt", "--seed", "3"]),
    "between": (
        {"between": ["The army.", "The soup."], "num": 3},
        ["--between", "The army.", "The soup.", "--num", "3"],
    ),
    "reconstruct": ({"reconstruct": ["The army won."]}, ["--reconstruct", "The army won."]),
    "nothing": ({}, []),
    "beam": (
        {"topic": 0, "decode": {"strategy": "beam", "beams": 3}},
        ["--topic", "0", "--decode.strategy", "beam", "--decode.beams", "3"],
    ),
    "plain": (
        {"decode": {"temperature": 1, "top_p": 1, "min_p": 0.1}},
        ["--decode.temperature", "1", "--decode.top-p", "1", "--decode.min-p", "0.1"],
    ),
}


@pytest.fixture
def requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "like.txt").write_text("The army saw a battle.", encoding="utf-8")
    return tmp_path / "requests.jsonl"


def test_requests_get_what_the_command_gives(
    requests: Path, guided_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps({"id": name} | row) for name, (row, _) in REQUESTS.items()]
    requests.write_text("\n\n".join(lines), encoding="utf-8")
    out = requests.with_name("answers.jsonl")
    printed = obeyed(capsys, "generate", guided_run, "--requests", requests, "--out", out)
    assert printed.out == ""
    assert f"wrote: {out}" in printed.err
    answers = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [answer["id"] for answer in answers] == list(REQUESTS)
    for answer, (_, options) in zip(answers, REQUESTS.values(), strict=True):
        alone = obeyed(capsys, "generate", guided_run, *options, "--json").out.splitlines()
        assert answer["sentences"] == list(map(json.loads, alone)), answer["id"]
    assert "exists already" in refused(capsys, "generate", guided_run, "--requests", requests, "--out", out)


def test_bad_rows_have_an_error_and_the_others_their_sentences(
    requests: Path, guided_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {
        "{damaged": "not JSON",
        "[1]": "not a JSON object",
        '{"topic": 9}': "this model has topics 0 to 2",
        '{"topic": true}': "topic",
        '{"topics": 1}': "unknown setting 'topics'",
        '{"mixture": {"x": 1}}': "no topic x",
        '{"topic": 1, "like": "army"}': "give one of topic",
        '{"between": ["army"]}': "give two",
        '{"num": 0}': "num is 0",
        '{"num": "5"}': "num",
        '{"seed": -1}': "seed is -1",
        '{"strength": NaN}': "strength",
        '{"like": "Xyzzy"}': "topic vocabulary",
        '{"paragraph": 2}': "single sentences",
        '{"decode": {"top_p": 2}}': "top_p is 2",
        '{"decode": {"strategy": "beam", "min_p": 0.1}}': "min_p has no effect",
        '{"decode": 3}': "decode is not an object",
        '{"id": NaN}': "no finite number",
    }
    good = json.dumps({"id": "\ud800", "num": 1})
    requests.write_text("\n".join([*bad, good]), encoding="utf-8")
    printed = obeyed(capsys, "generate", guided_run, "--requests", requests)
    *answers, last = map(json.loads, printed.out.splitlines())
    for answer, (line, message) in zip(answers, bad.items(), strict=True):
        assert message in answer["error"], line
    assert (last["id"], len(last["sentences"])) == ("\ud800", 1)
    assert f"{len(bad)} of {len(bad) + 1} requests have an error" in printed.err


def test_options_are_defaults_of_requests(requests: Path, guided_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    requests.write_text('{}\n{"num": 1, "decode": {"top_k": 4}}\n', encoding="utf-8")
    options = ["--num", "2", "--seed", "5", "--decode.max-length", "4"]
    answers = obeyed(capsys, "generate", guided_run, "--requests", requests, *options).out.splitlines()
    first, second = (json.loads(answer)["sentences"] for answer in answers)
    assert first == list(map(json.loads, obeyed(capsys, "generate", guided_run, *options, "--json").out.splitlines()))
    options = ["--num", "1", "--seed", "5", "--decode.max-length", "4", "--decode.top-k", "4"]
    assert second == list(map(json.loads, obeyed(capsys, "generate", guided_run, *options, "--json").out.splitlines()))
    assert "fields of the requests" in refused(capsys, "generate", guided_run, "--requests", requests, "--topic", "1")
    assert "missing.jsonl" in refused(capsys, "generate", guided_run, "--requests", "missing.jsonl")
    assert "--out goes with --requests" in refused(capsys, "generate", guided_run, "--out", "x.jsonl")


def test_models_without_topics(
    requests: Path, prepared: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    LanguageModel.from_data(SentenceConfig(embedding_size=8, hidden_size=8), prepared).save(tmp_path)
    requests.write_text('{"num": 2}\n{"topic": 1}\n{"reconstruct": ["a"]}\n', encoding="utf-8")
    answers = [json.loads(s) for s in obeyed(capsys, "generate", tmp_path, "--requests", requests).out.splitlines()]
    assert len(answers[0]["sentences"]) == 2
    assert "cannot be guided by topics" in answers[1]["error"]
    assert "has no latent" in answers[2]["error"]
