"""Files are replaced whole or not at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tgvae.errors import UserError
from tgvae.files import atomic_write, write_bytes, write_text

FULL_AT_1000_BYTES = """
import resource, signal, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from tgvae.errors import UserError
from tgvae.files import atomic_write, write_bytes

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # no file grows beyond, as on a full disk
path, tensors = map(Path, sys.argv[1:])
try:
    write_bytes(path, bytes(2000))
except UserError as error:
    print(error)
try:
    with atomic_write(tensors) as partial:
        save_file({"a": torch.ones(2000)}, partial)
except UserError as error:
    print(error)
"""


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old\n")
    write_text(path, "nëw\r\n")
    assert path.read_bytes() == "nëw\r\n".encode()
    assert os.listdir(tmp_path) == ["a.txt"]


def test_those_who_may_read_a_file_may_read_weights(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    save_file({"a": torch.zeros(2)}, tmp_path / "weights.partial")  # left by a process that was killed
    with atomic_write(tmp_path / "weights") as partial:
        save_file({"a": torch.zeros(2)}, partial)
    assert (tmp_path / "weights").stat().st_mode == (tmp_path / "file").stat().st_mode


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with atomic_write(path) as partial:
        partial.write_text("half")
        assert path.read_text() == "old"
        partial.write_text("whole")
    assert path.read_text() == "whole"


def test_an_error_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(FloatingPointError), atomic_write(path) as partial:
        raise FloatingPointError(partial.write_text("half"))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    """In a process of its own: the limit would be that of the tests' output too."""
    path, tensors = tmp_path / "a.bin", tmp_path / "b.safetensors"
    write_bytes(path, b"old")
    save_file({"a": torch.ones(3)}, tensors)
    command = [sys.executable, "-c", FULL_AT_1000_BYTES, str(path), str(tensors)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert re.fullmatch(r".*a\.bin: cannot be written .*; what was there is kept", told[0])
    assert re.match(r".*b\.safetensors: cannot be written", told[1])
    assert path.read_bytes() == b"old"
    assert load_file(tensors)["a"].tolist() == [1, 1, 1]
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "b.safetensors"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone/a\.txt: cannot be written"):
        write_text(tmp_path / "gone" / "a.txt", "")
