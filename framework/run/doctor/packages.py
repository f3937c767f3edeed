"""Findings about what is installed: versions, requirements, builds, and doubles.

findings = [*package_findings(with_gpu=False)]
"""

from __future__ import annotations

import json
import os
import re
import site
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from groupwise.framework.run.doctor.findings import Finding, Level, known_finding
from groupwise.framework.run.doctor.installed import (
    REQUIREMENTS,
    checked_packages,
    everything,
    installed,
    key,
    lock_file,
    locked,
    package,
    package_folder,
    packaging,
    requirements,
    torch_build,
    version_file,
    within,
)
from groupwise.framework.run.doctor.known import KNOWN, Known, known
from groupwise.framework.run.machine import STACK, git_revision


def package_findings(with_gpu: bool) -> Iterator[Finding]:
    """Missing, unsuitable, double and hidden packages. `with_gpu`: an NVIDIA card is there."""
    yield _groupwise()
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


def _groupwise() -> Finding:
    """Its version, and the revision of a clone."""
    root = REQUIREMENTS.parent
    cloned = git_revision(root)
    text = installed("groupwise") or "not installed, run from its folder"
    if cloned:
        changed = ", with changes" if cloned["changed_files"] else ""
        text += f", revision {cloned['revision'][:12]}{changed}"
    return _finding("groupwise", "ok", text)


def _finding(subject: str, level: Level, text: str, advice: str = "") -> Finding:
    return Finding("Installation", subject, level, text, advice=advice)


# Requirements


def _missing(tested: dict[str, str], install: str) -> Iterator[Finding]:
    """What the stack needs, directly or through others; of that, what the lock names."""
    if packaging() is None:
        text = "is missing, or broken: requirements cannot be compared"
        yield _finding("packaging", "problem", text, f"Install the tested set: {install}")
    needed = {key(name) for name in STACK} | {key(r.name) for _, r in requirements()}
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
        if any(within(version, s) for s in entry.versions.split("|")):
            about.add(key(entry.package))
            yield known_finding(entry, f"{version} is installed: {entry.condition}")
    for owner, requirement in requirements():
        version = installed(requirement.name)
        name = key(requirement.name)
        if version is None or name in about or within(version, requirement.specifier):
            continue
        if _is_tested(requirement.name, tested) and _is_tested(owner, tested):
            continue  # the tested set does the same: Unsloth asks for a newer certifi
        about.add(name)
        text = f"{version} is installed; {owner} {installed(owner)} needs {requirement.specifier}"
        # What is not in the lock, such as vLLM, is nothing that Groupwise needs.
        level: Level = "problem" if key(owner) in tested or owner == "groupwise" else "note"
        yield _finding(requirement.name, level, text, _remedy(owner, requirement, tested))


def _remedy(owner: str, requirement: Any, tested: dict[str, str]) -> str:
    """Which of the two to change: the one that is not the tested version."""
    name = key(requirement.name)
    if not _is_tested(name, tested):
        return f"Install {name} {tested[name]}." if name in tested else f"Install {requirement}."
    if key(owner) in tested:
        return f"Install {owner} {tested[key(owner)]}."
    return f"Uninstall {owner}, or install a release of it that takes this {name}."


def _is_tested(name: str, tested: dict[str, str]) -> bool:
    return (installed(name) or "").split("+")[0] == tested.get(key(name))


def _beside(entry: Known) -> bool:
    return not entry.beside or installed(entry.beside) is not None


def _python() -> Finding:
    """Whether the packages of the stack accept this Python."""
    here = ".".join(map(str, sys.version_info[:3]))
    for name in ("groupwise", *STACK):
        found = package(name)
        wanted = found.requires_python if found else ""
        if wanted and not within(here, wanted):
            text = f"{here}; {name} {installed(name)} needs {wanted}"
            advice = "Make the environment anew: PYTHON=python3.12 make install"
            return _finding("Python", "problem", text, advice)
    return _finding("Python", "ok", here)


# Builds


def _builds(with_gpu: bool) -> Iterator[Finding]:
    """Packages that are built for another torch, or for another CUDA, than the one installed."""
    torch = torch_build()
    if torch is None:
        return
    here = (torch.cuda or "cpu").split(".")[0]
    entry = known("torchvision")
    vision = installed("torchvision")
    wanted = _torchvision_of(torch.version)
    built_with = _cuda_of(version_file("torchvision"))
    if vision and not vision.startswith(wanted):
        text = f"{vision} beside torch {torch.version}, which goes with {wanted}x"
        yield known_finding(entry, text)
    elif vision and built_with and built_with != here:
        text = f"{vision} is built for CUDA {built_with}, torch {torch.version} is not"
        yield known_finding(entry, text)
    bits = package_folder("bitsandbytes") if torch.cuda and with_gpu else None
    if bits and not any(bits.glob(f"libbitsandbytes_cuda{here}*")):
        version = installed("bitsandbytes")
        text = f"{version} has no binary for CUDA {torch.cuda}, with which torch is built"
        yield known_finding(known("bitsandbytes-binary"), text)
    built_for = _xformers_torch()
    if built_for and _cuda_of(built_for) != here:
        text = f"{installed('xformers')} is built for torch {built_for}; this is {torch.version}"
        yield known_finding(known("xformers"), text, "note")


def _torchvision_of(torch: str) -> str:
    """The beginning of the torchvision version that goes with a torch: "0.28." with 2.13.0."""
    found = re.match(r"2\.(\d+)\.", torch)
    return f"0.{int(found[1]) + 15}." if found else ""


def _xformers_torch() -> str:
    """The torch that xformers was built for, such as "2.10.0+cu128"; empty if it does not say."""
    folder = package_folder("xformers")
    try:
        built = json.loads((folder / "cpp_lib.json").read_text()) if folder else {}
        return str(built["version"]["torch"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _cuda_of(text: str) -> str:
    """The major version of CUDA in a version: "12" of "2.10.0+cu128"; empty if it names none."""
    found = re.search(r"\+cu(\d\d)", text)
    return found[1] if found else ""


# Doubles


def _doubles() -> Iterator[Finding]:
    """Packages that are there twice, hidden by another file, or half removed."""
    user = Path(os.path.realpath(site.getusersitepackages()))
    for name in map(key, STACK):
        places = everything().get(name, [])
        if len(places) > 1:
            first, second = places[:2]
            text = f"is installed twice: {first.version} and {second.version}; the first is used"
            advice = f"Remove one of them: {first.folder} or {second.folder}"
            if first.folder == user:
                advice = "Set PYTHONNOUSERSITE=1: the one of your user folder hides this one."
            yield _finding(name, "problem", text, advice)
        elif places and (hidden := _hidden_by(name, places[0].folder)):
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


def _hidden_by(name: str, location: Path) -> Path | None:
    """What is imported instead of a package that is installed in `location`."""
    folder = package_folder(name.replace("-", "_"))
    if folder is None or Path(os.path.realpath(folder)).is_relative_to(location):
        return None
    direct = metadata.distribution(name).read_text("direct_url.json") or ""
    return None if '"editable": true' in direct else folder
