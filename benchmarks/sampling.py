"""Useful tokens a second of the slot engine, beside what else could make the same answers.

    OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0 python -m benchmarks.sampling            # about 25 min
    OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0 python -m benchmarks.sampling --quick    # 2 min
    OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0 python -m benchmarks.sampling --profile  # 1 min

The last one writes where the time of the slots goes to results/sampling_profile.md.

Two random models (0.6M and 30M parameters) whose end-of-text probability is built in, so that every
side draws from the same model and the same distribution of lengths. All sides run in turn, round
after round, in one process; a figure is the median of the rounds, each side with the number of CPU
threads that suits it best. Before anything is timed, greedy answers are compared token for token.

lm-evaluation-harness runs from its own command line, in an environment of its own:

    python -m venv ~/lm-eval && ~/lm-eval/bin/pip install lm_eval==0.4.13 torch transformers
    python -m benchmarks.sampling --lm-eval ~/lm-eval/bin/lm_eval

Left out: GPUs (no figures here are a GPU's), and how good the answers are.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks import sampling_profile
from benchmarks.sampling_models import build_model, build_tokenizer
from benchmarks.sampling_sides import Side, Workload, lm_eval_side, sides
from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.sampling import make_sampler

RESULTS = Path(__file__).parent / "results" / "sampling.md"
PROFILE = RESULTS.with_name("sampling_profile.md")


@dataclass
class Measured:
    """One side's rounds."""

    rates: list[float] = field(default_factory=list)  # useful tokens a second
    lengths: list[int] = field(default_factory=list)  # tokens of each answer
    threads: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.rates) if self.rates else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny model, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lm-eval", default=None, help="the lm_eval command")
    parser.add_argument("--profile", action="store_true", help="where the time of slots goes")
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    if args.profile:
        write(args.output or PROFILE, profile())
        return
    rounds = 1 if args.quick else args.rounds
    sections = [header(args, rounds)]
    for size in ("tiny",) if args.quick else ("tiny", "small"):
        for ends in ("early", "never"):
            section = benchmark(size, ends, rounds, args)
            print(section, flush=True)
            sections.append(section)
    if not args.quick:
        write(args.output or RESULTS, sections)


def write(path: Path, sections: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(sections))


def profile() -> list[str]:
    """Where the time of the slots goes at both sizes, on one thread: a report's sections."""
    sections = [
        "# Sampling: where the time of the slots engine goes\n\n"
        f"Written by `python -m benchmarks.sampling --profile`. {machine()}\n"
    ]
    for size in ("tiny", "small"):
        section = sampling_profile.section(workload(size, "early"), threads=1)
        print(section, flush=True)
        sections.append(section)
    return sections


def benchmark(size: str, ends: str, rounds: int, args: argparse.Namespace) -> str:
    """All sides on one model and one distribution of lengths: a section of the report."""
    work = workload(size, ends, prompts=4 if args.quick else None)
    assert_greedy_parity(work)
    with tempfile.TemporaryDirectory() as folder:
        table = sides(work)
        if ends == "never":  # the slow sides are compared where lengths differ, as they do in use
            table = {name: table[name] for name in ("slots", "generate, K rows")}
        elif args.lm_eval:
            table["lm-evaluation-harness"] = lm_eval_side(work, args.lm_eval, Path(folder))
        else:
            print("lm-evaluation-harness: skipped, give --lm-eval its command", file=sys.stderr)
        measured = {name: Measured(threads=best_threads(side)) for name, side in table.items()}
        for _ in range(rounds):
            for name, side in table.items():
                lengths, seconds = timed(side.run, measured[name].threads)
                if side.own_process:  # without its imports and loading
                    seconds -= timed(side.trial, measured[name].threads)[1]
                measured[name].rates.append(sum(lengths) / seconds)
                measured[name].lengths += lengths
    return section(ends, work, measured)


