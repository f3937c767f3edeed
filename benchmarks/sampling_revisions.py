"""The sampling engines of this tree beside those of another revision: useful tokens a second.

    OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0 python -m benchmarks.sampling_revisions f72a19c
    ... python -m benchmarks.sampling_revisions 799e062 --mib 24 --max-tokens 600 --rounds 3
    ... python -m benchmarks.sampling_revisions 799e062 --mib 192 --max-tokens 512 --model FOLDER

Writes results/sampling_revisions.md; with --mib, where both have as many bytes for keys and logits,
results/sampling_budget.md, with the rows in flight. The revision is checked out beside the tree for
as long as this runs; each side is a process that stays, and the two take turns, call by call, so
that a busy machine slows both. Processor time on one thread counts; the ratio is the median over
paired calls.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "sampling_revisions.md"
BUDGET = Path(__file__).parent / "results" / "sampling_budget.md"
BUDGET_HEAD = """# Sampling in the same bytes, beside an earlier revision

`python -m benchmarks.sampling_revisions REVISION --mib N --max-tokens M [--model FOLDER]`, one line
for each: 4 prompts, `small` (28 million parameters, float32) with 16 samples each, a chat model
(bfloat16) with 8; rows in flight are the mean over the steps, tokens a second are of processor time
on one thread. On a CPU a step costs nearly twice as much with twice the rows, on a GPU hardly more:
rows are what carries over, and not the speed.

| model | before | MiB | max_tokens | rows before | rows | x | tokens/s before | tokens/s | x |
|---|---|---|---|---|---|---|---|---|---|
"""
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
mib, max_tokens = int(sys.argv[4]), int(sys.argv[5])
if Path(size).is_dir():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(size)
    model = AutoModelForCausalLM.from_pretrained(size, dtype=torch.bfloat16).eval()
    ask = "Ann has {} apples and buys {} bags of 4. How many apples has she? Think step by step."
    asked = [[{"role": "user", "content": ask.format(7 + i, 2 + i)}] for i in range(count)]
    how = {"tokenize": False, "add_generation_prompt": True}
    texts = [tokenizer.apply_chat_template(messages, **how) for messages in asked]
    samples = 8
else:
    work = workload(size, "early", prompts=count)
    model, tokenizer, texts, samples = work.model, work.tokenizer, work.prompts, work.num_samples
    max_tokens = max_tokens or work.max_tokens
prompts = [Prompt(str(i), text) for i, text in enumerate(texts)]
sampler = make_sampler(model, tokenizer, engine, memory_budget_bytes=mib * 2**20 or None)

in_flight = []
if mib:
    from groupwise.framework.sampling.slots import Run

    step = Run._step

    def counted(self):
        in_flight.append(len(self.rows))
        step(self)

    Run._step = counted

def call():
    in_flight.clear()
    started = time.process_time()
    made = sampler.sample(prompts, samples, SamplingParams(max_tokens=max_tokens))
    return sum(len(one.token_ids) for one in made) / (time.process_time() - started)

call()
for _ in sys.stdin:
    print(call(), sum(in_flight) / max(1, len(in_flight)), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("revision", help="git revision to compare with")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--mib", type=int, default=0, help="bytes for the samples in flight")
    parser.add_argument("--max-tokens", type=int, default=0)
    parser.add_argument("--model", help="folder of a chat model, in bfloat16")
    arguments = parser.parse_args()
    name = _git("rev-parse", "--short", arguments.revision)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "tree"
        _git("worktree", "add", "--detach", str(before), arguments.revision)
        try:
            cases: Sequence[tuple[str, str, int]] = CASES
            if arguments.mib:
                cases = [("slots", arguments.model or "small", 4)]
            for case in cases:
                rows.append(measure(case, before, arguments))
                print(rows[-1], flush=True)
        finally:
            _git("worktree", "remove", "--force", str(before))
    if arguments.mib:
        known = BUDGET.read_text(encoding="utf-8") if BUDGET.is_file() else BUDGET_HEAD
        BUDGET.write_text(known + "\n".join(rows) + "\n", encoding="utf-8")
    else:
        RESULTS.write_text(table(rows, name, arguments), encoding="utf-8")


def measure(case: tuple[str, str, int], before: Path, arguments: argparse.Namespace) -> str:
    sides = [_start(tree, case, arguments) for tree in (before, ROOT)]
    rates: list[list[float]] = [[], []]
    in_flight = [0.0, 0.0]
    for number in range(arguments.rounds):
        for i in (0, 1) if number % 2 else (1, 0):
            rate, in_flight[i] = _call(sides[i])
            rates[i].append(rate)
    for side in sides:
        side.communicate()
    old, new = rates
    ratio = statistics.median(b / a for a, b in zip(old, new, strict=True))
    engine, size, _ = case
    if arguments.mib:
        return (
            f"| {Path(size).name} | {arguments.revision} | {arguments.mib} "
            f"| {arguments.max_tokens} | {in_flight[0]:.1f} | {in_flight[1]:.1f} "
            f"| {in_flight[1] / in_flight[0]:.2f} "
            f"| {statistics.median(old):,.0f} | {statistics.median(new):,.0f} | {ratio:.2f} |"
        )
    return (
        f"| {engine}, {size} | {statistics.median(old):,.0f} | {statistics.median(new):,.0f} "
        f"| {ratio:.2f} |"
    )


def _start(
    tree: Path, case: tuple[str, str, int], arguments: argparse.Namespace
) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(tree)}
    more = (arguments.mib, arguments.max_tokens)
    return subprocess.Popen(
        [sys.executable, "-c", SIDE, *map(str, (*case, *more))],
        cwd=tree, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _call(side: subprocess.Popen[str]) -> tuple[float, float]:
    """Tokens a second, and the mean number of rows in flight."""
    assert side.stdin is not None
    assert side.stdout is not None
    side.stdin.write("\n")
    side.stdin.flush()
    rate, rows = side.stdout.readline().split()
    return float(rate), float(rows)


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
