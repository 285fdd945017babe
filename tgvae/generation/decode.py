"""Sampling, greedy and beam search over any decoder that has a ``step``.

Rows that have finished leave the batch, so they cost no further step.

Shape legend: B batch, R rows still open, K beams, V vocabulary, L tokens, M max_length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from tgvae.errors import UserError
from tgvae.nn.decoder import S, StepDecoder
from tgvae.progress import track

Strategy = Literal["sample", "greedy", "beam"]
Process = Callable[[Tensor, Tensor], Tensor]  # tokens so far (R, L), scores (R, V) -> scores (R, V)
SelectToken = Callable[[Tensor], Tensor]  # scores (R, V) -> ids (R,)
BLOCK = 64  # scores per block in ``_sample`` and ``_argmax``


@dataclass(frozen=True)
class DecodeSettings:
    """Decoding strategy and its options; lengths are in tokens.

    Attributes:
        strategy: sample, take the most probable token, or keep several hypotheses (beam search).
        temperature: for sample: divides the logits.
        top_k: for sample: only the k most probable tokens; 0 is off.
        top_p: for sample: only the fewest tokens that together have this probability; 1 is off.
        min_p: for sample: only tokens with at least this share of the highest probability (Nguyen et al. 2024,
            arXiv 2407.01082); 0 is off.
        typical_p: for sample: only the tokens whose surprise is nearest to the entropy, that together have this
            probability (Meister et al. 2022, arXiv 2202.00666); 1 is off.
        no_repeat_ngram: no n-gram of this length occurs twice; 0 is off.
        repetition_penalty: factor on the log-probability of tokens used before; 1 is off.
        beams: for beam: open hypotheses per row.
        length_penalty: for beam: a in score(y) = log p(y) / |y|^a, |y| counting eos; 0 is log p(y).
        min_length: minimum number of tokens before eos.
        max_length: maximum number of tokens, eos included.

    Raises:
        UserError: an option is out of its range, or has no effect with the strategy.

    Examples:
        >>> DecodeSettings("beam", beams=3, max_length=20).open_hypotheses
        3
        >>> DecodeSettings(top_p=1.5)
        Traceback (most recent call last):
        tgvae.errors.UserError: decoding: top_p is 1.5 but must be above 0 and at most 1 (off).
    """

    strategy: Strategy = "sample"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    no_repeat_ngram: int = 0
    repetition_penalty: float = 1.0
    beams: int = 5
    length_penalty: float = 1.0
    min_length: int = 0
    max_length: int = 60

    def __post_init__(self) -> None:
        ranges = {
            "strategy": (self.strategy in get_args(Strategy), f"one of {', '.join(get_args(Strategy))}"),
            "temperature": (0 < self.temperature < math.inf, "positive and finite"),
            "top_k": (self.top_k >= 0, "0 (off) or more"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1 (off)"),
            "min_p": (0 <= self.min_p <= 1, "from 0 (off) to 1"),
            "typical_p": (0 < self.typical_p <= 1, "above 0 and at most 1 (off)"),
            "no_repeat_ngram": (self.no_repeat_ngram >= 0, "0 (off) or more"),
            "repetition_penalty": (1 <= self.repetition_penalty < math.inf, "1 (off) or more, and finite"),
            "beams": (self.beams >= 1, "1 or more"),
            "length_penalty": (0 <= self.length_penalty <= 5, "from 0 to 5"),
            "max_length": (self.max_length >= 1, "1 or more"),
            "min_length": (0 <= self.min_length < self.max_length, "0 or more and below max_length"),
        }
        for name, (valid, wanted) in ranges.items():
            if not valid:
                raise UserError(f"decoding: {name} is {getattr(self, name)!r} but must be {wanted}.")
        for name, (strategy, *defaults) in ONLY_FOR.items():
            if self.strategy != strategy and getattr(self, name) not in defaults:
                raise UserError(
                    f"decoding: {name} has no effect with strategy {self.strategy}; leave it out, or use {strategy}."
                )

    @property
    def open_hypotheses(self) -> int:
        """Hypotheses per row."""
        return self.beams if self.strategy == "beam" else 1

    @property
    def shapes(self) -> bool:
        """Whether any option changes scores, apart from forbidding tokens."""
        filtered = self.top_k > 0 or self.top_p < 1 or self.min_p > 0 or self.typical_p < 1
        warped = self.strategy == "sample" and (self.temperature != 1 or filtered)
        return warped or self.no_repeat_ngram > 0 or self.repetition_penalty > 1


READABLE_TEMPERATURE, READABLE_TOP_P = 0.7, 0.9
ONLY_FOR: dict[str, tuple[Any, ...]] = {
    "temperature": ("sample", 1.0, READABLE_TEMPERATURE),
    "top_k": ("sample", 0),
    "top_p": ("sample", 1.0, READABLE_TOP_P),
    "min_p": ("sample", 0.0),
    "typical_p": ("sample", 1.0),
    "beams": ("beam", 5),
    "length_penalty": ("beam", 1.0),
}
"""Options for one strategy alone: that strategy, then the defaults, which are accepted with any strategy."""
READABLE = DecodeSettings(temperature=READABLE_TEMPERATURE, top_p=READABLE_TOP_P)
"""Default of the command line and the web page: less varied, but more fluent than samples from the model itself."""


class Decoded(NamedTuple):
    """Sentences, one per row of the start state.

    Attributes:
        ids: tokens without bos and eos, padded with pad_id, with shape (B, L).
        log_prob: log p(y) in nats, eos counted, under the model itself (no temperature, no filters), with shape (B,).
        finished: False if max_length cut the sentence before its eos, with shape (B,).
    """

    ids: Tensor
    log_prob: Tensor
    finished: Tensor


@torch.no_grad()
def decode(
    decoder: StepDecoder[S],
    state: S,
    *,
    bos_id: int,
    eos_id: int,
    pad_id: int,
    settings: DecodeSettings,
    generator: torch.Generator | None = None,
    forbidden: Sequence[int] = (),
    repeatable: Sequence[int] = (),
) -> Decoded:
    """Generate a sentence from each start state.

    Args:
        decoder: anything with ``step``; a module should be in evaluation mode.
        state: state before bos, for B rows.
        bos_id: first input.
        eos_id: token that ends a row.
        pad_id: token that fills it up.
        settings: strategy and limits.
        generator: on the device of the logits; None is torch's global one.
        forbidden: ids that are never generated: always pad and bos, usually unk.
        repeatable: ids that ``no_repeat_ngram`` does not apply to: bytes, several of which make a character.

    Raises:
        UserError: the settings leave a row without a possible next token.

    Examples:
        A decoder that counts: token n is followed by n + 1, and 3 is eos.

        >>> import torch
        >>> import torch.nn.functional as F
        >>> class Counting:
        ...     def step(self, tokens, state):
        ...         return 100.0 * F.one_hot(tokens + 1, 5), state
        >>> greedy = DecodeSettings("greedy", max_length=9)
        >>> found = decode(Counting(), torch.zeros(1, 1), bos_id=0, eos_id=3, pad_id=4, settings=greedy)
        >>> found.ids.tolist()
        [[1, 2]]
    """
    leaf: Any = state
    while not isinstance(leaf, Tensor):
        leaf = next(iter(leaf.values() if isinstance(leaf, dict) else leaf))
    rows, device = leaf.shape[0], leaf.device
    tokens = torch.full((rows,), bos_id, device=device)
    out = Decoded(
        ids=torch.full((rows, settings.max_length), pad_id, device=device),
        log_prob=torch.zeros(rows, device=device),
        finished=torch.zeros(rows, dtype=torch.bool, device=device),
    )
    process = _processors(settings, eos_id, forbidden, repeatable, device)
    if settings.strategy == "beam":
        _beam(decoder, tokens, state, process, eos_id, settings, out)
    else:
        select_token = partial(_sample, generator=generator) if settings.strategy == "sample" else _argmax
        _sample_loop(decoder, tokens, state, process, eos_id, select_token, out)
    used = (out.ids != pad_id).any(0).nonzero()
    return out._replace(ids=out.ids[:, : int(used.max()) + 1 if len(used) else 0])


def select(state: S, index: Tensor) -> S:
    """Return rows ``index`` (N,) of every tensor in a state, in that order, repeats allowed.

    Examples:
        >>> import torch
        >>> select((torch.tensor([10, 20, 30]), {"h": torch.tensor([1, 2, 3])}), torch.tensor([2, 0]))
        (tensor([30, 10]), {'h': tensor([3, 1])})
    """
    if isinstance(state, Tensor):
        return cast(S, state.index_select(0, index))
    if isinstance(state, dict):
        return cast(S, {name: select(part, index) for name, part in state.items()})
    if isinstance(state, tuple):
        parts = [select(part, index) for part in state]
        return cast(S, type(state)(*parts) if hasattr(state, "_fields") else tuple(parts))
    raise TypeError(f"a decoder state holds tensors, tuples and dicts, not {type(state).__name__}")


def _processors(
    settings: DecodeSettings, eos_id: int, forbidden: Sequence[int], repeatable: Sequence[int], device: torch.device
) -> Process:
    """Return the processors in use; limits come first, so filters such as top-p see permitted tokens only."""
    limits = _limits(torch.tensor(forbidden, dtype=torch.long, device=device), eos_id, settings.min_length)
    if not settings.shapes:
        return limits
    from transformers.generation import logits_process as lp  # imported here because it takes a second or more

    used = lp.LogitsProcessorList([limits])
    if settings.no_repeat_ngram:
        no_repeat = lp.NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram)
        used.append(_except(no_repeat, torch.tensor(repeatable, dtype=torch.long, device=device)))
    if settings.repetition_penalty > 1:
        used.append(lp.RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
    if settings.strategy == "sample":
        if settings.temperature != 1:
            used.append(lp.TemperatureLogitsWarper(float(settings.temperature)))
        if settings.top_k:
            used.append(lp.TopKLogitsWarper(settings.top_k))
        if settings.top_p < 1:
            used.append(lp.TopPLogitsWarper(settings.top_p))
        if settings.min_p:
            used.append(lp.MinPLogitsWarper(settings.min_p))
        if settings.typical_p < 1:
            used.append(lp.TypicalLogitsWarper(settings.typical_p))
    return cast(Process, used)


def _limits(forbidden: Tensor, eos_id: int, min_length: int) -> Process:
    """Return a processor that forbids tokens, in place, because no caller reads a forbidden log-probability.

    The two processors of transformers copy all scores twice, a third of the time of a beam search (docs/performance.md:
    32 beams, 79 to 111 sentences per second).
    """

    def process(tokens: Tensor, scores: Tensor) -> Tensor:
        scores.index_fill_(1, forbidden, -math.inf)
        if tokens.shape[1] < min_length:
            scores[:, eos_id] = -math.inf
        return scores

    return process


def _except(process: Process, permitted: Tensor) -> Process:
    """Return a processor that leaves the scores of ``permitted`` ids unchanged."""
    return lambda tokens, scores: process(tokens, scores).index_copy(1, permitted, scores[:, permitted])


def _sample(scores: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return one sample per row, shape (R,), by inversion: where the cumulative distribution reaches a uniform number.

    The block is found first, then the position in it. ``torch.multinomial`` needs a random number for every token of
    the vocabulary: 512 sentences of 25 tokens take 3.2 times as long with it (V = 3,000, one core).
    """
    # In float32 rounding of the cumulative sum would exceed the probability of rare tokens; Apple's GPUs lack float64.
    precise = torch.float32 if scores.device.type == "mps" else torch.float64
    blocks = _blocks(scores.softmax(-1), 0.0)
    reached = blocks.sum(-1).cumsum(-1, dtype=precise)
    uniform = 1 - torch.rand(len(scores), 1, dtype=precise, device=scores.device, generator=generator)
    uniform = uniform * reached[:, -1:]
    block = torch.searchsorted(reached, uniform)
    before = torch.where(block > 0, reached.gather(1, (block - 1).clamp_min(0)), 0)
    share = (uniform - before) / (reached.gather(1, block) - before)  # above 0: an impossible token is never reached
    inside = _block(blocks, block).cumsum(-1, dtype=precise)
    return (BLOCK * block + torch.searchsorted(inside, share * inside[:, -1:])).squeeze(1)


