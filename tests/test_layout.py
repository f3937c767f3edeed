"""The layout of the source: sizes of rooms, files and functions, and where imports may stand.

The order of the rooms, and that there is no circle, is import-linter's part (pyproject.toml).

    python tests/test_layout.py [TREE]    # the counts of docs/decisions/layout.md, of any checkout
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGES = ("rewards", "evaluation", "framework")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))

MOST_ENTRIES = 14  # of framework/
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60
LONG_FILES = {"framework/config/schema.py"}  # a table: every key of a config

# Slow to import, or optional: only these, and modules of ours that import them at their top, may
# be imported inside a function.
SLOW = {
    *("torch", "transformers", "unsloth", "trl", "peft", "datasets", "accelerate", "bitsandbytes"),
    *("safetensors", "tokenizers", "vllm", "unsloth_zoo", "huggingface_hub", "httpx"),
    *("numpy", "scipy", "sympy", "latex2sympy2_extended", "math_verify", "pyarrow"),
    *("jinja2", "rich", "uvicorn", "starlette", "wandb", "trackio", "regex", "asyncio"),
    *("filelock", "importlib", "pint", "duckdb", "openpyxl"),
    # Ours: a hundred patterns to compile, all rewards, and names that bring NumPy and SciPy.
    *("groupwise.rewards.math.grade", "groupwise.rewards.rubric", "groupwise.evaluation"),
}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for child in ast.walk(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function; a class that is made inside it counts by its methods."""
    inside = [node for node in ast.walk(function) if isinstance(node, ast.ClassDef)]
    classes = sum((node.end_lineno or 0) - node.lineno + 1 for node in inside)
    return (function.end_lineno or 0) - function.lineno + 1 - classes


def imports_in_functions(path: Path) -> Iterator[ast.Import | ast.ImportFrom]:
    seen: set[int] = set()
    for function in functions(tree(path)):
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom) and node.lineno not in seen:
                seen.add(node.lineno)
                yield node


def test_the_framework_has_few_rooms() -> None:
    entries = [p.name for p in (ROOT / "framework").iterdir() if p.name != "__pycache__"]
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_files_and_functions_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES or relative(path) in LONG_FILES
    long = {f.name: length(f) for f in functions(tree(path))}
    assert not {name: n for name, n in long.items() if n > MOST_LINES_OF_A_FUNCTION}


def names_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules that a statement may import: `from a import b` names a, and a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]


def heavy_modules() -> set[str]:
    """Modules of ours that import something slow at their top, or another such module of ours."""
    tops: dict[str, set[str]] = {}
    for path in SOURCES:
        name = "groupwise." + relative(path).removesuffix(".py").replace("/", ".")
        tops[name.removesuffix(".__init__")] = set(imported_at_top(tree(path)))
    heavy: set[str] = set()
    while True:
        more = {
            name
            for name, imported in tops.items()
            if name not in heavy
            and any(i.split(".")[0] in SLOW or i in SLOW | heavy for i in imported)
        }
        if not more:
            return heavy
        heavy |= more


def imported_at_top(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield from names_of(child)
        else:
            yield from imported_at_top(child)


def test_imports_inside_functions_keep_something_slow_out_of_start_up() -> None:
    heavy = heavy_modules()
    wrong = []
    for path in SOURCES:
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in imports_in_functions(path):
            is_slow = any(n.split(".")[0] in SLOW or n in SLOW | heavy for n in names_of(node))
            if not is_slow:
                wrong.append(f"{relative(path)}:{node.lineno}: {ast.unparse(node)}: not slow")
            elif not says_so(lines, node):
                wrong.append(
                    f"{relative(path)}:{node.lineno}: {ast.unparse(node)}: does not say so"
                )
    assert not wrong, "\n".join(wrong)


def says_so(lines: list[str], node: ast.Import | ast.ImportFrom) -> bool:
    """Whether a comment with "start-up" stands on or above the block of imports that it is in."""
    end = node.end_lineno or node.lineno
    if any("start-up" in line for line in lines[node.lineno - 1 : end]):
        return True
    for line in reversed(lines[: node.lineno - 1]):
        text = line.strip()
        if "start-up" in text and "#" in text:
            return True
        is_import = text.startswith(("import ", "from ", "#", ")")) or text.endswith((",", "("))
        if text and not is_import:
            return False
    return False


def test_the_picture_is_of_these_imports() -> None:
    done = subprocess.run(
        [sys.executable, "docs/rooms.py", "--check"], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_an_import_against_the_order_of_the_rooms_is_refused(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "groupwise", tmp_path / "groupwise")  # links become folders
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    def lint() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()",
             "--no-cache"],
            cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    assert lint().returncode == 0
    low = tmp_path / "groupwise/framework/run/machine.py"
    line = "    from groupwise.framework.cli import main"
    low.write_text(f"{low.read_text()}\n\ndef hidden() -> None:\n{line}\n    main()\n")
    refused = lint()
    assert refused.returncode == 1
    assert "groupwise.framework.run.machine" in refused.stdout


def print_counts(root: Path) -> None:
    """The longest file (but the schema) and function, and how many imports stand in functions."""
    paths = [p for name in PACKAGES for p in (root / name).rglob("*.py")]
    files = [p for p in paths if str(p.relative_to(root)) not in LONG_FILES]
    inside = [node for path in paths for node in imports_in_functions(path)]
    ours = [n for n in inside if names_of(n)[0].split(".")[0] in (*PACKAGES, "groupwise")]
    entries = [p for p in (root / "framework").iterdir() if p.name != "__pycache__"]
    print(f"entries of framework/: {len(entries)}")
    print(f"imports in functions: {len(inside)}, of our own {len(ours)}")
    print(f"longest file: {max(len(p.read_text().splitlines()) for p in files)} lines")
    print(f"longest function: {max(length(f) for p in paths for f in functions(tree(p)))} lines")


if __name__ == "__main__":
    print_counts(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
