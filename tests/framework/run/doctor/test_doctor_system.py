"""What `groupwise doctor` says of a machine: a script that prints what nvidia-smi printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from groupwise.framework.run.doctor.findings import Finding
from groupwise.framework.run.doctor.installed import TorchBuild
from groupwise.framework.run.doctor.known import CUDA_DRIVERS
from groupwise.framework.run.doctor.system import (
    card_findings,
    compiler_findings,
    find_cards,
    remedy_for,
    system_findings,
)
from groupwise.framework.run.machine import gpus

CUDA_13 = TorchBuild("2.13.0", "13.0")
CUDA_12 = TorchBuild("2.13.0+cu126", "12.6")
CPU = TorchBuild("2.13.0+cpu", None)

# name, driver, memory, free memory, compute capability: as `--format=csv,noheader` prints them
RTX_3060 = "NVIDIA GeForce RTX 3060, 580.82.07, 12288 MiB, 11900 MiB, 8.6"
OLD_DRIVER = "NVIDIA GeForce RTX 3060, 535.161.07, 12288 MiB, 11900 MiB, 8.6"
OLDER_DRIVER = "NVIDIA GeForce RTX 3060, 470.256.02, 12288 MiB, 11900 MiB, 8.6"
BUSY = "NVIDIA GeForce RTX 4090, 580.82.07, 24564 MiB, 3011 MiB, 8.9"
T4 = "Tesla T4, 550.54.15, 15360 MiB, 15095 MiB, 7.5"
V100 = "Tesla V100-SXM2-16GB, 580.82.07, 16384 MiB, 16160 MiB, 7.0"
GTX_1080 = "NVIDIA GeForce GTX 1080, 580.82.07, 8192 MiB, 8110 MiB, 6.1"
RTX_5090 = "NVIDIA GeForce RTX 5090, 580.82.07, 32607 MiB, 32110 MiB, 12.0"
GB10 = "NVIDIA GB10, 580.95.05, [N/A], [N/A], 12.1"


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: int = 0) -> None:
    """Puts a program of that name on PATH, before what it needs itself."""
    script = folder / "nvidia-smi"
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def wrong(torch: TorchBuild | None) -> list[Finding]:
    return [f for f in card_findings(find_cards(), torch) if f.level != "ok"]


# what nvidia-smi prints, the build of torch, and, of each finding, a part of what it says
CASES: dict[str, tuple[str, TorchBuild, list[str]]] = {
    "all is well": (RTX_3060, CUDA_13, []),
    "an older CUDA than the driver's": (RTX_3060, CUDA_12, []),
    "a CPU build": (RTX_3060, CPU, ["cu130"]),
    "a CPU build, an old driver": (OLD_DRIVER, CPU, ["cu126"]),
    "an old driver": (OLD_DRIVER, CUDA_13, ["cu126"]),
    "an old driver is enough for CUDA 12": (OLD_DRIVER, CUDA_12, []),
    "a driver for no build": (OLDER_DRIVER, CUDA_13, ["Update the driver to 580"]),
    "other programs on the card": (BUSY, CUDA_13, ["in use by other programs"]),
    "Turing": (T4, CUDA_12, ["no bfloat16"]),
    "Turing, an old driver": (T4, CUDA_13, ["cu126", "no bfloat16"]),
    "Volta": (V100, CUDA_13, ["cu126", "no bfloat16"]),
    "Pascal": (GTX_1080, CUDA_13, ["another GPU"]),
    "Pascal, a CPU build": (GTX_1080, CPU, ["another GPU"]),
    "Blackwell": (RTX_5090, CUDA_13, []),
    "Blackwell, CUDA 12.6": (RTX_5090, CUDA_12, ["cu130"]),
    "memory shared with the processor": (GB10, CUDA_13, []),
    "two cards, the older one counts": (f"{RTX_3060}\n{V100}", CUDA_13, ["cu126", "no bfloat16"]),
}


@pytest.mark.parametrize("case", CASES)
def test_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    text, torch, expected = CASES[case]
    nvidia_smi(tmp_path, monkeypatch, text)
    findings = wrong(torch)
    said = [f"{f.text} {f.does} {f.advice}" for f in findings]
    assert len(said) == len(expected), said
    assert all(part in whole for part, whole in zip(expected, said, strict=True)), said


FAILURES = {
    "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 570.124": (
        18,
        "Restart the machine",
    ),
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that "
    "the latest NVIDIA driver is installed and running.": (9, "reinstall its driver"),
    "No devices were found": (6, "reinstall its driver"),
}


@pytest.mark.parametrize("text", FAILURES, ids=lambda text: text[:20])
def test_a_driver_that_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    code, advice = FAILURES[text]
    nvidia_smi(tmp_path, monkeypatch, text, code)
    (finding,) = wrong(CUDA_13)
    assert finding.level == "problem"
    assert text.splitlines()[0] in finding.text
    assert advice in finding.advice
    assert gpus() == []


def test_a_driver_that_does_not_know_compute_capabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "nvidia-smi"
    script.write_text(
        '#!/bin/sh\ncase "$1" in *compute_cap*)\n'
        "echo 'Field \"compute_cap\" is not a valid field to query.'; exit 2;; esac\n"
        "echo 'NVIDIA GeForce RTX 3060, 470.256.02, 12053 MiB, 11900 MiB'\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (card,) = find_cards().cards
    assert (card.name, card.branch, card.capability) == ("NVIDIA GeForce RTX 3060", 470, None)


@pytest.mark.parametrize("visible", ["", "-1", " "])
def test_cards_that_are_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    nvidia_smi(tmp_path, monkeypatch, RTX_3060)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    (finding,) = wrong(CUDA_13)
    assert "hides every card" in finding.text
    assert finding.advice == "Unset CUDA_VISIBLE_DEVICES."


def test_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = wrong(CPU)
    assert finding.level == "note"
    assert "everything runs on the CPU" in finding.text


def test_no_compiler_for_triton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    (finding,) = compiler_findings()
    assert "build-essential" in finding.advice


@pytest.mark.parametrize("capability", [(7, 0), (7, 5), (8, 6), (9, 0), (10, 0), (12, 0), None])
@pytest.mark.parametrize("branch", [470, 525, 550, 580, 600])
def test_the_index_that_is_named_runs_with_the_driver(
    branch: int, capability: tuple[int, int] | None
) -> None:
    remedy = remedy_for(branch, capability)
    if "cu130" in remedy:
        assert branch >= CUDA_DRIVERS["13"]
        assert capability is None or capability >= (7, 5)
    elif "cu126" in remedy:
        assert branch >= CUDA_DRIVERS["12"]
        assert capability is None or capability < (10, 0)
    else:
        assert "Update the driver" in remedy
        assert branch < CUDA_DRIVERS["12"] or (branch < CUDA_DRIVERS["13"] and capability)


def test_settings_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))  # a file, where a folder has to be
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/local/cuda-12.1/lib64")
    found = {f.subject: f for f in system_findings() if f.level != "ok"}
    assert "Unset HF_HUB_OFFLINE" in found["HF_HUB_OFFLINE"].advice
    assert "cannot be written in" in found["disk"].text
    assert "Set the variable HF_HOME" in found["disk"].advice
    assert "Unset LD_LIBRARY_PATH" in found["LD_LIBRARY_PATH"].advice


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "groupwise.framework.run.doctor.system.NO_DISK", 1e18
    )  # no disk has so much
    monkeypatch.setattr("groupwise.framework.run.doctor.system.LITTLE_DISK", 1e18)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    levels = {f.level for f in system_findings() if f.subject == "disk"}
    assert levels == {"problem"}


def test_wsl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nvidia_smi(tmp_path, monkeypatch, RTX_3060)
    monkeypatch.setenv("WSL_DISTRO_NAME", "Ubuntu")
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    (finding,) = wrong(CUDA_13)
    assert "expandable_segments:False" in finding.advice
    assert any("(WSL)" in f.text for f in system_findings())
