"""The user's own modules, found in their folder before any installed one of the same name.

    loaded = load_module("rewards", None)            # ./rewards.py or ./rewards/, else installed
    loaded = load_module("my/rewards.py", folder)    # that file
    with loaded.folders.importable(): loaded.module.brevity(...)

While a user's code is imported, and whenever it runs, its folders are the first of `sys.path`, as
for a script, so that what it imports from beside itself is found, also from inside a function. Two
runs of one process may each have a `helpers.py`: the modules of one are out of `sys.modules` while
the other's code runs. What it leaves out: what the module holds, and whether that is a reward
(`functions`).
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from groupwise.rewards.errors import UserError
from groupwise.rewards.user.places import library_folders, named, place_of


@dataclass(frozen=True)
class UserFolders:
    """Folders from which a user's code imports, and the modules that it has imported from them."""

    paths: tuple[str, ...]  # links resolved
    modules: dict[str, ModuleType] = field(default_factory=dict, compare=False, repr=False)

    @contextmanager
    def importable(self) -> Iterator[None]:
        """With the folders in front of `sys.path`; no bytecode is written: a check leaves no trace.

        Modules of other folders that these would be confused with are put aside for the while.
        """
        aside = {name: sys.modules.pop(name) for name in self._foreign()}
        sys.modules.update(self.modules)
        before, bytecode = set(sys.modules), sys.dont_write_bytecode
        sys.path[:0] = self.paths
        sys.dont_write_bytecode = True
        try:
            yield
        finally:
            for path in self.paths:
                with suppress(ValueError):  # what the code itself did to the path stays
                    sys.path.remove(path)
            sys.dont_write_bytecode = bytecode
            for name in sys.modules.keys() - before:
                if self._has(sys.modules.get(name.partition(".")[0])):
                    self.modules[name] = sys.modules[name]
            for name in aside.keys() & self.modules.keys():
                sys.modules.pop(name, None)
            sys.modules.update(aside)

    def _has(self, module: ModuleType | None) -> bool:
        """Whether a top-level module lies in one of the folders."""
        spec = getattr(module, "__spec__", None)
        return any(str(Path(place).parent) in self.paths for place in places(spec))

    def _foreign(self) -> list[str]:
        """Modules by which this code would find another user's file instead of its own."""
        others = {
            name
            for folders in _known.values()
            if folders is not self
            for name, module in folders.modules.items()
            if sys.modules.get(name) is module and name not in self.modules
        }
        own = {name for path in self.paths for name in _modules_in(path)}
        tops = {
            name
            for name in own
            if name in sys.modules
            and not self._has(sys.modules[name])
            and not _is_library(name, sys.modules[name])
        }
        # A list: another thread may import meanwhile
        names = list(sys.modules)
        return [name for name in names if name in others or name.partition(".")[0] in tops]


@dataclass(frozen=True)
class LoadedModule:
    """A user's module, with the folders that have to be importable while its code runs."""

    module: ModuleType
    folders: UserFolders


_known: dict[tuple[str, ...], UserFolders] = {}


def user_folders(*folders: Path) -> UserFolders:
    """The folders, with the modules that were imported from them before."""
    paths = tuple(dict.fromkeys(os.path.realpath(folder) for folder in folders))
    return _known.setdefault(paths, UserFolders(paths))


def load_module(target: str, base_dir: Path | None) -> LoadedModule:
    """The module `package.module`, or the file `path/to/file.py`, imported once.

    Files and modules are looked for in the current directory, then in `base_dir`; modules then
    where Python looks.

    Raises:
        UserError: it cannot be found or imported.
    """
    base = (base_dir or Path()).absolute()
    if not target.endswith(".py"):
        looked_in = list(dict.fromkeys([Path.cwd(), base]))
        with _named_errors(f"cannot import {target!r}"):
            return _import_module(target, looked_in)
    file = Path(target).expanduser().absolute()
    if not file.is_file():
        file = base / Path(target).expanduser()
    if not file.is_file():
        raise UserError(f"there is no file {file.absolute()}")
    with _named_errors(f"importing {file} failed"):
        return _import_file(file, base)


