"""A measurement in a process of its own: settings as JSON on standard input, figures on the last line of output."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from tgvae.errors import UserError


def measured(task: str, settings: Mapping[str, Any]) -> dict[str, float]:
    """What ``MODULE:FUNCTION`` of this package measures."""
    module, function = task.split(":")
    return dict(getattr(importlib.import_module(f"benchmarks.{module}"), function)(settings))


def main() -> int:
    """``MODULE:FUNCTION``, and ``tuned`` for memory and threads as `tgvae` itself sets them."""
    if sys.argv[2:] == ["tuned"]:
        from tgvae.cli.main import keep_memory

        keep_memory()
    try:
        figures = measured(sys.argv[1], json.load(sys.stdin))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
