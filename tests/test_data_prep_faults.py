"""A disk that refuses, a run that was killed, two at once: what was there stays, and nothing is left half-done."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from data_prep.writer import building
from tests.conftest import made_up_documents, refused
from tgvae.errors import UserError

SETTINGS = PrepareSettings(vocabulary_size=400, splits=(0.8, 0.1, 0.1), min_document_words=3)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "c.jsonl"
    path.write_text("".join(json.dumps(d) + "\n" for d in made_up_documents(200)), encoding="utf-8")
    return path


@pytest.fixture
def out(corpus: Path, tmp_path: Path) -> Path:
    return prepare(corpus, tmp_path / "out", SETTINGS, workers=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def beside(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir())


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("share", [0, 0.1, 0.7, 0.99])
def test_a_full_disk_leaves_the_older_folder_and_nothing_beside(share: float, corpus: Path, out: Path) -> None:
    before = contents(out)
    with files_no_larger_than(int(share * max(map(len, before.values())))), pytest.raises(UserError, match="written"):
        prepare(corpus, out, SETTINGS, workers=1, overwrite=True)
    assert contents(out) == before
    assert beside(out) == ["out"]


def test_a_place_that_cannot_be_written_is_named(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "out"
    assert f"{place}: cannot be written" in refused(capsys, "prepare", corpus, "--out", place)


def test_what_was_moved_aside_is_put_back(corpus: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed between the renames of --overwrite."""
    before, replaced = contents(out), out.with_name("out.replaced")
    os.replace(out, replaced)
    assert f"rename {replaced}" in refused(capsys, "inspect", out)
    assert "say --overwrite" in refused(capsys, "prepare", corpus, "--out", out)
    assert contents(out) == before
    assert beside(out) == ["out"]


def test_what_was_moved_aside_is_put_back_over_an_empty_folder(corpus: Path, out: Path) -> None:
    before = contents(out)
    os.replace(out, out.with_name("out.replaced"))
    out.mkdir()
    with pytest.raises(UserError, match="exists already"):
        prepare(corpus, out, SETTINGS, workers=1)
    assert contents(out) == before


def test_what_is_replaced_by_a_whole_folder_goes_at_the_next_run(corpus: Path, out: Path) -> None:
    """Killed after the renames of --overwrite."""
    before = contents(out)
    for name in ("out.replaced", "out.partial"):
        out.with_name(name).mkdir()
        out.with_name(name).joinpath("train.arrow").touch()
    prepare(corpus, out, SETTINGS, workers=1, overwrite=True)
    assert contents(out) == before
    assert beside(out) == ["out"]


def test_two_at_once_do_not_touch_each_other(corpus: Path, tmp_path: Path) -> None:
    with building(tmp_path / "out", overwrite=False) as partial:
        (partial / "file").touch()
        with pytest.raises(UserError, match="another `tgvae prepare` is at work"):
            prepare(corpus, tmp_path / "out", SETTINGS, workers=1)
        assert (partial / "file").exists()
    assert beside(tmp_path / "out") == ["out"]


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "in" / "c.jsonl"
    path.parent.mkdir()
    rows = [json.dumps(d) + "\n" for d in made_up_documents(700)]  # more than a chunk
    path.write_text("".join(rows) + '{"text": ', encoding="utf-8")
    with pytest.raises(UserError, match=r"c\.jsonl:701"):
        prepare(path, tmp_path / "made" / "out", SETTINGS, workers=1)
    assert list((tmp_path / "made").iterdir()) == []
