"""Runs and corpora from anybody: what is damaged, forged or of another version is loaded right, or refused by name."""

from __future__ import annotations

import ast
import json
import os
import pickle
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file

from tests.fixtures.make import said
from tests.test_layers import sources
from tgvae.config_io import describe_mismatch, read_json
from tgvae.data.graph_io import open_graph
from tgvae.data.safe_pickle import require_arrays
from tgvae.data.schema import DOCUMENT, MANIFEST, PreparedFolder, arrow_file, file_hash
from tgvae.data.tokenizers import SENTENCEPIECE_FILE, SPECIALS, WORDS_FILE, WordTokenizer, load_tokenizer
from tgvae.data.vectors import Space
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.errors import UserError
from tgvae.files import LARGEST
from tgvae.models.base import CONFIG, WEIGHTS, load
from tgvae.models.sentence import SentenceConfig
from tgvae.models.tgvae import TGVAE, TGVAEConfig
from tgvae.models.topic import TopicConfig
from tgvae.models.vae import VectorConfig, VectorVAE
from tgvae.models.vgae import GraphConfig, GraphVAE
from tgvae.runs import RUN, read_recipe, read_run

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

from campaigns.untrusted_inputs import ALTER, change, forge, outcome, use_prepared

STORED = sorted((Path(__file__).parent / "fixtures").glob("run-*"))
SENTENCE = SentenceConfig(embedding_size=6, hidden_size=6, latent_size=4, flow_length=2)
JOINT = TGVAEConfig(TopicConfig(topics=3, word_embedding_size=4, hidden_size=6), SENTENCE)


@pytest.fixture
def saved(prepared: PreparedFolder, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "model"
    folder.mkdir()
    TGVAE(JOINT, prepared.tokenizer, prepared.topic_vocabulary).save(folder)
    return folder


def edited(folder: Path, name: str, **changes: Any) -> Path:
    """The folder with a JSON file of it changed, and the hashes made anew."""
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    forge(folder, path)
    return folder


# Versions


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.name)
def test_runs_of_older_versions_say_what_they_said(stored: Path) -> None:
    expected, found = json.loads((stored / "expected.json").read_text(encoding="utf-8")), said(stored)
    assert found["sentences"] == expected["sentences"]
    for name in ("nats", "topics"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-4)
    assert read_recipe(stored).kind == "tgvae"


def test_settings_of_format_1_get_their_new_names(tmp_path: Path) -> None:
    run = Path(shutil.copytree(STORED[0], tmp_path / "run"))
    config = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    recipe = json.loads((run / RUN).read_text(encoding="utf-8"))["recipe"]
    assert {"evidence", "guide_topics"} <= config["config"].keys() & recipe["model"].keys()
    old = {"evidence": 0.5, "guide_topics": True}
    edited(run, CONFIG, config=config["config"] | old)
    edited(run, RUN, recipe=recipe | {"model": recipe["model"] | old})
    for settings in (load(run).config, read_recipe(run).model):
        assert (settings.evidence_weight, settings.backprop_to_topics) == (0.5, True)
    load(run).save(tmp_path)
    again = json.loads((tmp_path / CONFIG).read_text(encoding="utf-8"))
    assert (again["format"], again["config"]["evidence_weight"]) == (2, 0.5)
    edited(run, CONFIG, format=2)
    with pytest.raises(UserError, match="unknown setting 'evidence'"):
        load(run)


