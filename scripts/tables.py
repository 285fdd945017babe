"""Write the result tables of the documents from docs/results/*.json.

python scripts/tables.py            # update the pages
python scripts/tables.py --check    # exit with status 1 if a page differs from the results

A page shows docs/results/NAME.json between the lines `<!-- table: NAME -->` and `<!-- end -->`. To remove a table,
delete these lines and its file. Cells are Markdown. Fields without a known value are null.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from tgvae.errors import UserError
from tgvae.files import write_text
from tgvae.formatting import Markup, Table

ROOT = Path(__file__).parent.parent
RESULTS = "docs/results"
MARKED = re.compile(r"(?P<start><!-- table: (?P<name>\S+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Result:
    """A table of results and how it was made.

    ``command`` holds the shell lines that were run at ``commit``, which names several where rows have different ones.
    """

    what: str
    command: str | None
    commit: str | None
    seeds: list[int] | None
    versions: str | None
    machine: str | None
    columns: list[str]
    rows: list[list[str]]

    @classmethod
    def read(cls, path: Path) -> Result:
        """Read a result. Raises UserError for other fields than these, or rows of another length than the heading."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: not a readable JSON file ({error})") from error
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or values.keys() != names:
            raise UserError(f"{path}: expected exactly the fields {', '.join(sorted(names))}")
        result = cls(**values)
        for number, row in enumerate(result.rows):
            if len(row) != len(result.columns):
                raise UserError(f"{path}: row {number} has {len(row)} cells, the heading has {len(result.columns)}")
        return result

    def to_markdown(self) -> str:
        return Table([Markup(c) for c in self.columns], [[Markup(c) for c in row] for row in self.rows]).to_markdown()


def pages(root: Path) -> list[Path]:
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def updated(page: Path, root: Path) -> str:
    """Return the text of a page with its tables rendered from the results."""

    def table(match: re.Match[str]) -> str:
        path = root / RESULTS / f"{match['name']}.json"
        if not path.is_file():
            raise UserError(f"{page}: no result {path.relative_to(root)}; add it, or remove the table's two lines")
        return f"{match['start']}\n{Result.read(path).to_markdown()}\n\n{match['end']}"

    return MARKED.sub(table, page.read_text(encoding="utf-8"))


def update(root: Path, check: bool) -> list[Path]:
    """Write the tables into all pages; return the pages that changed, or would change with ``check``.

    Raises:
        UserError: a table has no result, a result is invalid, or no page shows it.
    """
    changed, shown = [], set()
    for page in pages(root):
        before, after = page.read_text(encoding="utf-8"), updated(page, root)
        shown |= {match["name"] for match in MARKED.finditer(after)}
        if after != before:
            changed.append(page)
            if not check:
                write_text(page, after)
    if unused := sorted({path.stem for path in (root / RESULTS).glob("*.json")} - shown):
        raise UserError(f"{RESULTS}: no page shows {', '.join(unused)}; delete what is not needed")
    return changed


def main(arguments: Sequence[str]) -> int:
    check = list(arguments) == ["--check"]
    if arguments and not check:
        print(__doc__)
        return 2
    try:
        changed = update(ROOT, check)
    except UserError as error:
        print(f"tables.py: {error}", file=sys.stderr)
        return 2
    for page in changed:
        print(f"{page.relative_to(ROOT)}: {'differs from the results' if check else 'updated'}")
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
