"""Results: rows of figures over rounds, as a table and as JSON with the machine that made them."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from tgvae.errors import UserError

WIDTH = 240  # columns of a table that goes to a file or a pipe
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")


@dataclass(frozen=True)
class Row:
    """Metrics of one setting: every figure in every round."""

    name: str
    rounds: dict[str, list[float]]

    @property
    def median(self) -> dict[str, float]:
        return {name: median(values) for name, values in self.rounds.items()}

    @property
    def spread(self) -> dict[str, float]:
        """Half the range over the rounds."""
        return {name: (max(values) - min(values)) / 2 for name, values in self.rounds.items()}


def report(command: Sequence[str], options: Any, rows: Sequence[Row]) -> None:
    """Print the table, and write it all where ``options.out`` says."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table(command[0], rows))
    if out := getattr(options, "out", None):
        write(out, command, options, rows)


def table(title: str, rows: Sequence[Row]) -> Table:
    """A line a row, a column a figure: the median over rounds, and half the range where there are several."""
    names = list(dict.fromkeys(name for row in rows for name in row.rounds))
    shown = Table(title=title)
    shown.add_column("", no_wrap=True)
    for name in names:
        shown.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        shown.add_row(row.name, *(_cell(row.rounds.get(name, [])) for name in names))
    return shown


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    half = (max(values) - min(values)) / 2
    return f"{median(values):,.4g}" if not half else f"{median(values):,.4g} ± {half:,.2g}"


def write(path: Path, command: Sequence[str], options: Any, rows: Sequence[Row]) -> None:
    """Rows, options, the command and the machine as JSON."""
    told = {
        "benchmark": command[0],
        "command": ["benchmark.py", *command],
        "settings": asdict(options),
        "machine": machine(),
        "rows": [{"name": r.name, "median": r.median, "spread": r.spread, "rounds": r.rounds} for r in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=2, default=str) + "\n", encoding="utf-8")


def read(path: Path) -> list[Row]:
    """The rows of a written result. Raises UserError for any other file."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return [Row(row["name"], row["rounds"]) for row in saved["rows"]]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a file that --out wrote") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a result of benchmark.py ({error!r}); give a file that --out wrote") from error


def machine() -> Mapping[str, Any]:
    """What a figure depends on besides the settings: processor, versions, the commit of the tree in use."""
    cpu = _cpu()
    found = find_spec("tgvae")
    assert found is not None
    assert found.origin is not None
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(Path(found.origin).parent.parent),
        "torch": version("torch"),
        "python": platform.python_version(),
        "cpu": cpu.get("model name", platform.processor()),
        "flags": [flag for flag in FLAGS if flag in cpu.get("flags", "").split()],
        "gpu": _gpu(),
    }


def _cpu() -> dict[str, str]:
    """Fields of the first processor, where the system is Linux."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").split("\n\n")[0].splitlines() if path.is_file() else []
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _commit(tree: Path) -> str | None:
    """The commit that is checked out, with a + where files differ from it; None outside of git."""
    try:
        ran = subprocess.run(
            ["git", "-C", str(tree), "describe", "--always", "--dirty=+"], capture_output=True, text=True
        )
    except FileNotFoundError:
        return None
    return ran.stdout.strip() or None
