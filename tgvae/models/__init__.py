"""The models. Importing them all here makes every kind known to `load`."""

from tgvae.models import pretrained_lm, sentence, summarizer, tgvae, topic, vae, vgae

__all__ = ["pretrained_lm", "sentence", "summarizer", "tgvae", "topic", "vae", "vgae"]
