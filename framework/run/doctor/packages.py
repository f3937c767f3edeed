"""What is installed: versions beside the tested ones, requirements, builds, and doubles.

    print(compared().packages)      # each package of the stack, tested and installed
    findings = package_findings(cuda_needed=True)

Nothing is imported: versions and requirements come from the packages' metadata, builds from files
in them. The comparison of versions needs `packaging`, or the copy of it in pip.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import site
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from groupwise.framework.run.doctor.findings import Finding, Level
from groupwise.framework.run.doctor.known import KNOWN, Known, known
from groupwise.framework.run.machine import STACK, installed

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
    folder = package_folder("torch")
    try:
        text = (folder / "version.py").read_text() if folder else ""
    except OSError:
        return None
    version = re.search(r"__version__\s*=\s*'([^']+)'", text)
    cuda = re.search(r"^cuda\b[^=]*=\s*'([^']+)'", text, re.M)
    return TorchBuild(version[1], cuda[1] if cuda else None) if version else None


def package_folder(module: str) -> Path | None:
    """Where a package would be imported from, without importing it."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or not spec.origin:
        return None
    return Path(spec.origin).parent


def package_findings(with_gpu: bool) -> Iterator[Finding]:
    """Missing, unsuitable, double and hidden packages. `with_gpu`: an NVIDIA card is there."""
    yield _python()
    lock = lock_file(with_gpu)
    tested = locked(lock)
    install = f"`make install`, or pip install --no-deps -r requirements/{lock.name}"
    problems = [*_missing(tested, install), *_conflicts(tested)]
    if not tested:
        problems.append(
            _finding("lock", "note", f"{lock.name} is not there: nothing to compare with", install)
        )
    reported = {finding.subject for finding in problems}
    checks = checked_packages(with_gpu)
    differ = [p for p in checks if p.installed and not p.agrees and p.name not in reported]
    agree = sum(p.agrees for p in checks)
    if checks and agree:
        yield _finding("versions", "ok", f"{agree} of {len(checks)} are the tested ones")
    yield from problems
    if differ:
        pairs = ", ".join(f"{p.name} {p.installed} ({p.tested})" for p in differ)
        yield _finding(
            "versions",
            "note",
            f"not the tested ones: {pairs}",
            f"Install the tested set: {install}",
        )
    yield from _builds(with_gpu)
    yield from _doubles()


def _finding(subject: str, level: Level, text: str, advice: str = "") -> Finding:
    return Finding("Installation", subject, level, text, advice=advice)


def known_finding(entry: Known, text: str, level: Level = "problem", **parts: Any) -> Finding:
    """A finding about a known mismatch."""
    values = {"does": entry.does, "advice": entry.remedy, "source": entry.source, **parts}
    return Finding(values.pop("group", "Installation"), entry.package, level, text, **values)


# Requirements


def _missing(tested: dict[str, str], install: str) -> Iterator[Finding]:
    """What the stack needs, directly or through others; of that, what the lock names."""
    if _packaging() is None:
        text = "is missing, or broken: requirements cannot be compared"
        yield _finding("packaging", "problem", text, f"Install the tested set: {install}")
    needed = {key(name) for name in STACK} | {key(r.name) for _, r in _requirements()}
    absent = sorted(name for name in needed if name in tested and installed(name) is None)
    if absent:
        text = f"not installed: {', '.join(absent)}"
        yield _finding("packages", "problem", text, f"Install the tested set: {install}")


def _conflicts(tested: dict[str, str]) -> Iterator[Finding]:
    """Versions that are known not to work, and those that another package does not accept."""
    about: set[str] = set()
    for entry in KNOWN:
        version = installed(entry.package)
        if not entry.versions or version is None or not _beside(entry):
            continue
        if any(_within(version, s) for s in entry.versions.split("|")):
            about.add(key(entry.package))
            yield known_finding(entry, f"{version} is installed: {entry.condition}")
    for owner, requirement in _requirements():
        version = installed(requirement.name)
        name = key(requirement.name)
        if version is None or name in about or _within(version, requirement.specifier):
            continue
        if version.split("+")[0] == tested.get(name) and installed(owner) == tested.get(key(owner)):
            continue  # the tested set does the same: Unsloth asks for a newer certifi
        about.add(name)
        wanted = f"{owner} {installed(owner)} needs {requirement.specifier}"
        remedy = f"Install {name} {tested[name]}." if name in tested else f"Install {requirement}."
        yield _finding(requirement.name, "problem", f"{version} is installed; {wanted}", remedy)


def _beside(entry: Known) -> bool:
    return not entry.beside or installed(entry.beside) is not None


def _python() -> Finding:
    """Whether the packages of the stack accept this Python."""
    here = ".".join(map(str, sys.version_info[:3]))
    for name in ("groupwise", *STACK):
        try:
            wanted = metadata.metadata(name)["Requires-Python"] or ""
        except metadata.PackageNotFoundError:
            continue
        if wanted and not _within(here, wanted):
            text = f"{here}; {name} {installed(name)} needs {wanted}"
            advice = "Make the environment anew: PYTHON=python3.12 make install"
            return _finding("Python", "problem", text, advice)
    return _finding("Python", "ok", here)


def _within(version: str, specifier: Any) -> bool:
    """Whether a version satisfies a specifier; True where that cannot be told."""
    packaging = _packaging()
    if packaging is None:
        return True
    try:
        specifiers = packaging.specifiers.SpecifierSet(str(specifier))
        return bool(specifiers.contains(version, prereleases=True))
    except ValueError:
        return True


