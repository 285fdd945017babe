"""Files are replaced whole or not at all."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tgvae.errors import UserError
from tgvae.files import replacing, write_bytes, write_text


@pytest.fixture
def full_at_1000_bytes() -> Iterator[None]:
    """No file grows beyond 1,000 bytes, as on a full disk."""
    old_limit, old_action = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old_limit[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
    signal.signal(signal.SIGXFSZ, old_action)


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old\n")
    write_text(path, "nëw\r\n")
    assert path.read_bytes() == "nëw\r\n".encode()
    assert os.listdir(tmp_path) == ["a.txt"]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with replacing(path) as partial:
        partial.write_text("half")
        assert path.read_text() == "old"
        partial.write_text("whole")
    assert path.read_text() == "whole"


def test_an_error_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(FloatingPointError), replacing(path) as partial:
        raise FloatingPointError(partial.write_text("half"))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.usefixtures("full_at_1000_bytes")
def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    path, tensors = tmp_path / "a.bin", tmp_path / "b.safetensors"
    write_bytes(path, b"old")
    save_file({"a": torch.ones(3)}, tensors)
    with pytest.raises(UserError, match=r"a\.bin: cannot be written .*; what was there is kept"):
        write_bytes(path, bytes(2000))
    with pytest.raises(UserError, match=r"b\.safetensors: cannot be written"), replacing(tensors) as partial:
        save_file({"a": torch.ones(2000)}, partial)
    assert path.read_bytes() == b"old"
    assert load_file(tensors)["a"].tolist() == [1, 1, 1]
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "b.safetensors"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone/a\.txt: cannot be written"):
        write_text(tmp_path / "gone" / "a.txt", "")