def workload(size: str, ends: str, prompts: int | None = None) -> Workload:
    count = prompts or {"tiny": 16, "small": 8}[size]
    return Workload(
        model=build_model(size, ends),
        tokenizer=build_tokenizer(),
        prompts=[f"question {i}: {i * 7} + {i * i * 3} = " + "?" * (i % 6) for i in range(count)],
        num_samples=16,
        max_tokens=96,
    )


def assert_greedy_parity(work: Workload) -> None:
    sampler = make_sampler(work.model, work.tokenizer, "slots")
    prompts = [Prompt(str(i), text) for i, text in enumerate(work.prompts)]
    params = SamplingParams(temperature=0, max_tokens=32)
    ours = {c.prompt_index: list(c.token_ids) for c in sampler.sample(prompts, 1, params)}
    for i, text in enumerate(work.prompts):
        ids = torch.tensor([work.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            out = work.model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=32
            )
        assert ours[i] == out[0, ids.shape[1] :].tolist(), f"greedy answers differ on prompt {i}"


def best_threads(side: Side) -> int:
    """All threads or one, whichever answers the side's short trial sooner."""
    most = torch.get_num_threads()
    if side.own_process or most == 1:
        return most
    timed(side.trial, most)  # warm
    seconds = {n: min(timed(side.trial, n)[1] for _ in range(2)) for n in (most, 1)}
    return min(seconds, key=lambda n: seconds[n])


def timed(run: Callable[[], list[int]], threads: int) -> tuple[list[int], float]:
    was = torch.get_num_threads()
    torch.set_num_threads(threads)
    start = time.perf_counter()
    lengths = run()
    seconds = time.perf_counter() - start
    torch.set_num_threads(was)
    return lengths, seconds


def section(ends: str, work: Workload, measured: dict[str, Measured]) -> str:
    parameters = sum(p.numel() for p in work.model.parameters())
    ours = measured["slots"]
    lengths = sorted(ours.lengths)
    k = work.num_samples
    # What `generate` with K rows would use of its row-steps, from the lengths of our answers.
    groups = [ours.lengths[i : i + k] for i in range(0, len(ours.lengths), k)]
    share = sum(map(sum, groups)) / sum(k * max(g) for g in groups)
    deciles = [lengths[int(q * (len(lengths) - 1))] for q in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)]
    lines = [
        f"## {parameters / 1e6:.1f}M parameters, texts end {ends}",
        "",
        f"{len(work.prompts)} prompts x {k} samples, at most {work.max_tokens} tokens, "
        "temperature 1, float32. Lengths (0, 10, 25, 50, 75, 90, 100 %): "
        f"{', '.join(map(str, deciles))}; mean {statistics.mean(lengths):.1f}. "
        f"Useful share of a batch of K rows: {share:.2f}.",
        "",
        "| side | useful tokens a second (rounds) | threads | slots are faster by |",
        "|---|---|---|---|",
    ]
    for name, m in measured.items():
        rates = ", ".join(f"{r:,.0f}" for r in m.rates)
        ratio = "" if name == "slots" else f"{ours.median / m.median:.2f}x"
        lines.append(f"| {name} | **{m.median:,.0f}** ({rates}) | {m.threads} | {ratio} |")
    return "\n".join([*lines, ""])


def header(args: argparse.Namespace, rounds: int) -> str:
    command = "python -m benchmarks.sampling" + (" --lm-eval lm_eval" if args.lm_eval else "")
    environment = {k: os.environ.get(k, "") for k in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    settings = " ".join(f"{k}={v}" for k, v in environment.items())
    return "\n".join(
        [
            "# Sampling: useful tokens a second",
            "",
            f"Written by `{settings} {command}`; {rounds} rounds, medians. "
            f"{machine()} "
            "Greedy answers were equal to `model.generate`'s before each table was measured.",
            "",
        ]
    )


def machine() -> str:
    import transformers

    return (
        f"{platform.machine()}, {os.cpu_count()} CPU cores, no GPU; "
        f"torch {torch.__version__}, transformers {transformers.__version__}."
    )


if __name__ == "__main__":
    main()
