"""The device and the precision that a run is computed with."""

from __future__ import annotations

import platform
from typing import Literal

import torch
from accelerate import PartialState

from tgvae.training.config import TrainConfig


def on_cpu(config: TrainConfig) -> bool:
    """Whether to train on the CPU: as configured, or because there is no accelerator."""
    return config.device == "cpu" or not torch.accelerator.is_available()


def describe_machine(config: TrainConfig) -> dict[str, str | int]:
    """Return what the last digits of weights depend on apart from seed and versions, for run.json."""
    return {
        "device": "cpu" if on_cpu(config) else torch.cuda.get_device_name() if torch.cuda.is_available() else "other",
        "cpu": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "processes": PartialState(cpu=on_cpu(config)).num_processes,
    }


def resolve_precision(config: TrainConfig) -> Literal["no", "bf16"]:
    """Return the precision; ``auto`` is bfloat16 where the hardware multiplies it faster than float32."""
    if config.precision != "auto":
        return config.precision
    if on_cpu(config):
        features: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # since torch 2.11
        fast = features.get("amx_bf16", False) or features.get("avx512_bf16", False)
    else:  # NVIDIA tensor cores multiply bfloat16 since compute capability 8.0; other GPUs are not known here
        fast = torch.cuda.is_available() and torch.version.cuda is not None
        fast = fast and torch.cuda.get_device_capability() >= (8, 0)
    return "bf16" if fast else "no"