@pytest.mark.parametrize(("version", "remedy"), [(0, "again"), (3, "update tgvae")])
def test_other_formats_are_told_alike(version: int, remedy: str, saved: Path) -> None:
    shutil.copy(STORED[0] / RUN, saved)
    for name, read in ((CONFIG, load), (RUN, read_run)):
        with pytest.raises(UserError, match=rf"{name}: format {version}, but this tgvae reads 1 to 2; .*{remedy}"):
            read(edited(saved, name, format=version))


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 10**6}, r"bias_hh_l0 is F32 \[18\], not F32 \[3000000\]"),
        ({"hidden_size": 10**9}, "impossible sizes"),
        ({"hidden_size": 10**18}, "impossible sizes"),
        ({"embedding_size": 10**30}, r"embedding_size: 10+ is not a value of int"),
        ({"flow_length": 10**9}, "flow_length is 1000000000; it must be at least 0 and less than 101"),
        ({"latent_size": 0}, "latent_size is 0; it must be at least 1"),
        ({"hidden_size": -3}, "hidden_size is -3"),
        ({"hidden_size": True}, "hidden_size: True is not a value of int"),
        ({"hidden_size": [6]}, r"hidden_size: \[6\] is not a value of int"),
        ({"dropout": 7.0}, "dropout is 7.0; it must be at least 0 and less than 1"),
        ({"dropout": float("nan")}, "dropout: nan is not a value of float"),
        ({"word_dropout": float("-inf")}, "word_dropout: -inf is not a value of float"),
        ({"softmax": "x" * 10**6}, r"softmax: 'xxx.{,40}' is not a value of"),
    ],
)
def test_settings_are_refused_before_anything_is_made(settings: dict[str, Any], message: str, saved: Path) -> None:
    config = json.loads((saved / CONFIG).read_text(encoding="utf-8"))["config"]
    edited(saved, CONFIG, config=config | {"sentence": config["sentence"] | settings})
    load_file(saved / WEIGHTS)
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=message):
        load(saved)
    assert time.process_time() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "KB"


@pytest.mark.parametrize(
    "make",
    [
        lambda: VectorConfig(hidden_sizes=(4,) * 101),
        lambda: VectorConfig(hidden_sizes=(4, 0)),
        lambda: VectorConfig(latent_size=-1),
        lambda: GraphConfig(hidden_size=0),
        lambda: GraphConfig(dropout=float("nan")),
        lambda: SentenceConfig(word_dropout=1.0),
        lambda: TGVAEConfig(evidence_weight=-1.0),
        lambda: TGVAEConfig(evidence_weight=float("inf")),
        lambda: TGVAEConfig(consistency_sentences=-1),
        lambda: Space(0),
        lambda: Space(6, (2, 2)),
        lambda: Space(6, (6,)),
        lambda: Space(6, (-2, -3)),
    ],
)
def test_settings_out_of_range(make: Callable[[], object]) -> None:
    with pytest.raises(UserError):
        make()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b'{"format": 1, "model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "damaged"),
        (b"\xff\xfe\x00", "damaged"),
        (b"null", "the content is None, not an object"),
        (b'{"format": true, "model": [], "config": {}}', "model is"),
        (b'{"format": 1, "config": {}}', "model is missing"),
        (b'{"format": 1, "model": ["tgvae"], "config": {}}', r"model is \['tgvae'\]"),
        (b'{"format": 1, "model": "tgvae", "config": [1]}', "config is"),
        (b'{"format": "1", "model": "tgvae", "config": {}}', "format is '1'"),
        (b'{"format": ' + b"9" * 5000 + b"}", "damaged"),
        (b'{"format": 1, "model": "a \x1b[31mred\x1b[0m one", "config": {}}', "damaged"),
        (b'{"format": 1, "model": "\\u001b[31m", "config": {}}', r"kind '\\x1b"),
    ],
)
def test_json_of_any_kind(content: bytes, message: str, saved: Path) -> None:
    (saved / CONFIG).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        load(saved)
    assert CONFIG in str(caught.value)
    assert len(str(caught.value)) < 500


def test_json_with_a_byte_order_mark_or_of_utf_16_is_json(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "a.json").write_text('{"ä": 1}', encoding=encoding)
        assert read_json(tmp_path / "a.json", "") == {"ä": 1}


def test_mismatches_are_located() -> None:
    form = {"a": int, "b": {"c": str | None}}
    assert describe_mismatch({"a": 1, "b": {"c": None}, "more": 2}, form) == ""
    assert describe_mismatch({"a": 1, "b": {"c": 5}}, form) == "b.c is 5"
    assert describe_mismatch({"a": 1, "b": {}}, form) == "b.c is missing"
    assert describe_mismatch({"a": "x", "b": {}}, form) == "a is 'x'"


# Weights


