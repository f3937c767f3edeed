"""The earlier import names of a checkout: `framework`, `rewards` and `evaluation` without a prefix.

    from framework.grpo_trainer import GRPOTrainer     # is groupwise.framework.grpo_trainer

Scripts written for them run on, with the same module objects and no second copy in memory. A wheel
does not have these names, and a user's own `rewards.py` or folder `rewards/` is found before them.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, ModuleType

_MOVED = {"framework.toy": "framework.data.toy"}


def same_module(name: str) -> None:
    """Puts `groupwise.<name>` in the place of the module `name`, which is being imported."""
    sys.modules[name] = importlib.import_module(f"groupwise.{name}")
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


_MOVED = {"framework.toy": "groupwise.framework.data.toy"}
"""Modules that were elsewhere, where scripts still look for them."""


class _Finder(MetaPathFinder):
    """Finds `framework.config` as `groupwise.framework.config`, where `framework` is ours."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        top, dot, _ = fullname.partition(".")
        ours = sys.modules.get(f"groupwise.{top}")
        if not dot or ours is None or sys.modules.get(top) is not ours:
            return None
        real = importlib.util.find_spec(f"groupwise.{fullname}")
        if real is None:
            users = _of_the_user(fullname)
            if users is not None or fullname not in _MOVED:
                return users
            real = importlib.util.find_spec(_MOVED[fullname])
            assert real is not None, f"{_MOVED[fullname]} has moved again"
        spec = ModuleSpec(fullname, _SameModule(real), origin=real.origin)
        spec.submodule_search_locations = real.submodule_search_locations
        return spec


def _of_the_user(fullname: str) -> ModuleSpec | None:
    """A module of a user's own folder `framework/` that has no `__init__.py`.

    With one it would stand before ours. Without, Python passes it over for ours, wherever it is.
    """
    *parents, _ = fullname.split(".")
    return PathFinder.find_spec(fullname, [str(Path(p, *parents)) for p in sys.path])


class _SameModule(Loader):
    def __init__(self, real: ModuleSpec) -> None:
        self._real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType:  # noqa: ARG002
        return importlib.import_module(self._real.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._real  # importlib has just put the alias's own there

    def get_code(self, _name: str) -> CodeType | None:
        """For `python -m framework.minimal_grpo`."""
        get_code = getattr(self._real.loader, "get_code", None)
        code: CodeType | None = get_code(self._real.name) if get_code else None
        return code
