"""Mutants of the modules that all figures rest on: does a test notice a small change of the code?

The changes are those of mutmut (an argument that is None or left out, another operator, constant or comparison, no
assignment), one at a time, in a copy of the tree; each is given to those of the tests that come by its function. mutmut
leaves decorated functions alone, so that in the copy ``@d`` above ``def f`` is written ``f = d(f)`` below it.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import chdir, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from campaigns.outcomes import Outcome

CAUGHT = ("killed", "timeout", "segfault")  # a loop without end is noticed too


@dataclass(frozen=True)
class Options:
    """Change the code, one small thing at a time, and see whether a test fails."""

    modules: tuple[str, ...] = (
        "tgvae/trace.py",
        "tgvae/divergences.py",
        "tgvae/distributions.py",
        "tgvae/distributions_copy.py",
        "tgvae/generation/decode.py",
    )
    """Files to change."""
    tests: tuple[str, ...] = (
        "tests/test_trace.py",
        "tests/test_divergences.py",
        "tests/test_distributions.py",
        "tests/test_copying.py",
        "tests/test_decode.py",
    )
    """Files of tests."""
    copied: tuple[str, ...] = ("tgvae", "data_prep", "scripts", "tests", "pyproject.toml")
    """What modules and tests need, in the tree."""
    tree: Path = Path(__file__).resolve().parents[2]
    """The root of the tree."""
    tries: int = 0
    """Mutants of every function, the first ones; 0 is all."""
    seconds: float = 7200
    """Time for all; what was not tried by then is not counted."""


def run(options: Options) -> list[Outcome]:
    """A row for every module; the survivors' changes go to standard error."""
    with TemporaryDirectory() as folder, chdir(folder):
        for name in options.copied:
            copy = shutil.copytree if (options.tree / name).is_dir() else shutil.copy
            copy(options.tree / name, name)
        for name in options.modules:
            Path(name).write_text(without_decorators(Path(name).read_text(encoding="utf-8")), encoding="utf-8")
        Path("setup.cfg").write_text(settings(options), encoding="utf-8")
        mutants = [f"*__mutmut_{number}" for number in range(1, options.tries + 1)]
        with suppress(subprocess.TimeoutExpired):
            command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *mutants]
            subprocess.run(command, stdout=sys.stderr, check=True, timeout=options.seconds)
        return [outcome(name) for name in options.modules]


def settings(options: Options) -> str:
    """Of mutmut, as ``setup.cfg``."""
    sources = {Path(name).parts[0] for name in options.modules}
    lists = {
        "source_paths": sorted(sources),
        "only_mutate": options.modules,
        "also_copy": [name for name in options.copied if name not in sources],
        "pytest_add_cli_args_test_selection": options.tests,
    }
    rows = [f"{name} =\n" + "".join(f"    {one}\n" for one in lines) for name, lines in lists.items()]
    return "[mutmut]\n" + "".join(rows) + "track_dependencies = false\ntimeout_multiplier = 4\n"


def without_decorators(source: str) -> str:
    """The same module with ``f = d(f)`` instead of decorated functions. (Setters of properties are not handled.)"""
    return ast.unparse(ast.fix_missing_locations(_WithoutDecorators().visit(ast.parse(source))))


class _WithoutDecorators(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        made: ast.expr = ast.Name(node.name, ast.Load())
        for decorator in reversed(node.decorator_list):
            made = ast.Call(decorator, [made], [])
        decorated, node.decorator_list = bool(node.decorator_list), []
        return [node, ast.Assign([ast.Name(node.name, ast.Store())], made)] if decorated else node


def outcome(module: str) -> Outcome:
    """What became of the mutants of a module, by function."""
    from mutmut.stats import status_by_exit_code

    codes = json.loads(Path("mutants", module + ".meta").read_text(encoding="utf-8"))["exit_code_by_key"]
    tried = {name: status_by_exit_code[code] for name, code in codes.items() if code is not None}
    left = [name for name, status in tried.items() if status not in CAUGHT]
    tell(left)
    where = Counter(name.rpartition(".")[2].rpartition("__mutmut")[0].removeprefix("x_").lstrip("ǁ") for name in left)
    seen = f"{1 - len(left) / max(len(tried), 1):.0%} noticed by a test"
    if left:
        seen += "; survivors in " + ", ".join(f"{name.replace('ǁ', '.')} {n}" for name, n in where.most_common())
    return Outcome(f"mutants of {module}", len(tried), len(left), seen)


def tell(mutants: Sequence[str]) -> None:
    """Their changes."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    for name in mutants:
        print(name, get_diff_for_mutant(name), sep="\n", file=sys.stderr)
