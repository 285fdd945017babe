"""What one waits for: help, an import, a run that is loaded, its first sentence."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.reporting import Row
from benchmarks.running import PYTHON, Metrics, environment, fresh, interleaved, rows
from benchmarks.sizes import SIZES
from tgvae.errors import UserError
from tgvae.generation.decode import DecodeSettings


@dataclass(frozen=True)
class Options:
    """Seconds from the start of Python, each in a fresh process with one thread."""

    run: Path | None = None
    """A run that writes sentences; without one a sentence VAE of the size small with random weights."""
    rounds: int = 5
    """Measurements of each, in turn."""
    out: Path | None = None
    """File for the result as JSON."""


def run(options: Options) -> list[Row]:
    with run_folder(options.run) as folder:
        return rows(
            interleaved(
                {
                    "python": partial(command, "-c", "pass"),
                    "tgvae --help": partial(command, "-m", "tgvae.cli.main", "--help"),
                    "import tgvae": partial(command, "-c", "import tgvae"),
                    "a run loaded": partial(fresh, "startup:measure", {"run": str(folder), "write": False}, 1),
                    "a first sentence": partial(fresh, "startup:measure", {"run": str(folder), "write": True}, 1),
                },
                options.rounds,
            )
        )


def command(*arguments: str) -> Metrics:
    """Seconds that Python takes for a command. Raises CalledProcessError where it fails."""
    begin = time.perf_counter()
    subprocess.run([*PYTHON, *arguments], env=environment(1, tuned=True), check=True, stdout=subprocess.DEVNULL)
    return {"seconds": time.perf_counter() - begin}


def measure(settings: Mapping[str, Any]) -> Metrics:
    """Seconds since ``began`` when ``run`` is loaded, and where ``write`` is true, has written a sentence."""
    from tgvae.models.sentence import LatentSentenceModel
    from tgvae.runs import load_run

    model = load_run(Path(settings["run"]))
    if not isinstance(model, LatentSentenceModel):
        raise UserError(f"{settings['run']}: a {model.kind} does not write from latents; give a run that does")
    if settings["write"]:
        import torch

        model.write(torch.zeros(1, model.sentence.latent_size), DecodeSettings("greedy"))
    return {"seconds": time.time() - settings["began"]}


@contextmanager
def run_folder(run: Path | None) -> Iterator[Path]:
    """The run that was named, or a folder with a model of random weights."""
    if run is not None:
        yield run
        return
    from benchmarks.generation import with_words
    from benchmarks.sizes import recipe
    from tgvae.models.sentence import SentenceVAE

    small = SIZES["small"]
    with TemporaryDirectory() as place:
        with_words(SentenceVAE, recipe("sentence-vae", small, "no", "cpu").model, small).save(Path(place))
        yield Path(place)
