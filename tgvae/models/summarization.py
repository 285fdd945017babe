"""Summaries of texts, with any model that encodes a source and decodes from it.

Shape legend: B documents, N source tokens, K summaries a document, T topics, Z latent.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tgvae.data.corpus import length_batches
from tgvae.data.extended_vocabulary import ExtendedVocabulary
from tgvae.data.tokenizers import clean_text, split_sentences
from tgvae.errors import UserError
from tgvae.generation.decode import Decoded, DecodeSettings
from tgvae.models.text_generation import decode_tokens
from tgvae.models.topic_guidance import TopicPriorModel
from tgvae.nn.pointer_generator import PointerGeneratorDecoder, Source, SourceDecoder
from tgvae.progress import track
from tgvae.random import make_generator

SUMMARY = DecodeSettings("beam", beams=5, no_repeat_ngram=3, min_length=3, max_length=40)
BATCH_TOKENS = 8192  # of the documents encoded together
MAX_HYPOTHESES = 256  # open at a time, but at least those of one summary per document


@dataclass(frozen=True)
class Summary:
    """A summary.

    Attributes:
        text: readable, on one line.
        log_prob: log p(y | x, z) in nats under the model itself (no temperature, no filters), eos counted.
        score: log_prob per token, eos counted: comparable between lengths.
        finished: False if it was cut at the maximum length.
    """

    text: str
    log_prob: float
    score: float
    finished: bool


@dataclass(frozen=True)
class SummaryResult:
    """Summaries of a document, with details.

    Attributes:
        summaries: empty for an empty document.
        cut: whether the document was longer than the model's limit.
        topics: shares of its three main topics by number; empty for a model without topics.
    """

    summaries: list[Summary] = field(default_factory=list)
    cut: bool = False
    topics: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TopicGuide:
    """A topic, and how far z moves towards it from the mean of the document's own topics: 1 is all the way."""

    topic: int
    strength: float = 1.0


@dataclass(frozen=True)
class SummaryRequest:
    """Number of summaries per document, topic guidance, decoding settings and seed."""

    num: int
    guide: TopicGuide | None
    settings: DecodeSettings
    seed: int


