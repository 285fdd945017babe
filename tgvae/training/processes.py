"""What several processes share: the rows of a batch, and what any of them wishes."""

from __future__ import annotations

import torch
from accelerate import Accelerator

from tgvae.data.dataset import Ints


def share(index: Ints, process: int, processes: int) -> tuple[Ints, float]:
    """The rows of a batch that one of W processes takes, and their part of the batch, n_r / n.

    Terms are means over rows, and the gradients of processes are averaged. With W n_r / n as weight of the loss of
    process r the average is the gradient of the whole batch, as one process has it:

        1/W sum_r W n_r/n (1/n_r sum_{i in r} grad l_i)  =  1/n sum_i grad l_i

    It holds approximately where a term is no mean over these rows: of documents in a batch of sentences (each process
    has a mean over its own), under a floor of free nats, and with batch norm. A process without rows takes the
    first one, with part 0: all of them must take part in a step.
    """
    mine = index[process::processes]
    return (mine, len(mine) / len(index)) if len(mine) else (index[:1], 0.0)


def wished_by_any(accelerator: Accelerator, *wishes: bool) -> list[bool]:
    """Which of the wishes any process has. With several processes all of them must ask, and wait for each other."""
    if accelerator.num_processes == 1:
        return list(wishes)
    return accelerator.reduce(torch.tensor(wishes, device=accelerator.device).int(), "sum").bool().tolist()
