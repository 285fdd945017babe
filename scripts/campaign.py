"""Faults, tried many times: `python scripts/campaign.py NAME ...`, or `all`; see `--help`, and scripts/campaigns/."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from campaigns.results import Outcome, save, table
from tgvae.errors import UserError

CAMPAIGNS = {
    "training": "training killed, stopped, and left without room, memory or sense",
    "preparation": "preparation killed, stopped and left without room; folders changed by hand",
    "untrusted_inputs": "damaged and hostile run folders and prepared folders",
    "fuzz": "dirty corpora and odd options",
    "soak": "an hour of writing in several threads",
    "mutation": "errors put into the code: does a test notice?",
}
USAGE = (
    "usage: campaign.py NAME [options], or campaign.py all\n\ncampaigns:\n{}\n\n"
    "`campaign.py NAME --help` shows its options. Results: campaigns/NAME.json."
)
FOLDER = Path("campaigns")


def main(argv: Sequence[str] | None = None) -> int:
    """Run campaigns; returns the exit status: 0, 1 if something was lost, or 2 for a mistake that the user can mend."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] not in (*CAMPAIGNS, "all"):
        print(USAGE.format("\n".join(f"  {name:13}{text}" for name, text in CAMPAIGNS.items())))
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    names = list(CAMPAIGNS) if arguments[0] == "all" else arguments[:1]
    try:
        lost = sum(outcome.lost for name in names for outcome in outcomes(name, arguments[1:]))
    except UserError as error:
        print(f"campaign.py: {error}", file=sys.stderr)
        return 2
    return int(lost > 0)


def outcomes(name: str, arguments: Sequence[str]) -> list[Outcome]:
    """Run a campaign, print its table, and keep it."""
    module = importlib.import_module(f"campaigns.{name}")
    options = tyro.cli(module.Options, args=arguments, prog=f"campaign.py {name}")
    found: list[Outcome] = module.run(options)
    print(f"\n{CAMPAIGNS[name]}: {options}\n\n{table(found)}", flush=True)
    FOLDER.mkdir(exist_ok=True)
    save(found, FOLDER / f"{name}.json")
    return found


if __name__ == "__main__":
    sys.exit(main())
