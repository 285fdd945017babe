"""The base classes of models: trace, capabilities, and how a model is saved, loaded and published."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from torch import Tensor, nn

from tgvae.config_io import from_json, migrate_settings, read_versioned
from tgvae.data.corpus import Corpus
from tgvae.data.corruption import Corruption
from tgvae.data.dataset import Examples, Unit
from tgvae.data.schema import TOPIC_WORDS, PreparedFolder
from tgvae.data.tokenizers import SentenceTokenizer, load_tokenizer
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.errors import UserError, path_suggestion
from tgvae.files import read_bytes, write_text
from tgvae.models.serialization import REMEDY, SkipInitialization, load_weights, save_weights
from tgvae.trace import Trace


class Capability(StrEnum):
    """What a model can do. Commands, evaluation, web page and model card check these instead of the class."""

    TOPICS = "topics"
    """Topic proportions of documents and distributions over words: ``model.topic``."""
    GENERATION = "generation"
    """Sentences from the prior: ``generate(num, settings, seed)``."""
    LATENT = "latent"
    """Sentences to latents and back: ``encode``, ``reconstruct``, ``interpolate``."""
    GUIDANCE = "guidance"
    """Sentences for a topic, a mixture or a document: ``generate(topic, mixture, like, strength)``."""
    PARAGRAPHS = "paragraphs"
    """Sentences that follow one another: ``generate_paragraphs``."""
    SUMMARIES = "summaries"
    """Summaries of documents: ``summarize``."""
    VECTORS = "vectors"
    """Latents of vectors: ``embed``, ``sample``."""
    GRAPH = "graph"
    """Latents of nodes and log-odds of links: ``embed``, ``scores``."""


FORMAT = 2
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


class Model(nn.Module, PyTorchModelHubMixin, ABC, repo_url="https://github.com/tgvae/tgvae", tags=["tgvae"]):
    """Abstract: a model with a config dataclass, data such as vocabularies, and ``trace``.

    A saved model is a folder with ``config.json``, ``model.safetensors`` and files with the data; nothing is pickled.
    A subclass that names its ``kind`` is registered and can be loaded.
    """

    card: str | None = None
    """Model card of the folder that the model was loaded from; it is published with the model."""
    supports_denoising: ClassVar[bool] = False
    """Whether the encoder reads corrupted inputs and the decoder accepts noise on z."""

    kind: ClassVar[str]
    units: ClassVar[tuple[Unit, ...]]
    """Kinds of rows that it can be trained on."""
    data_type: ClassVar[Literal["text", "vectors", "graph"]]
    config_class: ClassVar[type]
    kinds: ClassVar[dict[str, type[Model]]] = {}

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" in cls.__dict__:
            Model.kinds[cls.kind] = cls

    @classmethod
    @abstractmethod
    def from_data(cls, config: Any, data: Any) -> Self:
        """Create an untrained model for the given data."""

    @abstractmethod
    def trace(self, batch: Any, samples: int = 1, temperature: float = 1.0, latent_noise: float = 0.0) -> Trace:
        """Return latents and observations of a batch.

        Args:
            batch: what the model reads, on its device.
            samples: of every latent.
            temperature: of relaxed (Gumbel-softmax) samples.
            latent_noise: standard deviation of noise that is added to z before it is decoded.
        """

    @abstractmethod
    def save_data(self, folder: Path) -> list[Path]:
        """Write vocabularies and the like into the folder of a saved model; return the files."""

    @classmethod
    @abstractmethod
    def read_data(cls, config: Any, folder: Path) -> Self:
        """Create a model without weights from what ``save_data`` wrote; the folder is not trusted.

        Raises:
            UserError: a file is missing or damaged.
        """

    def examples(self, split: Any) -> Examples:
        """Return a split as this model reads it."""
        found: Examples = split
        return found

    @classmethod
    def capabilities_of(cls, config: Any) -> frozenset[Capability]:
        """Return what a model with these settings can do."""
        return frozenset()

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this model can do."""
        return self.capabilities_of(self.config)

    def forward(
        self, batch: Any, samples: int = 1, temperature: float = 1.0, latent_noise: float = 0.0
    ) -> dict[str, Tensor]:
        """Return the terms of the trace. ``DistributedDataParallel`` synchronises gradients only of this call."""
        return self.trace(batch, samples, temperature, latent_noise).terms()

    def require_supports_denoising(self, corruption: Corruption) -> None:
        """Raise UserError if corruption would have no effect."""
        if corruption != Corruption() and not self.supports_denoising:
            raise UserError(f"a {self.kind} does not support denoising; leave out corruption, or train a VAE")

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def _save_pretrained(self, save_directory: Path) -> None:
        self.save(save_directory)
        if self.card is not None:  # otherwise the mixin writes one
            write_text(save_directory / CARD, self.card)

    def save(self, save_directory: Path) -> None:
        """Write the model into a folder, the weights last; existing files are replaced atomically."""
        config = {"format": FORMAT, "model": self.kind, "config": asdict(self.config)}
        write_text(save_directory / CONFIG, json.dumps(config, indent=2) + "\n")
        others = [save_directory / CONFIG, *self.save_data(save_directory)]
        save_weights(self.state_dict(), save_directory / WEIGHTS, others)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, map_location: str = "cpu", **hub: Any
    ) -> Self:
        """Load a saved model from a folder or from the Hub; the folder is not trusted.

        The mixin's own method reads config.json before it can be checked. This one reads JSON, safetensors, word lists
        and a sentencepiece model, all in this folder (they may be links, as in the cache of the Hub), and allocates
        memory for weights only after their names and shapes have been checked.

        Args:
            pretrained_model_name_or_path: a run folder, or OWNER/NAME on the Hub.
            map_location: device of the weights.
            hub: further options of ``snapshot_download``, such as revision, token and local_files_only.

        Raises:
            UserError: not a saved model of this class, damaged, or of an unknown format.
        """
        path = Path(pretrained_model_name_or_path)
        if not path.is_dir():
            # The owner of a model on the Hub is no folder here: "runs/typo" is a mistake that needs no network.
            if len(path.parts) != 2 or path.parts[0] == "~" or path.parent.is_dir():
                hint = path_suggestion(path) or "; give one made by `tgvae train`, or OWNER/NAME on the Hub"
                raise UserError(f"{path}: no such folder{hint}")
            try:
                path = Path(snapshot_download(str(path), **hub))
            except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
                raise UserError(
                    f"{path}: no such folder, and it cannot be downloaded from the Hub ({error})"
                ) from error
        return cls._load(path, map_location)

    @classmethod
    def _load(cls, folder: Path, map_location: str) -> Self:
        kind, config = read_model_config(folder)
        found = Model.kinds.get(kind)
        if found is None or not issubclass(found, cls):
            raise UserError(f"{folder / CONFIG}: holds a model of kind {kind!r}, which is not a {cls.__name__}")
        settings: Any = from_json(found.config_class, config, str(folder / CONFIG))
        try:
            with torch.device("meta"), SkipInitialization():
                model = found.read_data(settings, folder)
        except RuntimeError as error:
            raise UserError(f"{folder / CONFIG}: impossible sizes ({error}); {REMEDY}") from error
        load_weights(model, folder / WEIGHTS)
        if (folder / CARD).is_file():
            model.card = read_bytes(folder / CARD).decode("utf-8", "replace")
        return model.to(map_location).eval()


