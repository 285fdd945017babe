"""A pretrained causal language model as decoder, adapted by low-rank matrices (Hu et al. 2022, arXiv 2106.09685).

    p(y | x) = prod_m softmax(W h_m + b)[y_m]        h_m: last state of the base model after x and y_<m
    p(y | x, c) = prod_m softmax(W h_m + b + gamma r_c)[y_m]        r_c: the log lift of a topic, see ``FusedTokens``

W is the base model's own output layer, cut to the tokens of the corpus, so p is its softmax renormalised over these.
x are the sentences before y in its passage, as plain text. The state after x has just predicted that the last sentence
of x ends; it also predicts the first token of y. So eos is impossible at the first position of a sentence.

Shape legend: S samples, B sentences, P passages, L tokens, N tokens of a passage, E state, V vocabulary, T topics,
R real tokens, which are not padding.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tgvae.data.batch import Passages
from tgvae.data.tokenizers import BOS, EOS, PAD, BaseTokenizer
from tgvae.distributions import SequenceDistribution, TokenSequence, safe_log
from tgvae.errors import UserError
from tgvae.kernels.cross_entropy import CHUNK, linear_cross_entropy

T = TypeVar("T")
Precision = Literal["auto", "float32", "bfloat16"]
BIAS_SPEED = 10.0
"""The output bias learns at so many times the rate of the adapters."""
IMPOSSIBLE = -1e4
"""Logit of a token that cannot occur; finite, so that gradients stay finite."""
ADAPTED = (("q_proj", "v_proj", "o_proj"), ("c_attn", "attn.c_proj"), ("query_key_value", "attention.dense"))
"""Attention layers that get adapters, as Llama-like models, GPT-2 and GPT-NeoX name them."""


class DecoderState(NamedTuple):
    """Dimension 0 of every tensor is the batch.

    Attributes:
        pending: token to read at the first step in place of bos, -1 after it, with shape (B,).
        length: real tokens read, with shape (B,).
        mask: which cached positions are real, with shape (B, N).
        layers: keys and values of every layer, each (B, heads, N, size); none before the first token.
    """

    pending: Tensor
    length: Tensor
    mask: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...]


class PretrainedDecoder(nn.Module):
    """The adapted base model. Only adapters and output bias are parameters; nothing else is trained or saved.

    Args:
        base: folder of the base model.
        tokenizer: made from the base model.
        rank: of the adapters; 0 leaves the base model as it is, but for the output bias.
        precision: of the frozen weights and of the computation up to the states.

    Raises:
        UserError: not a base model that this class can use.
    """

    weight: Tensor
    fixed_bias: Tensor

    def __init__(self, base: Path, tokenizer: BaseTokenizer, rank: int, precision: Precision) -> None:
        super().__init__()
        self.low = precision == "bfloat16" or (precision == "auto" and fast_bfloat16())
        dtype = torch.bfloat16 if self.low else torch.float32
        # torch's modes are those of a thread: here the base model gets memory though ours is being built on "meta".
        backbone, weight, bias = in_own_thread(lambda: load_backbone(base, tokenizer.base_ids, rank, dtype))
        self.backbone: Any = backbone
        self.register_buffer("weight", weight.float(), persistent=False)
        bias[:EOS] = IMPOSSIBLE  # pad, unk and bos
        self.register_buffer("fixed_bias", bias.float(), persistent=False)
        self.slow_bias = nn.Parameter(torch.zeros(len(tokenizer)))
        config = backbone.config
        self.limit: int = min(config.max_position_embeddings, getattr(config, "sliding_window", None) or 2**31)

    @property
    def bias(self) -> Tensor:
        return self.fixed_bias + BIAS_SPEED * self.slow_bias

    def states(self, inputs: Tensor, passages: Passages | None = None) -> Tensor:
        """The state before every token of the targets, with shape (B, L, E).

        Args:
            inputs: bos and the tokens before each position, with shape (B, L); read where there are no passages.
            passages: the sentences with those before them.
        """
        if passages is None:
            return self._run(inputs)
        states = self._run(passages.tokens)
        place = passages.start.unsqueeze(1) + torch.arange(inputs.shape[1], device=inputs.device)
        return states[passages.row.unsqueeze(1), place.clamp_max(states.shape[1] - 1)]

    def _run(self, tokens: Tensor) -> Tensor:
        """States of rows that are padded at the end, which no earlier state sees."""
        if tokens.shape[1] > self.limit:
            raise UserError(f"{tokens.shape[1]} tokens are too many for the base model, which reads {self.limit}")
        return self._backbone(tokens, use_cache=False).last_hidden_state.float()

    def _backbone(self, tokens: Tensor, **options: Any) -> Any:
        """Embeddings are passed in place of ids: transformers would compare pruned ids with special ids of its own."""
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.low):
            return self.backbone(inputs_embeds=self.backbone.get_input_embeddings()(tokens), **options)

    def forward(self, inputs: Tensor, z: Tensor, passages: Passages | None = None) -> SentenceTokens:
        """p(y | x), with batch shape (S, B); z has no values, with shape (S, B, 0)."""
        states = self.states(inputs, passages)
        return SentenceTokens(states.expand(len(z), -1, -1, -1), self.weight, self.bias)

    @torch.no_grad()
    def start(self, z: Tensor, context: Tensor | None = None) -> DecoderState:
        """The state before a sentence.

        Args:
            z: without values, with shape (B, 0).
            context: bos and the sentences before it without eos, padded at the end, with shape (B, N).
        """
        if context is None:
            context = torch.full((len(z), 1), BOS, device=z.device)
        real = context != PAD
        length = real.sum(1) - 1
        pending = context.gather(1, length.unsqueeze(1)).squeeze(1)
        before = torch.arange(context.shape[1] - 1, device=context.device) < length.unsqueeze(1)
        if not before.shape[1]:
            return DecoderState(pending, length, before, ())
        found = self._backbone(context[:, :-1], use_cache=True)
        return DecoderState(pending, length, before, _layers(found.past_key_values))

    @torch.no_grad()
    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        from transformers import DynamicCache

        first = state.pending >= 0
        tokens = torch.where(first, state.pending, tokens)
        # The mask must cover what is cached *and* the new token: a wrong length gives wrong text without an error.
        mask = torch.cat((state.mask, torch.ones_like(first).unsqueeze(1)), dim=1)
        found = self._backbone(
            tokens.unsqueeze(1),
            attention_mask=mask.long(),
            position_ids=state.length.unsqueeze(1),
            past_key_values=DynamicCache(state.layers or None),
            use_cache=True,
        )
        logits = F.linear(found.last_hidden_state[:, 0].float(), self.weight, self.bias)
        logits[:, EOS].masked_fill_(first, IMPOSSIBLE)
        layers = _layers(found.past_key_values)
        return logits, DecoderState(torch.full_like(tokens, -1), state.length + 1, mask, layers)


def _layers(cache: Any) -> tuple[tuple[Tensor, Tensor], ...]:
    return tuple((layer.keys, layer.values) for layer in cache.layers)


class FusedState(NamedTuple):
    """The base model's state, and what topics add to the logits, with shape (B, V)."""

    base: DecoderState
    bonus: Tensor


