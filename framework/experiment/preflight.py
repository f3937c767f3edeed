"""What can be known before a run: prompts as the model sees them, and that the rewards work.

    found = check(config, Terminal())

The tokenizer is loaded, the model is not. What it leaves out: memory (see `plan`), and how good the
model is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.evaluation.text import printable
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.config import notices as config_notices
from groupwise.framework.data.prompts import RenderedPrompts
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards import Rubric
from groupwise.rewards.check.probes import Tokenize, spread
from groupwise.rewards.check.prove import SAMPLE, PartProof, Proof, prove
from groupwise.rewards.style import Format
from groupwise.rewards.types import Example

SHOWN_PROMPTS = 2
_SHOWN_FAILURES = 5
_SHOWN_CHARS = 1_200  # of a prompt


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found. `problems` make training meaningless; `notices` are worth a look."""

    prompts: RenderedPrompts
    batch_shape: str
    max_completion_length: int
    step_seconds: float  # of the rewards alone
    step_completions: int
    proof: Proof
    problems: tuple[str, ...]
    notices: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": not self.problems,
            "problems": list(self.problems),
            "notices": list(self.notices),
            "prompts": {
                "count": len(self.prompts.examples),
                "left_out": [item.id for item in self.prompts.left_out],
                "longest": self.prompts.longest_prompt,
                "first": [example.prompt for example in self.prompts.examples[:SHOWN_PROMPTS]],
            },
            "references": {
                "format": self.proof.template,
                "longest": max(self.proof.reference_lengths),
                "max_completion_length": self.max_completion_length,
            },
            "rewards": {part.name: _part_json(part) for part in self.proof.parts},
            "totals": dict(self.proof.totals),
            "batch_shape": self.batch_shape,
            "step": {"completions": self.step_completions, "reward_seconds": self.step_seconds},
        }


def check(config: ExperimentConfig, terminal: Terminal) -> Preflight:
    """Everything: all training prompts, every reward on all of them.

    Raises:
        UserError: data, tokenizer or rewards cannot be read at all.
    """
    from groupwise.framework.data.examples import load_examples
    from groupwise.framework.data.prompts import render_prompts
    from groupwise.framework.experiment.evaluate import evaluation_rubric
    from groupwise.framework.experiment.rehearsal import without_model

    with (
        without_model(config, terminal) as (config, tokenizer),
        evaluation_rubric(config) as rubric,
    ):
        with terminal.stage("Render the prompts") as stage:
            examples = load_examples(config.data, "train").examples
            prompts = render_prompts(examples, tokenizer, config.data.max_prompt_length)
            stage.summary = f"{len(prompts.examples)} prompts"
        with terminal.stage("Probe the rewards") as stage:
            proof = prove(
                rubric,
                prompts.examples,
                tokenize=_tokenize(tokenizer),
                max_tokens=config.training.max_completion_length,
                on_progress=lambda done, total: stage.update(done, total),
            )
            stage.summary = f"{len(proof.parts)} rewards on {proof.num_examples} examples"
    return _judge(config, rubric, prompts, proof)


def quick_check(config: ExperimentConfig, tokenizer: Any, rubric: Rubric) -> Preflight:
    """The same on a sample of the training data: what `train` does before it loads the model."""
    from groupwise.framework.data.examples import load_examples
    from groupwise.framework.data.prompts import render_prompts

    examples = load_examples(config.data, "train").examples
    few = [examples[i] for i in spread(len(examples), SAMPLE)]
    prompts = render_prompts(few, tokenizer, config.data.max_prompt_length)
    proof = prove(
        rubric,
        prompts.examples,
        tokenize=_tokenize(tokenizer),
        max_tokens=config.training.max_completion_length,
    )
    return _judge(config, rubric, prompts, proof)


def _tokenize(tokenizer: Any) -> Tokenize:
    def tokenize(texts: Sequence[str]) -> list[tuple[int, ...]]:
        if not any(texts):
            return [()] * len(texts)
        return [tuple(ids) for ids in tokenizer(list(texts), add_special_tokens=False).input_ids]

    return tokenize


def _judge(
    config: ExperimentConfig, rubric: Rubric, prompts: RenderedPrompts, proof: Proof
) -> Preflight:
    problems = [problem for part in proof.parts for problem in part.problems]
    problems += proof.problems
    notices = [
        *config_notices(config),
        *proof.notices,
        *_template_notices(config, rubric, prompts.examples[0]),
    ]
    if prompts.left_out:
        notices.append(str(prompts))
    limit = config.training.max_completion_length
    if too_long := sum(length > limit for length in proof.reference_lengths):
        notices.append(
            f"{too_long} of {len(proof.reference_lengths)} reference answers, written out in their "
            f"format, are longer than training.max_completion_length {limit} (up to "
            f"{max(proof.reference_lengths)} tokens): the model could not write them"
        )
    completions = config.training.prompts_per_step * config.training.num_generations
    return Preflight(
        prompts,
        str(config.training.batch_shape),
        limit,
        proof.seconds_per_completion * completions,
        completions,
        proof,
        tuple(problems),
        tuple(notices),
    )


