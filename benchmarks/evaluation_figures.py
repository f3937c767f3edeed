"""What evaluation costs: bootstrap, tests, and the summary of a log of a million samples.

    python -m benchmarks.evaluation_figures [SAMPLES] > benchmarks/results/evaluation_figures.txt

Needs about 1.2 GB of disk for a million samples. The summaries run in processes of their own, so
that the peak memory is theirs.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from groupwise.evaluation.log.records import SampleRecord, to_line
from groupwise.evaluation.metrics.intervals import bootstrap_estimates
from groupwise.evaluation.metrics.majority import maj_at_k
from groupwise.evaluation.metrics.paired import paired_test

SUMMARISE = """
import resource, sys, time
from groupwise.evaluation import summarise
start = time.perf_counter()
summary = summarise(sys.argv[1], ks=(1, 2, 4, 8))
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{summary.num_samples:>9,} samples, {summary.num_examples:>7,} problems: "
      f"{seconds:6.1f} s, peak {peak:4.0f} MB")
"""


def main() -> None:
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    statistics()
    coverage()
    logs(samples)


def statistics() -> None:
    draw = np.random.default_rng(0)
    values = draw.random((10_000, 14))
    took = clock(lambda: bootstrap_estimates(values, bounds=(0, 1)))
    print(f"bootstrap, 10,000 resamples of 10,000 problems, 14 metrics, no ties: {took:.2f} s")
    values = draw.integers(0, 9, (10_000, 14)) / 8
    took = clock(lambda: bootstrap_estimates(values, bounds=(0, 1)))
    print(f"the same with 8 samples a problem: {took:.2f} s")
    for problems in (100, 1_000, 10_000):
        d = draw.integers(-3, 4, problems) / 8
        for grid in (8, None):
            took = clock(lambda d=d, grid=grid: paired_test(d, grid=grid))
            method = paired_test(d, grid=grid).method
            print(f"paired test, {problems:>6,} problems, {method}: {took:.3f} s")
    votes = [draw.multinomial(40, draw.dirichlet(np.full(12, 0.3))).tolist() for _ in range(500)]
    took = clock(lambda: [maj_at_k(20, w, 4, k) for w in votes for k in (2, 4, 8, 16, 32)])
    print(f"maj@k exact, 64 samples, 5 ks, no two problems alike: {took / 500 * 1000:.2f} ms each")


def coverage() -> None:
    """How often the 95 % interval of pass@1 contains the truth: 8 samples a problem."""
    draw = np.random.default_rng(0)
    for name, a, b in (("even", 2, 3), ("hard", 0.2, 2.0), ("all or nothing", 0.3, 0.3)):
        cells = []
        for problems in (10, 30, 100, 300):
            hits = 0
            for _ in range(1000):
                share = draw.binomial(8, draw.beta(a, b, problems)) / 8
                e = bootstrap_estimates(share[:, None], bounds=(0, 1), resamples=1000)[0]
                hits += e.low <= a / (a + b) <= e.high
            cells.append(f"{problems}: {hits / 10:.1f} %")
        print(f"coverage of the 95 % interval, {name} problems; " + ", ".join(cells))


def logs(samples: int) -> None:
    text = "Let me think about it step by step. " * 20
    for count in (samples // 100, samples // 10, samples):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "samples.jsonl"
            draw = random.Random(0)
            with path.open("w", encoding="utf-8") as log:
                for i in range(count):
                    right = draw.random() < 0.4
                    log.write(
                        to_line(
                            SampleRecord(
                                example_id=f"problem-{i // 8}", sample_index=i % 8,
                                prompt="What is it?", completion=text, num_tokens=180,
                                finish_reason="stop", answer="7", correct=right,
                                extracted="7" if right else str(draw.randint(8, 30)),
                                status="correct" if right else "wrong", score=float(right),
                                parts={"correctness": float(right), "format": draw.random()},
                            )
                        )
                    )  # fmt: skip
            size = path.stat().st_size / 1e6
            out = subprocess.run(
                [sys.executable, "-c", SUMMARISE, str(path)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            print(f"summary of {size:6.0f} MB, {out.stdout.strip()}", flush=True)


def clock(work: object) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
