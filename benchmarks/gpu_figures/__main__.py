"""What sampling and training Qwen3-4B in 4 bits costs, and a prediction for six cards.

    python -m benchmarks.gpu_figures            no GPU needed; three minutes on two cores
    python -m benchmarks.gpu_figures --print    prints, and leaves the results alone
    python -m benchmarks.gpu_figures --counts F keeps what was counted, to make the tables again

Writes benchmarks/results/gpu_figures.md. How it counts: the package's docstring.
"""

from __future__ import annotations

import argparse
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.gpu_figures.counts import Counts
from benchmarks.gpu_figures.plan import PARTS, make_part
from benchmarks.gpu_figures.report import report

RESULTS = Path(__file__).parents[1] / "results" / "gpu_figures.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true", help="leave the results as they are")
    parser.add_argument(
        "--counts", type=Path, help="counts of a run before: read if there, else kept"
    )
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        arguments.into.write_bytes(pickle.dumps(make_part(arguments.part)))
        return 0
    kept = arguments.counts
    counts = pickle.loads(kept.read_bytes()) if kept and kept.is_file() else counted()
    if kept:
        kept.write_bytes(pickle.dumps(counts))
    text = report(counts)
    if not arguments.print:
        RESULTS.write_text(text, encoding="utf-8")
    print(text)
    return 0


def counted() -> Counts:
    """Each part in a process of its own: Unsloth changes transformers for good."""
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for part in PARTS:
            into = Path(folder) / part
            command = [sys.executable, "-m", "benchmarks.gpu_figures"]
            command += ["--part", part, "--into", str(into)]
            running.append((into, subprocess.Popen(command, stdout=subprocess.DEVNULL)))
        for into, process in running:
            if process.wait():
                raise SystemExit(f"{' '.join(process.args)} failed")
            counts.merge(pickle.loads(into.read_bytes()))
    return counts


if __name__ == "__main__":
    sys.exit(main())
