"""The engine ray: the same bytes as processes, in order, with few items in memory, and errors in words.

Ray runs in another process, which is this very module: see ``main``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from data_prep.pipeline import prepare
from data_prep.ray_backend import cluster
from data_prep.settings import PrepareSettings
from tests.conftest import made_up_documents
from tgvae.errors import UserError

SETTINGS = PrepareSettings(vocabulary_size=400, splits=(0.8, 0.1, 0.1), min_document_words=3)
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs ray")


def square(x: int) -> int:
    return x * x


def refuse(x: int) -> int:
    raise UserError(f"not {x}")


def die_once(mark: str) -> str:
    """Kill the worker, but not the one that is started in its place."""
    if Path(mark).exists():
        return "written again"
    Path(mark).touch()
    os._exit(1)


def main(corpus: Path, out: Path) -> None:
    """Prepare with Ray, then try the engine alone; what came of it is printed as JSON."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(20):
            taken.append(i)
            yield i

    prepare(corpus, out, SETTINGS, workers=2, engine="ray")
    told = []
    with cluster(2) as ordered_map:
        results = ordered_map(square, items())
        first, read = next(results), len(taken)
        squares = [first, *results]
        try:
            list(ordered_map(refuse, range(3)))
        except UserError as error:
            told.append(str(error))
        told += ordered_map(die_once, [f"{out}.mark"])
    print(json.dumps({"read": read, "squares": squares, "told": told}))


@needs_ray
def test_ray_does_as_processes_do(tmp_path: Path) -> None:
    corpus = tmp_path / "c.jsonl"
    corpus.write_text("".join(json.dumps(d) + "\n" for d in made_up_documents(1100)), encoding="utf-8")
    command = [sys.executable, "-m", "tests.test_cluster", str(corpus), str(tmp_path / "ray")]
    ran = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])  # after what Ray tells of the worker that died
    assert found["squares"] == [i * i for i in range(20)]
    assert found["read"] <= 4
    assert found["told"] == ["not 0", "written again"]
    assert "Traceback" not in ran.stderr
    one = prepare(corpus, tmp_path / "one", SETTINGS, workers=1)
    for path in one.iterdir():
        assert (tmp_path / "ray" / path.name).read_bytes() == path.read_bytes()


@needs_ray
def test_no_cluster_at_the_address(tmp_path: Path) -> None:
    code = "from data_prep.ray_backend import cluster\nwith cluster(2): pass"
    environment = os.environ | {"RAY_ADDRESS": "nowhere"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "UserError: No Ray cluster at RAY_ADDRESS=nowhere" in ran.stderr


def test_ray_is_asked_for_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install tgvae\[ray\]"), cluster(2):
        pass


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
