"""The models. Importing them all here makes every kind known to `load`."""

from tgvae.models import graph, sentence, summarizer, tgvae, topic, vector

__all__ = ["graph", "sentence", "summarizer", "tgvae", "topic", "vector"]