@contextmanager
def _named_errors(what: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    # Foreign code: whatever it raises, say where. A script may even call exit().
    except (Exception, SystemExit) as error:
        raise UserError(f"{what}: {named(error)}{place_of(error)}") from error


def _import_file(file: Path, base: Path) -> LoadedModule:
    file = Path(os.path.realpath(file))
    if _imports_relatively(file):  # only a module of a package can
        root = min(_package_root(file), file.parent.parent, key=lambda path: len(path.parts))
        module = ".".join(file.relative_to(root).with_suffix("").parts)
        return _import_module(module, [root, file.parent, base])
    folders = user_folders(file.parent, _package_root(file), base)
    # The same file is imported once; a name of its own keeps it from hiding an installed module
    key = "\n".join([str(file), *folders.paths])
    name = "groupwise_user_" + hashlib.sha256(key.encode()).hexdigest()[:16]
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        with folders.importable():
            _execute(spec)
    return LoadedModule(sys.modules[name], folders)


def _package_root(file: Path) -> Path:
    """The folder that holds the outermost package of a file; its own folder if it is in none."""
    folder = file.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _imports_relatively(file: Path) -> bool:
    """Whether a file has a `from .helpers import pick` anywhere."""
    try:
        nodes = ast.walk(ast.parse(file.read_bytes()))
    except (SyntaxError, ValueError):  # importing it says more
        return False
    return any(isinstance(node, ast.ImportFrom) and node.level > 0 for node in nodes)


def _import_module(target: str, looked_in: list[Path]) -> LoadedModule:
    folder = next((folder for folder in looked_in if _holds(folder, target)), None)
    top = target.partition(".")[0]
    if folder is None:
        folders = user_folders(*looked_in)
        module = importlib.import_module(target)
        if sys.modules.get(top) is sys.modules.get(f"groupwise.{top}"):  # by its earlier name
            looked = " nor in ".join(map(str, looked_in))
            raise UserError(
                f"there is no {target!r} in {looked}; name the file: path/to/{top}.py:function"
            )
        return LoadedModule(module, folders)
    folders = user_folders(folder, *looked_in)
    spec = PathFinder.find_spec(top, [str(folder)])
    assert spec is not None
    if top in sys.stdlib_module_names:
        raise UserError(_taken(target, folder, "the standard library has a module of that name"))
    with folders.importable():
        known = sys.modules.get(top)
        if known is not None and places(getattr(known, "__spec__", None)) != places(spec):
            if known is not sys.modules.get(f"groupwise.{top}"):
                raise UserError(
                    _taken(target, folder, f"{top!r} is imported already, as {known!r}")
                )
            # `rewards` may be an earlier name of ours (groupwise/_earlier_names.py): a second key
            # of the same modules, by which none of our own code imports them, so that it can go
            for name in [name for name in sys.modules if name.partition(".")[0] == top]:
                del sys.modules[name]
            known = None
        if known is None:
            # Not by name: a folder without __init__.py would lose to any package on `sys.path`
            _execute(spec)
        return LoadedModule(importlib.import_module(target), folders)


def _holds(folder: Path, target: str) -> bool:
    path = folder.joinpath(*target.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _modules_in(path: str) -> set[str]:
    """The names of the modules and packages in a folder; none if it cannot be read."""
    try:
        entries = list(Path(path).iterdir())
    except OSError:
        return set()
    return {
        entry.stem
        for entry in entries
        if entry.suffix == ".py" or (not entry.suffix and (entry / "__init__.py").is_file())
    }


def places(spec: ModuleSpec | None) -> set[str]:
    """The folders or the file of a module, links resolved: `groupwise/rewards` is one."""
    if spec is None:
        return set()
    return {os.path.realpath(p) for p in spec.submodule_search_locations or [spec.origin or ""]}


def _is_library(name: str, module: ModuleType | None) -> bool:
    """Whether a module is Python's own, installed, or ours: it is never put aside."""
    if name in sys.stdlib_module_names or name == "__main__" or module is None:
        return True
    if module is sys.modules.get(f"groupwise.{name}") or name == "groupwise":
        return True
    found = places(getattr(module, "__spec__", None))
    return not found or any(place.startswith(library_folders()) for place in found)


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
