"""Stress tests that run for minutes to hours: `python scripts/campaign.py NAME [options]`, or `all`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from campaigns import Outcome, save, table
from tgvae.errors import UserError

CAMPAIGNS = {
    "training": (
        "interruptions:Training",
        "training that is killed, signalled, or short of disk or memory",
    ),
    "untrusted_inputs": ("untrusted_inputs:UntrustedInputs", "damaged and forged run folders and prepared folders"),
    "fuzz": ("fuzz:Fuzz", "corrupt corpora"),
    "soak": ("soak:Soak", "an hour of generation in several threads"),
}
FOLDER = Path("campaigns")


def main(argv: Sequence[str] | None = None) -> int:
    """Run campaigns; return 0, 1 if something was lost, or 2 for a mistake of the user."""
    name, *arguments = (sys.argv[1:] if argv is None else argv) or [""]
    if name not in (*CAMPAIGNS, "all"):
        print(usage())
        return 0 if name in ("-h", "--help") else 2
    try:
        outcomes = [found for each in (CAMPAIGNS if name == "all" else [name]) for found in run(each, arguments)]
    except UserError as error:
        print(f"campaign.py: {error}", file=sys.stderr)
        return 2
    return int(any(outcome.lost for outcome in outcomes))


def usage() -> str:
    campaigns = "\n".join(f"  {name:18}{text}" for name, (_, text) in CAMPAIGNS.items())
    more = "`campaign.py NAME --help` shows its options. Results are written to campaigns/NAME.json."
    return f"usage: campaign.py NAME [options], or campaign.py all\n\ncampaigns:\n{campaigns}\n\n{more}"


def run(name: str, arguments: Sequence[str]) -> list[Outcome]:
    """Run a campaign, print its table and save it."""
    (module, options), text = CAMPAIGNS[name][0].split(":"), CAMPAIGNS[name][1]
    campaign = tyro.cli(getattr(importlib.import_module(f"campaigns.{module}"), options), args=arguments, prog=name)
    outcomes: list[Outcome] = campaign.run()
    print(f"\n{text}: {campaign}\n\n{table(outcomes)}", flush=True)
    FOLDER.mkdir(exist_ok=True)
    save(outcomes, FOLDER / f"{name}.json")
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
