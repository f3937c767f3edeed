"""What is installed, from the packages' metadata and files; nothing is imported.

    installed("trl")          # '1.15.0'
    torch_build()             # TorchBuild(version='2.13.0+cpu', cuda=None)

The comparison of versions needs `packaging`, or the copy of it in pip.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from groupwise.framework.run.machine import STACK

# requirements/ is beside framework/, both in a clone and in an installed package.
REQUIREMENTS = Path(__file__).resolve().parents[3] / "requirements"


@dataclass(frozen=True, slots=True)
class PackageCheck:
    """A package of the stack: the tested and the installed version (None: not installed)."""

    name: str
    tested: str
    installed: str | None

    @property
    def agrees(self) -> bool:
        # "2.13.0+cpu" is 2.13.0, built for a CPU.
        return self.installed is not None and self.installed.split("+")[0] == self.tested


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """What torch was built for. `cuda`: "13.0", or None for a CPU build."""

    version: str
    cuda: str | None


@dataclass(frozen=True, slots=True)
class Installed:
    """What a package says of itself."""

    version: str
    folder: Path
    requires: tuple[str, ...]
    requires_python: str


@cache
def everything() -> dict[str, list[Installed]]:
    """Every package on the import path by its normalised name, each as often as it is there."""
    found: dict[str, list[Installed]] = {}
    for distribution in metadata.distributions():
        try:
            text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        except (OSError, UnicodeDecodeError):  # a damaged file
            continue
        head = HeaderParser().parsestr(text)  # without the description, which is long
        if not head["Name"] or not head["Version"]:
            continue
        one = Installed(
            head["Version"],
            Path(os.path.realpath(str(distribution.locate_file("")))),
            tuple(head.get_all("Requires-Dist") or ()),
            head["Requires-Python"] or "",
        )
        places = found.setdefault(key(head["Name"]), [])
        if all(one.folder != other.folder for other in places):
            places.append(one)
    return found


def package(name: str) -> Installed | None:
    """The package of that name that is imported."""
    return next(iter(everything().get(key(name), ())), None)


def installed(name: str) -> str | None:
    """The version of a package; None if it is not installed."""
    found = package(name)
    return found.version if found else None


def lock_file(with_gpu: bool) -> Path:
    return REQUIREMENTS / ("gpu.txt" if with_gpu else "cpu.txt")


def checked_packages(with_gpu: bool) -> tuple[PackageCheck, ...]:
    """The packages of the stack; none where there is no lock file."""
    tested = locked(lock_file(with_gpu))
    return tuple(
        PackageCheck(name, tested[key(name)], installed(name))
        for name in STACK
        if key(name) in tested
    )


@cache
def locked(lock: Path) -> dict[str, str]:
    """Versions by normalised name; empty if the lock file is not there."""
    if not lock.is_file():
        return {}
    pairs = (line.split("==") for line in lock.read_text().splitlines() if "==" in line)
    return {key(name): version.strip() for name, version in pairs}


def key(name: str) -> str:
    """A package's name as the index has it."""
    return re.sub(r"[-_.]+", "-", name).strip().lower()


def torch_build() -> TorchBuild | None:
    """Of the torch that would be imported; None if there is none, or it does not say."""
    text = version_file("torch")
    version = re.search(r"__version__\s*=\s*'([^']+)'", text)
    cuda = re.search(r"^cuda\b[^=]*=\s*'([^']+)'", text, re.M)
    return TorchBuild(version[1], cuda[1] if cuda else None) if version else None


def version_file(module: str) -> str:
    """The text of a package's version.py, which names its build; empty if there is none."""
    folder = package_folder(module)
    try:
        return (folder / "version.py").read_text(encoding="utf-8") if folder else ""
    except (OSError, UnicodeDecodeError):
        return ""


def package_folder(module: str) -> Path | None:
    """Where a package would be imported from, without importing it."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or not spec.origin:
        return None
    return Path(spec.origin).parent


@cache
def requirements() -> tuple[tuple[str, Any], ...]:
    """(owner, requirement) of all that Groupwise needs, and that this needs; extras aside."""
    library = packaging()
    if library is None:
        return ()
    found: list[tuple[str, Any]] = []
    seen: set[str] = set()
    todo = ["groupwise", *STACK]
    while todo:
        owner = todo.pop()
        if key(owner) in seen:
            continue
        seen.add(key(owner))
        owned = package(owner)
        for line in owned.requires if owned else ():
            if "extra ==" in line:  # Unsloth has hundreds
                continue
            try:
                requirement = library.requirements.Requirement(line)
            except ValueError:
                continue
            if requirement.marker is None or requirement.marker.evaluate():
                found.append((owner, requirement))
                todo.append(requirement.name)
    return tuple(found)


def within(version: str, specifier: Any) -> bool:
    """Whether a version satisfies a specifier; True where that cannot be told."""
    library = packaging()
    if library is None:
        return True
    try:
        specifiers = library.specifiers.SpecifierSet(str(specifier))
        return bool(specifiers.contains(version, prereleases=True))
    except ValueError:
        return True


@cache
def packaging() -> Any:
    """The `packaging` library, or pip's copy; None without both, or where they are broken."""
    for name in ("packaging", "pip._vendor.packaging"):
        try:
            # It may be what is missing here, so it is no import at the top.
            for part in ("requirements", "specifiers"):
                importlib.import_module(f"{name}.{part}")
            return importlib.import_module(name)
        except Exception:  # whatever a broken package raises
            continue
    return None
