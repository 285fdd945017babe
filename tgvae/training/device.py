"""What a run is computed on, and in which precision."""

from __future__ import annotations

import platform
from typing import Literal

import torch
from accelerate import PartialState

from tgvae.training.config import TrainConfig


def on_cpu(config: TrainConfig) -> bool:
    """Whether to train on the CPU: as asked, or for want of an accelerator. Processes find each other only if told."""
    return config.device == "cpu" or not torch.accelerator.is_available()


def machine_of(config: TrainConfig) -> dict[str, str | int]:
    """What the last digits of weights depend on beside seed and versions, for run.json."""
    return {
        "device": "cpu" if on_cpu(config) else torch.cuda.get_device_name() if torch.cuda.is_available() else "other",
        "cpu": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "processes": PartialState(cpu=on_cpu(config)).num_processes,
    }


def precision_of(config: TrainConfig) -> Literal["no", "bf16"]:
    """The precision that is asked for; ``auto`` is bfloat16 where the hardware multiplies it faster than float32."""
    if config.precision != "auto":
        return config.precision
    return "bf16" if (_cpu_has_bfloat16() if on_cpu(config) else _gpu_has_bfloat16()) else "no"


def _cpu_has_bfloat16() -> bool:
    """Whether there are instructions for it; torch tells since 2.11, and before that the answer is no."""
    found: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(found.get(name, False) for name in ("amx_bf16", "avx512_bf16"))


def _gpu_has_bfloat16() -> bool:
    """Whether it is an NVIDIA GPU with tensor cores for it; of others nothing is known here."""
    nvidia = torch.cuda.is_available() and torch.version.cuda is not None
    return nvidia and torch.cuda.get_device_capability() >= (8, 0)
