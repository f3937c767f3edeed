"""What an export loses: each form of the toy after its quickstart, and other ways of merging.

    python -m benchmarks.export [--runs FOLDER]

Writes benchmarks/results/export.md. The runs are quickstarts (float32, 4 bits, every weight), made
in FOLDER where they are not there; a minute or two each. Every row is a whole `groupwise export`:
loaded again in a fresh process, asked, and Pass@1 on all held-out problems, paired with the tuned
model's. The second table needs no run: how much of a small change is left in merged weights.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from groupwise.evaluation.text import percent
from groupwise.framework.export.check import lost
from groupwise.framework.export.formats import FORMATS
from groupwise.framework.export.place import size_of
from groupwise.framework.export.precision import Rounding
from groupwise.framework.export.run import Outcome, export
from groupwise.framework.export.source import source_of
from groupwise.framework.export.tuned import Asked, Tuned
from groupwise.framework.policy.merge import merged
from groupwise.framework.run.out_of_memory import amount
from groupwise.framework.run.terminal import Terminal

RESULTS = Path(__file__).parent / "results" / "export.md"
RUNS = {
    "float32": [],
    "4 bits": ["--set", "model.load_in_4bit=true"],
    "every weight": ["--set", "model.full_finetuning=true"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, help="where the runs are, or are made")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = list(measured(arguments.runs or Path(scratch), Path(scratch)))
    text = page(rows)
    arguments.output.write_text(text, encoding="utf-8")
    print(text)
    return 0


def measured(runs: Path, scratch: Path) -> Iterator[list[str]]:
    """A row for each run and form."""
    for name, options in RUNS.items():
        run = runs / name.replace(" ", "-")
        if not run.is_dir():
            train(run, options)
        source = source_of(run)
        forms = ["adapter", "merged"] if source.is_adapter else ["merged"]
        formats = {form: FORMATS[form] for form in forms}
        if source.config.model.load_in_4bit:
            formats["merged into the weights before 4 bits"] = INTO_THE_ORIGINAL
        for label, format in formats.items():
            started = time.perf_counter()
            to = scratch / f"{run.name}-{format.name}"
            outcome = export(source, format, to, Asked(), Terminal(quiet=True))
            yield row(name, label, outcome, time.perf_counter() - started)
            print(" | ".join(row(name, label, outcome, 0)), file=sys.stderr)


def train(run: Path, options: list[str]) -> None:
    command = [sys.executable, "-m", "groupwise.framework.cli", "quickstart", "--quiet", "--json"]
    command += ["--output-dir", str(run.parent), "--name", run.name, *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def into_the_original(tuned: Tuned, folder: Path) -> list[str]:
    """PEFT's merge into the weights that were quantised for the training."""
    model = replace(tuned.source.config.model, adapter_mode="merge")
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(merged(model, Path(scratch) / "merged").name)
        for file in written.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
    tuned.tokenizer.save_pretrained(str(folder))
    tuned.generation_config.save_pretrained(str(folder))
    return []


# It answers otherwise, and its Pass@K is to be measured all the same.
INTO_THE_ORIGINAL = replace(
    FORMATS["merged"],
    name="original",
    write=into_the_original,
    rounding=lambda _: Rounding(1.0, 1.0),
)


def row(run: str, form: str, outcome: Outcome, seconds: float) -> list[str]:
    check = outcome.check
    assert check is not None
    found = check.findings
    is_checked = not form.startswith("merged into")
    if found is None:
        return [run, form, "-", "-", "-", "-", "-", "-", "-", check.failures[0]]
    loss = "-"
    if check.comparison is not None:
        loss = lost(check.comparison.pairs[0]).removeprefix("pass@1: the export ")
        loss = loss.partition(" on ")[0]
    return [
        run,
        form,
        f"{found.same_answers} of {found.prompts}",
        percent(found.token_agreement, 1),
        f"{found.divergence:.1e}",
        f"{found.tolerance:.1e}" if is_checked else "-",
        f"{found.largest_difference:.2g}",
        loss,
        amount(size_of(outcome.folder)),
        f"{seconds:.0f}",
        ("passed" if outcome.passed else "failed") if is_checked else "-",
    ]


def shares() -> list[list[str]]:
    """What is left of a change of rank 16 in merged weights, by its size and how it is merged.

    Weights of deviation 0.02 that bfloat16 holds exactly, as published models have them. The share
    is that of `groupwise export`: along the change itself.
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    torch.manual_seed(0)
    original = (0.02 * torch.randn(1024, 1024)).bfloat16().float()
    dequantised = dequantize_4bit(*quantize_4bit(original, quant_type="nf4")).float()
    change = torch.randn(1024, 16) @ torch.randn(16, 1024)
    change /= change.pow(2).mean().sqrt()
    ways = [
        (original, torch.bfloat16),
        (dequantised.bfloat16().float(), torch.bfloat16),
        (dequantised, torch.bfloat16),
        (original, torch.float16),
    ]
    rows = []
    for size in (1e-3, 1e-4, 3e-5, 1e-5):
        cells = [f"{size:.0e}", percent(size / 0.02, 2)]
        for weights, dtype in ways:
            left = (weights + size * change).to(dtype).float() - weights
            cells.append(percent(float((left * change).sum() / (size * change * change).sum()), 1))
        rows.append(cells)
    return rows


def lines(heads: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]


def page(rows: list[list[str]]) -> str:
    heads = ["run", "form", "same greedy answers", "same likeliest token", "divergence, nats"]
    heads += ["explained by rounding", "largest difference", "pass@1", "size", "s", "check"]
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "peft", "unsloth")
    )
    return "\n".join(
        [
            "# Export: what is lost on the way",
            "",
            "`python -m benchmarks.export`",
            "",
            f"The toy after `groupwise quickstart`, on a CPU ({platform.machine()}), {versions}. "
            "Divergence: the mean KL(tuned || export) of a token of the tuned model's own greedy "
            "answers. Pass@1 in points, with its 95 % interval, on 200 held-out problems with 8 "
            "answers each, drawn by the same random numbers. Seconds are of the whole command but "
            "the start of Python, on a machine with other work.",
            "",
            *lines(heads, rows),
            "",
            "## What is left of a small change in merged weights",
            "",
            "Weights of deviation 0.02 that bfloat16 holds exactly, and a change of rank 16 of the "
            "given deviation. `original`: merged into these weights in bfloat16, which is all that "
            "can be done for an adapter trained in 16 bits. `NF4 in bfloat16`: into what 4 bits "
            "stand for, rounded to bfloat16 before the change is added. `NF4 in float32`: the sum "
            "made in float32 and rounded once, as `groupwise export` does.",
            "",
            *lines(
                [
                    "change",
                    "of the weights",
                    "original",
                    "NF4 in bfloat16",
                    "NF4 in float32",
                    "original in float16",
                ],
                shares(),
            ),
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
