"""Runs the parts of the GPU benchmark in processes of their own, and saves what came of each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.report import write_report

ROOT = Path(__file__).parents[2]
ERROR_LINES = 25


@dataclass(frozen=True)
class Part:
    """A part: what it is called, the most time it gets, and what it needs to begin at all."""

    name: str
    title: str
    limit_s: float
    least_s: float
    needs_model: bool = True
    uses_unsloth: bool = True


def run_parts(
    parts: Sequence[Part],
    commands: Callable[[Part], Sequence[str]],
    work: Path,
    output: Path,
    seconds: float,
    about: dict[str, Any],
    order: Sequence[str],
    keep: bool = False,
) -> list[dict[str, Any]]:
    """Runs the parts within `seconds`; saves and reports after each.

    `commands` gives the words of a part's process; `about` is kept with each result; `order`
    is that of the report; without `keep` the results of earlier runs are removed first.
    """
    started = time.monotonic()
    folder = output / "gpu"
    folder.mkdir(parents=True, exist_ok=True)
    for old in () if keep else folder.glob("*.json"):
        old.unlink()
    results: list[dict[str, Any]] = []
    has_model = True
    for part in parts:
        left = seconds - (time.monotonic() - started)
        if part.needs_model and not has_model:
            result = skipped(part, "there is no model: its part did not end well")
        elif left < part.least_s:
            result = skipped(part, f"{left:.0f} s are left, and it needs {part.least_s:.0f}")
        else:
            print(f"{part.name}: at most {min(part.limit_s, left):.0f} s", file=sys.stderr)
            result = run_part(part, commands(part), work, min(part.limit_s, left))
        has_model = has_model and not (part.name == "model" and result["status"] != "ok")
        results.append(result)
        saved = json.dumps({**result, **about}, indent=1)
        (folder / f"{part.name}.json").write_text(saved + "\n", encoding="utf-8")
        write_report(output / "gpu.md", folder, order)
        print(f"  {result['status']}, {result['seconds']:.1f} s", file=sys.stderr, flush=True)
    return results


def skipped(part: Part, why: str) -> dict[str, Any]:
    return outcome(part, "skipped", why, 0.0, {})


def outcome(
    part: Part, status: str, why: str, seconds: float, found: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": part.name,
        "title": part.title,
        "status": status,
        "why": why,
        "seconds": round(seconds, 1),
        "device": found.get("device", ""),
        "notes": found.get("notes", []),
        "rows": found.get("rows", []),
    }


def run_part(part: Part, words: Sequence[str], work: Path, limit_s: float) -> dict[str, Any]:
    """A part in a process of its own: its rows, and how it ended."""
    began = time.monotonic()
    log, made = work / f"{part.name}.log", work / f"{part.name}.json"
    with log.open("wb") as stream:
        # In a session of its own: what it starts ends with it.
        process = subprocess.Popen(
            words,
            cwd=work,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = "ok" if process.wait(limit_s) == 0 else "failed"
        except subprocess.TimeoutExpired:
            status = "too slow"
        finally:
            end(process)
    found = json.loads(made.read_text()) if made.is_file() else {}
    why = ""
    if status == "too slow":
        why = f"stopped after {limit_s:.0f} s"
    elif status == "failed":
        why = "\n".join(log.read_text(errors="replace").strip().splitlines()[-ERROR_LINES:])
    return outcome(part, status, why, time.monotonic() - began, found)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of a part: its own process, and all that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def environment() -> dict[str, str]:
    """The parts find this project and each other's compiled files, and no hub."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {
        **os.environ,
        "PYTHONPATH": path,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "UNSLOTH_DISABLE_STATISTICS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
    }
