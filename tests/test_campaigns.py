"""Every campaign, run by its command with tiny settings: it ends, loses nothing and writes its results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from campaign import CAMPAIGNS  # noqa: E402

TINY = {
    "training": ("--tries", "1", "--faults", "kill -9 at any moment", "Ctrl-C", "not enough memory"),
    "untrusted_inputs": ("--tries", "20", "--seed", "2"),
    "fuzz": ("--tries", "30"),
    "soak": ("--minutes", "0.05", "--threads", "3", "--every", "0.5"),
}


def campaign(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python scripts/campaign.py` in ``folder``."""
    command = [sys.executable, str(ROOT / "scripts" / "campaign.py"), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", TINY)
def test_campaign_loses_nothing(name: str, tmp_path: Path) -> None:
    done = campaign(tmp_path, name, *TINY[name])
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "campaigns" / f"{name}.json").read_text(encoding="utf-8"))
    assert sum(row["tries"] for row in rows) >= 1
    assert sum(row["lost"] for row in rows) == 0
    assert all(f"| {row['fault']} |" in done.stdout for row in rows)


def test_every_campaign_is_tried() -> None:
    assert list(TINY) == list(CAMPAIGNS)


def test_unknown_campaign_prints_usage(tmp_path: Path) -> None:
    done = campaign(tmp_path, "strangers")
    assert done.returncode == 2
    assert "untrusted_inputs" in done.stdout
