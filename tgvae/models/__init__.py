"""The models. Importing them all here makes every kind known to `load`."""

from tgvae.models import sentence, summarizer, tgvae, topic, vae, vgae

__all__ = ["sentence", "summarizer", "tgvae", "topic", "vae", "vgae"]
