"""The user's own modules, found in their folder before any installed one of the same name.

    load_module("rewards", None)              # ./rewards.py or ./rewards/, else an installed module
    load_module("my/rewards.py", base_dir)    # that file

While a module is imported its folder is the first of `sys.path`, as it is for a script, so that
what it imports from beside itself is found. What it leaves out: what the module holds, and whether
that is a reward (`user_functions`).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from groupwise.rewards.errors import UserError

_imported_here: set[str] = set()  # top-level names of users' modules: another folder may reuse one


def load_module(target: str, base_dir: Path | None) -> ModuleType:
    """The module `package.module`, or the file `path/to/file.py`, imported once.

    Relative files are found from `base_dir`, or else from the current directory. Modules are looked
    for in the current directory, in `base_dir`, and then where Python looks.

    Raises:
        UserError: it cannot be found or imported.
    """
    if not target.endswith(".py"):
        folders = [Path.cwd(), *([base_dir] if base_dir else [])]
        with _named_errors(f"cannot import {target!r}"):
            return _import_module(target, folders)
    file = (base_dir or Path.cwd()) / Path(target).expanduser()
    if not file.is_file():
        raise UserError(f"there is no file {file}")
    with _named_errors(f"importing {file} failed"):
        return _import_file(file)


@contextmanager
def _named_errors(what: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    # Foreign code: whatever it raises, say where. A script may even call exit().
    except (Exception, SystemExit) as error:
        raise UserError(f"{what}: {type(error).__name__}: {error}") from error


def _import_file(file: Path) -> ModuleType:
    # The same file is imported once; a name of its own keeps it from hiding an installed module
    name = "groupwise_user_" + hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    with _importable(file.parent):
        return _execute(spec)


def _import_module(target: str, folders: list[Path]) -> ModuleType:
    folder = next((folder for folder in folders if _holds(folder, target)), None)
    top = target.partition(".")[0]
    if folder is None:
        module = importlib.import_module(target)
        if sys.modules.get(top) is sys.modules.get(f"groupwise.{top}"):  # by its earlier name
            looked = " nor in ".join(map(str, folders))
            raise UserError(
                f"there is no {target!r} in {looked}; name the file: path/to/{top}.py:function"
            )
        return module
    spec = PathFinder.find_spec(top, [str(folder)])
    assert spec is not None
    known = sys.modules.get(top)
    if top in sys.stdlib_module_names:
        raise UserError(_taken(target, folder, "the standard library has a module of that name"))
    if known is not None and _places(getattr(known, "__spec__", None)) != _places(spec):
        # `rewards` may be an earlier name of ours (groupwise/_earlier_names.py): a second key of
        # the same modules, by which none of our own code imports them, so that it can go
        if known is not sys.modules.get(f"groupwise.{top}") and top not in _imported_here:
            raise UserError(_taken(target, folder, f"{top!r} is imported already, as {known!r}"))
        for name in [name for name in sys.modules if name.partition(".")[0] == top]:
            del sys.modules[name]
        known = None
    with _importable(folder):
        if known is None:
            # Not by name: a folder without __init__.py would lose to any package on `sys.path`
            _execute(spec)
            _imported_here.add(top)
        return importlib.import_module(target)


def _holds(folder: Path, target: str) -> bool:
    path = folder.joinpath(*target.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _places(spec: ModuleSpec | None) -> set[str]:
    """The folders or the file of a module, links resolved: `groupwise/rewards` is one."""
    if spec is None:
        return set()
    return {os.path.realpath(p) for p in spec.submodule_search_locations or [spec.origin or ""]}


def _taken(target: str, folder: Path, why: str) -> str:
    file = folder.joinpath(*target.split(".")).with_suffix(".py")
    remedy = f"name the file instead, as {str(file)!r}, or" if file.is_file() else "please"
    return f"{target!r} of {folder} cannot be imported: {why}; {remedy} rename it"


def _execute(spec: ModuleSpec) -> ModuleType:
    """The module of a spec, in `sys.modules` only if its code ran to the end."""
    if spec.submodule_search_locations is not None:  # fixed: Python's own follows `sys.path`
        spec.submodule_search_locations = list(spec.submodule_search_locations)
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(spec.name, None)
        raise
    return sys.modules[spec.name]  # a module may put another in its place


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """With the folder in front of `sys.path`; no bytecode is written: a check leaves no trace."""
    entry, bytecode = str(folder.resolve()), sys.dont_write_bytecode
    sys.path.insert(0, entry)
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        with suppress(ValueError):  # what the module itself did to the path stays
            sys.path.remove(entry)
        sys.dont_write_bytecode = bytecode
