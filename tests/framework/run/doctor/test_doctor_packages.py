"""What `groupwise doctor` says of packages: real metadata in a scratch folder on the path."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from groupwise.framework.run.doctor.findings import Finding
from groupwise.framework.run.doctor.installed import (
    TorchBuild,
    everything,
    lock_file,
    locked,
    requirements,
    torch_build,
)
from groupwise.framework.run.doctor.packages import package_findings

CPU = locked(lock_file(with_gpu=False))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that packages are taken from first."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    forget()
    yield folder
    forget()


def forget() -> None:
    requirements.cache_clear()
    everything.cache_clear()


def install(site: Path, name: str, version: str, *requires: str, python: str = "") -> None:
    """The metadata of a package, as a wheel leaves it."""
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {one}" for one in requires]
    lines += [f"Requires-Python: {python}"] if python else []
    (folder / "METADATA").write_text("\n".join(lines) + "\n")
    forget()


def found(subject: str, with_gpu: bool = False) -> list[Finding]:
    return [f for f in package_findings(with_gpu) if f.subject == subject]


def test_the_tested_set_is_in_order() -> None:
    assert [f for f in package_findings(with_gpu=False) if f.level == "problem"] == []


# version, what it does, and where that is known from
WRONG = {
    "trl": ("1.18.0", "Error patching", "unsloth/issues/1699"),
    "transformers": ("5.18.0", "Newer than any", "unsloth/pull/11016"),
    "datasets": ("5.0.1", "never tested", "METADATA"),
    "bitsandbytes": ("0.48.0", "8 bits answer nonsense", "bitsandbytes/issues/1775"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_version_that_is_known_not_to_work(site: Path, name: str) -> None:
    version, does, source = WRONG[name]
    install(site, name, version)
    finding = next(f for f in found(name) if f.source)
    assert finding.level == "problem"
    assert version in finding.text
    assert does in finding.does
    assert source in finding.source
    assert CPU[name] in finding.advice


@pytest.mark.parametrize(
    ("name", "version", "key"),
    [
        ("datasets", "4.4.0", "recursion errors"),
        ("datasets", "4.5.0", ""),
        ("transformers", "5.1.0", "rejected"),
        ("transformers", "4.51.3", "modeling_layers"),
        ("transformers", "5.18.0", "Newer"),
    ],
)
def test_each_range_of_the_table(site: Path, name: str, version: str, key: str) -> None:
    install(site, name, version)
    (finding,) = (f for f in found(name) if f.source)
    assert key in finding.does or key == "recursion errors"


def test_a_version_that_another_package_does_not_accept(site: Path) -> None:
    install(site, "accelerate", "0.2.0")
    finding = next(f for f in found("accelerate") if "needs" in f.text)
    assert finding.level == "problem"
    assert re.search(r"0\.2\.0 is installed; \w+ [\d.]+ needs >=[\d.]+", finding.text)
    assert finding.advice == f"Install accelerate {CPU['accelerate']}."


def test_the_one_that_is_not_the_tested_version_is_to_be_changed(site: Path) -> None:
    install(site, "peft", "0.99", "accelerate<1")
    (finding,) = found("accelerate")
    assert (finding.level, finding.advice) == ("problem", f"Install peft {CPU['peft']}.")


def test_what_groupwise_does_not_need_is_a_note(site: Path) -> None:
    install(site, "vllm", "0.9.2", "peft==0.1")
    (finding,) = found("peft")
    assert finding.level == "note"
    assert finding.advice == "Uninstall vllm, or install a release of it that takes this peft."


def test_a_version_that_was_not_tested_is_a_note(site: Path) -> None:
    install(site, "wandb", "0.99.0")
    (note,) = (f for f in found("versions") if f.level == "note")
    assert f"wandb 0.99.0 ({CPU['wandb']})" in note.text


def test_what_the_tested_set_itself_does_not_meet_is_no_finding() -> None:
    """Unsloth asks for a certifi that the lock does not have."""
    owners = {owner for owner, r in requirements() if r.name == "certifi"}
    assert "unsloth" in owners
    assert found("certifi") == []


def test_a_python_that_a_package_does_not_accept(site: Path) -> None:
    install(site, "torch", CPU["torch"], python="<3.5")
    (finding,) = found("Python")
    assert finding.level == "problem"
    assert "needs <3.5" in finding.text


def test_two_installations_of_one_package(site: Path) -> None:
    install(site, "peft", "0.10.0")
    (finding,) = (f for f in found("peft") if "twice" in f.text)
    assert f"0.10.0 and {CPU['peft']}" in finding.text
    assert str(site) in finding.advice


def test_the_user_folder_in_front_of_the_environment(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("site.getusersitepackages", lambda: str(site))
    install(site, "peft", "0.10.0")
    (finding,) = (f for f in found("peft") if "twice" in f.text)
    assert "PYTHONNOUSERSITE=1" in finding.advice


def test_a_file_with_the_name_of_a_package(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site / "bitsandbytes.py").write_text("")
    monkeypatch.delitem(sys.modules, "bitsandbytes", raising=False)
    (finding,) = found("bitsandbytes")
    assert f"is imported from {site}" in finding.text
    assert finding.advice.startswith("Rename")


def test_what_an_interrupted_pip_has_left(site: Path) -> None:
    (site / "~nsloth").mkdir()
    (finding,) = found("site-packages")
    assert (finding.level, finding.text) == ("note", "left by an interrupted pip: ~nsloth")


BUILDS = {
    "2.13.0+cpu": None,
    "2.13.0+cu130": "13.0",
    "2.13.0": "13.0",
}


@pytest.mark.parametrize("version", BUILDS)
def test_the_build_of_torch_is_read_from_its_files(
    site: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    install_torch(site, monkeypatch, version, BUILDS[version])
    assert torch_build() == TorchBuild(version, BUILDS[version])


def install_torch(
    site: Path, monkeypatch: pytest.MonkeyPatch, version: str, cuda: str | None
) -> None:
    """The files of torch that tell its build, as torch 2.13 has them."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    (site / "torch").mkdir()
    (site / "torch" / "__init__.py").write_text("raise ImportError\n")
    (site / "torch" / "version.py").write_text(
        f"from typing import Optional\n\n__version__ = '{version}'\ndebug = False\n"
        f"cuda: Optional[str] = {cuda!r}\nhip: Optional[str] = None\n"
    )