class FusedDecoder:
    """p(y | x, c): the adapted base model with the words of a topic made more probable.

    Its latent is gamma times a topic, as a row of T weights.

    Args:
        base: the adapted base model.
        lift: log lift of every token in every topic, with shape (T, V).
    """

    def __init__(self, base: PretrainedDecoder, lift: Tensor) -> None:
        self.base, self.lift = base, lift

    def start(self, z: Tensor, context: Tensor | None = None) -> FusedState:
        """The state before a sentence, for latents with shape (B, T); ``context`` as in ``PretrainedDecoder``."""
        return FusedState(self.base.start(z, context), z @ self.lift)

    @torch.no_grad()
    def step(self, tokens: Tensor, state: FusedState) -> tuple[Tensor, FusedState]:
        logits, base = self.base.step(tokens, state.base)
        bonus = state.bonus.scatter(1, tokens.unsqueeze(1), 0.0)  # a word that was used needs no more help: no loops
        return logits + bonus, FusedState(base, bonus)


class SentenceTokens(TokenSequence):
    """p(y | x) of sentences of at least one token: eos is impossible at the first position.

    Args:
        states: with shape (..., L, E).
        weight: W with shape (V, E).
        bias: b with shape (V,).
    """

    def __init__(self, states: Tensor, weight: Tensor, bias: Tensor) -> None:
        super().__init__(states, weight, bias, PAD)

    def token_log_prob(self, value: Tensor) -> Tensor:
        value = value.expand(self.states.shape[:-1])
        states, target = self.states[..., 0, :].flatten(0, -2), value[..., 0].flatten()
        first = -linear_cross_entropy(states, self.weight, without_end(self.bias), target)
        rest = TokenSequence(self.states[..., 1:, :], self.weight, self.bias, PAD)
        return torch.cat((first.view(*value.shape[:-1], 1), rest.token_log_prob(value[..., 1:])), dim=-1)


