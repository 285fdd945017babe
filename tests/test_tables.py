"""Result tables of the documents: pages agree with docs/results/*.json, and mistakes name the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from scripts import tables
from tgvae.errors import UserError

RESULT: dict[str, Any] = {
    "what": "speed",
    "command": "make speed",
    "commit": None,
    "seeds": [0],
    "versions": None,
    "machine": None,
    "columns": ["", "tokens/s"],
    "rows": [["ours", "**3**"], ["theirs", "2 ± 1"]],
}
TABLE = "|  | tokens/s |\n| --- | --- |\n| ours | **3** |\n| theirs | 2 ± 1 |"
EMPTY = "# Page\n\n<!-- table: speed -->\n<!-- end -->\n\nText.\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with a README, one page with a table and its result."""
    (tmp_path / tables.RESULTS).mkdir(parents=True)
    (tmp_path / "README.md").write_text("# Nothing measured\n")
    (tmp_path / "docs" / "page.md").write_text(EMPTY)
    (tmp_path / tables.RESULTS / "speed.json").write_text(json.dumps(RESULT))
    return tmp_path


def test_pages_agree_with_results() -> None:
    assert tables.update(tables.ROOT, check=True) == [], "run `python scripts/tables.py`"


def test_tables_are_written_once(tree: Path) -> None:
    page = tree / "docs" / "page.md"
    assert tables.update(tree, check=True) == [page]
    assert page.read_text() == EMPTY
    assert tables.update(tree, check=False) == [page]
    assert page.read_text() == f"# Page\n\n<!-- table: speed -->\n\n{TABLE}\n\n<!-- end -->\n\nText.\n"
    assert tables.update(tree, check=True) == []


def test_changed_numbers_are_found(tree: Path) -> None:
    tables.update(tree, check=False)
    (tree / tables.RESULTS / "speed.json").write_text(json.dumps(RESULT | {"rows": [["ours", "4"]]}))
    assert tables.update(tree, check=True) == [tree / "docs" / "page.md"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": [["ours"]]}, "row 0 has 1 cells, the heading has 2"),
        ({"note": "x"}, "expected exactly the fields columns, command"),
    ],
)
def test_invalid_results_are_refused(changes: dict[str, Any], message: str, tree: Path) -> None:
    (tree / tables.RESULTS / "speed.json").write_text(json.dumps(RESULT | changes))
    with pytest.raises(UserError, match=rf"speed\.json: {message}"):
        tables.update(tree, check=True)


def test_tables_and_results_need_each_other(tree: Path) -> None:
    shutil.move(tree / tables.RESULTS / "speed.json", tree / tables.RESULTS / "other.json")
    with pytest.raises(UserError, match=r"page\.md: no result docs/results/speed\.json"):
        tables.update(tree, check=True)
    (tree / "docs" / "page.md").write_text("")
    with pytest.raises(UserError, match="no page shows other"):
        tables.update(tree, check=True)


def test_command(tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tables, "ROOT", tree)
    assert tables.main(["--check"]) == 1
    assert tables.main([]) == 0
    assert capsys.readouterr().out == "docs/page.md: differs from the results\ndocs/page.md: updated\n"
    assert tables.main(["--check"]) == 0
    (tree / tables.RESULTS / "speed.json").write_text("{")
    assert tables.main([]) == 2
    assert "not a readable JSON file" in capsys.readouterr().err
    assert tables.main(["--help"]) == 2