def _argmax(scores: Tensor) -> Tensor:
    """Return the first maximum per row, shape (R,).

    ``torch.argmax`` is not vectorised, the maximum over blocks is: 2.3 against 7.6 ms for 512 x 8,000 scores, in a step
    of about 20 ms.
    """
    blocks = _blocks(scores, -math.inf)
    block = blocks.amax(-1).argmax(-1, keepdim=True)
    return (BLOCK * block + _block(blocks, block).argmax(-1, keepdim=True)).squeeze(1)


def _blocks(scores: Tensor, filler: float) -> Tensor:
    """Return the scores with shape (R, ceil(V / BLOCK), BLOCK), padded at the end."""
    more = -scores.shape[-1] % BLOCK
    return (F.pad(scores, (0, more), value=filler) if more else scores).unflatten(-1, (-1, BLOCK))


def _block(blocks: Tensor, number: Tensor) -> Tensor:
    """Return block ``number`` (R, 1) of every row, with shape (R, BLOCK)."""
    return blocks.gather(1, number.unsqueeze(-1).expand(-1, -1, BLOCK)).squeeze(1)


def _sample_loop(
    decoder: StepDecoder[S],
    tokens: Tensor,
    state: S,
    process: Process,
    eos_id: int,
    select_token: SelectToken,
    out: Decoded,
) -> None:
    """Fill ``out`` token by token, each chosen by ``select_token``."""
    rows = torch.arange(len(tokens), device=tokens.device)
    for t in track(range(out.ids.shape[1]), "generating, token"):
        logits, state = decoder.step(tokens, state)
        log_probs = logits.float().log_softmax(-1)
        scores = process(out.ids[rows, :t], log_probs)
        _require_choice(scores.amax(-1), t)
        tokens = select_token(scores)
        out.log_prob[rows] += log_probs.gather(1, tokens.unsqueeze(1)).squeeze(1)
        ended = tokens == eos_id
        out.finished[rows] = ended
        if ended.any():
            rows, tokens, state = select((rows, tokens, state), (~ended).nonzero().squeeze(1))
        if not len(rows):
            return
        out.ids[rows, t] = tokens