@cache
def _requirements() -> tuple[tuple[str, Any], ...]:
    """(owner, requirement) of all that Groupwise needs, and that this needs; extras aside."""
    packaging = _packaging()
    if packaging is None:
        return ()
    found: list[tuple[str, Any]] = []
    seen: set[str] = set()
    todo = ["groupwise", *STACK]
    while todo:
        owner = todo.pop()
        if key(owner) in seen:
            continue
        seen.add(key(owner))
        try:
            lines = metadata.requires(owner) or []
        except metadata.PackageNotFoundError:
            continue
        for line in lines:
            try:
                requirement = packaging.requirements.Requirement(line)
            except ValueError:
                continue
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                found.append((owner, requirement))
                todo.append(requirement.name)
    return tuple(found)


@cache
def _packaging() -> Any:
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


# Builds


def _builds(with_gpu: bool) -> Iterator[Finding]:
    """Packages that are built for another torch, or for another CUDA, than the one installed."""
    torch = torch_build()
    if torch is None:
        return
    entry = known("torchvision")
    vision = installed("torchvision")
    if vision and (wanted := _torchvision_of(torch.version)) and not vision.startswith(wanted):
        text = f"{vision} beside torch {torch.version}, which goes with {wanted[:-1]}"
        yield known_finding(entry, text)
    elif vision and torch.cuda is None and (libraries := _cuda_libraries("torchvision")):
        text = f"{vision} is built with CUDA ({libraries}), torch {torch.version} without"
        yield known_finding(entry, text)
    if torch.cuda and with_gpu and installed("bitsandbytes"):
        major = torch.cuda.split(".")[0]
        folder = package_folder("bitsandbytes")
        if folder and not list(folder.glob(f"libbitsandbytes_cuda{major}*")):
            version = installed("bitsandbytes")
            text = f"{version} has no binary for CUDA {torch.cuda}, with which torch is built"
            yield known_finding(known("bitsandbytes-binary"), text)
    built_for = _xformers_torch()
    if built_for and _cuda_tag(built_for) != (torch.cuda or "cpu").split(".")[0]:
        text = f"{installed('xformers')} is built for torch {built_for}; this is {torch.version}"
        yield known_finding(known("xformers"), text, "note")


def _torchvision_of(torch: str) -> str:
    """The beginning of the torchvision version that goes with a torch: "0.28." with 2.13.0."""
    found = re.match(r"2\.(\d+)\.", torch)
    return f"0.{int(found[1]) + 15}." if found else ""


def _cuda_libraries(module: str) -> str:
    """The CUDA runtime that a package's compiled files ask for, such as "libcudart.so.13"."""
    folder = package_folder(module)
    for file in sorted(folder.glob("*.so*")) if folder else ():
        try:
            found = re.search(rb"libcudart\.so[.\d]*", file.read_bytes())
        except OSError:
            continue
        if found:
            return found[0].decode()
    return ""


def _xformers_torch() -> str:
    """The torch that xformers was built for, such as "2.10.0+cu128"; empty if it does not say."""
    folder = package_folder("xformers")
    try:
        built = json.loads((folder / "cpp_lib.json").read_text()) if folder else {}
        return str(built["version"]["torch"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _cuda_tag(version: str) -> str:
    """The major version of CUDA in a local version: "12" of "2.10.0+cu128"."""
    found = re.search(r"\+cu(\d\d)", version)
    return found[1] if found else "cpu"


# Doubles


def _doubles() -> Iterator[Finding]:
    """Packages that are there twice, hidden by another file, or half removed."""
    places: dict[str, dict[str, str]] = {}
    for found in metadata.distributions():
        name = found.metadata["Name"] if found.metadata else None
        if name:
            folder = str(Path(str(found.locate_file(""))).resolve())
            places.setdefault(key(name), {}).setdefault(folder, found.version)
    user = site.getusersitepackages()
    for name in map(key, STACK):
        found_in = places.get(name, {})
        if len(found_in) > 1:
            versions = " and ".join(found_in.values())
            first, *rest = found_in
            text = f"is installed twice: {versions}; the first is used"
            if Path(first) == Path(user).resolve():
                advice = "Set PYTHONNOUSERSITE=1: the one of your user folder hides this one."
            else:
                advice = f"Remove one of them: {first} or {rest[0]}"
            yield _finding(name, "problem", text, advice)
        elif hidden := _hidden_by(name, next(iter(found_in), "")):
            text = f"is imported from {hidden}, not from where it is installed"
            advice = "Rename that file or folder, or unset PYTHONPATH."
            yield _finding(name, "problem", text, advice)
    left = sorted(
        file.name
        for path in {entry for entry in sys.path if entry.endswith("-packages")}
        for file in Path(path).glob("~*")
    )
    if left:
        text = f"left by an interrupted pip: {', '.join(left[:3])}"
        yield _finding("site-packages", "note", text, "Remove what begins with ~ in site-packages.")


def _hidden_by(name: str, location: str) -> Path | None:
    """What is imported instead of a package that is installed in `location`."""
    folder = package_folder(name.replace("-", "_"))
    if not location or folder is None or folder.resolve().is_relative_to(location):
        return None
    try:
        editable = metadata.distribution(name).read_text("direct_url.json") or ""
    except metadata.PackageNotFoundError:
        return None
    return None if '"editable": true' in editable else folder
