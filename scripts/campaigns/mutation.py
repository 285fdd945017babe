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
from contextlib import chdir, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from campaigns.results import Outcome

EQUIVALENT = Path(__file__).with_name("equivalent.json")  # lines of mutants that act as before, by the reason
CAUGHT = ("killed", "timeout", "segfault")  # a loop without end is noticed too


@dataclass(frozen=True)
class Options:
    """Change the code, one small thing at a time, and see whether a test fails."""

    modules: tuple[str, ...] = (
        "tgvae/trace.py",
        "tgvae/divergences.py",
        "tgvae/distributions.py",
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
    """A row for every module; the changes that are lost go to standard error."""
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
    """What became of the mutants of a module; lost are the survivors that nobody has looked at."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code

    codes = json.loads(Path("mutants", module + ".meta").read_text(encoding="utf-8"))["exit_code_by_key"]
    tried = {name: status_by_exit_code[code] for name, code in codes.items() if code is not None}
    left = {name: get_diff_for_mutant(name) for name, status in tried.items() if status not in CAUGHT}
    known = {line for lines in json.loads(EQUIVALENT.read_text(encoding="utf-8")).values() for line in lines}
    lost = [name for name, change in left.items() if new_line(change) not in known]
    print(*(left[name] for name in lost), sep="\n", file=sys.stderr)
    seen = f"{1 - len(left) / max(len(tried), 1):.1%} are noticed by a test"
    if len(lost) < len(left):
        seen += f"; {len(left) - len(lost)} change no result, for the reasons in {EQUIVALENT.name}"
    if lost:
        seen += f"; not noticed: {', '.join(f'{n} in {name}' for name, n in Counter(map(function, lost)).items())}"
    return Outcome(f"mutants of {module}", len(tried), len(lost), seen)


def new_line(change: str) -> str:
    """What a change puts in place of a line."""
    return "\n".join(line[1:].strip() for line in change.splitlines() if line[0] == "+" and line[:3] != "+++")


def function(mutant: str) -> str:
    """``f`` of ``module.x_f__mutmut_1``, ``Class.f`` of ``module.xǁClassǁf__mutmut_1``."""
    name = mutant.rpartition(".")[2].rpartition("__mutmut_")[0]
    return name.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
