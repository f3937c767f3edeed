"""The sampling engines of this tree beside those of another revision: useful tokens a second.

    OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0 python -m benchmarks.sampling_revisions f72a19c

Writes results/sampling_revisions.md. The revision is checked out beside the tree for as long as
this runs; each side is a process that stays, and the two take turns, call by call, so that a busy
machine slows both. Processor time on one thread counts; the ratio is the median over paired calls.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "sampling_revisions.md"
CASES = (("slots", "tiny", 16), ("slots", "small", 4), ("generate", "tiny", 16))

# Runs in either revision: the import names changed between them.
SIDE = """
import sys, time
from pathlib import Path
if Path("groupwise").is_dir():  # what is installed is not asked: it may be another tree
    from groupwise.evaluation.sampler import Prompt, SamplingParams
    from groupwise.framework.sampling import make_sampler
else:
    from evaluation.sampler import Prompt, SamplingParams
    from framework.sampling import make_sampler
import torch
from benchmarks.sampling import workload

torch.set_num_threads(1)
engine, size, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
work = workload(size, "early", prompts=count)
prompts = [Prompt(str(i), text) for i, text in enumerate(work.prompts)]
sampler = make_sampler(work.model, work.tokenizer, engine)

def call():
    started = time.process_time()
    params = SamplingParams(max_tokens=work.max_tokens)
    made = sampler.sample(prompts, work.num_samples, params)
    return sum(len(one.token_ids) for one in made) / (time.process_time() - started)

call()
for _ in sys.stdin:
    print(call(), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("revision", help="git revision to compare with")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    name = _git("rev-parse", "--short", arguments.revision)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "tree"
        _git("worktree", "add", "--detach", str(before), arguments.revision)
        try:
            for case in CASES:
                rows.append(measure(case, before, arguments.rounds))
                print(rows[-1], flush=True)
        finally:
            _git("worktree", "remove", "--force", str(before))
    RESULTS.write_text(table(rows, name, arguments), encoding="utf-8")


def measure(case: tuple[str, str, int], before: Path, rounds: int) -> str:
    sides = [_start(tree, case) for tree in (before, ROOT)]
    rates: list[list[float]] = [[], []]
    for number in range(rounds):
        for i in (0, 1) if number % 2 else (1, 0):
            rates[i].append(_call(sides[i]))
    for side in sides:
        side.communicate()
    old, new = rates
    ratio = statistics.median(b / a for a, b in zip(old, new, strict=True))
    engine, size, _ = case
    return (
        f"| {engine}, {size} | {statistics.median(old):,.0f} | {statistics.median(new):,.0f} "
        f"| {ratio:.2f} |"
    )


def _start(tree: Path, case: tuple[str, str, int]) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(tree)}
    return subprocess.Popen(
        [sys.executable, "-c", SIDE, *map(str, case)],
        cwd=tree, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _call(side: subprocess.Popen[str]) -> float:
    assert side.stdin is not None
    assert side.stdout is not None
    side.stdin.write("\n")
    side.stdin.flush()
    return float(side.stdout.readline())


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def table(rows: list[str], revision: str, arguments: argparse.Namespace) -> str:
    from benchmarks.sampling import machine

    return "\n".join(
        [
            "# Sampling, beside an earlier revision",
            "",
            f"`python -m benchmarks.sampling_revisions {arguments.revision} --rounds "
            f"{arguments.rounds}`: useful tokens a second of processor time on one thread, in "
            "float32; 16 samples a prompt; tiny has 0.7 million parameters, small 28 million; the "
            f"ratio is the median of {arguments.rounds} pairs. {machine()}",
            "",
            f"| engine, model | {revision} | this tree | ratio |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    main()
