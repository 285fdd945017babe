"""Statistics of a prepared folder, for `tgvae inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tgvae.data.schema import SPLITS, PreparedFolder

QUANTILES = (0.05, 0.5, 0.95, 1.0)


def summarize_folder(path: Path | str, documents: int = 3) -> dict[str, Any]:
    """Verify a prepared folder and describe it.

    Keys: path, source, counts (as in the manifest), skipped, labels (name: training documents),
    lengths (quantiles 5 %, 50 %, 95 % and maximum of the train split), topic_words (the most frequent)
    and examples (the first training documents). Raises UserError as `PreparedFolder.open`.
    """
    folder = PreparedFolder.open(path, verify=True)
    train = folder.split(SPLITS[0])
    tokens, words = _flat(train["tokens"]), _flat(train["words"]).to_numpy()
    token_counts = np.diff(tokens.offsets.to_numpy())
    labels = {row["values"]: row["counts"] for row in train["label"].value_counts().to_pylist() if row["values"]}
    return {
        "path": str(folder.path),
        "source": folder.manifest["source"],
        "counts": folder.manifest["counts"],
        "skipped": folder.manifest["skipped"],
        "notes": folder.manifest.get("notes", []),
        "labels": dict(sorted(labels.items(), key=lambda item: (-item[1], item[0]))),
        "lengths": {
            "sentences of a document": _quantiles(np.array([len(row) for row in train["words"]])),
            "words of a modelled sentence": _quantiles(words[words > 0]),
            "tokens of a modelled sentence": _quantiles(token_counts[token_counts > 0]),
        },
        "topic_words": folder.topic_vocabulary.words[:20],
        "examples": [
            {key: row[key] for key in ("id", "title", "label", "summary", "sentences")}
            for row in train.slice(0, documents).to_pylist()
        ],
    }


def _flat(column: pa.ChunkedArray) -> pa.Array:
    """Return the inner lists of a column of lists as one array."""
    return pa.concat_arrays([chunk.flatten() for chunk in column.chunks])


def _quantiles(lengths: np.ndarray) -> list[int]:
    return [int(q) for q in np.quantile(lengths, QUANTILES, method="lower")]
