"""Where in the user's code something is: the file and line of a function, or of an error.

    place_of(error)       # " (my_rewards.py, line 12, in brevity)"
    place_of_function(f)  # " (brevity: my_rewards.py, line 9)"

Left out are the frames of Python, of installed packages and of this one: where nothing else is on
the way, the text is empty.
"""

from __future__ import annotations

import functools
import inspect
import os
import sysconfig
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

_OURS = os.path.realpath(Path(__file__).parents[1]) + os.sep


def place_of(error: BaseException) -> str:
    """File, line and function of the user's innermost frame, in brackets."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if is_users(f.filename)]
    if not frames:
        return ""
    last = frames[-1]
    inside = "" if last.name.startswith("<") else f", in {last.name}"  # <module>, <listcomp>, …
    return f" ({last.filename}, line {last.lineno}{inside})"


def place_of_function(function: Callable[..., Any]) -> str:
    """Name, file and line of a function, in brackets."""
    while isinstance(function, functools.partial):
        function = function.func
    found = inspect.unwrap(function)
    if not hasattr(found, "__code__"):
        found = getattr(type(found).__call__, "__func__", type(found).__call__)
    code = getattr(found, "__code__", None)
    if code is None:
        return ""
    return f" ({code.co_name}: {code.co_filename}, line {code.co_firstlineno})"


def named(error: BaseException) -> str:
    """The type and the message of an error."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_users(filename: str) -> bool:
    """Whether a file of a frame is neither Python's, nor installed, nor ours."""
    if filename.startswith("<"):  # a notebook's cells have such names, frozen modules too
        return not filename.startswith(("<frozen", "<string"))
    path = os.path.realpath(filename)
    return not path.startswith((_OURS, *library_folders()))


@cache
def library_folders() -> tuple[str, ...]:
    """Python's own folders and those of installed packages, each with a separator at its end."""
    keys = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple(os.path.realpath(sysconfig.get_path(key)) + os.sep for key in keys)
