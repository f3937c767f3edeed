"""Is a run over when its progress bar said? Small real runs, each estimate beside the real end.

    python -m benchmarks.time_left [--seeds 0 1]

Writes benchmarks/results/time_left.md. Each run is `groupwise quickstart` in a process of its own,
one after the other. Its metrics.jsonl is read as it grows: the moment at which a line appears, and
the range of seconds in it. The end is the moment at which the last evaluation has its summary.

Other programs on the machine slow a run down and let it go again, which no estimate foresees. So
the same method is applied to the processor time of the steps, too: what it would have said of them
on a machine of its own. (Not where evaluations lie between the steps.)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from groupwise.framework.run.time_left import LEAST_ROUNDS, seconds_a_round

RESULTS = Path(__file__).parent / "results" / "time_left.md"
LEAST_COVERED = 0.8
POLL_S = 0.02

RUNS = {
    "as it is": [],
    "evaluated every 20 steps": ["evaluation.every_steps=20"],
    "4-bit, two iterations, 24 steps": [
        "model.load_in_4bit=true", "training.num_iterations=2", "training.max_steps=24",
    ],
    "no evaluation before": ["evaluation.before=false", "training.max_steps=60"],
    "longer answers, dynamic sampling": [
        "training.max_completion_length=48", "training.resample_rounds=2", "training.max_steps=40",
    ],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Estimate:
    """What was left after a step: as estimated, and as it came. Seconds."""

    step: int
    low: float
    high: float
    real: float

    @property
    def holds(self) -> bool:
        return self.low <= self.real <= self.high


@dataclass(frozen=True, slots=True)
class Measured:
    """A run: its estimates, and those of its steps alone in processor time."""

    wall: list[Estimate]
    processor: list[Estimate]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {
            f"{name}, seed {seed}": measure(Path(folder) / f"{i}-{seed}", seed, overrides)
            for i, (name, overrides) in enumerate(RUNS.items())
            for seed in arguments.seeds
        }
    text = table(found)
    arguments.output.write_text(text, encoding="utf-8")
    print(text)
    return 0 if covered([run.wall for run in found.values()]) >= LEAST_COVERED else 1


def measure(folder: Path, seed: int, overrides: list[str]) -> Measured:
    """Runs a quickstart, and reads its numbers as they are written."""
    command = [sys.executable, "-m", "groupwise.framework.cli", "quickstart", "--quiet"]
    command += ["--output-dir", str(folder), "--seed", str(seed)]
    command += [word for override in overrides for word in ("--set", override)]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
    metrics = folder / "quickstart" / "metrics.jsonl"
    end = folder / "quickstart" / "evaluations" / "tuned" / "summary.json"
    seen: list[tuple[float, float, dict[str, float]]] = []  # wall, processor, the line
    ended = 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as run:
        while run.poll() is None:
            time.sleep(POLL_S)
            lines = metrics.read_text().splitlines(keepends=True) if metrics.is_file() else []
            for line in lines[len(seen) :]:
                if line.endswith("\n"):
                    seen.append((time.monotonic(), processor_seconds(run.pid), json.loads(line)))
            if not ended and end.is_file():
                ended = time.monotonic()
    assert run.returncode == 0, f"{' '.join(command)}: exit code {run.returncode}"
    assert ended, f"{end}: was not written"
    wall = [
        Estimate(line["step"], line["seconds_left/low"], line["seconds_left/high"], ended - moment)
        for moment, _, line in seen
        if "seconds_left/low" in line
    ]
    if any("eval/pass@1" in line for _, _, line in seen):
        return Measured(wall, [])
    size = 2 if "training.num_iterations=2" in overrides else 1
    return Measured(wall, of_steps([moment for _, moment, _ in seen][size - 1 :: size], size))


def processor_seconds(pid: int) -> float:
    """Of all threads of a process, so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def of_steps(ends: list[float], size: int) -> list[Estimate]:
    """Estimates of the steps alone, from the seconds at which rounds of `size` steps ended."""
    rounds = [after - before for before, after in pairwise(ends)]
    found = []
    for n in range(LEAST_ROUNDS, len(rounds)):
        low, high = seconds_a_round(rounds[:n])
        more = len(rounds) - n
        found.append(Estimate((n + 1) * size, more * low, more * high, sum(rounds[n:])))
    return found


def covered(runs: Collection[list[Estimate]]) -> float:
    """The share of estimates that hold the real end: the mean over runs."""
    return fmean(fmean(e.holds for e in run) for run in runs)


def table(found: dict[str, Measured]) -> str:
    rows = [
        "| run | first estimate | came | at a quarter | came | at half | came | ends held | "
        "steps, processor time |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, run in found.items():
        cells = [name]
        for share in (0.0, 0.25, 0.5):
            e = next(e for e in run.wall if e.step >= share * run.wall[-1].step)
            cells += [f"{e.low:.0f}-{e.high:.0f} s", f"{e.real:.0f} s"]
        cells += [f"{fmean(e.holds for e in run.wall):.0%}"]
        cells += [f"{fmean(e.holds for e in run.processor):.0%}" if run.processor else ""]
        rows.append("| " + " | ".join(cells) + " |")
    wall = [run.wall for run in found.values()]
    alone = [run.processor for run in found.values() if run.processor]
    load = os.getloadavg()[0]
    return f"""# Time left, estimated and real

`python -m benchmarks.time_left`: the seconds left of small real runs, as logged after each step in
`metrics.jsonl`, beside what came. {platform.machine()}, {os.cpu_count()} cores, load average at the
end {load:.1f} (the run itself is 1), Python {platform.python_version()}.

{chr(10).join(rows)}

The range held the real end in {covered(wall):.0%} of the estimates (mean over runs), in
{fmean(run[0].holds for run in wall):.0%} of the first ones; in processor time that of the steps in
{covered(alone):.0%}. In the second half of a run the upper end was {width(wall):.2f} times the
lower on average, {width(alone):.2f} times in processor time.
"""


def width(runs: Collection[list[Estimate]]) -> float:
    return fmean(e.high / e.low for run in runs for e in run[len(run) // 2 :])


if __name__ == "__main__":
    raise SystemExit(main())
