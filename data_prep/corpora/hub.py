"""Datasets of the Hugging Face Hub, or a local folder that `datasets` understands: "hf:NAME[:CONFIG]"."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from data_prep.corpora.base import RawDocument, Skipped, split_name
from data_prep.corpora.tables import to_document
from data_prep.settings import Fields
from tgvae.errors import UserError


@dataclass(frozen=True)
class HubCorpus:
    """The train, validation and test splits of a dataset; other splits are left out and named so.

    Class labels become their names.
    """

    name: str
    fields: Fields
    group_by: ClassVar[None] = None

    def documents(self) -> Iterator[RawDocument | Skipped]:
        """Rows in order, split by split; a row without id gets "split/row"."""
        used = [split for split in self._dataset if split_name(split)]
        for split in used:
            data = self._dataset[split]
            names = {k: f for k, f in data.features.items() if hasattr(f, "int2str")}
            for number, row in enumerate(data, 1):
                row |= {k: f.int2str(row[k]) for k, f in names.items() if row[k] is not None and row[k] >= 0}
                where = f"{self.name}[{split}]:row {number}"
                given = split_name(split) if len(used) > 1 else None
                yield to_document(row, self.fields, where, number, split, given)

    def describe(self) -> dict[str, str]:
        """Name, licence and citation as the dataset states them."""
        info = next(iter(self._dataset.values())).info
        left_out = [split for split in self._dataset if not split_name(split)]
        return {
            "name": self.name,
            "licence": info.license or "see the page of the dataset",
            "citation": info.citation,
            "version": str(info.version or ""),
            "splits left out": ", ".join(left_out),
        }

    @cached_property
    def _dataset(self) -> Any:
        import datasets

        path, _, config = self.name.partition(":")
        try:
            data = datasets.load_dataset(path, config or None)
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise UserError(f"hf:{self.name}: {error}") from error
        if not any(split_name(split) for split in data):
            raise UserError(f"hf:{self.name}: no split train, validation or test, only {', '.join(data)}.")
        return data
