"""The vocabulary softmax fused with its cross-entropy.

    nll_n = -log p_n[y_n],   p_n = softmax(W h_n + b)
    d nll_n / d logits_n = p_n - 1[y_n]

The vocabulary softmax costs more than the GRUs of a model. ``F.cross_entropy`` of a linear layer keeps logits, their
float32 copy and their log-softmax, and reads all of them in the backward pass. Here only p - 1[y] is kept, in the
precision of the products. The incoming gradient scales rows of h and of its gradient, which are narrow, and never those
of p, which are as wide as the vocabulary.

Shape legend: N tokens, E embedding, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from tgvae.kernels.parallel import concurrently, threads

CHUNK = 512  # tokens whose logits are computed at a time
MIN_TOKENS = 256  # per thread
MULTIPLE = 64  # of rows in bfloat16: oneDNN compiles its CPU products once per number of rows


def linear_cross_entropy(h: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """Return -log softmax(W h + b)[y] of every token in nats, float32, with shape (N,).

    Autocast applies as to ``torch.nn.functional.linear``. If a gradient is needed, probabilities are floored at the
    smallest normal number, so no token costs more than 87 nats.

    Args:
        h: with shape (N, E).
        weight: W with shape (V, E).
        bias: b with shape (V,).
        target: y with shape (N,).
    """
    share = max(1, min(threads(), len(h) // MIN_TOKENS))
    pieces = zip(h.tensor_split(share), target.tensor_split(share), strict=True)
    return torch.cat(concurrently(_cross_entropy, [(rows, weight, bias, y) for rows, y in pieces]))


def _cross_entropy(h: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (h, weight, bias)):
        kind = h.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else h.dtype
        nll: Tensor = _LinearCrossEntropy.apply(h, weight, bias, target, dtype)
        return nll
    chunks = zip(h.split(CHUNK), target.split(CHUNK), strict=True)
    return torch.cat([F.cross_entropy(F.linear(rows, weight, bias).float(), y, reduction="none") for rows, y in chunks])


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, target: Tensor, dtype: torch.dtype) -> Tensor:
        count, more = len(h), -len(h) % MULTIPLE if dtype == torch.bfloat16 else 0
        low_h, low_weight, low_bias = F.pad(h.to(dtype), (0, 0, 0, more)), weight.to(dtype), bias.to(dtype)
        p = torch.empty(len(low_h), len(weight), dtype=dtype, device=h.device)
        with torch.autocast(h.device.type, enabled=False):
            for rows, out in zip(low_h.split(CHUNK), p.split(CHUNK), strict=True):
                torch.softmax(torch.addmm(low_bias, rows, low_weight.T), -1, out=out)
        every = torch.arange(count, device=p.device)
        p_target = p[every, target]
        p[every, target] = p_target - 1  # now p is the gradient with respect to the logits
        ctx.save_for_backward(low_h, low_weight, p)
        return -p_target.float().clamp_min(torch.finfo(torch.float32).tiny).log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        h, weight, p = ctx.saved_tensors
        count = len(gradient)
        scale = F.pad(gradient.to(h.dtype), (0, len(h) - count)).unsqueeze(1)
        with torch.autocast(h.device.type, enabled=False):
            return scale[:count] * (p @ weight)[:count], p.T @ (scale * h), (scale.T @ p).squeeze(0), None, None
