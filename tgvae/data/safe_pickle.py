"""Check pickles of arrays, such as Planetoid's files, before they are loaded, so that they cannot run code."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from tgvae.files import read_bytes

ADMITTED = {
    "__builtin__.list",
    "__builtin__.object",
    "_codecs.encode",
    "builtins.list",
    "collections.defaultdict",
    "copy_reg._reconstructor",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.numeric._frombuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy.dtype",
    "numpy.ndarray",
    "scipy.sparse._csr.csr_matrix",
    "scipy.sparse.csr.csr_matrix",
}
"""Names in old and new pickles of dicts, lists, arrays and sparse matrices."""


def require_arrays(path: Path) -> None:
    """Check that a pickle holds only dicts, lists, arrays and sparse matrices.

    Raises:
        OSError: there is no such file.
        UnpicklingError: it is damaged, or names something else, which might run code.
        UserError: it cannot be read, or is larger than 64 MiB.
    """
    try:
        _Arrays(io.BytesIO(read_bytes(path)), encoding="latin1").load()
    except (pickle.UnpicklingError, OSError):
        raise
    except Exception as error:  # damaged bytes can raise anything
        raise pickle.UnpicklingError(f"{path.name}: {error!r}") from error


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not an array and might run code")
        return super().find_class(module, name)
