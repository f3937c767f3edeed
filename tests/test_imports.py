"""What is imported from where, and when: this tree's packages, in one direction, without torch."""

from __future__ import annotations

import ast
import importlib
import json
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path

import pytest
from conftest import ROOT, processor_seconds, run_python

PACKAGES = ("rewards", "evaluation", "framework")

# What each package may import of ours: those in front of it, and itself.
ALLOWED = {name: set(PACKAGES[: i + 1]) for i, name in enumerate(PACKAGES)}

COMMANDS = sorted(path.stem for path in (ROOT / "framework/cli").glob("[a-z]*.py"))

LIGHT = [
    *(f"groupwise.framework.cli.{name}" for name in COMMANDS),
    "groupwise.framework",
    "groupwise.framework.config",
    "groupwise.framework.data.examples",
    "groupwise.framework.data.toy",
    "groupwise.framework.experiment.run",
    "groupwise.framework.grpo_trainer",
    "groupwise.framework.policy",
    "groupwise.framework.run.directory",
    "groupwise.framework.run.terminal",
    "groupwise.rewards",
    "groupwise.evaluation",
]

# What Unsloth patches: it has to be imported in front of these.
HEAVY = {"unsloth", "trl", "transformers", "peft", "bitsandbytes", "accelerate", "datasets"}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_imported_from_this_tree(package: str) -> None:
    module = importlib.import_module(f"groupwise.{package}")
    assert Path(str(module.__file__)).resolve().parent == ROOT / package


def test_torch_is_not_imported_until_it_is_needed(tmp_path: Path) -> None:
    code = (
        "import importlib, json, sys\n"
        "found = {}\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    found[name] = sorted({'torch', 'transformers', 'unsloth'} & set(sys.modules))\n"
        "print(json.dumps(found))"
    )
    assert json.loads(run_python(code, *LIGHT, cwd=tmp_path)) == {name: [] for name in LIGHT}


@pytest.mark.timing
def test_the_config_and_the_data_are_imported_at_once(tmp_path: Path) -> None:
    code = (
        "import time, groupwise.framework.config, groupwise.framework.data.examples, sys\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'sympy'}\n"
        "heavy |= {'groupwise.rewards.math.grade'}\n"
        "print(time.process_time(), ','.join(heavy & set(sys.modules)))"
    )
    seconds, heavy = processor_seconds(code, cwd=tmp_path, limit=0.3)
    assert heavy == [""]
    assert seconds < 0.3


def sources(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def first_part(module: str) -> str:
    """`rewards` of `groupwise.rewards.types`, `torch` of `torch.nn`."""
    return module.removeprefix("groupwise.").split(".")[0]


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    """First parts of the modules that statements import."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {first_part(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where things come from"
            names.add(first_part(str(node.module)))
    return names


def executed_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The statements that run when a module is imported, in order."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
            yield child
            yield from executed_at_import(child)


def loads_unsloth(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node) == "load_unsloth()"


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    for path in sources(package):
        ours = imported(ast.walk(parsed(path))) & {*PACKAGES, "tests", "benchmarks"}
        assert ours <= ALLOWED[package], f"{path.relative_to(ROOT)} imports {ours}"


@pytest.mark.parametrize("package", PACKAGES)
def test_unsloth_comes_before_what_it_patches(package: str) -> None:
    """Such libraries are imported inside functions, or behind `load_unsloth()`."""
    for path in sources(package):
        before = takewhile(lambda node: not loads_unsloth(node), executed_at_import(parsed(path)))
        early = imported(before) & HEAVY
        assert not early, f"{path.relative_to(ROOT)} imports {early} at its top"