def _beam(
    decoder: StepDecoder[S],
    tokens: Tensor,
    state: S,
    process: Process,
    eos_id: int,
    settings: DecodeSettings,
    out: Decoded,
) -> None:
    """Fill ``out`` with each row's best finished hypothesis by score, log p(y) / |y|^a.

    Each step keeps the K most probable continuations of a row, by processed log p. Those that end in eos leave the
    beam, and only the best of them is kept. A row closes when no open hypothesis can beat it: log p is at most 0 and
    only falls, so a hypothesis at log p = s can score at most s / M^a. A row in which none finishes gets its most
    probable open hypothesis.
    """
    beams, power = settings.beams, settings.length_penalty
    rows = torch.arange(len(tokens), device=tokens.device)
    tokens, state = select((tokens, state), rows.repeat_interleave(beams))
    history = tokens.new_empty(len(tokens), 0)
    best = torch.full_like(out.log_prob, -math.inf)
    search = best.unsqueeze(1).repeat(1, beams)  # processed log p of open hypotheses, with shape (R, K)
    search[:, 0] = 0.0  # all beams of a row start equal: leave only one of them open
    log_prob = torch.zeros_like(search)
    for t in track(range(1, settings.max_length + 1), "generating, token"):
        logits, state = decoder.step(tokens, state)
        log_probs = logits.float().log_softmax(-1)
        scores = process(history, log_probs)
        search, flat = (search.view(-1, 1) + scores).view(len(rows), -1).topk(beams)
        _require_choice(torch.maximum(best[rows], search[:, 0]), t - 1)
        first = torch.arange(0, len(tokens), beams, device=rows.device).unsqueeze(1)
        parent, token = first + flat // scores.shape[1], flat % scores.shape[1]  # with shape (R, K)
        log_prob = log_prob.flatten()[parent] + log_probs[parent, token]

        ended = token == eos_id
        log_p_ended, k = search.masked_fill(~ended, -math.inf).max(1)  # same length, so the most probable is best
        score = log_p_ended / t**power
        won = (score > best[rows]).nonzero().squeeze(1)
        row = rows[won]
        best[row], out.log_prob[row], out.finished[row] = score[won], log_prob[won, k[won]], True
        out.ids[row, : t - 1] = history[parent[won, k[won]]]

        search = search.masked_fill(ended, -math.inf)
        bound = search.amax(1) / settings.max_length**power
        still = (bound > best[rows]).nonzero().squeeze(1)
        if not len(still):
            return
        rows, search, log_prob, parent, token = select((rows, search, log_prob, parent, token), still)
        tokens = token.flatten()
        history, state = select((history, state), parent.flatten())
        history = torch.cat((history, tokens.unsqueeze(1)), dim=1)

    cut = (~out.finished[rows]).nonzero().squeeze(1)  # no hypothesis has finished; the first is the most probable
    out.log_prob[rows[cut]] = log_prob[cut, 0]
    out.ids[rows[cut]] = history[cut * beams]


def _require_choice(best: Tensor, length: int) -> None:
    """Raise UserError if the best score of any row, with shape (R,), is minus infinity or NaN."""
    if not (best > -math.inf).all():
        raise UserError(
            f"decoding: after {length} tokens the settings leave a sentence without a possible next token; lower "
            "min_length or no_repeat_ngram, or forbid fewer ids (or the model's logits are not numbers)."
        )
