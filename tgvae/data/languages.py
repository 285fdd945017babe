"""Languages: their names and codes, and detection."""

from __future__ import annotations

from functools import cache
from typing import Any

SURE = 0.9
"""Probability from which a detected language is relied on."""


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # takes half a second to load

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def detect_language(text: str) -> str:
    """Return the ISO 639-1 code of the language of a text by py3langid, or "" where it is not sure.

    Examples:
        >>> detect_language("Les enfants jouent dans le jardin de l'école."), detect_language("1, 2, 3")
        ('fr', '')
    """
    code, probability = _identifier().classify(text)
    return code if probability >= SURE else ""
