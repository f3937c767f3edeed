"""What each key of a config means: the docstrings under the fields of `schema.py`.

Pydantic's `use_attribute_docstrings` gives the same, but reads the sources at every start-up, which
costs 0.07 s; see docs/decisions/config.md.
"""

from __future__ import annotations

import ast
import inspect
from functools import cache
from itertools import pairwise

from groupwise.framework.config import schema


def description(section: type, field: str) -> str:
    """The docstring under a field of a section, on one line; empty if there is none."""
    return _docstrings().get((section.__name__, field), "")


@cache
def _docstrings() -> dict[tuple[str, str], str]:
    found = {}
    classes = (n for n in ast.parse(inspect.getsource(schema)).body if isinstance(n, ast.ClassDef))
    for owner in classes:
        for field, below in pairwise(owner.body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[owner.name, field.target.id] = " ".join(str(below.value.value).split())
    return found
