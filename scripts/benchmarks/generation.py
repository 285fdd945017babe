"""Generation throughput compared with a loop over single tokens, and seconds until a first sentence."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.measuring import (
    PYTHON,
    Metrics,
    Rounds,
    Row,
    add_ratio,
    environment,
    fresh,
    interleaved,
    rows,
    threads_of,
)
from benchmarks.workloads import SIZES, Sizes, recipe, synchronize
from tgvae.data.tokenizers import SPECIALS, WordTokenizer
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.errors import UserError
from tgvae.generation.decode import DecodeSettings
from tgvae.models.base import Capability
from tgvae.models.sentence import LatentSentenceModel, SentenceVAE
from tgvae.models.summarization import SUMMARY
from tgvae.runs import load_run, open_folder

LOOP = "token loop"


@dataclass(frozen=True)
class Generation:
    """Sentences and tokens per second from latents sampled from N(0, I), all sentences ``length`` tokens long.

    The token loop generates one sentence after the other, one token at a time, with the same decoder. For a summarizer:
    summaries of test documents per second.
    """

    run: Path | None = None
    """A run of tgvae, sentence-vae or summarizer; otherwise a sentence VAE of ``size`` with random weights."""
    size: Literal["small", "peer", "large"] = "small"
    """As in the benchmark training."""
    length: int = 20
    """Tokens of every sentence."""
    batches: tuple[int, ...] = (1, 32, 512)
    """Sentences, or documents, at a time."""
    strategies: tuple[Literal["greedy", "sample", "beam"], ...] = ("greedy", "sample", "beam")
    """beam has five hypotheses."""
    threads: tuple[int, ...] = (1, 2)
    """Threads of torch."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to generate."""
    precision: Literal["no", "bf16"] = "no"
    """bf16: batches under autocast; the token loop stays in float32."""
    seconds: float = 2.0
    """Time of each measurement, at least."""
    rounds: int = 3
    """Measurements of each, in turn."""
    out: Path | None = None
    """JSON file for the result."""

    def measure(self) -> list[Row]:
        common: dict[str, Any] = {name: getattr(self, name) for name in ("length", "seconds", "device", "precision")}
        common |= {"run": self.run and str(self.run), "sizes": asdict(SIZES[self.size])}
        summaries = self.run and Capability.SUMMARIES in load_run(self.run).capabilities
        found: Rounds = {}
        for threads in self.threads:
            each = {}
            for strategy in [s for s in self.strategies if s != "sample" or not summaries]:
                loop = [] if summaries or strategy == "beam" else [LOOP]
                for way in [*loop, *self.batches]:
                    settings = common | {"strategy": strategy, "batch": 1 if way == LOOP else way, "loop": way == LOOP}
                    name = f"{strategy}, {way if way == LOOP else f'batch {way}'}, {threads_of(threads)}"
                    task = "generation:measure_summaries" if summaries else "generation:measure"
                    each[name] = partial(fresh, task, settings, threads)
            of_threads = interleaved(each, self.rounds)
            for name in of_threads:
                if (loop_name := f"{name.split(',')[0]}, {LOOP}, {threads_of(threads)}") in of_threads:
                    add_ratio(of_threads, "tokens/s", [name], [loop_name], f"x {LOOP}")
            found |= of_threads
        return rows(found)


def measure(settings: Mapping[str, Any]) -> Metrics:
    """Generate by ``strategy``, ``batch`` sentences of ``length`` at a time, or by the token loop."""
    model = writer(settings)
    length, batch, device = settings["length"], settings["batch"], settings["device"]
    wanted = DecodeSettings(settings["strategy"], min_length=length - 1, max_length=length)
    torch.manual_seed(0)

    def once() -> None:
        z = torch.randn(batch, model.sentence.latent_size, device=model.device)
        if settings["loop"]:
            token_loop(model, z, wanted)
        else:
            with torch.autocast(device, torch.bfloat16, enabled=settings["precision"] == "bf16"):
                model.write(z, wanted)

    speed = batch * calls_per_second(once, settings["seconds"], device)
    return {"sentences/s": speed, "tokens/s": speed * length}