class FusedTokens(SequenceDistribution):
    """p(y | x, t) = sum_c t_c p(y | x, c), the exact sum over topics.

        p(y | x, c) = prod_m p(y_m | h_m) g_c(y_m) / Z_c(h_m, y_<m),   Z_c = sum_v p(v | h_m) g_c(v)

    p(. | h_m) is the softmax without topics and g_c(v) the gain of token v in topic c, which is 1 once v has occurred
    in the sentence: otherwise some samples repeat one word. So all topics together cost one softmax and one product of
    (tokens x V) with (V x T), and the tokens that occurred are corrected for afterwards.

    Args:
        states: with shape (B, L, E).
        weight: W with shape (V, E).
        bias: b with shape (V,).
        log_gain: log g with shape (T, V).
        t: topic proportions with shape (S, B, T).
    """

    def __init__(self, states: Tensor, weight: Tensor, bias: Tensor, log_gain: Tensor, t: Tensor) -> None:
        self.states, self.weight, self.bias, self.log_gain, self.t = states, weight, bias, log_gain, t
        super().__init__(t.shape[:2], states.shape[1:2], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return (safe_log(self.t) + self.given_topic(value)).logsumexp(-1)

    def token_log_prob(self, value: Tensor) -> Tensor:
        """By the chain rule: the posterior of the topic after the tokens before weighs the topics."""
        so_far = (safe_log(self.t).unsqueeze(2) + self.by_token(value).cumsum(1)).logsumexp(-1)
        return torch.diff(so_far, dim=-1, prepend=torch.zeros_like(so_far[..., :1]))

    def given_topic(self, value: Tensor) -> Tensor:
        """log p(y | x, c) of padded targets with shape (B, L) for every topic, (B, T)."""
        return self.by_token(value).sum(1)

    def by_token(self, value: Tensor) -> Tensor:
        """log p(y_m | y_<m, x, c) with shape (B, L, T); zero on padding."""
        same = value.unsqueeze(2) == value.unsqueeze(1)
        fresh = ~same.tril(-1).any(2)  # where a token occurs for the first time in its sentence
        row, place = (value != PAD).nonzero(as_tuple=True)
        parts = [self._chunk(value, fresh, b, m) for b, m in zip(row.split(CHUNK), place.split(CHUNK), strict=True)]
        found = self.states.new_zeros(*value.shape, len(self.log_gain))
        return found.index_put((row, place), torch.cat(parts))

    def _chunk(self, value: Tensor, fresh: Tensor, row: Tensor, place: Tensor) -> Tensor:
        """For the tokens at (row, place), each with shape (R,): log-probabilities with shape (R, T)."""
        logits = F.linear(self.states[row, place], self.weight, self.bias).float()
        at_end = torch.zeros_like(logits[0]).index_fill(0, torch.tensor([EOS], device=logits.device), IMPOSSIBLE)
        logits = logits + (place == 0).unsqueeze(1) * at_end
        with torch.autocast(logits.device.type, enabled=False):
            log_p = logits.log_softmax(-1)
            p, gain = log_p.exp(), self.log_gain.exp()
            before = fresh[row] & (torch.arange(value.shape[1], device=row.device) < place.unsqueeze(1))
            used = p.gather(1, value[row]) * before  # (R, L)
            excess = gain.T[value] - 1  # (B, L, T)
            total = p @ gain.T - torch.einsum("rl,rlt->rt", used, excess[row])
            own = log_p.gather(1, value[row, place].unsqueeze(1))
            bonus = self.log_gain.T[value[row, place]] * fresh[row, place].unsqueeze(1)
            return own + bonus - safe_log(total)


def without_end(bias: Tensor) -> Tensor:
    """The output bias at the first position of a sentence."""
    return bias.index_fill(0, torch.tensor([EOS], device=bias.device), IMPOSSIBLE)


def in_own_thread(work: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def fast_bfloat16() -> bool:
    """Whether the hardware multiplies bfloat16 faster than float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    found: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(found.get(name, False) for name in ("amx_bf16", "avx512_bf16"))


def load_backbone(base: Path, ids: list[int], rank: int, dtype: torch.dtype) -> tuple[Any, Tensor, Tensor]:
    """The base model without its output layer, with adapters; and output weight (V, E) and bias (V,) of ``ids``.

    Raises:
        UserError: transformers cannot load it, or its logits are not W h + b.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            # "eager": the backward pass of torch's fused attention is seven times slower on the CPU for short rows.
            base,
            dtype=dtype,
            attn_implementation="eager",
            use_safetensors=True,
            local_files_only=True,
        ).eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{base}: not a causal language model that transformers can load ({error})") from error
    backbone, head = model.base_model, model.get_output_embeddings()
    embedding = backbone.get_input_embeddings()
    if max(ids) >= len(embedding.weight):
        raise UserError(f"{base}: has fewer tokens than its tokenizer; prepare the corpus with this base model")
    with torch.no_grad():
        _require_linear(base, model)
        bias = torch.zeros(len(ids)) if head.bias is None else head.bias[ids].clone()
        weight = head.weight[ids].clone()
        embedding.weight = nn.Parameter(embedding.weight[ids].clone())
    embedding.num_embeddings, embedding.padding_idx = len(ids), None
    if rank:
        _add_adapters(base, backbone, rank)
    _freeze(backbone)
    return backbone, weight, bias


def _require_linear(base: Path, model: Any) -> None:
    """Raises UserError for models that scale or cap their logits, which the fused softmax would ignore."""
    tokens = torch.arange(4).unsqueeze(0)
    states = model.base_model(tokens, use_cache=False).last_hidden_state
    logits = model(tokens, use_cache=False).logits
    if not torch.allclose(logits, model.get_output_embeddings()(states), rtol=1e-2, atol=1e-2):
        raise UserError(f"{base}: its logits are not linear in its states; choose another base model")


def _add_adapters(base: Path, backbone: nn.Module, rank: int) -> None:
    """Low-rank adapters on the attention's query, value and output; zero at the start, so nothing changes."""
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D

    names = [name for name, _ in backbone.named_modules()]
    for targets in ADAPTED:
        if all(any(name.endswith(target) for name in names) for target in targets):
            break
    else:
        raise UserError(f"{base}: its attention layers are not known; set rank to 0, or choose another base model")
    transposed = any(isinstance(module, Conv1D) for module in backbone.modules())
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(targets), fan_in_fan_out=transposed)
    inject_adapter_in_model(config, backbone)
    for name, parameter in backbone.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()


def _freeze(backbone: nn.Module) -> None:
    """Turn all weights but the adapters into buffers that are not saved."""
    for name, module in backbone.named_modules():
        if "lora_" in name:
            continue
        for own, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, own)
            module.register_buffer(own, parameter.detach())
        module._non_persistent_buffers_set.update(module._buffers)
