"""Datasets of the Hugging Face Hub, or a local folder that `datasets` understands: "hf:NAME[:CONFIG]"."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from data_prep.corpora.base import RawDocument, Skipped, split_name
from data_prep.corpora.rows import require_columns, to_document
from data_prep.corpora.tables import Placed
from data_prep.settings import Fields
from tgvae.errors import UserError


@dataclass(frozen=True)
class HubCorpus:
    """The train, validation and test splits of a dataset; other splits are left out, and named in the manifest."""

    name: str
    fields: Fields
    group_by: ClassVar[None] = None

    @property
    def given_splits(self) -> frozenset[str]:
        names = [name for split in self._dataset if (name := split_name(split))]
        return frozenset(names if len(names) > 1 else ())

    def documents(self) -> Iterator[RawDocument | Skipped]:
        """Yield rows in order, split by split; a row without id gets "split/row"."""
        used = [split for split in self._dataset if split_name(split)]
        for split in used:
            given = split_name(split) if len(used) > 1 else None
            rows = require_columns(self._rows(split), self.fields, split == used[0])
            for number, (where, row) in enumerate(rows, 1):
                yield to_document(row, self.fields, where, number, split, given)

    def _rows(self, split: str) -> Iterator[Placed]:
        """Yield the rows of a split; classes by their names, and none for -1, which means that there is no label."""
        data = self._dataset[split]
        classes = {name: feature for name, feature in data.features.items() if hasattr(feature, "int2str")}
        for number, row in enumerate(data, 1):
            for name, feature in classes.items():
                row[name] = None if row[name] is None or row[name] < 0 else feature.int2str(row[name])
            yield f"{self.name}[{split}]:row {number}", row

    def describe(self) -> dict[str, str]:
        """Return name, licence and citation as the dataset states them."""
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