class TextModel(Model):
    """Abstract: a model of text with the two vocabularies of a prepared folder."""

    data_type = "text"
    context_tokens: int = 0
    """Tokens of a passage whose earlier sentences a sentence depends on; 0 where each is modelled alone."""

    def __init__(self, config: Any, tokenizer: SentenceTokenizer, vocabulary: TopicVocabulary) -> None:
        super().__init__(config)
        self.tokenizer, self.vocabulary = tokenizer, vocabulary

    @classmethod
    def from_data(cls, config: Any, data: PreparedFolder) -> Self:
        return cls(config, data.tokenizer, data.topic_vocabulary)

    def examples(self, split: Corpus) -> Examples:
        if not self.context_tokens:
            return split
        return Corpus(split.folder, split.split, split.table, context=self.context_tokens)

    def save_data(self, folder: Path) -> list[Path]:
        return [self.tokenizer.save(folder), *self.vocabulary.save(folder / TOPIC_WORDS)]

    @classmethod
    def read_data(cls, config: Any, folder: Path) -> Self:
        return cls(config, load_tokenizer(folder), TopicVocabulary.load(folder / TOPIC_WORDS))


def add_noise(z: Tensor, scale: float) -> Tensor:
    """Return z with Gaussian noise of standard deviation ``scale``, which a denoising decoder learns to ignore."""
    return z + scale * torch.randn_like(z) if scale else z


def read_model_config(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return kind and settings of a saved model.

    Raises:
        UserError: the folder holds no saved model, or one of an unknown format.
    """
    try:
        saved = read_versioned(folder / CONFIG, FORMAT, {"model": str, "config": dict}, REMEDY, oldest=1)
    except FileNotFoundError:
        raise UserError(f"{folder}: no {CONFIG}; give the folder that `tgvae train` wrote") from None
    return saved["model"], migrate_settings(saved["config"], saved["format"])


def load(folder: str | Path, map_location: str = "cpu") -> Model:
    """Load a saved model of any kind from a folder or from the Hub.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from tgvae.models.vae import Space, VectorConfig, VectorVAE
        >>> with TemporaryDirectory() as folder:
        ...     VectorVAE(VectorConfig(latent_size=2), Space(64)).save(Path(folder))
        ...     load(folder).config.latent_size
        2
    """
    return Model.from_pretrained(folder, map_location=map_location)
