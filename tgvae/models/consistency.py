"""Topic consistency: a sentence drawn from topic i should be inferred as topic i (cf. Hu et al. 2017, 1703.00955).

The sentence stays differentiable as Gumbel-softmax tokens; its soft bag of words goes back through
q(g | d), and -log t_i is the loss.
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
    """For every token the topic word that it is by itself, with shape (V,); -1 for none.

    A topic word that the tokenizer cuts into pieces is out of reach.
    """
    words = [vocabulary.encode([piece.removeprefix("▁")]) for piece in tokenizer.pieces]
    return torch.tensor([ids[0] if ids else -1 for ids in words], device="cpu")  # where shapes alone are built, too


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
    """BagOfWords of words of sentences written freely from z with shape (N, Z), differentiable in z: (N, D).

    Args:
        words: from ``token_words``.
        size: D.
        bos_id: first input.
        eos_id: what follows its draw no longer counts.
        length: tokens to write.
        temperature: of the Gumbel-softmax.
        hard: straight-through draws.
    """
    weight, topical = decoder.embedding.weight, words >= 0
    embedded = weight[bos_id].expand(len(z), -1)
    state, going = decoder.start(z), z.new_ones(len(z), 1)
    tokens = z.new_zeros(len(z), len(weight))
    for _ in range(length):
        logits, state = decoder.step_embedded(embedded, state)
        drawn = gumbel_softmax(logits, temperature, hard)
        tokens = tokens + going * drawn
        going = going * (1 - drawn[:, eos_id : eos_id + 1])
        embedded = drawn @ weight
    return z.new_zeros(len(z), size).index_add(1, words[topical], tokens[:, topical])


def topic_consistency(topic: MixtureTopics, bags: Tensor, asked: Tensor) -> Tensor:
    """-log t_i in nats with shape (N,): bags (N, D) put through q(g | d), i the topic asked for, (N,).

    Gradients flow to the bags alone: the topic model is the judge, not the accused.
    """
    frozen = {name: parameter.detach() for name, parameter in topic.named_parameters()}
    t = torch.func.functional_call(topic, frozen, (bags,))
    return F.nll_loss(safe_log(t), asked, reduction="none")
