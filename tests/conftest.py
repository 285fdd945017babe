"""A small made-up corpus of three themes, prepared as a user would."""

from __future__ import annotations

import json
import random

import pytest
import torch

from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder

THEMES = {
    "war": ["army", "soldier", "battle", "general", "weapon", "enemy", "victory", "fleet", "border", "attack"],
    "food": ["bread", "butter", "kitchen", "dinner", "cheese", "recipe", "oven", "flour", "pepper", "soup"],
    "space": ["planet", "orbit", "rocket", "telescope", "galaxy", "comet", "moon", "gravity", "launch", "satellite"],
}
PATTERNS = (
    "The {} was near the {} and the {}.",
    "They saw a {} with its {}.",
    "No {} can be without a {} for long.",
    "Yesterday the {} made every {} look like a {} again.",
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def made_up_documents(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Documents of three to five sentences on one theme each."""
    rng = random.Random(seed)
    documents = []
    for number in range(count):
        theme = rng.choice(sorted(THEMES))
        patterns = rng.choices(PATTERNS, k=rng.randint(3, 5))
        text = " ".join(p.format(*rng.sample(THEMES[theme], p.count("{}"))) for p in patterns)
        documents.append({"id": f"d{number}", "text": text, "label": theme})
    return documents


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedFolder:
    """The corpus of 200 made-up documents, prepared."""
    folder = tmp_path_factory.mktemp("corpus")
    source = folder / "documents.jsonl"
    source.write_text("".join(json.dumps(d) + "\n" for d in made_up_documents(200)), encoding="utf-8")
    settings = PrepareSettings(vocabulary_size=400, splits=(0.8, 0.1, 0.1), min_document_words=3)
    return PreparedFolder.open(prepare(str(source), folder / "prepared", settings, workers=1))


@pytest.fixture(scope="session")
def corpus(prepared: PreparedFolder) -> Corpus:
    return Corpus(prepared, "train")
