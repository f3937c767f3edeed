"""The wheel, in an environment without the checkout: one package, and the quickstart runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, HANG_S, ROOT, lines

pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it. `names`: what it puts beside other packages."""

    bin: Path
    site: Path
    names: set[str]

    def run(self, *command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        return subprocess.run(
            [self.bin / command[0], *map(str, command[1:])],
            cwd=cwd, env=clean | ENVIRONMENT, capture_output=True, text=True, timeout=HANG_S,
            check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    no_network = ["--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "wheel", *no_network, "-w", folder, ROOT], check=True, cwd=folder)
    (wheel,) = folder.glob("groupwise-*.whl")
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    subprocess.run(
        [*pip, "--python", venv / "bin" / "python", "install", *no_network, wheel],
        check=True, cwd=folder,
    )  # fmt: skip
    # What it depends on is taken from this environment: as a plain folder, in which Python reads
    # no .pth file, so that the checkout which is installed there is not seen.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return Installed(venv / "bin", site, names)


def test_it_owns_one_name(installed: Installed, tmp_path: Path) -> None:
    assert {name for name in installed.names if not name.endswith(".dist-info")} == {"groupwise"}
    code = (
        "import groupwise.framework.config, groupwise.rewards, importlib.util as u\n"
        "print(groupwise.framework.config.__file__)\n"
        "print([n for n in ('framework', 'rewards', 'evaluation', 'configs') if u.find_spec(n)])"
    )
    done = installed.run("python", "-c", code, cwd=tmp_path)
    where, taken = done.stdout.splitlines()
    assert Path(where).is_relative_to(installed.site)
    assert taken == "[]"


def test_the_quickstart_runs_from_it(installed: Installed, tmp_path: Path) -> None:
    """Beside files of the user's that have the names of our packages."""
    for name in ("rewards.py", "evaluation.py", "framework.py"):
        (tmp_path / name).write_text("raise RuntimeError('not ours')\n")
    done = installed.run("groupwise", "quickstart", "--json", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    (row,) = (pair["pass_at_k"]["1"] for pair in json.loads(done.stdout)["comparison"]["pairs"])
    assert row["difference"]["value"] > 0.2
    assert row["p_value"] < 0.001
    assert lines(tmp_path / "runs/quickstart/evaluations/tuned/samples.jsonl")


def test_the_presets_and_the_locks_are_in_it(installed: Installed, tmp_path: Path) -> None:
    assert "qwen3_4b_gsm8k_8gb" in installed.run("groupwise", "configs", cwd=tmp_path).stdout
    found = json.loads(
        installed.run("groupwise", "doctor", "--quick", "--json", cwd=tmp_path).stdout
    )
    assert found["packages"]["torch"]["tested"]
