"""Who may import whom, read from the source: the layers of the project, and what each may know."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Collection
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

TORCH_FREE_DATA = {
    "tgvae.data.schema",
    "tgvae.data.vocabulary",
    "tgvae.data.tokenizers",
    "tgvae.data.html",
    "tgvae.data.languages",
    "tgvae.data.bpe",
    "tgvae.data.base_models",
}
LAYERS: list[set[str]] = [  # from the bottom up: a module imports from its own layer and those above it in this list
    {"tgvae.errors"},
    {"tgvae.files", "tgvae.progress", "tgvae.schedules", "tgvae.formatting", "tgvae.random", "tgvae.kernels"},
    {"tgvae.config_io", "tgvae.distributions", "tgvae.distributed"},
    {"tgvae.divergences"},
    {"tgvae.trace"},
    {"tgvae.data"},
    {"tgvae.nn"},
    {"tgvae.generation"},
    {"tgvae.models"},
    {"tgvae", "tgvae.datasets"},
    {"tgvae.evaluation"},
    {"tgvae.training"},
    {"tgvae.recipes"},
    {"tgvae.runs"},
    {"tgvae.applications"},
    {"data_prep"},
    {"tgvae.web"},
    {"tgvae.cli"},
    {"scripts"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FOR_DATA_PREP = TORCH_FREE_DATA | {"tgvae.errors", "tgvae.files", "tgvae.progress", "tgvae.config_io", "data_prep"}
WITHOUT_TORCH = TORCH_FREE_DATA | {
    "data_prep",
    "tgvae.cli.main",
    "tgvae.errors",
    "tgvae.progress",
    "tgvae.files",
    "tgvae.config_io",
    "tgvae.schedules",
}


def layer(module: str, names: Collection[str] = RANK) -> str:
    """Return the longest of ``names`` that covers the module. Raises KeyError if none does: add it to LAYERS."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        if name in names and (name != "tgvae" or end == len(parts)):
            return name
    raise KeyError(module)


def may_import(importer: str, imported: str) -> bool:
    if layer(importer) == "data_prep":
        return layer(imported, RANK.keys() | FOR_DATA_PREP) in FOR_DATA_PREP
    return RANK[layer(imported)] <= RANK[layer(importer)]


@cache
def sources() -> dict[str, Path]:
    """Every module of the project by name."""
    found = {}
    for package in ("tgvae", "data_prep", "scripts"):
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(module: str) -> set[str]:
    """Modules named by import statements anywhere in a module, those inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(sources()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import; write the whole name"
            assert node.module is not None
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (below & set(sources())) or {node.module}
    return names


def own_imports(module: str) -> set[str]:
    return {name for name in imports(module) if name.split(".")[0] in {"tgvae", "data_prep", "scripts"}}


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, cwd=ROOT)


@pytest.mark.parametrize("module", sorted(sources()))
def test_imports_point_downwards(module: str) -> None:
    upward = {name for name in own_imports(module) if not may_import(module, name)}
    assert not upward, f"{module} must not import {sorted(upward)}"


def test_no_modules_import_each_other() -> None:
    graph = {module: own_imports(module) for module in sources()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def test_imports_are_found() -> None:
    """The reading of the source sees what is there: plain, from a package, and inside a function."""
    assert {"tgvae.nn.gru", "tgvae.trace", "torch"} <= imports("tgvae.models.sentence")
    assert "tgvae.errors" in own_imports("tgvae.cli.main")
    assert "nupunkt" in imports("tgvae.data.tokenizers")
    assert "data_prep.pipeline" in own_imports("tgvae.cli.prepare")


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("tgvae.distributions", "tgvae.divergences"),
        ("tgvae.nn.gru", "tgvae.models.base"),
        ("tgvae.models.tgvae", "tgvae.training.loop"),
        ("tgvae.generation.decode", "tgvae.models.base"),
        ("tgvae.data.corpus", "data_prep.pipeline"),
        ("data_prep.shards", "tgvae.data.corpus"),
    ],
)
def test_upward_imports_are_refused(importer: str, imported: str) -> None:
    assert not may_import(importer, imported)


def test_a_module_without_a_rule_is_noticed() -> None:
    with pytest.raises(KeyError):
        layer("tgvae.helpers")


def light(module: str) -> bool:
    return module in WITHOUT_TORCH or module.split(".")[0] == "data_prep"


def test_what_must_not_need_torch_does_not() -> None:
    for module in sources():
        if light(module):
            assert not {name for name in imports(module) if name.split(".")[0] == "torch"}, module
    names = sorted(filter(light, sources()))
    code = f"import sys, {', '.join(names)}; print('torch' in sys.modules, 'tgvae.errors' in sys.modules)"
    assert run_python("-c", code).stdout == "False True\n"


def test_help_needs_no_torch() -> None:
    ran = run_python("-X", "importtime", "-m", "tgvae.cli.main", "--help")
    imported = {line.split("|")[-1].strip() for line in ran.stderr.splitlines()}
    assert "usage: tgvae" in ran.stdout
    assert "tgvae.errors" in imported
    assert not {name for name in imported if name.split(".")[0] in {"torch", "transformers", "numpy"}}
