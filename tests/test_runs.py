"""Run folders: what is refused before one is made, resuming, and loading by capability."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import obeyed, refused
from tests.test_training import killed_run, small_recipe
from tgvae.data.graphs import Graph
from tgvae.data.schema import PreparedFolder
from tgvae.data.vectors import open_vectors
from tgvae.errors import UserError, user_message
from tgvae.models.base import Capability, Model
from tgvae.models.topic import TopicConfig
from tgvae.models.vae import VectorConfig
from tgvae.models.vgae import GraphConfig
from tgvae.recipes import RECIPES, Recipe, in_phases
from tgvae.runs import build, kind_of, load_examples, load_run, recipes_with, resume_run, start_run
from tgvae.schedules import Schedule
from tgvae.training.config import Phase, TrainConfig
from tgvae.training.loop import require_trainable

TERMS = ["kl/z", "kl/c", "kl/g", "nll/tokens", "nll/words", "nll/x", "nll/links", "aux/similarity", "aux/consistency"]


def small(recipe: Recipe) -> Recipe:
    """The recipe with its own choices but tiny sizes."""
    sizes = {"embedding_size": 4, "hidden_size": 4, "latent_size": 2, "word_embedding_size": 4, "topics": 2}

    def shrink(config: Any) -> Any:
        changes: dict[str, Any] = {}
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            if dataclasses.is_dataclass(value):
                changes[field.name] = shrink(value)
            elif field.name in sizes:
                changes[field.name] = sizes[field.name]
            elif field.name == "hidden_sizes":
                changes[field.name] = (4,)
        return replace(config, **changes)

    return replace(recipe, model=shrink(recipe.model), train=replace(recipe.train, precision="no", device="cpu"))


@pytest.fixture(scope="module")
def data(titled: PreparedFolder) -> dict[str, Any]:
    ring = np.array([[i, (i + 1) % 30] for i in range(30)])
    return {
        "text": titled,
        "vectors": open_vectors("digits"),
        "graph": Graph([str(i) for i in range(30)], np.sort(ring, axis=1), "a ring"),
    }


def values_of(hint: Any, default: Any) -> st.SearchStrategy[Any]:
    """Values that the command line accepts for an option, valid or not."""
    if dataclasses.is_dataclass(hint):
        return changed(default)
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) is UnionType:
        return st.one_of(values_of(next(a for a in get_args(hint) if a is not NoneType), default), st.none())
    if get_origin(hint) is tuple:
        return st.lists(st.integers(0, 4), max_size=2).map(tuple)
    if get_origin(hint) is dict:
        part = get_args(hint)[1]
        extra = st.builds(Schedule, end=st.floats()) if part is Schedule else st.floats()
        return st.dictionaries(st.sampled_from(TERMS), extra, max_size=1).map(lambda found: {**default, **found})
    simple = {
        bool: st.booleans(),
        int: st.sampled_from([-1, 0, 1, 2, 5, 10**19]),
        float: st.sampled_from([-1.0, 0.0, 0.5, 1.0, 30.0, math.nan, math.inf]),
        str: st.text(max_size=3),
    }
    return simple[hint]


@st.composite
def changed(draw: st.DrawFn, config: Any, most: int = 3) -> Any:
    """A settings object with up to ``most`` options changed; UserError for a combination that it refuses itself."""
    hints = get_type_hints(type(config))
    names = draw(st.lists(st.sampled_from(sorted(hints)), max_size=most, unique=True))
    return replace(config, **{name: draw(values_of(hints[name], getattr(config, name))) for name in names})


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_options_give_a_trainable_model_or_a_user_error(data: dict[str, Any], options: st.DataObject) -> None:
    recipe = small(RECIPES[options.draw(st.sampled_from(sorted(RECIPES)))]())
    try:
        model_config = options.draw(changed(recipe.model))
        phases = {name: options.draw(changed(phase, 2)) for name, phase in recipe.train.phases.items()}
        recipe = replace(recipe, model=model_config, train=replace(recipe.train, phases=phases))
        source = data[kind_of(recipe).data_type]
        model = build(recipe, source)
        require_trainable(model, load_examples(model, recipe, source), recipe.train)
    except Exception as error:
        if not user_message(error):  # neither a UserError nor a lack of memory
            raise
        return
    assert set(model.units) >= {phase.unit for phase in phases.values()}


@pytest.mark.parametrize(
    ("name", "model", "message"),
    [
        (
            "topic",
            TopicConfig(topics=3, likelihood="product"),
            "phases.topics weights aux/similarity, .*kl/g, nll/words",
        ),
        ("digits-beta-vae", VectorConfig(latent="point"), "phases.vectors weights kl/z, .*only the terms nll/x"),
        ("summarizer-vae", None, "phases.summaries weights kl/z, .*only the terms nll/tokens"),
        ("graph-autoencoder", GraphConfig(), None),
    ],
)
def test_a_weighted_term_that_the_model_lacks_is_refused_before_the_folder_is_made(
    name: str, model: Any, message: str | None, data: dict[str, Any], tmp_path: Path
) -> None:
    recipe = small(RECIPES[name]())
    recipe = replace(recipe, model=model or replace(recipe.model, latent="none"))
    source = data[kind_of(recipe).data_type]
    built = build(recipe, source)
    before = {key: value.clone() for key, value in built.state_dict().items()}
    examples = load_examples(built, recipe, source)
    if message is None:
        require_trainable(built, examples, recipe.train)
    else:
        with pytest.raises(UserError, match=message):
            require_trainable(built, examples, recipe.train)
        if kind_of(recipe).data_type == "text":
            with pytest.raises(UserError, match=message):
                start_run(recipe, source.path, tmp_path / "run", quiet=True)
            assert not (tmp_path / "run").exists()
    assert all(value.equal(before[key]) for key, value in built.state_dict().items())


@pytest.mark.parametrize("name", ["sentence-vae", "language-model", "topic", "digits-vae", "graph-vae"])
def test_a_unit_that_the_model_does_not_train_on_is_refused(name: str, data: dict[str, Any]) -> None:
    wrong: Any = "sentence" if name == "topic" else "document"
    recipe = in_phases(small(RECIPES[name]()), lambda phase: replace(phase, unit=wrong))
    source = data[kind_of(recipe).data_type]
    model = build(recipe, source)
    with pytest.raises(UserError, match=f"unit is {wrong}, but a {model.kind} trains on {model.units[0]}"):
        require_trainable(model, {}, recipe.train)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"free_nats": {"kl/z": math.nan}}, "free_nats of kl/z is nan"),
        ({"batch": 0}, "batch is 0; it must be at least 1"),
    ],
)
def test_phases_refuse_numbers_without_meaning(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Phase("sentence", **settings)


@pytest.mark.parametrize("setting", ["clip", "save_minutes", "largest_loss", "seed"])
def test_training_refuses_negative_settings(setting: str) -> None:
    with pytest.raises(UserError, match=f"{setting} is -1"):
        TrainConfig(**{setting: -1})  # type: ignore[arg-type]


def test_resuming_reports_where_and_continues_with_moved_data(
    prepared: PreparedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, moved, run = tmp_path / "first", tmp_path / "moved", tmp_path / "run"
    shutil.copytree(prepared.path, first)
    recipe = small_recipe()
    killed_run(replace(recipe, train=replace(recipe.train, save_minutes=0.0)), first, run, 3, monkeypatch)
    first.rename(moved)
    assert "if the data has moved, pass its new location with --data" in refused(capsys, "train", "--resume", run)
    message = refused(capsys, "train", "--resume", run, "--train.phases.topics.epochs", 9, "--overwrite")
    assert "--train.phases.topics.epochs, --overwrite cannot change when a run is resumed" in message
    assert f"{run}: resuming at phase topics, step 3\n" in obeyed(capsys, "train", "--resume", run, "--data", moved).err
    assert f"{run}: training already finished\n" in obeyed(capsys, "train", "--resume", run, "--data", moved).err


def test_rows_per_second_where_rows_are_not_sentences(guided_run: Path) -> None:
    lines = [json.loads(line) for line in (guided_run / "metrics.jsonl").read_text().splitlines()]
    topics, sentences = (
        [line for line in lines if line["kind"] == "train" and ("nll/tokens" in line) == joint]
        for joint in (False, True)
    )
    assert all(line["rows_per_second"] > 0 and "tokens_per_second" not in line for line in topics)
    assert all(line["tokens_per_second"] > 0 and "rows_per_second" not in line for line in sentences)


def test_runs_are_loaded_by_capability(guided_run: Path) -> None:
    for capability in (Capability.TOPICS, Capability.GENERATION, Capability.GUIDANCE):
        assert load_run(guided_run, require=capability).kind == "tgvae"
    with pytest.raises(UserError, match=r"a tgvae does not support summaries; .* recipes summarizer, summarizer-vae, "):
        load_run(guided_run, require=Capability.SUMMARIES)
    assert recipes_with(Capability.SUMMARIES) == ["summarizer", "summarizer-vae", "summarizer-plain"]
    assert {kind for kind in Model.kinds if not Model.kinds[kind].units} == set()


def test_resume_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        resume_run(tmp_path)
