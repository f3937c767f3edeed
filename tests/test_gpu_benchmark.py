"""`python -m benchmarks.gpu`: parts that fail or hang are passed over, and every line runs here.

A card is at hand for minutes: nothing of these may be spent on a fault that a CPU could have shown.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gpu_emulation
import pytest
from conftest import ENVIRONMENT, HANG_S, ROOT

from benchmarks.gpu.__main__ import PARTS, with_model
from benchmarks.gpu.predicted import CARDS, GIB, config_on, predict
from benchmarks.gpu.runner import Part, run_parts
from groupwise.framework.memory.architecture import read_architecture

WRITE = "import json, pathlib; pathlib.Path('{0}.json').write_text(json.dumps({1}))\n"
ROW = {"device": "a card", "notes": ["said"], "rows": [{"side": "ours", "gb": 1.25}]}
# Starts a process that holds a lock for as long as it lives, and waits with it.
HANGING = """
import fcntl, subprocess, sys, time
lock = open("lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
wait = [sys.executable, "-c", "import time; time.sleep(120)"]
subprocess.Popen(wait, pass_fds=[lock.fileno()])
time.sleep(120)
"""


def run(
    folder: Path,
    programs: dict[str, str],
    *,
    limit_s: float = 60,
    seconds: float = 480,
    **more: Any,
) -> dict[str, dict[str, Any]]:
    """Programs as parts; the saved results by name."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    parts = [Part(name, name.title(), limit_s, 1, needs_model=name != "model") for name in programs]
    run_parts(
        parts,
        commands=lambda part: [sys.executable, "-c", programs[part.name]],
        work=work,
        output=folder,
        seconds=seconds,
        about={"command": "the command", "tiny": False},
        order=list(programs),
        **more,
    )
    return {path.stem: json.loads(path.read_text()) for path in (folder / "gpu").glob("*.json")}


def test_a_part_that_raises_is_noted_and_passed_over(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        {
            "broken": WRITE.format("broken", ROW) + "raise ValueError('of no use')",
            "sound": WRITE.format("sound", ROW),
        },
    )
    assert found["broken"]["status"] == "failed"
    assert found["broken"]["why"].endswith("ValueError: of no use")
    assert found["broken"]["rows"] == ROW["rows"]  # what it had measured until then
    assert found["sound"]["status"] == "ok"
    report = (tmp_path / "gpu.md").read_text()
    assert "| Broken (`broken`) | failed: ValueError: of no use |" in report
    assert "| ours | 1.25 |" in report
    assert "Written by `the command`; on a card." in report


def test_a_part_that_hangs_is_stopped_with_all_that_it_started(tmp_path: Path) -> None:
    began = time.monotonic()
    hanging = WRITE.format("hanging", ROW) + HANGING
    found = run(tmp_path, {"hanging": hanging, "sound": ""}, limit_s=5)
    assert found["hanging"]["status"] == "too slow"
    assert found["hanging"]["why"] == "stopped after 5 s"
    assert found["hanging"]["rows"] == ROW["rows"]
    assert found["sound"]["status"] == "ok"
    with (tmp_path / "work" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits for the last that holds it
    assert time.monotonic() - began < 100


def test_what_does_not_fit_into_the_time_left_is_skipped(tmp_path: Path) -> None:
    found = run(tmp_path, {"late": ""}, seconds=0.5)
    assert found["late"]["status"] == "skipped"
    assert found["late"]["why"] == "0 s are left, and it needs 1"


def test_without_a_model_its_parts_are_skipped(tmp_path: Path) -> None:
    found = run(tmp_path, {"model": "raise SystemExit(1)", "of_the_model": ""})
    assert found["of_the_model"]["status"] == "skipped"


def test_a_part_run_later_is_added_to_the_report(tmp_path: Path) -> None:
    run(tmp_path, {"one": "", "two": ""})
    assert set(run(tmp_path, {"one": "raise SystemExit(1)"}, keep=True)) == {"one", "two"}
    assert set(run(tmp_path, {"one": ""})) == {"one"}


def test_the_model_is_made_where_a_part_needs_it() -> None:
    by_name = {part.name: part for part in PARTS}
    assert [p.name for p in with_model([by_name["peak_8"]])] == ["model", "peak_8"]
    assert [p.name for p in with_model([by_name["checks"]])] == ["checks"]


@pytest.mark.parametrize("card", CARDS)
def test_a_peak_is_predicted_to_fit_its_card(card: int) -> None:
    config = config_on(card)
    found = predict(config, read_architecture(config.model), card * GIB)
    assert found["training"].high <= card * GIB
    assert found["generation"].expected <= card * GIB
    smaller = predict(config, read_architecture(config.model), card * GIB - GIB)
    assert smaller["training"] == found["training"]  # and sampling takes what is free
    assert smaller["generation"].expected <= found["generation"].expected


@pytest.mark.stack
def test_a_row_that_fails_is_noted_and_the_part_goes_on(tmp_path: Path) -> None:
    """Not enough memory is a result; a fault fails the part when it has measured the rest."""
    from benchmarks.gpu.measure import Result
    from groupwise.rewards.errors import UserError

    result = Result(tmp_path / "part.json")
    result.begin()
    for error in (UserError("not served"), RuntimeError("CUDA driver error: out of memory")):
        with result.guarded(rows=8):
            raise error
    result.end()
    with result.guarded(rows=32):
        raise ValueError("a fault")
    result.row(rows=128, gb=1.0)
    with pytest.raises(RuntimeError, match="'rows': 32"):
        result.end()
    rows = json.loads((tmp_path / "part.json").read_text())["rows"]
    assert [row.get("error") for row in rows] == [
        "UserError: not served",
        "RuntimeError: CUDA driver error: out of memory",
        "ValueError: a fault",
        None,
    ]


@pytest.mark.stack
@pytest.mark.parametrize("card", [8, 10])
def test_no_prompt_of_the_peaks_is_left_out(card: int, tmp_path: Path) -> None:
    """Exactly as long as the preset allows, in tokens and not in words."""
    from benchmarks.gpu.model import make_problems
    from groupwise.framework.config import ExperimentConfig, resolve_config_path
    from groupwise.framework.data.toy import make_tokenizer

    config = ExperimentConfig.from_yaml(resolve_config_path(f"qwen3_4b_gsm8k_{card}gb"))
    allowed = config.data.max_prompt_length
    prompts = make_problems(tmp_path / "p.jsonl", config.data.system_prompt or "", tokens=allowed)
    tokenizer = make_tokenizer()
    assert {len(tokenizer(prompt)["input_ids"]) for prompt in prompts} == {allowed}


@pytest.mark.stack
@pytest.mark.long
def test_every_part_runs_in_emulation(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--tiny", "--output", str(tmp_path)],
        cwd=ROOT,
        env={**gpu_emulation.outside(), **ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    report = (tmp_path / "gpu.md").read_text()
    assert done.stdout.strip() == report.strip()
    found = {p.name: json.loads((tmp_path / "gpu" / f"{p.name}.json").read_text()) for p in PARTS}
    came_to = {name: result["status"] for name, result in found.items()}
    assert came_to == dict.fromkeys(found, "ok"), report
    for name in ("grpo_groupwise", "grpo_unsloth", "grpo_trl"):
        steps = {row["step"]: row["tokens"] for row in found[name]["rows"]}
        assert steps == dict.fromkeys(("1", "2", "3", "median"), 16 * 8)  # the same on all sides
    for name in ("peak_8", "peak_10", "peak_12", "peak_16"):
        rows = found[name]["rows"]
        assert [row["phase"] for row in rows] == ["generation", "training"] * 3
        assert {row["tokens"] for row in rows} == {16 * 32}  # no answer ends early
        assert all(row["predicted_gb"] > 0 for row in rows)
    assert len(found["sampling"]["rows"]) == 4 + 3 * 3
    for name in ("parity", "sampling", "cuda_graph"):
        assert not [row["error"] for row in found[name]["rows"] if "error" in row]
    for row in (*found["parity"]["rows"], found["cuda_graph"]["rows"][0]):
        assert row["equal"] == row["of"], row
    assert done.returncode == 0