def resaved(folder: Path, **changes: Any) -> None:
    """The weights with tensors changed, or left out for None, and without hashes, as an older version wrote them."""
    tensors = load_file(folder / WEIGHTS) | changes
    save_file({name: value for name, value in tensors.items() if value is not None}, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"topic.topics": torch.zeros(4, 4)}, r"topic\.topics is F32 \[4, 4\], not F32 \[3, 4\]"),
        ({"topic.topics": torch.zeros(12)}, r"topic\.topics is F32 \[12\], not F32 \[3, 4\]"),
        ({"topic.topics": torch.zeros(3, 4).double()}, r"topic\.topics is F64 \[3, 4\], not F32 \[3, 4\]"),
        ({"topic.topics": None}, r"topic\.topics is missing, not F32 \[3, 4\]"),
        ({"extra": torch.zeros(2)}, r"extra is F32 \[2\], not expected"),
        ({f"{i}": torch.zeros(2) for i in range(9)}, r"2 is F32 \[2\], not expected, 6 more; copy"),
        ({"topic.topics": torch.full((3, 4), float("nan"))}, r"topic\.topics not finite"),
        ({"topic.background": None, "topic.topics": None}, r"topic\.background is missing.*topic\.topics is missing"),
    ],
)
def test_tensors_of_another_model(changes: dict[str, Any], message: str, saved: Path) -> None:
    resaved(saved, **changes)
    with pytest.raises(UserError, match=message) as caught:
        load(saved)
    assert WEIGHTS in str(caught.value)


def test_one_value_that_is_not_finite(saved: Path) -> None:
    weights = load_file(saved / WEIGHTS)["topic.topics"]
    weights[1, 2] = float("inf")
    resaved(saved, **{"topic.topics": weights})
    with pytest.raises(UserError, match=r"topic\.topics not finite"):
        load(saved)


def test_every_bit_of_a_model_counts(saved: Path) -> None:
    rng = random.Random(0)
    for path in sorted(saved.iterdir()):
        whole = path.read_bytes()
        for _ in range(6):
            path.write_bytes(ALTER["a bit"](whole, rng))
            with pytest.raises(UserError, match=path.name.replace(".", r"\.")):
                load(saved)
        path.write_bytes(whole)
    load(saved)


def test_weights_without_hashes_are_of_an_older_version(saved: Path) -> None:
    expected = load(saved).generate(1, num=2)
    resaved(saved)
    assert load(saved).generate(1, num=2) == expected


@pytest.mark.parametrize(
    "hashes", ["[]", "7", "{", '{"../secret.txt": "x"}', '{"/etc/passwd": "x"}', '{"a": "x"}', "[" * 9999]
)
def test_hashes_of_any_kind(hashes: str, saved: Path) -> None:
    (saved.parent / "secret.txt").write_text("secret")
    save_file(load_file(saved / WEIGHTS), saved / WEIGHTS, {"sha256": hashes})
    with pytest.raises(UserError, match=r"cannot be loaded|outside the folder|is missing"):
        load(saved)


def test_loading_draws_nothing_and_leaves_nothing_without_values(saved: Path) -> None:
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    model = load(saved)
    assert torch.equal(torch.rand(3), expected)
    assert {t.device.type for t in [*model.parameters(), *model.buffers()]} == {"cpu"}
    assert all(p.requires_grad and p.is_contiguous() for p in model.parameters())


@pytest.mark.parametrize(
    "model",
    [VectorVAE(VectorConfig((4,), 2), Space(6, (2, 3))), GraphVAE(GraphConfig(3, 2), 5)],
    ids=["vector", "graph"],
)
def test_models_of_vectors_and_graphs_are_as_careful(model: VectorVAE | GraphVAE, tmp_path: Path) -> None:
    model.save(tmp_path)
    assert type(load(tmp_path)) is type(model)
    data = next(path for path in tmp_path.iterdir() if path.name in ("space.json", "graph.json"))
    for content, message in (
        (b'{"size": 1e9, "features": 0.5}', "unknown setting|not a value of int"),
        (b'{"features": 0}' if "graph" in data.name else b'{"size": -6}', "at least 1|no vectors"),
        (b"[[", "damaged"),
        (data.read_bytes() + b" ", "changed since it was written"),
    ):
        data.write_bytes(content)
        with pytest.raises(UserError, match=message):
            load(tmp_path)


# Files and folders


def test_links_inside_and_outside_are_followed_as_the_hub_needs(saved: Path, tmp_path: Path) -> None:
    cache = tmp_path / "snapshot"
    cache.mkdir()
    for number, path in enumerate(saved.iterdir()):
        shutil.move(path, tmp_path / f"blob-{number}")
        (cache / path.name).symlink_to(tmp_path / f"blob-{number}")
    assert isinstance(load(cache), TGVAE)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, SENTENCEPIECE_FILE, "topic_words.txt"])
