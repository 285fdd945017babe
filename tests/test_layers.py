"""Who may import whom, read from the source: the layers of the project, and what each may know."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A layer is a module or a package; it may import itself and what stands here. The longest name that fits counts.
TEXT = {"tgvae.data.schema", "tgvae.data.vocabulary", "tgvae.data.open_vocabulary", "tgvae.data.tokenizers"}
ROWS = {"tgvae.data.corruption", "tgvae.data.rows"}
BATCH = {"tgvae.data.bags", "tgvae.data.batch"}
ARRAYS = (ROWS | BATCH) | {
    "tgvae.data.corpus",
    "tgvae.data.pairs",
    "tgvae.data.vectors",
    "tgvae.data.graphs",
    "tgvae.data.graph_files",
    "tgvae.data.pickles",
}
DATA = TEXT | ARRAYS
ALLOWED: dict[str, set[str]] = {
    "tgvae": {"tgvae.models", "tgvae.generation"},  # the front door, opened lazily
    "tgvae.errors": set(),
    "tgvae.progress": set(),
    "tgvae.files": {"tgvae.errors"},
    "tgvae.settings": {"tgvae.errors", "tgvae.files"},
    "tgvae.kernels": set(),
    "tgvae.distributions": {"tgvae.kernels", "tgvae.errors"},
    "tgvae.distributions_copy": {"tgvae.distributions"},
    "tgvae.schedules": {"tgvae.errors"},
    "tgvae.data": set(),
    "tgvae.data.markup": set(),
    "tgvae.data.tokenizers": {"tgvae.errors", "tgvae.files", "tgvae.data.markup"},
    "tgvae.data.vocabulary": {"tgvae.errors", "tgvae.files", "tgvae.data.tokenizers"},
    "tgvae.data.open_vocabulary": {"tgvae.data.tokenizers"},
    "tgvae.data.schema": {"tgvae.errors", "tgvae.settings", "tgvae.data.tokenizers", "tgvae.data.vocabulary"},
    "tgvae.data.corruption": {"tgvae.errors"},
    "tgvae.data.rows": {"tgvae.errors", "tgvae.data.corruption"},
    "tgvae.data.bags": set(),
    "tgvae.data.batch": {"tgvae.data.schema", "tgvae.data.bags"},
    "tgvae.data.corpus": ROWS | BATCH | {"tgvae.errors", "tgvae.data.schema", "tgvae.data.tokenizers"},
    "tgvae.data.pairs": TEXT | ROWS | BATCH | {"tgvae.errors", "tgvae.data.corpus"},
    "tgvae.data.vectors": ROWS | {"tgvae.errors", "tgvae.data.schema"},
    "tgvae.data.graphs": ROWS | {"tgvae.errors"},
    "tgvae.data.pickles": {"tgvae.files"},
    "tgvae.data.graph_files": {"tgvae.errors", "tgvae.files", "tgvae.data.graphs", "tgvae.data.pickles"},
    "tgvae.divergences": {"tgvae.distributions"},
    "tgvae.trace": {"tgvae.divergences"},
    "tgvae.nn": {"tgvae.kernels", "tgvae.data.bags", "tgvae.distributions", "tgvae.distributions_copy"},
    "tgvae.generation": {"tgvae.nn", "tgvae.errors", "tgvae.progress"},
    "tgvae.models": DATA
    | {
        "tgvae.nn",
        "tgvae.generation",
        "tgvae.trace",
        "tgvae.distributions",
        "tgvae.settings",
        "tgvae.errors",
        "tgvae.progress",
        "tgvae.files",
    },
    "tgvae.evaluation": DATA
    | {
        "tgvae.models",
        "tgvae.generation",
        "tgvae.distributions",
        "tgvae.trace",
        "tgvae.settings",
        "tgvae.errors",
        "tgvae.progress",
        "tgvae.files",
    },
    "tgvae.training": DATA
    | {
        "tgvae.evaluation",
        "tgvae.kernels",
        "tgvae.models",
        "tgvae.trace",
        "tgvae.schedules",
        "tgvae.errors",
        "tgvae.progress",
        "tgvae.files",
    },
    "tgvae.recipes": {"tgvae.models", "tgvae.training", "tgvae.schedules", "tgvae.data.corruption"},
    "tgvae.sources": DATA | {"tgvae.models", "tgvae.errors"},
    "tgvae.runs": DATA
    | {
        "tgvae.sources",
        "tgvae.recipes",
        "tgvae.training",
        "tgvae.evaluation",
        "tgvae.models",
        "tgvae.settings",
        "tgvae.errors",
        "tgvae.progress",
        "tgvae.files",
    },
    "tgvae.commands": DATA
    | {
        "tgvae.cli",  # the list of commands
        "tgvae.sources",
        "tgvae.web",
        "tgvae.runs",
        "tgvae.recipes",
        "tgvae.training",
        "tgvae.evaluation",
        "tgvae.models",
        "tgvae.generation",
        "tgvae.settings",
        "tgvae.errors",
        "tgvae.progress",
        "tgvae.files",
        "data_prep",
    },
    "tgvae.web": DATA
    | {
        "tgvae.evaluation",
        "tgvae.models",
        "tgvae.generation",
        "tgvae.distributions",
        "tgvae.settings",
        "tgvae.errors",
    },
    "tgvae.cli": {"tgvae.errors", "tgvae.progress"},  # and, when one is called, a command
    "data_prep": TEXT | {"tgvae.errors", "tgvae.progress", "tgvae.files"},
    "scripts": DATA
    | {
        "tgvae.sources",
        "tgvae.cli",
        "tgvae.commands",
        "tgvae.recipes",
        "tgvae.runs",
        "tgvae.training",
        "tgvae.evaluation",
        "tgvae.models",
        "tgvae.generation",
        "tgvae.trace",
        "tgvae.distributions",
        "tgvae.nn",
        "tgvae.settings",
        "tgvae.errors",
        "tgvae.files",
        "data_prep",
    },
}
WITHOUT_TORCH = TEXT | {
    "data_prep",
    "tgvae.cli",
    "tgvae.errors",
    "tgvae.progress",
    "tgvae.files",
    "tgvae.settings",
    "tgvae.schedules",
}


def layer(module: str) -> str:
    """The layer of a module. Raises KeyError for one that no rule covers: give it a place in ALLOWED."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        if name in ALLOWED and (name != "tgvae" or end == len(parts)):
            return name
    raise KeyError(module)


