"""The memory plan beside the same run under fake tensors, part by part; no GPU is needed.

    python -m benchmarks.memory_fake              some five minutes on two cores
    python -m benchmarks.memory_fake --print      prints, and leaves the results alone
    python -m benchmarks.memory_fake --kept F     keeps what was measured, to make the tables again

Writes benchmarks/results/memory_fake.md. How it measures: the package's docstring.
"""

from __future__ import annotations

import argparse
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.memory_fake.cases import GENERATION, MODELS, TRAINING, Measured, settings
from benchmarks.memory_fake.report import report

RESULTS = Path(__file__).parents[1] / "results" / "memory_fake.md"
PHASES = ("training", "generation")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--print", action="store_true", help="leave the results as they are")
    parser.add_argument("--kept", type=Path, help="figures of a run before: read if there, or kept")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    parser.add_argument("--model", choices=MODELS, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.phase:
        found = measure(arguments.model, arguments.phase)
        arguments.into.write_bytes(pickle.dumps(found))
        return 0
    kept = arguments.kept
    measured = pickle.loads(kept.read_bytes()) if kept and kept.is_file() else measured_apart()
    if kept:
        kept.write_bytes(pickle.dumps(measured))
    text = report(measured)
    if not arguments.print:
        RESULTS.write_text(text, encoding="utf-8")
    print(text)
    return 0


def measure(model: str, phase: str) -> list[Measured]:
    # Only now, and only one of them: Unsloth, which the first imports, changes transformers.
    if phase == "training":
        from benchmarks.memory_fake import training

        return training.measure(settings(model), TRAINING)
    from benchmarks.memory_fake import generation

    return generation.measure(settings(model), GENERATION)


def measured_apart() -> dict[str, list[Measured]]:
    """By model; each phase in a process of its own, two at a time."""
    found: dict[str, list[Measured]] = {model: [] for model in MODELS}
    with tempfile.TemporaryDirectory() as folder:
        for phase in PHASES:
            running = []
            for model in MODELS:
                into = Path(folder) / f"{phase} {model}"
                words = [sys.executable, "-m", "benchmarks.memory_fake", "--into", str(into)]
                words += ["--phase", phase, "--model", model]
                process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
                running.append((model, into, process))
            for model, into, process in running:
                if process.wait():
                    raise SystemExit(f"{' '.join(process.args)} failed")
                found[model] += pickle.loads(into.read_bytes())
    return found


if __name__ == "__main__":
    sys.exit(main())
