"""Writing: sentences a second by strategy and batch, beside a loop that writes token after token."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.peak import synchronize
from benchmarks.reporting import Row
from benchmarks.running import Metrics, Rounds, add_ratio, fresh, interleaved, rows, threads_of
from benchmarks.sizes import SIZES, Sizes, recipe
from tgvae.data.tokenizers import SPECIALS, WordTokenizer
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.errors import UserError
from tgvae.generation.decode import DecodeSettings
from tgvae.models.base import TextModel
from tgvae.models.sentence import LatentSentenceModel, SentenceVAE
from tgvae.models.summarization import SUMMARY
from tgvae.models.summarizer import Summarizer
from tgvae.runs import load_run, open_folder

LOOP = "token loop"


@dataclass(frozen=True)
class Options:
    """Sentences and tokens a second from latents drawn of N(0, I), all sentences ``length`` tokens long.

    The token loop, greedy or sampled, writes one sentence after the other, one token at a time, with the same step
    of the same decoder. For the run of a summarizer: test documents summarized a second, greedy and by beams.
    """

    run: Path | None = None
    """A run of tgvae, sentence-vae or summarizer; without one a sentence VAE of ``size`` with random weights."""
    size: Literal["small", "peer", "large"] = "small"
    """As in training."""
    length: int = 20
    """Tokens of every sentence."""
    batches: tuple[int, ...] = (1, 32, 512)
    """Sentences, or documents, at a time."""
    strategies: tuple[Literal["greedy", "sample", "beam"], ...] = ("greedy", "sample", "beam")
    """beam has five hypotheses."""
    threads: tuple[int, ...] = (1, 2)
    """Of torch."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to write."""
    precision: Literal["no", "bf16"] = "no"
    """bf16: batches are written under autocast; the token loop stays in float32."""
    seconds: float = 2.0
    """Of each measurement, at least."""
    rounds: int = 3
    """Measurements of each setting, in turn."""
    out: Path | None = None
    """File for the result as JSON."""


def run(options: Options) -> list[Row]:
    common: dict[str, Any] = {"length": options.length, "seconds": options.seconds, "device": options.device}
    common["precision"] = options.precision
    common |= {"run": options.run and str(options.run), "sizes": asdict(SIZES[options.size])}
    summarizes = options.run is not None and isinstance(load_run(options.run), Summarizer)
    strategies = [s for s in options.strategies if not summarizes or s != "sample"]
    found: Rounds = {}
    for threads in options.threads:
        each = {}
        for strategy in strategies:
            ways: list[int | str] = [*([LOOP] if strategy != "beam" and not summarizes else []), *options.batches]
            for way in ways:
                settings = common | {"strategy": strategy, "batch": 1 if way == LOOP else way, "loop": way == LOOP}
                name = f"{strategy}, {way if way == LOOP else f'batch {way}'}, {threads_of(threads)}"
                task = "generation:measure_summaries" if summarizes else "generation:measure"
                each[name] = partial(fresh, task, settings, threads)
        of_threads = interleaved(each, options.rounds)
        for name in of_threads:
            loop = f"{name.split(',')[0]}, {LOOP}, {threads_of(threads)}"
            if loop in of_threads:
                add_ratio(of_threads, "tokens/s", [name], [loop], f"x {LOOP}")
        found |= of_threads
    return rows(found)


def measure(settings: Mapping[str, Any]) -> Metrics:
    """Sentences and tokens a second.

    Args:
        settings: ``run`` or None and ``sizes``, ``strategy``, ``length``, ``batch``, ``loop``, ``seconds``, ``device``,
            ``precision``.

    Raises:
        UserError: the run is of a model that does not write from latents.
    """
    model = writer(settings)
    length, batch = settings["length"], settings["batch"]
    wanted = DecodeSettings(settings["strategy"], min_length=length - 1, max_length=length)
    torch.manual_seed(0)

    def once() -> None:
        z = torch.randn(batch, model.sentence.latent_size, device=model.device)
        if settings["loop"]:
            token_loop(model, z, wanted)
        else:
            with torch.autocast(settings["device"], torch.bfloat16, enabled=settings["precision"] == "bf16"):
                model.write(z, wanted)

    speed = batch * calls_a_second(once, settings["seconds"], settings["device"])
    return {"sentences/s": speed, "tokens/s": speed * length}


def writer(settings: Mapping[str, Any]) -> LatentSentenceModel:
    """The model of the run, or one of random weights."""
    if settings["run"] is not None:
        model = load_run(Path(settings["run"]), settings["device"])
    else:
        sizes = Sizes(**settings["sizes"])
        model = with_words(SentenceVAE, recipe("sentence-vae", sizes, "no", "cpu").model, sizes).to(settings["device"])
    if not isinstance(model, LatentSentenceModel):
        raise UserError(f"{settings['run']}: a {model.kind} does not write from latents; give a run that does")
    return model.eval()


def with_words(kind: type[TextModel], config: Any, sizes: Sizes) -> Any:
    """A fresh text model with made-up vocabularies."""
    torch.manual_seed(0)
    tokenizer = WordTokenizer([f"w{i}" for i in range(sizes.vocabulary - len(SPECIALS))])
    return kind(config, tokenizer, TopicVocabulary([f"t{i}" for i in range(sizes.topic_words)]))


@torch.no_grad()
def token_loop(model: LatentSentenceModel, z: Tensor, settings: DecodeSettings) -> list[str]:
    """A sentence for every row of z as a textbook writes it: one at a time, one token at a time, to the full length."""
    decoder, tokenizer, texts = model.sentence.decoder, model.tokenizer, []
    for row in z:
        state, ids = decoder.start(row.unsqueeze(0)), [tokenizer.bos_id]
        for _ in range(settings.max_length):
            logits, state = decoder.step(torch.tensor(ids[-1:], device=z.device), state)
            logits[:, [tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id]] = -torch.inf
            if settings.strategy == "greedy":
                ids.append(int(logits.argmax(-1)))
            else:
                ids.append(int(torch.multinomial(logits.softmax(-1), 1)))
        texts.append(tokenizer.decode(ids))
    return texts


def measure_summaries(settings: Mapping[str, Any]) -> Metrics:
    """Test documents that the summarizer of ``run`` summarizes a second, ``batch`` at a time, by ``strategy``."""
    path = Path(settings["run"])
    model = load_run(path, settings["device"])
    assert isinstance(model, Summarizer)
    texts = [" ".join(sentences) for sentences in open_folder(path).split("test")["sentences"].to_pylist()]
    wanted, done = replace(SUMMARY, strategy=settings["strategy"]), 0

    def once() -> None:
        nonlocal done
        model.summarize([texts[i % len(texts)] for i in range(done, done + settings["batch"])], settings=wanted)
        done += settings["batch"]

    return {"documents/s": settings["batch"] * calls_a_second(once, settings["seconds"], settings["device"])}


def calls_a_second(call: Callable[[], object], seconds: float, device: str) -> float:
    """Calls a second, after one that is not counted, until the time has passed."""
    call()
    synchronize(device)
    calls, begin = 0, time.perf_counter()
    while not calls or time.perf_counter() - begin < seconds:
        call()
        calls += 1
    synchronize(device)
    return calls / (time.perf_counter() - begin)