def may_import(importer: str, imported: str) -> bool:
    return layer(imported) in ALLOWED[layer(importer)] | {layer(importer)}


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


def test_the_rules_themselves_have_no_cycle() -> None:
    order = list(graphlib.TopologicalSorter(ALLOWED).static_order())
    assert set(order) == set(ALLOWED)


def test_no_modules_import_each_other() -> None:
    graph = {module: own_imports(module) for module in sources()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def test_imports_are_found() -> None:
    """The reading of the source sees what is there: plain, from a package, and inside a function."""
    assert {"tgvae.nn.gru", "tgvae.trace", "torch"} <= imports("tgvae.models.sentence")
    assert "tgvae.errors" in own_imports("tgvae.cli")
    assert "nupunkt" in imports("tgvae.data.tokenizers")
    assert "data_prep.pipeline" in own_imports("tgvae.commands.prepare")


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("tgvae.distributions", "tgvae.divergences"),
        ("tgvae.nn.gru", "tgvae.models.base"),
        ("tgvae.models.tgvae", "tgvae.training.loop"),
        ("tgvae.generation.decode", "tgvae.models.base"),
        ("tgvae.data.corpus", "data_prep.pipeline"),
        ("tgvae.cli", "tgvae.runs"),
        ("data_prep.shards", "tgvae.data.corpus"),
        ("tgvae.data.tokenizers", "tgvae.data.vocabulary"),
    ],
)
def test_upward_imports_are_refused(importer: str, imported: str) -> None:
    assert not may_import(importer, imported)


def test_a_module_without_a_rule_is_noticed() -> None:
    with pytest.raises(KeyError):
        layer("tgvae.helpers")


def test_what_must_not_need_torch_does_not() -> None:
    for module in sources():
        if layer(module) in WITHOUT_TORCH:
            assert not {name for name in imports(module) if name.split(".")[0] == "torch"}, module
    light = sorted(module for module in sources() if layer(module) in WITHOUT_TORCH)
    code = f"import sys, {', '.join(light)}; print('torch' in sys.modules, 'tgvae.errors' in sys.modules)"
    assert run_python("-c", code).stdout == "False True\n"


def test_help_needs_no_torch() -> None:
    ran = run_python("-X", "importtime", "-m", "tgvae.cli", "--help")
    imported = {line.split("|")[-1].strip() for line in ran.stderr.splitlines()}
    assert "usage: tgvae" in ran.stdout
    assert "tgvae.errors" in imported
    assert not {name for name in imported if name.split(".")[0] in {"torch", "transformers", "numpy"}}