@pytest.mark.parametrize(
    ("torch", "cuda", "vision", "wrong"),
    [
        ("2.13.0+cu130", "13.0", "0.28.0", False),
        ("2.13.0+cu130", "13.0", "0.27.1", True),
        ("2.13.0+cu126", "12.6", "0.28.0", True),
        ("2.13.0+cpu", None, "0.28.0", True),
    ],
)
def test_a_torchvision_of_another_torch(
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    torch: str,
    cuda: str | None,
    vision: str,
    wrong: bool,
) -> None:
    install_torch(site, monkeypatch, torch, cuda)
    install(site, "torchvision", vision)
    (site / "torchvision").mkdir()
    (site / "torchvision" / "__init__.py").write_text("")
    # As in the wheel of torchvision 0.28.0.
    (site / "torchvision" / "version.py").write_text(f"__version__ = '{vision}+cu130'\n")
    findings = found("torchvision")
    assert bool(findings) == wrong
    assert all("nms" in f.does and f.level == "problem" for f in findings)


def test_a_bitsandbytes_without_a_binary_for_this_cuda(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_torch(site, monkeypatch, "2.13.0+cu130", "13.0")
    install(site, "bitsandbytes", "0.46.1")
    monkeypatch.delitem(sys.modules, "bitsandbytes", raising=False)
    folder = site / "bitsandbytes"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "libbitsandbytes_cuda128.so").write_bytes(b"")
    texts = [f.text for f in found("bitsandbytes", with_gpu=True)]
    assert any("no binary for CUDA 13.0" in text for text in texts)
    (folder / "libbitsandbytes_cuda130.so").write_bytes(b"")
    texts = [f.text for f in found("bitsandbytes", with_gpu=True)]
    assert not any("no binary" in text for text in texts)


@pytest.mark.parametrize(("built_for", "fits"), [("2.10.0+cu130", True), ("2.10.0+cu128", False)])
def test_an_xformers_of_another_cuda(
    site: Path, monkeypatch: pytest.MonkeyPatch, built_for: str, fits: bool
) -> None:
    install_torch(site, monkeypatch, "2.13.0", "13.0")
    install(site, "xformers", "0.0.34")
    (site / "xformers").mkdir()
    (site / "xformers" / "__init__.py").write_text("")
    (site / "xformers" / "cpp_lib.json").write_text(
        f'{{"version": {{"cuda": 1208, "hip": null, "torch": "{built_for}", "python": "3.10.11"}},'
        '"env": {}}'
    )
    assert [f.level for f in found("xformers")] == ([] if fits else ["note"])
