"""`groupwise doctor` on broken installations, which are real: folders on the path, an empty one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gpu_emulation
import pytest
from conftest import (
    ENVIRONMENT,
    HANG_S,
    ROOT,
    RunCli,
    assert_golden,
    lines,
    processor_seconds,
    run_cli,
)

from groupwise.framework.experiment.self_test import SELF_TEST, STEPS, self_test_findings
from groupwise.framework.run.doctor.children import ChildError, Ended, run_child
from groupwise.framework.run.doctor.diagnosis import Diagnosis
from groupwise.framework.run.doctor.findings import Finding
from groupwise.framework.run.doctor.installed import PackageCheck, TorchBuild
from groupwise.framework.run.doctor.reading import torch_findings
from groupwise.framework.run.doctor.report import as_markdown, as_text
from groupwise.framework.run.doctor.system import Card, Cards, card_findings

# what `import torch` does, and what is said of it: of the error, and what to do
TORCHES = {
    "CUDA's libraries are missing": (
        "raise OSError('libcudart.so.13: cannot open shared object file: No such file')",
        "libcudart.so.13: cannot open shared object file",
        "-> Install torch once more by itself",
    ),
    "another CUDA in front": (
        "raise ImportError('libcusparse.so.12: undefined symbol: __nvJitLinkComplete_12_4')",
        "undefined symbol: __nvJitLinkComplete_12_4",
        "-> Unset LD_LIBRARY_PATH",
    ),
    "it crashes": ("import os; os.abort()", "crashed (SIGABRT)", "-> Install the tested set"),
    "it ends the process": ("raise SystemExit(0)", "SystemExit: 0", "-> Install the tested set"),
    "not a torch": ("", "AttributeError: module 'torch' has no attribute", "-> Install torch"),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that packages are taken from first, in children too."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


def put(site: Path, name: str, text: str) -> None:
    (site / name).mkdir()
    (site / name / "__init__.py").write_text(f"{text}\n")


@pytest.mark.parametrize("case", TORCHES)
def test_a_torch_that_cannot_be_imported(cli: RunCli, site: Path, case: str) -> None:
    text, error, advice = TORCHES[case]
    put(site, "torch", text)
    ended = cli("doctor")
    assert ended.code == 2
    assert error in " ".join(ended.out.split())
    assert advice in ended.out
    assert "Traceback" not in ended.out + ended.err
    assert "Self-test" not in ended.err, "nothing else can work"


def test_nothing_is_installed(tmp_path: Path) -> None:
    """Not pydantic, not numpy, not torch: an environment with nothing but Groupwise's source."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    done = subprocess.run(
        [tmp_path / "env/bin/python", "-m", "groupwise.framework.cli", "doctor"],
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert "packaging" in done.stdout
    assert "not installed: accelerate, bitsandbytes" in done.stdout
    assert "No module named 'torch'" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_an_unsloth_that_refuses(site: Path) -> None:
    """As releases before 2026.10.9 do without a GPU."""
    error = "NotImplementedError('Unsloth cannot find any torch accelerator? You need a GPU.')"
    put(site, "unsloth", f"raise {error}")
    (finding,) = self_test_findings(run_child(SELF_TEST, limit_s=100))
    assert finding.level == "problem"
    assert finding.text.startswith("import Unsloth: NotImplementedError: Unsloth cannot find")
    assert "no CPU backend" in finding.does


