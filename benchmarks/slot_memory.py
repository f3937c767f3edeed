"""Rows in flight and speed of the slot engine in the same bytes: whole slots against a paged pool.

    python -m benchmarks.slot_memory                      simulated, on measured lengths of answers
    python -m benchmarks.slot_memory --measure MODEL      measures those lengths again, with MODEL

Writes results/slot_memory.md. The schedule that is simulated is the engine's own
(`framework/sampling/schedule.py`), with lengths in place of a model; what it is compared with is a
slot for each row with room for its prompt and `max_tokens`, refilled as soon as a row ends, which
is what the engine did before.

A step's time is modelled by the bytes that it moves, as on a card: the weights of Qwen3-4B in 4
bits as they are read, written out in 16 bits and read again, the keys and values of the rows, and
the logits. A prediction of the ratio, therefore, and no measurement of a card.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.framework.sampling.blocks import least_blocks
from groupwise.framework.sampling.requests import PromptTokens
from groupwise.framework.sampling.schedule import Schedule

HERE = Path(__file__).parent
LENGTHS = HERE / "data" / "completion_lengths.json"
RESULTS = HERE / "results" / "slot_memory.md"

# Qwen3-4B, from its config: 36 layers, 8 heads of keys of 128, 151,936 words, 16-bit keys.
KEY_BYTES = 2 * 36 * 8 * 128 * 2
LOGIT_BYTES = 151_936 * 4
LINEAR_PARAMETERS = 3_633_000_000
WEIGHT_TRAFFIC = LINEAR_PARAMETERS * (0.516 + 2 + 2) + 2 * 151_936 * 2560
# Attention by blocks writes a result for each block of a row, copies it together and adds it up:
# 36 layers, 32 heads of 128, 16 bytes in all for each number.
RESULT_BYTES = 36 * 32 * 128 * 16
# A paused row's keys go to main memory and back over a bus that is 30 times slower than the card's
# memory (12 and 360 GB/s).
BUS = 2 * 30
BLOCK = 64
MOST_ROWS = 256


@dataclass(frozen=True)
class Workload:
    """Rollouts of a step, or an evaluation: prompt lengths, and the lengths of their answers."""

    name: str
    prompts: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    max_tokens: int

    @property
    def tokens(self) -> int:
        return sum(sum(lengths) for lengths in self.answers)


@dataclass(frozen=True)
class Outcome:
    """What a schedule came to; `rows` is the mean number in flight, weighted by steps."""

    steps: int
    rows: float
    traffic: float
    pauses: int = 0

    def per_byte(self, tokens: int) -> float:
        return tokens / self.traffic


def step_traffic(key_positions: int, rows: int) -> float:
    return WEIGHT_TRAFFIC + key_positions * KEY_BYTES + rows * LOGIT_BYTES


def whole_slots(work: Workload, budget: float) -> Outcome:
    """Each row has room for the longest prompt and `max_tokens`; all are read to the longest."""
    slot = (max(work.prompts) + work.max_tokens) * KEY_BYTES + LOGIT_BYTES
    most = max(1, min(MOST_ROWS, int(budget // slot)))
    ordered = sorted(range(len(work.prompts)), key=lambda i: -work.prompts[i])
    waiting = deque((work.prompts[i], n) for i in ordered for n in work.answers[i])
    rows: list[list[int]] = []  # length so far, tokens left
    steps, in_flight, traffic = 0, 0, 0.0
    while waiting or rows:
        while waiting and len(rows) < most:
            rows.append(list(waiting.popleft()))
        steps += 1
        in_flight += len(rows)
        window = max(length for length, _ in rows) + 1
        traffic += step_traffic(window * len(rows), len(rows))
        rows = [[length + 1, left - 1] for length, left in rows if left > 1]
    return Outcome(steps, in_flight / steps, traffic)


def paged(work: Workload, budget: float, *, shares: bool) -> Outcome:
    """The engine's schedule; a step reads whole blocks, those of a shared prompt once."""
    prompts = [
        PromptTokens(i, str(i), (0,) * size, tuple(range(len(work.answers[i]))))
        for i, size in enumerate(work.prompts)
    ]
    prompts.sort(key=lambda prompt: -len(prompt.ids))
    total = int((budget - MOST_ROWS * LOGIT_BYTES) // (BLOCK * KEY_BYTES))
    total = max(total, least_blocks(max(work.prompts), work.max_tokens, BLOCK, shares))
    steps, in_flight, traffic, moved = 0, 0, 0.0, [0]

    def save(blocks: list[int]) -> None:
        moved[0] += BLOCK * KEY_BYTES * len(blocks)

    schedule = Schedule(
        prompts,
        MOST_ROWS,
        total,
        BLOCK,
        work.max_tokens,
        shares,
        move=lambda _moves: None,
        save=save,
    )
    while True:
        schedule.compact()
        schedule.make_room()
        while schedule.may_start():
            schedule.start()
        rows = schedule.rows
        if not rows:
            return Outcome(steps, in_flight / steps, traffic + BUS * moved[0], schedule.pauses)
        steps += 1
        in_flight += len(rows)
        read = schedule.blocks.own.span + schedule.blocks.shared.span
        results = sum(len(r.blocks) + len(r.prefix.blocks if r.prefix else ()) for r in rows)
        traffic += step_traffic(read * BLOCK, len(rows)) + results * RESULT_BYTES
        schedule.advance()
        for row in rows:
            row.tokens.append(0)
        lengths = work.answers
        done = [r for r in rows if len(r.tokens) >= lengths[r.prompt.index][r.sample_index]]
        for row in reversed(done):
            schedule.end(row)


def workloads(measured: dict[str, Any]) -> list[Workload]:
    """A step of 8 problems and an evaluation of 100, 8 answers each, drawn from the measured."""
    generator = random.Random(0)
    prompts = [int(n) for n in measured["prompt_tokens"]]
    groups = [list(map(int, lengths)) for lengths in measured["answers"]]
    for lengths in groups:
        generator.shuffle(lengths)  # they were written down as they ended
    limit = int(str(measured["max_tokens"]))
    found = []
    for name, count in (("a step: 8 problems x 8", 8), ("an evaluation: 100 problems x 8", 100)):
        chosen = [generator.randrange(len(groups)) for _ in range(count)]
        found.append(
            Workload(
                name,
                tuple(prompts[i] for i in chosen),
                tuple(tuple(groups[i]) for i in chosen),
                limit,
            )
        )
    return found


def table(measured: dict[str, Any], budgets: Sequence[float]) -> str:
    lines = [
        "# The slot engine's memory: whole slots and a paged pool, in the same bytes",
        "",
        "`python -m benchmarks.slot_memory`: the engine's own schedule on measured lengths of "
        f"answers ({measured['source']}). Keys of Qwen3-4B; a step is taken to last as long as "
        "its bytes take: **simulated, not measured on a card**. `x` is tokens a second against "
        "whole slots.",
        "",
        "| work | GB for keys | whole slots: rows | paged: rows | x | paged, prompts shared: rows "
        "| x | rows paused |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for work in workloads(measured):
        for budget in budgets:
            before = whole_slots(work, budget * 1e9)
            own = paged(work, budget * 1e9, shares=False)
            shared = paged(work, budget * 1e9, shares=True)
            base = before.per_byte(work.tokens)
            lines.append(
                f"| {work.name} | {budget:g} | {before.rows:.1f} | {own.rows:.1f} "
                f"| {own.per_byte(work.tokens) / base:.2f} | {shared.rows:.1f} "
                f"| {shared.per_byte(work.tokens) / base:.2f} | {shared.pauses} |"
            )
    return "\n".join([*lines, ""])


def measure(model_folder: str, max_tokens: int) -> dict[str, Any]:
    """Answers of a chat model to word problems of our own, at temperature 1."""
    # Slow, both: not at start-up.
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from groupwise.evaluation.sampler import Prompt, SamplingParams
    from groupwise.framework.sampling import make_sampler

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    prompts = []
    for n, (one, many) in enumerate(PROBLEMS):
        question = one.format(a=3 + 7 * n % 20, b=2 + 5 * n % 11) + many
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        prompts.append(Prompt(str(n), text))
    params = SamplingParams(temperature=1.0, max_tokens=max_tokens)
    answers: list[list[int]] = [[] for _ in prompts]
    for one_answer in make_sampler(model, tokenizer, "slots").sample(prompts, 8, params):
        answers[one_answer.prompt_index].append(len(one_answer.token_ids))
    return {
        "source": f"{Path(model_folder).name}, {len(prompts)} word problems x 8 answers, "
        f"temperature 1, at most {max_tokens} tokens",
        "max_tokens": max_tokens,
        "prompt_tokens": [len(tokenizer(p.text)["input_ids"]) for p in prompts],
        "answers": answers,
    }


_ASK = (
    " Think step by step and give the number at the end.",
    " Explain how you found it.",
    " Answer with the number only.",
    "",
)
_TOLD = (
    "Ann has {a} apples and buys {b} bags of 4 more. How many apples has she?",
    "A train leaves with {a} people. {b} get on and 2 get off. How many are left?",
    "A box holds {a} pencils. How many pencils are in {b} boxes?",
    "Tom reads {a} pages a day for {b} days, and 5 on the last. How many pages are that?",
)
PROBLEMS = [(told, ask) for told in _TOLD for ask in _ASK]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--measure", metavar="MODEL", help="a chat model's folder")
    parser.add_argument("--max-tokens", type=int, default=1024)
    arguments = parser.parse_args()
    if arguments.measure:
        found = measure(arguments.measure, arguments.max_tokens)
        LENGTHS.write_text(json.dumps(found) + "\n", encoding="utf-8")
    measured = json.loads(LENGTHS.read_text(encoding="utf-8"))
    text = table(measured, (0.75, 1.5, 3.0))
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