def writer(settings: Mapping[str, Any]) -> LatentSentenceModel:
    """Load the model of ``run``, or make one with random weights."""
    if settings["run"] is None:
        return random_model(Sizes(**settings["sizes"])).to(settings["device"]).eval()
    model = load_run(Path(settings["run"]), settings["device"])
    if not isinstance(model, LatentSentenceModel):
        raise UserError(f"{settings['run']}: a {model.kind} does not generate from latents; give a run that does")
    return model.eval()


def random_model(sizes: Sizes) -> SentenceVAE:
    torch.manual_seed(0)
    tokenizer = WordTokenizer([f"w{i}" for i in range(sizes.vocabulary - len(SPECIALS))])
    config: Any = recipe("sentence-vae", sizes, "no", "cpu").model
    return SentenceVAE(config, tokenizer, TopicVocabulary(["t0", "t1"]))


@torch.no_grad()
def token_loop(model: LatentSentenceModel, z: Tensor, settings: DecodeSettings) -> list[str]:
    """Generate a sentence for each row of z, one at a time, one token at a time, to the full length."""
    decoder, tokenizer, texts = model.sentence.decoder, model.tokenizer, []
    for row in z:
        state, ids = decoder.start(row.unsqueeze(0)), [tokenizer.bos_id]
        for _ in range(settings.max_length):
            logits, state = decoder.step(torch.tensor(ids[-1:], device=z.device), state)
            logits[:, [tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id]] = -torch.inf
            greedy = settings.strategy == "greedy"
            ids.append(int(logits.argmax(-1) if greedy else torch.multinomial(logits.softmax(-1), 1)))
        texts.append(tokenizer.decode(ids))
    return texts


def measure_summaries(settings: Mapping[str, Any]) -> Metrics:
    """Summarize test documents of ``run``, ``batch`` at a time, by ``strategy``."""
    path, batch = Path(settings["run"]), settings["batch"]
    model = load_run(path, settings["device"], require=Capability.SUMMARIES)
    texts = [" ".join(sentences) for sentences in open_folder(path).split("test")["sentences"].to_pylist()]
    wanted, done = replace(SUMMARY, strategy=settings["strategy"]), 0

    def once() -> None:
        nonlocal done
        model.summarize([texts[i % len(texts)] for i in range(done, done + batch)], settings=wanted)
        done += batch

    return {"documents/s": batch * calls_per_second(once, settings["seconds"], settings["device"])}


def calls_per_second(call: Callable[[], object], seconds: float, device: str) -> float:
    """Call at least once, until the time is over, after a first call that is not counted."""
    call()
    synchronize(device)
    calls, begin = 0, time.perf_counter()
    while not calls or time.perf_counter() - begin < seconds:
        call()
        calls += 1
    synchronize(device)
    return calls / (time.perf_counter() - begin)


@dataclass(frozen=True)
class Startup:
    """Seconds from the start of Python, each in a fresh process with one thread."""

    run: Path
    """A run that generates sentences from latents."""
    rounds: int = 5
    """Measurements of each, in turn."""
    out: Path | None = None
    """JSON file for the result."""

    def measure(self) -> list[Row]:
        commands = {"tgvae --help": ("-m", "tgvae.cli.main", "--help"), "import tgvae": ("-c", "import tgvae")}
        measures = {name: partial(command_seconds, *words) for name, words in commands.items()}
        for name, generate in {"a run loaded": False, "a first sentence": True}.items():
            settings = {"run": str(self.run), "generate": generate}
            measures[name] = partial(fresh, "generation:measure_startup", settings, 1)
        return rows(interleaved(measures, self.rounds))


def command_seconds(*arguments: str) -> Metrics:
    begin = time.perf_counter()
    subprocess.run([*PYTHON, *arguments], env=environment(1, tuned=True), check=True, stdout=subprocess.DEVNULL)
    return {"seconds": time.perf_counter() - begin}


def measure_startup(settings: Mapping[str, Any]) -> Metrics:
    """Return the seconds since ``began`` when ``run`` is loaded, or has generated a sentence."""
    model = writer({**settings, "device": "cpu"})
    if settings["generate"]:
        model.write(torch.zeros(1, model.sentence.latent_size), DecodeSettings("greedy"))
    return {"seconds": time.time() - settings["began"]}
