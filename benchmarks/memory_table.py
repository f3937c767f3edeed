"""Predicted memory of common models on common cards, as `groupwise plan` has it.

    python -m benchmarks.memory_table            writes results/memory_table.md and docs/memory.md
    python -m benchmarks.memory_table --check    fails if they are out of date

The run: NF4, a LoRA of rank 16 on all linear layers, 8-bit Adam, prompts of up to 256 tokens,
answers of up to 1,024, a step of 4 problems x 8 answers. Nothing here is measured; what a card
showed comes from `python -m benchmarks.gpu`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from groupwise.evaluation.text import rounded
from groupwise.framework.config import ExperimentConfig, ModelConfig
from groupwise.framework.memory.architecture import read_architecture
from groupwise.framework.memory.chart import GB
from groupwise.framework.memory.fit import largest_settings
from groupwise.framework.memory.parts import Phase
from groupwise.framework.memory.planner import Planner, fit, with_keys
from groupwise.framework.memory.report import CARDS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/memory_table.md"
PAGE = ROOT / "docs/memory.md"
BEGIN, END = "<!-- cards: written by benchmarks/memory_table.py -->", "<!-- end of cards -->"
FORWARD = "training.completions_per_forward"
ROOMY = 131_072 + 256  # positions: so that memory alone bounds an answer
MOST = 16_384  # tokens of an answer: beyond, main memory and time are what bounds it
MODELS = (
    *("unsloth/Qwen2.5-0.5B", "unsloth/Qwen2.5-1.5B", "unsloth/Qwen2.5-3B", "unsloth/Qwen2.5-7B"),
    *("unsloth/Qwen3-0.6B", "unsloth/Qwen3-1.7B", "unsloth/Qwen3-4B", "unsloth/Qwen3-8B"),
    *("unsloth/Llama-3.2-1B", "unsloth/Llama-3.2-3B", "unsloth/Llama-3.1-8B"),
    *("unsloth/gemma-3-1b-it", "unsloth/gemma-3-4b-it", "unsloth/mistral-7b-v0.3"),
    "unsloth/Phi-4-mini-instruct",
)


def config_of(name: str) -> ExperimentConfig:
    """The run of the table."""
    config = ExperimentConfig.from_dict(
        {
            "model": {"name": name, "max_seq_length": 1280},
            "data": {"train": "openai/gsm8k", "max_prompt_length": 256},
            "training": {
                "prompts_per_step": 4,
                "num_generations": 8,
                "completions_per_forward": 8,
                "max_completion_length": 1024,
            },
            "evaluation": {"max_rows": 32},
        }
    )
    return replace(config, model=replace(config.model, use_gradient_checkpointing="unsloth"))


def peaks(name: str) -> list[str]:
    """A row: training with all of a group and one answer in a forward, sampling, smallest card."""
    config = config_of(name)
    one = with_keys(config, {FORWARD: 1})
    planner = planner_of(config.model)
    plan, least = planner.plan(config), planner.plan(one, rows=1)
    sampling, one_row = (_phase(p.phases, "generation") for p in (plan, least))
    training = [_phase(p.phases, "training") for p in (plan, least)]
    return [
        name.partition("/")[2],
        f"{planner.architecture.parameters / GB:.2f}",
        *map(_between, training),
        f"{rounded(one_row.expected / GB)}, {rounded(sampling.expected / GB)}",
        *(_smallest(c, planner) for c in (config, one)),
    ]


def longest(name: str) -> list[str]:
    """A row: by card, the longest answer with 8 and with 1 in a forward; rows of 1,024 at once."""
    config = config_of(name)
    one = with_keys(config, {FORWARD: 1})
    planner = planner_of(config.model)
    cells = []
    for card in CARDS:
        lengths = [_longest(run, planner, card * GB) for run in (config, one)]
        found = fit(one, planner, card * GB)
        rows = f" ({found.rows or 32})" if found.verdict == "fits" else ""
        cells.append(f"{' / '.join(lengths)}{rows}")
    return [name.partition("/")[2], *cells]


def _longest(config: ExperimentConfig, planner: Planner, memory: int) -> str:
    roomy = with_keys(config, {"model.max_seq_length": ROOMY})
    length = largest_settings(roomy, planner, memory)[0].value
    return "-" if length is None else "any" if length > MOST else f"{length:,}"


def planner_of(model: ModelConfig) -> Planner:
    return Planner(read_architecture(model), CARDS[-1] * GB)


def _phase(phases: tuple[Phase, ...], name: str) -> Phase:
    return next(phase for phase in phases if phase.name == name)


def _between(phase: Phase) -> str:
    return f"{rounded(phase.low / GB)} to {rounded(phase.high / GB)}"


def _smallest(config: ExperimentConfig, planner: Planner) -> str:
    found = (str(n) for n in CARDS if fit(config, planner, n * GB).verdict == "fits")
    return next(found, "more than 24")


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def tables() -> str:
    """Both tables as Markdown."""
    first = ["model", "parameters, 1e9", "training, 8 in a forward", "1 in a forward"]
    first += ["sampling, 1 and 32 rows", "smallest card, 8", "smallest card, 1", "measured"]
    second = ["model", *(f"{card} GB" for card in CARDS)]
    return (
        "Predicted peaks in GB of 1e9 bytes, from the lower to the upper end of the interval; the "
        "smallest of the usual cards that holds the upper end.\n\n"
        + table(first, [[*peaks(name), "not run"] for name in MODELS])
        + "\nBy card: the longest answer in tokens, with 8 answers in a forward and with 1 (any: "
        f"more than {MOST:,}); in brackets how many answers of 1,024 tokens are sampled at once, "
        "of 32. A model's own limit of positions may be lower.\n\n"
        + table(second, [longest(name) for name in MODELS])
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    check = parser.parse_args().check
    found = tables()
    head = "# Predicted memory of common models\n\n`python -m benchmarks.memory_table`.\n\n"
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(f"{BEGIN}\n")
    after = rest.partition(END)[2]
    wanted = {RESULTS: f"{head}{found}", PAGE: f"{before}{BEGIN}\n{found}{END}{after}"}
    for path, text in wanted.items():
        if check and (not path.is_file() or path.read_text(encoding="utf-8") != text):
            print(f"{path} is out of date: run python -m benchmarks.memory_table", file=sys.stderr)
            return 1
        if not check:
            path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