class SummaryGenerator(TopicPriorModel):
    """Abstract: a model that encodes documents, samples a latent for each, and decodes from both."""

    decoder: PointerGeneratorDecoder

    @property
    @abstractmethod
    def guided(self) -> bool:
        """Whether the model has topics."""

    @property
    @abstractmethod
    def stochastic(self) -> bool:
        """Whether the model has a latent."""

    @abstractmethod
    def read(self, ids: Tensor, lengths: Tensor) -> Source:
        """Encode documents with tokens (B, N) and ``lengths`` (B,)."""

    @abstractmethod
    def sample_latents(self, source: Source, proportions: Tensor | None, request: SummaryRequest) -> Tensor:
        """Return latents with shape (K, B, Z): the mean of q(z | x) first, then samples of it.

        The noise of the k-th latent is the same for every document, so results do not depend on order or batches.
        ``proportions`` are those of topics, (B, T); None without topics.
        """

    def require_topics(self) -> None:
        """Raise UserError for a model without topics."""
        if not self.guided:
            raise UserError(
                "this summarizer has no topics: train with --model.latent topics (recipe summarizer), or without a "
                "phase of documents (recipes summarizer-vae and summarizer-plain)"
            )

    def summarize(
        self,
        texts: Sequence[str],
        num: int = 1,
        topic: int | str | None = None,
        *,
        strength: float = 1.0,
        settings: DecodeSettings = SUMMARY,
        seed: int = 0,
    ) -> list[list[Summary]]:
        """``num`` summaries of every text, in order; none of an empty text. See ``summarize_documents``."""
        results = self.summarize_documents(texts, num, topic, strength=strength, settings=settings, seed=seed)
        return [result.summaries for result in results]

    @torch.no_grad()
    def summarize_documents(
        self,
        texts: Sequence[str],
        num: int = 1,
        topic: int | str | None = None,
        *,
        strength: float = 1.0,
        settings: DecodeSettings = SUMMARY,
        seed: int = 0,
    ) -> list[SummaryResult]:
        """Summarize texts, and return details of each.

        Args:
            texts: raw documents; they are cleaned and split as in preparation.
            num: summaries per document: the first from the mean of z, the others from samples of z.
            topic: guide summaries towards a topic, given by number or by words that describe it.
            strength: of the guidance: 0 is none, 1 the model's own prior of the topic.
            settings: decoding; beam search by default. Samples depend on the other texts of the batch.
            seed: of z and of sampling.

        Raises:
            UserError: an unknown topic, or several summaries from a deterministic model.
        """
        if isinstance(texts, str):
            raise UserError("texts is one text; give a list of texts")
        self._require_variety(num, settings)
        request = SummaryRequest(num, None if topic is None else self._guide(topic, strength), settings, seed)
        limit, vocabulary = self.config.source_tokens, ExtendedVocabulary(self.tokenizer)
        documents = [split_sentences(clean_text(text), self.vocabulary.language) for text in texts]
        sources = [vocabulary.encode_source(sentences) for sentences in documents]
        results = [SummaryResult(cut=len(source) > limit) for source in sources]
        lengths = np.array([min(len(source), limit) for source in sources], dtype=np.int64)
        for rows in track(length_batches(lengths, BATCH_TOKENS, None) if len(texts) else [], "summarizing"):
            full = [i for i in rows.tolist() if sources[i]]
            summaries = self._summaries_of(
                [sources[i][:limit] for i in full], [documents[i] for i in full], vocabulary, request
            )
            for i, (written, topics) in zip(full, summaries, strict=True):
                results[i] = replace(results[i], summaries=written, topics=topics)
        return results

    def _summaries_of(
        self,
        sources: list[list[int]],
        documents: list[list[str]],
        vocabulary: ExtendedVocabulary,
        request: SummaryRequest,
    ) -> Iterator[tuple[list[Summary], dict[int, float]]]:
        """Yield summaries and main topics of documents, none empty, given as tokens and as sentences."""
        if not sources:
            return
        size = len(self.tokenizer)
        ids = pad_sequence(list(map(torch.tensor, sources)), True, self.tokenizer.pad_id).to(self.device)
        beyond = ids[ids >= size].unique()  # only extra words of this batch widen its output layer
        here = torch.where(ids < size, ids, size + torch.searchsorted(beyond, ids))
        source = self.read(here, torch.tensor(list(map(len, sources)), device=self.device))
        proportions = self._proportions(documents)
        decoder, z = SourceDecoder(self.decoder, source, len(beyond)), self.sample_latents(source, proportions, request)
        generator = make_generator(request.seed, self.device)
        each = max(1, MAX_HYPOTHESES // (len(sources) * request.settings.open_hypotheses))
        decoded = [(len(some), self._decode(decoder, some, request.settings, generator)) for some in z.split(each)]
        written: list[list[Summary]] = [[] for _ in sources]
        open_ids = [*range(size), *beyond.tolist()]
        for draws, part in decoded:
            rows = _summaries(part, self.tokenizer.pad_id, vocabulary, open_ids)
            for row, summary in enumerate(rows):
                written[row // draws].append(summary)
        for i, summaries in enumerate(written):
            yield summaries, {} if proportions is None else _main_topics(proportions[i])

    def _decode(
        self, decoder: SourceDecoder, z: Tensor, settings: DecodeSettings, generator: torch.Generator
    ) -> Decoded:
        """Decode latents (K, B, Z); rows of the result are the K summaries of a document, then those of the next."""
        state = decoder.start(z.transpose(0, 1).flatten(0, 1))
        return decode_tokens(decoder, state, self.tokenizer, settings, generator)

    def _proportions(self, documents: list[list[str]]) -> Tensor | None:
        """Return topic proportions (B, T) of documents, each a list of sentences."""
        if not self.guided:
            return None
        words = [[w for s in sentences for w in self.vocabulary.encode_sentence(s)] for sentences in documents]
        return self.topic(self.bags(words))

    def _guide(self, topic: int | str, strength: float) -> TopicGuide:
        self.require_topics()
        if not 0 <= strength < float("inf"):
            raise UserError(f"the strength is {strength}; give a finite number of at least 0")
        return TopicGuide(int(self.one_hot_topic(topic).argmax()), strength)

    def _require_variety(self, num: int, settings: DecodeSettings) -> None:
        if num < 1:
            raise UserError(f"num must be at least 1, not {num}")
        if num > 1 and not self.stochastic and settings.strategy != "sample":
            raise UserError(
                "this summarizer has no latent, so all summaries of a document would be the same; "
                "ask for one, or decode with the strategy sample"
            )


def _summaries(decoded: Decoded, pad_id: int, vocabulary: ExtendedVocabulary, open_ids: list[int]) -> list[Summary]:
    """Return readable summaries; ``open_ids`` maps decoded ids to ids of the extended vocabulary."""
    rows = zip(decoded.ids.tolist(), decoded.log_prob.tolist(), decoded.finished.tolist(), strict=True)
    made = []
    for row, log_prob, finished in rows:
        ids = [open_ids[i] for i in row if i != pad_id]
        made.append(Summary(vocabulary.decode(ids), log_prob, log_prob / max(1, len(ids) + finished), finished))
    return made


def _main_topics(proportions: Tensor, most: int = 3) -> dict[int, float]:
    shares, topics = proportions.topk(min(most, len(proportions)))
    return dict(zip(topics.tolist(), shares.tolist(), strict=True))
