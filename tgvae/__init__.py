"""Topic-guided text generation: Wang et al. 2019 and the family around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tgvae.generation.decode import DecodeSettings
    from tgvae.models.base import load
    from tgvae.models.display import topics
    from tgvae.models.summarizer import Summarizer
    from tgvae.models.tgvae import TGVAE

_HOMES = {
    "TGVAE": "tgvae.models.tgvae",
    "Summarizer": "tgvae.models.summarizer",
    "DecodeSettings": "tgvae.generation.decode",
    "load": "tgvae.models.base",
    "topics": "tgvae.models.display",
}
__all__ = ["TGVAE", "DecodeSettings", "Summarizer", "load", "topics"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `tgvae --help` does not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tgvae' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