def test_what_is_no_file_is_refused(name: str, saved: Path) -> None:
    (saved / name).unlink()
    os.mkfifo(saved / name)  # reading it would wait for ever
    with pytest.raises(UserError, match=name):
        load(saved)
    (saved / name).unlink()
    (saved / name).mkdir()
    with pytest.raises(UserError, match=name):
        load(saved)
    (saved / name).rmdir()
    with pytest.raises(UserError, match=name if name != SENTENCEPIECE_FILE else "no sentence tokenizer"):
        load(saved)


@pytest.mark.parametrize("name", [CONFIG, SENTENCEPIECE_FILE, "topic_words.txt"])
def test_files_that_are_too_large_are_not_read_whole(name: str, saved: Path) -> None:
    with (saved / name).open("r+b") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(UserError, match=f"{name}: larger than 64 MiB"):
        load(saved)


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd", "a/b", "..", "./train.arrow", ""])
def test_no_path_leaves_a_prepared_folder(name: str, prepared: PreparedFolder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(prepared.path, tmp_path / "copy"))
    (tmp_path / "secret.txt").write_text("secret")
    edited(folder, MANIFEST, files=prepared.manifest["files"] | {name: file_hash(tmp_path / "secret.txt")})
    with pytest.raises(UserError, match=r"outside the folder|is missing"):
        PreparedFolder.open(folder)


# Vocabularies


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"army\nfleet", "cut off after 'fleet'"),
        (b"army\n\nfleet\n", "holds the word ''"),
        (b"army\nfleet\narmy\n", "holds a word twice"),
        (b"army\nfl\xffeet\n", "not UTF-8"),
        (b"army\n\x1b[2Jfleet\n", r"holds the word '\\x1b\[2Jfleet'"),
        (b"army\r\nfleet\r\n", r"holds the word 'army\\r'"),
        (b"\xef\xbb\xbfarmy\n", "holds the word"),
    ],
)
def test_words_of_any_kind(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "topic_words.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        TopicVocabulary.load(path)


def test_words_that_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "topic_words.txt"
    for words in ([], ["army"], ["سلام\u200cها", "été"]):
        TopicVocabulary(words).save(path)
        assert TopicVocabulary.load(path).words == words
    WordTokenizer(["The", "army"]).save(tmp_path)
    assert load_tokenizer(tmp_path).pieces == [*SPECIALS, "The", "army"]


@pytest.mark.parametrize(
    "content", ["The\narmy\nwas\nnear\nhere\n", "<pad>\n<unk>\n<bos>\n", "<unk>\n<pad>\n<bos>\n<eos>\n"]
)
def test_words_without_the_special_ones(content: str, tmp_path: Path) -> None:
    (tmp_path / WORDS_FILE).write_text(content)
    with pytest.raises(UserError, match=r"sentence_words\.txt: does not begin with <pad>, <unk>, <bos>, <eos>"):
        load_tokenizer(tmp_path)


def pieces_of_others(**options: Any) -> bytes:
    import io

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the army was near", "no bread at all"] * 9), model_writer=model, vocab_size=26,
        hard_vocab_limit=False, minloglevel=2, **options,
    )  # fmt: skip
    return model.getvalue()


def test_models_of_sentencepiece_that_are_not_ours(tmp_path: Path) -> None:
    ours = {"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3}
    names = {f"{name}_piece": SPECIALS[number] for number, name in enumerate(("pad", "unk", "bos", "eos"))}
    cases = {
        b"": "not a tokenizer of sentencepiece",
        b"no model": "not a tokenizer of sentencepiece",
        pieces_of_others(): "special ids are",
        pieces_of_others(**ours, pad_piece="<nothing>"): "does not begin with",
        pieces_of_others(**ours, **names, user_defined_symbols=["a\x1b[2J"]): "holds the word",
    }
    for content, message in cases.items():
        (tmp_path / SENTENCEPIECE_FILE).write_bytes(content)
        with pytest.raises(UserError, match=message):
            load_tokenizer(tmp_path)
    (tmp_path / SENTENCEPIECE_FILE).write_bytes(pieces_of_others(**ours, **names))
    assert load_tokenizer(tmp_path).pieces[:4] == list(SPECIALS)


def test_vocabularies_of_another_size(prepared: PreparedFolder, saved: Path) -> None:
    TopicVocabulary([*prepared.topic_vocabulary.words, "added"]).save(saved / "topic_words.txt")
    forge(saved, saved / "topic_words.txt")
    with pytest.raises(UserError, match=r"config and vocabularies: component\.0\.weight is F32"):
        load(saved)


# Rows


def with_rows(folder: Path, **columns: Any) -> Path:
    """The folder with other columns in its training split, and the hash made anew."""
    table = PreparedFolder.open(folder).split("train").slice(0, 2)
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, DOCUMENT.field(name), pa.array(values, DOCUMENT.field(name).type))
    path = folder / arrow_file("train")
    path.unlink()
    with pa.ipc.new_file(str(path), DOCUMENT) as writer:
        writer.write_table(table.cast(DOCUMENT))
    forge(folder, path)
    return folder


