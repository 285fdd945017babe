"""Topic consistency: a sentence generated for topic i should be inferred as topic i (cf. Hu et al. 2017, 1703.00955).

The sentence consists of Gumbel-softmax tokens, so it is differentiable; its soft bag of words passes through q(g | d),
and the loss is -log t_i.

Shape legend: N sentences, V sequence vocabulary, D bag-of-words vocabulary, Z latent.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tgvae.data.tokenizers import SentenceTokenizer
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.distributions import gumbel_softmax, safe_log
from tgvae.models.topic import MixtureTopics
from tgvae.nn.gru import GRUDecoder


def token_words(tokenizer: SentenceTokenizer, vocabulary: TopicVocabulary) -> Tensor:
    """Return the topic word of every token with shape (V,), or -1; topic words of several tokens are not covered."""
    words = [vocabulary.encode([piece.removeprefix("▁")]) for piece in tokenizer.pieces]
    return torch.tensor([ids[0] if ids else -1 for ids in words], device="cpu")  # also inside torch.device("meta")


def relaxed_bags(
    decoder: GRUDecoder,
    z: Tensor,
    words: Tensor,
    size: int,
    *,
    bos_id: int,
    eos_id: int,
    length: int,
    temperature: float,
    hard: bool,
) -> Tensor:
    """Generate sentences and return their soft bags of words (N, D), differentiable in the latents z (N, Z).

    Args:
        decoder: of the sentences.
        z: latents.
        words: from ``token_words``.
        size: D.
        bos_id: first input.
        eos_id: tokens after it do not count.
        length: number of tokens to generate.
        temperature: of the Gumbel-softmax.
        hard: straight-through samples.
    """
    weight, topical = decoder.embedding.weight, words >= 0
    embedded = weight[bos_id].expand(len(z), -1)
    state, open_rows = decoder.start(z), z.new_ones(len(z), 1)
    tokens = z.new_zeros(len(z), len(weight))
    for _ in range(length):
        logits, state = decoder.step_embedded(embedded, state)
        sampled = gumbel_softmax(logits, temperature, hard)
        tokens = tokens + open_rows * sampled
        open_rows = open_rows * (1 - sampled[:, eos_id : eos_id + 1])
        embedded = sampled @ weight
    return z.new_zeros(len(z), size).index_add(1, words[topical], tokens[:, topical])


def topic_consistency(topic: MixtureTopics, bags: Tensor, asked: Tensor) -> Tensor:
    """Return -log t_i in nats with shape (N,), t inferred from bags (N, D), i the topics ``asked`` for, (N,).

    Gradients reach the bags only: the topic model's parameters are frozen here.
    """
    frozen = {name: parameter.detach() for name, parameter in topic.named_parameters()}
    t = torch.func.functional_call(topic, frozen, (bags,))
    return F.nll_loss(safe_log(t), asked, reduction="none")
