"""The models. Importing them all here makes every kind known to `load`."""

from tgvae.models import pretrained, sentence, summarizer, tgvae, topic, vae, vgae

__all__ = ["pretrained", "sentence", "summarizer", "tgvae", "topic", "vae", "vgae"]
