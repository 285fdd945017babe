"""The one exception that means "your input, not our bug"."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake that the user can mend: the message names the file, row or field and the remedy.

    The command line prints the message alone and exits with status 2.
    """
