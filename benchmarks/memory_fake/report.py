"""The tables: what was measured on fake tensors, and the plan beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.memory_fake.cases import Generation, Measured, Training
from benchmarks.memory_fake.plan import phase_of, planned

EXACT = ("weights", "lora", "optimizer", "gradients")
SMALL = 50_000_000  # bytes: of smaller parts the deviation is not told in per cent
HEAD = """# The memory plan beside fake tensors

`python -m benchmarks.memory_fake`. **Nothing here was measured on a GPU.** The real shapes of two
models in NF4 with LoRA of rank 16 were run on tensors without data, and all that is allocated was
counted, by part; beside it stands what `groupwise plan` computes for the same settings
(`framework/memory`). GB = 1e9 bytes.

- **Training** is Unsloth's code: its layers with their fused LoRA, its own checkpointing with the
  buffers that it keeps, its log-probabilities in tiles, its loss; and bitsandbytes' 8-bit Adam. The
  second pass is reported. Its Triton kernels are replaced by their outputs.
- **Generation** is this project's slot engine: first step with the prefill, and last step, when all
  rows have full length; the larger of the two.
- Not in it: the CUDA context, what the allocator holds beyond what is in use, workspaces of cuBLAS,
  and attention's own (Unsloth's packed attention saves what was counted here for rows).
- Prompts have {prompt} tokens. A small model of the same architecture with real tensors has the
  bytes of its fake (`tests/benchmarks/test_memory_fake.py`).
"""


@dataclass(frozen=True)
class Row:
    """A case: what was measured, and what was planned."""

    case: Training | Generation
    measured: dict[str, int]
    planned: dict[str, int]
    host: tuple[int, int]

    @property
    def off(self) -> float:
        """Of the sum, in per cent of what was measured."""
        return off(sum(self.measured.values()), sum(self.planned.values()))

    def parts(self) -> Iterator[tuple[str, int, int]]:
        for name in dict.fromkeys([*self.measured, *self.planned]):
            yield name, self.measured.get(name, 0), self.planned.get(name, 0)


def off(measured: int, plan: int) -> float:
    return 100 * (plan / measured - 1)


def compared(model: str, measured: Measured) -> Row:
    plan = planned(model, measured.case)
    parts = phase_of(plan, measured.case).parts
    counted = {part.name: part.bytes for part in parts if part.name != "context"}
    host = sum(part.bytes for part in plan.host if part.name == "offloaded_activations")
    return Row(measured.case, measured.parts, counted, (measured.host, host))


def report(measured: dict[str, list[Measured]]) -> str:
    rows = {model: [compared(model, one) for one in found] for model, found in measured.items()}
    every = [row for found in rows.values() for row in found]
    lines = [HEAD.format(prompt=every[0].case.prompt), *_worst(rows)]
    for model, found in rows.items():
        lines += ["", f"## {model}", "", *_exact(found)]
        for kind in (Training, Generation):
            lines += ["", *_cases([row for row in found if isinstance(row.case, kind)])]
    return "\n".join([*lines, ""])


def _worst(rows: dict[str, list[Row]]) -> Iterator[str]:
    every = [(model, row) for model, found in rows.items() for row in found]
    model, worst = max(every, key=lambda pair: abs(pair[1].off))
    yield f"**Worst sum**: {worst.off:+.1f} % ({model}, {said(worst.case)})."
    parts = [
        (off(counted, plan), f"{name} of {model}, {said(row.case)}")
        for model, row in every
        for name, counted, plan in row.parts()
        if max(counted, plan) >= SMALL and counted
    ]
    value, where = max(parts, key=lambda pair: abs(pair[0]))
    yield f"**Worst part** of {SMALL / 1e6:.0f} MB and more: {value:+.1f} % ({where})."


def said(case: Training | Generation) -> str:
    if isinstance(case, Generation):
        return f"{case.rows} rows x {case.completion}"
    kind = {"unsloth": "unsloth", True: "on", False: "off"}[case.checkpointing]
    return f"{case.per_forward} x {case.completion}, checkpointing {kind}"


def _exact(found: Sequence[Row]) -> Iterator[str]:
    yield "| GB, whatever the case | counted | plan |"
    yield "|---|---|---|"
    for name in EXACT:
        row = next(row for row in found if name in row.measured and isinstance(row.case, Training))
        yield f"| {name} | {gb(row.measured[name], 4)} | {gb(row.planned.get(name, 0), 4)} |"


def _cases(found: Sequence[Row]) -> Iterator[str]:
    """A table: the parts that depend on the case, counted and planned, and the sum of all parts."""
    training = isinstance(found[0].case, Training)
    names = dict.fromkeys(name for row in found for name, *_ in row.parts() if name not in EXACT)
    heads = ["training" if training else "generation", *names, "all parts", "off"]
    heads += ["in main memory"] if training else []
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in found:
        cells = [said(row.case)]
        cells += [
            f"{gb(row.measured.get(name, 0))} / {gb(row.planned.get(name, 0))}" for name in names
        ]
        cells += [f"{gb(sum(row.measured.values()))} / {gb(sum(row.planned.values()))}"]
        cells += [f"{row.off:+.1f} %"]
        cells += [f"{gb(row.host[0])} / {gb(row.host[1])}"] if training else []
        yield f"| {' | '.join(cells)} |"


def gb(count: int, digits: int = 3) -> str:
    return f"{count / 1e9:.{digits}f}"