def _template_notices(config: ExperimentConfig, rubric: Rubric, example: Example) -> list[str]:
    """A format that nobody asks the model for, and a thought that the template has closed."""
    notices = []
    system = config.data.system_prompt or ""
    if " ".join(system.split()) not in " ".join(example.prompt.split()):
        notices.append(
            "the chat template leaves data.system_prompt out: the model will not see it; put it "
            "in data.prompt_template instead"
        )
    for name, reward in rubric.rewards.items():
        if not isinstance(reward, Format) or reward.pattern is not None:
            continue
        tag = "\\boxed" if "boxed" in reward.template else "<answer>"
        tag = "<think>" if reward.template == "think" else tag
        if tag not in example.prompt and not config.training.warm_start.enabled:
            notices.append(
                f"reward {name!r} wants {tag}, but the prompt does not mention it and there is no "
                "warm start: the model has to find it by chance; ask for it in data.system_prompt"
            )
        closed = example.prompt.rstrip().endswith("</think>")
        if closed and "think" in reward.template:
            notices.append(
                f"reward {name!r} wants a thought, but the chat template has already closed one "
                "(</think>) in the prompt; turn the template's thinking on, or use template: answer"
            )
    return notices


# --- as text ---------------------------------------------------------------------------------


def preflight_table(found: Preflight) -> str:
    """For people: prompts, one row a reward, failures, problems, notices; ends in a newline."""
    proof = found.proof
    lines = [f"{found.prompts}"]
    for number, example in enumerate(found.prompts.examples[:SHOWN_PROMPTS], start=1):
        lines.append(
            f"prompt {number} (id {printable(example.id, limit=40)}), as the model sees it:"
        )
        lines += [f"    {printable(line)}" for line in example.prompt[:_SHOWN_CHARS].splitlines()]
        lines.append(f"    reference: {printable(example.answer, limit=200)}")
    lines += [
        "",
        f"rewards on {proof.num_examples} examples, mean value by answer; references are written "
        f"as {proof.template}",
        "",
        *_aligned(_rows(found)),
    ]
    noted: dict[str, list[str]] = {}
    for part in proof.parts:
        if part.note and not part.problems:
            noted.setdefault(part.note, []).append(printable(part.name, limit=30))
    lines += [f"{', '.join(names)}: {note}" for note, names in noted.items()]
    for part in proof.parts:
        lines += _failures(part)
    longest = max(proof.reference_lengths)
    lines += [
        "",
        f"lengths: prompts up to {found.prompts.longest_prompt} tokens, references in their format "
        f"up to {longest}, completions are cut off at {found.max_completion_length}",
        f"rewards of a step: about {_duration(found.step_seconds)} for {found.step_completions} "
        "completions",
        "",
    ]
    lines += [f"note: {printable(notice, lines=True)}" for notice in found.notices]
    lines += [f"PROBLEM: {printable(problem, lines=True)}" for problem in found.problems]
    if not found.problems:
        lines.append("Every reward does what it should on these data.")
    return "\n".join(lines) + "\n"


def _rows(found: Preflight) -> list[list[str]]:
    probes = list(found.proof.totals)
    heads = {"strange": "cut off", "wrong": "a wrong one"}
    rows = [["reward", "weight", *(heads.get(probe, probe) for probe in probes), "examples", ""]]
    for part in found.proof.parts:
        count = len(part.failures)
        verdict = f"{count} FAIL" if count else "PROBLEM" if part.problems else "ok"
        rows.append(
            [
                printable(part.name, limit=30),
                f"{part.weight:g}",
                *(_number(part.means[probe]) for probe in probes),
                str(part.num_examples),
                verdict,
            ]
        )
    total = [_number(found.proof.totals[probe]) for probe in probes]
    return [*rows, ["total", "", *total, str(min(SAMPLE, found.proof.num_examples)), ""]]


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    last = len(widths) - 1
    return [
        "   ".join(
            cell.ljust(width) if i in (0, last) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _failures(part: PartProof) -> list[str]:
    if not part.failures:
        return []
    lines = ["", f"{printable(part.name)} fails on {len(part.failures)} of {part.num_examples}:"]
    # Where everything fails the cause is a general one: one example shows it
    shown = 1 if len(part.failures) == part.num_examples else _SHOWN_FAILURES
    for failure in part.failures[:shown]:
        lines += [
            f"    {printable(failure.example_id, limit=40)}: {failure.what}",
            f"        question {failure.question}",
            f"        reference {failure.reference}",
        ]
    if (more := len(part.failures) - shown) > 0:
        ids = [printable(f.example_id, limit=40) for f in part.failures[shown:]]
        lines.append(f"    and {more} more: {', '.join(ids[:20])}{' …' if more > 20 else ''}")
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _part_json(part: PartProof) -> dict[str, Any]:
    return {
        "weight": part.weight,
        "examples": part.num_examples,
        "means": dict(part.means),
        "problems": list(part.problems),
        "note": part.note,
        "failures": [
            {"id": f.example_id, "question": f.question, "reference": f.reference, "what": f.what}
            for f in part.failures
        ],
    }
