"""Tiny base models of random weights, in the layout of transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3", "gpt2", "gpt_neox")


def tiny_config(architecture: str, vocabulary: int) -> Any:
    import transformers as hf

    common = {"vocab_size": vocabulary, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 5}
    many: dict[str, Callable[[], Any]] = {
        "llama": lambda: hf.LlamaConfig(**SIZES, **common, tie_word_embeddings=True),
        "qwen2": lambda: hf.Qwen2Config(**SIZES, **common),
        "qwen3": lambda: hf.Qwen3Config(**SIZES, **common, head_dim=8),
        "gemma3": lambda: hf.Gemma3TextConfig(**SIZES, **common, head_dim=8, sliding_window=128),
        "gpt2": lambda: hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256, **common),
        "gpt_neox": lambda: hf.GPTNeoXConfig(
            **{k: v for k, v in SIZES.items() if k != "num_key_value_heads"}, **common, attention_bias=True
        ),
    }
    return many[architecture]()


def train_tokenizer(sentences: Iterable[str], size: int = 400) -> Any:
    """A byte-level BPE tokenizer with ``<|endoftext|>`` as id 0."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    return tokenizer


def make_base(folder: Path, sentences: Iterable[str], architecture: str = "llama", seed: int = 0) -> Path:
    """Write a base model of random weights whose tokenizer knows the sentences, and return its folder."""
    from transformers import AutoModelForCausalLM

    tokenizer = train_tokenizer(sentences)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(architecture, tokenizer.get_vocab_size()))
    with torch.no_grad():  # larger than the usual start, so that states depend on every token before
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return folder