@pytest.mark.stack
def test_a_torchvision_of_another_torch(site: Path) -> None:
    put(site, "torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    folder = site / "torchvision-0.28.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    (finding,) = self_test_findings(run_child(SELF_TEST, limit_s=600))
    assert "operator torchvision::nms does not exist" in finding.text
    assert "uninstall it" in finding.advice


EMULATED = """
from pathlib import Path
from groupwise.framework.run.doctor.children import Report
from groupwise.framework.experiment.self_test_probe import probe
probe(Report(Path("facts.jsonl").open("w")))
"""


@pytest.mark.emulated
def test_the_self_test_on_unsloths_gpu_code(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(EMULATED)
    subprocess.run(
        [sys.executable, ROOT / "tests" / "gpu_emulation.py", script],
        env={**gpu_emulation.outside(), **ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=True,
        timeout=HANG_S,
    )
    told = lines(tmp_path / "facts.jsonl")
    facts = {name: value for one in told for name, value in one.items()}
    assert (facts["trainer"], facts["engine"]) == ("UnslothGRPOTrainer", "slots")


# Facts of a self-test that passed, and what is said of them.
PASSED = {"device": "cuda", "engine": "slots", "engine_reason": "it serves qwen3"}
SAID: dict[str, tuple[dict[str, str], str, str]] = {
    "Unsloth's trainer": ({"trainer": "UnslothGRPOTrainer"}, "ok", "is in place"),
    "TRL's trainer on a GPU": ({"trainer": "GRPOTrainer"}, "problem", "Unsloth did not put"),
    "TRL's trainer on a CPU": ({"trainer": "GRPOTrainer", "device": "cpu"}, "ok", "every CPU"),
    "the slots are not used": (
        {"engine": "generate", "engine_check": "slots: they disagree"},
        "note",
        "they disagree",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_a_self_test_says(case: str) -> None:
    facts, level, text = SAID[case]
    ended = Ended(dict.fromkeys(("start", *STEPS), 1.0), {**PASSED, **facts})
    found = list(self_test_findings(ended))
    assert any(f.level == level and text in f.text for f in found)
    assert found[-1].text == "passed: load 1.0 s, sample 1.0 s, one GRPO step 1.0 s"


@pytest.mark.long
def test_all_of_it(tmp_path: Path) -> None:
    ended = run_cli("doctor", "--json", cwd=tmp_path)
    found = json.loads(ended.out)
    assert (ended.code, found["healthy"], found["tested"]) == (0, True, True)
    facts = found["facts"]
    assert (facts["engine"], facts["trainer"]) == ("slots", "GRPOTrainer")
    assert facts["tokens"] > 0
    assert "math" in facts["attention"]
    assert "Self-test" in ended.err
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_json_has_everything(cli: RunCli) -> None:
    found = json.loads(cli("doctor", "--quick", "--json").out)
    assert set(found) == {"healthy", "tested", "gpu", "packages", "findings", "facts"}
    assert found["packages"]["torch"]["installed"].startswith(found["packages"]["torch"]["tested"])
    assert all(f["level"] == "ok" or f["advice"] for f in found["findings"])


def test_a_report_gives_nobody_away(
    cli: RunCli, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_veryverysecret")
    monkeypatch.setenv("USER", "annlee")
    monkeypatch.setenv("HOME", "/home/annlee")
    put(
        site,
        "torch",
        "import os\n"
        "raise OSError('/home/annlee/x/libc10.so: ' + os.environ['HF_TOKEN'] + ' | ~~~~ annlee')",
    )
    ended = cli("doctor", "--report")
    assert ended.code == 2
    assert "| problem | torch |" in ended.out
    assert "raise OSError(" in ended.out, "the end of the traceback"
    for private in ("annlee", "veryverysecret", str(site), "/home"):
        assert private not in ended.out
    assert ended.out.count("~~~~") == 2, "its own fence"


@pytest.mark.parametrize("broken", ["", "raise RuntimeError"])
def test_a_terminal_without_rich(
    cli: RunCli, site: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Its progress bar is no reason to fail: told without one."""
    put(site, "rich", broken)
    put(site, "torch", "raise OSError")
    for name in [name for name in sys.modules if name.split(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(
        "groupwise.framework.run.screen._WhileThere.isatty", lambda _: True, raising=False
    )
    monkeypatch.setenv("TERM", "xterm")
    ended = cli("doctor")
    assert ended.code == 2
    assert "Import torch" in ended.err
    assert "Traceback" not in ended.err


def test_a_python_that_is_too_old(cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4, "final", 0))
    ended = cli("doctor")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "groupwise: needs Python 3.11 or newer; this is 3.10.4\n"


TIMED = """
import sys, time
from groupwise.framework.cli import main
main(["doctor", "--quick"])
heavy = [name for name in ("torch", "numpy", "pydantic", "yaml", "rich") if name in sys.modules]
print(f"\\n{time.process_time()} {','.join(heavy)}")
"""


@pytest.mark.timing
def test_it_is_quick(tmp_path: Path) -> None:
    seconds, (heavy,) = processor_seconds(TIMED, cwd=tmp_path, limit=0.8)
    assert heavy == ""
    assert seconds < 0.8


# A machine as none of ours is: its findings are made by the same functions as everybody's.
CARD = Card("NVIDIA GeForce RTX 3060", "535.161.07", 12288, 11900, (8, 6))
FACTS = {"torch": "2.13.0", "cuda": "13.0", "cuda_available": False, "attention": ["flash", "math"]}
FACTS |= {
    "cpu": "AVX2",
    "cuda_warnings": [
        "CUDA initialization: The NVIDIA driver on your system is too old (found version 12020). "
        "Please update your GPU driver by downloading and installing a new version."
    ],
}


def examined() -> Diagnosis:
    cards = Cards((CARD,), "")
    findings = (
        Finding("Installation", "Python", "ok", "3.12.3"),
        Finding("Machine", "system", "ok", "Linux 6.8.0-45-generic, x86_64"),
        *card_findings(cards, TorchBuild("2.13.0", "13.0")),
    )
    packages = tuple(PackageCheck(name, "1.15.0", "1.15.0") for name in ("trl", "accelerate"))
    diagnosis = Diagnosis(findings, packages, cards)
    torch = Ended({"import torch": 2.41}, FACTS)
    diagnosis = diagnosis.joined(torch_findings(torch, cards), torch)
    error = ChildError("load it", "RuntimeError: CUDA error: \x1b[31mno kernel image is available")
    failed = Ended({"import Unsloth": 21.3}, {}, error)
    return diagnosis.joined(self_test_findings(failed), failed)


def test_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    diagnosis = examined()
    printed = [as_text(diagnosis, 80), as_text(diagnosis, None), as_markdown(diagnosis)]
    assert_golden("doctor.txt", "\n\n-----\n\n".join(printed) + "\n")


@pytest.mark.parametrize("columns", [60, 80, 100, 120])
def test_it_fits_the_terminal(columns: int) -> None:
    printed = as_text(examined(), columns).splitlines()
    assert max(len(line) for line in printed if "https://" not in line) <= columns


def test_colours_change_no_letter() -> None:
    plain, coloured = (as_text(examined(), 80, colours=c) for c in (False, True))
    assert coloured != plain
    for code in ("\x1b[1m", "\x1b[32m", "\x1b[33m", "\x1b[1;31m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == plain
