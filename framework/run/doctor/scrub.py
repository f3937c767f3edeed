"""Removes from a text what names a person, a machine or a secret, before it is posted.

    scrub("/home/ann/venv/lib/site-packages/torch/__init__.py")    # '…/torch/__init__.py'

Removed are: values of variables that are named like secrets, and texts of the form of a token;
names and passwords in addresses; the names of this user and machine; and of each path everything
but what follows site-packages, or its last part. A name that is one of `words` stays where it is
not in a path: a user called "torch" is not given away by the name of a package.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_SECRET = re.compile(
    r"TOKEN(?!IZERS)|KEY|SECRET|PASS(WORD|WD|PHRASE)?$|CREDENTIAL|AUTH|COOKIE|WEBHOOK|DSN|NETRC",
    re.I,
)
_SHORTEST_SECRET = 6  # characters: "true" and "1" are settings

_TOKENS = re.compile(
    r"\b(hf_|sk-|gh[pousr]_|github_pat_|glpat-|xox[bpars]-|AKIA|wandb_)[\w-]{8,}"
    r"|\beyJ[\w-]+\.[\w-]+(\.[\w-]+)?"  # JSON web tokens
    r"|\b[0-9a-fA-F]{32,}\b"  # keys in hexadecimal
    r"|(?<=Bearer )\S+"
)
_USER_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]+@")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")
_IP = re.compile(r"(?<![\w.])\d{1,3}(\.\d{1,3}){3}(?![\w.])")
_ADDRESS_OR_PATH = re.compile(
    r"https?://\S+"
    r"|(?<![\w.~/\\-])(~[\w.-]*|[A-Za-z]:(?=[\\/]))?([\\/]+[^\s\\/:'\"`,;()<>|\[\]]+)+[\\/]*"
)


def scrub(text: str, words: Collection[str] = ()) -> str:
    """The text without secrets, names and folders."""
    for value, name in sorted(_secrets().items(), key=lambda item: -len(item[0])):
        text = text.replace(value, f"[{name}]")
    text = _TOKENS.sub("[token]", text)
    text = _USER_IN_ADDRESS.sub("", text)
    text = _IP.sub("[address]", _EMAIL.sub("[address]", text))
    for folder in _folders():
        text = text.replace(folder, "/~")
    text = _ADDRESS_OR_PATH.sub(_shortened, text)
    for name in _names():
        if name.lower() not in words:
            text = re.sub(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", "[name]", text, flags=re.I)
    return text


def _secrets() -> dict[str, str]:
    """Values of variables, as they are and in one line, each with the name of its variable."""
    return {
        form: name
        for name, value in os.environ.items()
        for form in (value, " ".join(value.split()))
        if _SECRET.search(name) and len(form) >= _SHORTEST_SECRET
    }


def _folders() -> list[str]:
    """Folders whose names may have spaces in them, the longest first."""
    found = {os.environ.get(name, "") for name in ("HOME", "VIRTUAL_ENV", "HF_HOME", "TMPDIR")}
    found.add(os.path.expanduser("~"))  # noqa: PTH111 (Path.home() raises without a home)
    with suppress(OSError):  # it may have been removed
        found.add(str(Path.cwd()))
    return sorted((folder for folder in found if len(folder) > 1), key=len, reverse=True)


def _names() -> list[str]:
    """Of the user and the machine, the longest first."""
    found = {platform.node(), platform.node().split(".")[0]}
    found |= {os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "HOSTNAME")}
    found |= {os.path.basename(folder) for folder in _folders()[-1:]}  # noqa: PTH119
    with suppress(OSError, KeyError, ImportError):  # a user without a name
        found.add(getpass.getuser())
    return sorted((name for name in found if len(name) > 1), key=len, reverse=True)


def _shortened(path: re.Match[str]) -> str:
    """A path from site-packages on, or its last part; addresses stay."""
    text = path[0]
    if text.startswith("http"):
        return text
    parts = [part for part in re.split(r"[\\/]+", text) if part]
    for mark in ("site-packages", "dist-packages"):
        if mark in parts[:-1]:
            return "…/" + "/".join(parts[parts.index(mark) + 1 :])
    last = parts[-1].strip("~")
    return f"…/{last}" if len(parts) > 1 and last else "…"