SOUND: dict[str, Any] = {
    "sentences": [["One.", "Two."], ["Three."]],
    "tokens": [[[4, 5], []], [[6]]],
    "topic_words": [[[0, 1], [2]], [[]]],
    "words": [[2, 0], [1]],
}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"tokens": [[[4, 10**6], []], [[6]]]}, "tokens from 4 to 1000000"),
        ({"tokens": [[[4, -1], []], [[6]]]}, "tokens from -1"),
        ({"topic_words": [[[0, 1], [99999]], [[]]]}, "topic_words from 0 to 99999"),
        ({"words": [[2, -2], [1]]}, "words from -2"),
        ({"words": [[2], [1]]}, "words: not one for every sentence"),
        ({"tokens": [[[4, 5]], [[6], []]]}, "tokens: not one for every sentence"),
        ({"tokens": [[[4, 5], None], [[6]]]}, "values are missing"),
        ({"tokens": [[[4, None], []], [[6]]]}, "values are missing"),
        ({"tokens": [None, [[6]]]}, "values are missing"),
        ({"sentences": [["One.", None], ["Three."]]}, "values are missing"),
    ],
)
def test_rows_that_no_preparation_makes(
    columns: dict[str, Any], message: str, prepared: PreparedFolder, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(prepared.path, tmp_path / "copy"))
    assert len(PreparedFolder.open(with_rows(folder, **SOUND)).split("train")) == 2
    with pytest.raises(UserError, match=rf"train\.arrow: not a readable Arrow file .*{message}"):
        PreparedFolder.open(with_rows(folder, **SOUND | columns)).split("train")


def test_damaged_corpora_are_refused_or_whole(prepared: PreparedFolder, tmp_path: Path) -> None:
    before = use_prepared(prepared.path)
    for number in range(24):
        rng = random.Random(number)
        folder = Path(shutil.copytree(prepared.path, tmp_path / str(number)))
        change(folder, rng, forged=number % 2 == 1)
        assert not outcome(use_prepared, folder, None if number % 2 else before).startswith("LOST")


# Code


def test_nothing_that_could_run_code_is_called() -> None:
    """Of pickles alone those of arrays, after what they name."""
    calls = {"torch.load", "pickle.load", "pickle.loads", "eval", "exec", "compile", "marshal.loads", "yaml.load"}
    for module, path in sources().items():
        if module.startswith("scripts"):  # which open what they made
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in calls, f"{module}: {ast.unparse(node)}"
                assert not any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords)
                if ast.unparse(node.func) == "np.load":
                    assert any(k.arg == "allow_pickle" for k in node.keywords), module
            if isinstance(node, ast.Import) and module != "tgvae.data.safe_pickle":
                assert not {alias.name for alias in node.names} & {"pickle", "marshal", "shelve", "dill", "joblib"}


class Trap:
    """Makes a folder when it is read from a pickle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("part", ["x", "graph"])
def test_pickles_run_nothing(part: str, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    for name in ("x", "tx", "allx", "y", "ty", "ally", "graph"):
        (tmp_path / f"ind.mine.{name}").write_bytes(pickle.dumps({} if name != part else {"a": Trap(trap)}))
    with pytest.raises(UserError, match=r"posix\.mkdir, which is not an array"):
        open_graph(str(tmp_path / "mine"))
    assert not trap.exists()
    with pytest.raises(pickle.UnpicklingError):
        require_arrays(tmp_path / f"ind.mine.{part}")
