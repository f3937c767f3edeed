"""What a GRPO step passes through the model under Unsloth's trainer: this project's, and stock.

    python -m benchmarks.unsloth_savings     writes benchmarks/results/unsloth_savings.md

Forwards and tokens of the first decoder layer, counted in a training step at 0, 30 and 60 % of
groups without variance. Unsloth's GPU code runs on CPU tensors (tests/gpu_emulation.py): what it
computes is counted, not how fast. Sampling is left out, so both sides get the same completions
and rewards, made up beforehand with a long tail of lengths; all of each side runs in one process.

Left out: real rewards, and the old log-probabilities' values (a made-up completion has none; how
many forwards they take does not depend on them).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from groupwise.evaluation.sampler import Prompt, SampledCompletion, SamplingParams
from groupwise.framework.data.toy import make_problems, make_toy

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "unsloth_savings.md"
PROMPTS, GENERATIONS, PER_FORWARD, LONGEST = 10, 8, 16, 96
DEAD = (0, 30, 60)  # % of groups without variance
SETTINGS: dict[str, dict[str, Any]] = {
    "one iteration": {"beta": 0.0},
    "two iterations": {"beta": 0.0, "num_iterations": 2, "save_steps": 2},
    "with a KL": {"beta": 0.04},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--dry-run", action="store_true", help="print the table, do not write it")
    parser.add_argument("--worker", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        runs = all_runs(Path(arguments.worker), arguments.steps, arguments.settings)
        print("\n" + json.dumps(runs))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        how = ["--steps", str(arguments.steps), "--settings", *arguments.settings]
        worker = ["-m", "benchmarks.unsloth_savings", "--worker", folder, *how]
        done = subprocess.run(
            [sys.executable, ROOT / "tests" / "gpu_emulation.py", *worker],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    text = table(json.loads(done.stdout.splitlines()[-1]), arguments.steps, arguments.settings)
    if arguments.dry_run:
        print(text)
    else:
        RESULTS.write_text(text, encoding="utf-8")
    return 0


def completion(tokenizer: Any, step: int, problem: int, index: int) -> list[int]:
    """Token ids of one made-up completion: the lengths of real answers have a long tail."""
    draws = np.random.default_rng([step, problem, index])
    length = int(np.clip(draws.lognormal(3.0, 0.6), 4, LONGEST))
    words = draws.integers(5, 60, length - 1).tolist()
    return [*words, int(tokenizer.eos_token_id)]


class MadeUp:
    """A sampler whose completions are made up: the same ones for both sides."""

    name = "made up"

    def __init__(self, tokenizer: Any, numbers: dict[str, int]) -> None:
        self.tokenizer, self.numbers, self.calls = tokenizer, numbers, 0

    def sample(
        self, prompts: Sequence[Prompt], num_samples: int, params: SamplingParams
    ) -> Iterator[SampledCompletion]:
        step, self.calls = self.calls, self.calls + 1
        for place, prompt in enumerate(prompts):
            for index in range(num_samples):
                ids = completion(self.tokenizer, step, self.numbers[prompt.text], index)
                logprobs = (-1.0,) * len(ids) if params.logprobs else None
                text = str(index)  # which the reward reads
                yield SampledCompletion(place, index, text, tuple(ids), "stop", logprobs)

    def rollout(self, prompts: list[str], _trainer: Any) -> dict[str, Any]:
        """The same as TRL's `rollout_func`."""
        step, self.calls = self.calls, self.calls + 1
        ids = self.tokenizer(prompts, add_special_tokens=False)["input_ids"]
        made = [
            completion(self.tokenizer, step, self.numbers[prompt], row % GENERATIONS)
            for row, prompt in enumerate(prompts)
        ]
        return {"prompt_ids": ids, "completion_ids": made, "logprobs": None}


def all_runs(folder: Path, steps: int, settings: Sequence[str]) -> list[dict[str, Any]]:
    """In emulation: every setting, share and side."""
    paths = make_toy(folder / "toy", 0, with_model=False)
    train, _ = make_problems(0)
    from groupwise.framework.data.toy import make_model

    make_model(paths.model, train, 0, steps=1)  # which tokens pass does not depend on weights
    runs = []
    for setting in settings:
        values = SETTINGS[setting]
        for dead in DEAD:
            for side in ("ours", "stock"):
                where = folder / f"{setting} {dead} {side}"
                counted = one_run(paths, where, side, dead, steps, values)
                runs.append({"setting": setting, "dead": dead, "side": side, **counted})
    return runs


def one_run(
    paths: Any, where: Path, side: str, dead: int, steps: int, values: dict[str, Any]
) -> dict[str, Any]:
    from groupwise.framework.config import ModelConfig
    from groupwise.framework.grpo_trainer import GRPOArguments
    from groupwise.framework.policy import load

    model = ModelConfig(
        name=str(paths.model), max_seq_length=192, dtype="float32", load_in_4bit=False, lora_r=8
    )
    policy = load(model)
    args = GRPOArguments(
        output_dir=str(where),
        use_gradient_checkpointing=False,
        max_steps=steps,
        prompts_per_step=PROMPTS,
        num_generations=GENERATIONS,
        completions_per_forward=PER_FORWARD,
        max_completion_length=LONGEST,
        longest_first=True,  # as on a GPU
        **values,
    )
    questions = [f"{'1+' * (3 * n)}{n}=?" for n in range(PROMPTS)]  # of different lengths
    rows = [{"question": question, "answer": str(n)} for n, question in enumerate(questions)]
    from groupwise.framework.grpo_trainer.inputs import as_examples

    examples = as_examples(rows, policy.tokenizer)
    numbers = {example.prompt: n for n, example in enumerate(examples)}
    made_up = MadeUp(policy.tokenizer, numbers)
    num_dead = PROMPTS * dead // 100

    def score(number: int, index: int) -> float:
        is_dead = 7 * number % PROMPTS < num_dead  # not the shortest prompts alone
        return 0.0 if is_dead else float(index % 2)

    counts = Counts(policy.model)
    train = ours if side == "ours" else stock
    train(policy, args, examples, made_up, score, counts)
    return counts.per_step(steps)


def ours(
    policy: Any, args: Any, examples: Any, made_up: MadeUp, score: Any, counts: Counts
) -> None:
    from groupwise.framework.grpo_trainer import GRPOTrainer

    def reward(example: Any, completion: Any) -> float:
        return float(score(int(example.answer), int(completion.text)))

    trainer = GRPOTrainer(policy, [reward], args, examples, sampler=made_up)
    trainer.trl_trainer.add_callback(counts.callback())
    trainer.train()


def stock(
    policy: Any, args: Any, examples: Any, made_up: MadeUp, score: Any, counts: Counts
) -> None:
    """Unsloth's trainer itself, with the same settings."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from groupwise.framework.grpo_trainer.trl_config import trl_arguments

    def reward(prompts: list[str], completions: list[Any], **_: Any) -> list[float]:
        del completions
        return [
            score(made_up.numbers[prompt], row % GENERATIONS) for row, prompt in enumerate(prompts)
        ]

    shape = args.training_config().batch_shape
    trainer = GRPOTrainer(
        model=policy.model,
        reward_funcs=[reward],
        args=GRPOConfig(**trl_arguments(args, shape, policy.model)),
        train_dataset=Dataset.from_list([{"prompt": example.prompt} for example in examples]),
        processing_class=policy.tokenizer,
        rollout_func=made_up.rollout,
        callbacks=[counts.callback()],
    )
    assert type(trainer).__name__ == "UnslothGRPOTrainer"
    trainer.train()


class Counts:
    """Forwards and tokens of the first decoder layer, with and without a gradient."""

    def __init__(self, model: Any) -> None:
        self.kinds = {"before": [0, 0], "gradient": [0, 0], "other": [0, 0]}
        self.is_before = True
        layer = model.get_base_model().model.layers[0]
        layer.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _layer: Any, inputs: Any, named: Any) -> None:
        import torch

        hidden = inputs[0] if inputs else named["hidden_states"]  # (B, T, H)
        kind = "gradient" if torch.is_grad_enabled() else "other"
        found = self.kinds["before" if self.is_before else kind]
        found[0] += 1
        found[1] += hidden.shape[0] * hidden.shape[1]

    def callback(self) -> Any:
        from transformers import TrainerCallback

        counts = self

        class FirstStep(TrainerCallback):  # type: ignore[misc]
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                counts.is_before = False

        return FirstStep()

    def per_step(self, steps: int) -> dict[str, Any]:
        forwards, tokens = self.kinds["before"]
        found: dict[str, Any] = {"before": [forwards, tokens]}
        for kind in ("gradient", "other"):
            forwards, tokens = self.kinds[kind]
            found[kind] = [forwards / steps, tokens / steps]
        return found


def table(runs: list[dict[str, Any]], steps: int, settings: Sequence[str]) -> str:
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("unsloth", "unsloth_zoo", "trl", "torch")
    )
    of = {(run["setting"], run["dead"], run["side"]): run for run in runs}
    lines = [
        "# A GRPO step under Unsloth's trainer",
        "",
        f"`python -m benchmarks.unsloth_savings --steps {steps} --settings "
        + " ".join(f'"{setting}"' for setting in settings)
        + "`",
        "",
        f"Unsloth's GPU code in emulation on a CPU, float32; {versions}. {PROMPTS} prompts x "
        f"{GENERATIONS} completions a step, {PER_FORWARD} completions a forward, made-up "
        f"completions of 4 to {LONGEST} tokens, the same for both sides. Means over {steps} "
        "steps, of the first decoder layer. With a gradient: a forward and a backward. Without: "
        "Unsloth's check of its packing, whenever a batch is longer than any before; old "
        "log-probabilities (two iterations); the reference's (with a KL). Before the first step, "
        "ours tries the longest batch for its memory, which makes that check once.",
        "",
        "| setting | groups without variance | side | forwards with a gradient "
        "| their tokens | forwards without | their tokens | tokens, of stock's "
        "| before the first step |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for setting in settings:
        for dead in DEAD:
            for side in ("ours", "stock"):
                run, beside = of[setting, dead, side], of[setting, dead, "stock"]
                share = _tokens(run) / _tokens(beside)
                lines.append(
                    f"| {setting} | {dead} % | {side} | {run['gradient'][0]:.1f} "
                    f"| {run['gradient'][1]:,.0f} | {run['other'][0]:.1f} "
                    f"| {run['other'][1]:,.0f} | {share:.0%} "
                    f"| {run['before'][0]} forwards, {run['before'][1]:,} tokens |"
                )
    lines += [
        "",
        "Left out are forwards, and rows of a forward, whose advantages are all zero; and the pass "
        "for old log-probabilities, which in float32 are the sampler's. Losses and gradients are "
        "those of stock Unsloth up to rounding "
        "(`tests/framework/grpo_trainer/test_emulated_trainer.py`). With a KL every completion has "
        "a gradient: those forwards, and the reference's, are as many as stock's. The difference "
        "that remains there is the check, as at one iteration.",
        "",
    ]
    return "\n".join(lines)


def _tokens(run: dict[str, Any]) -> float:
    """Tokens of a step, a backward counted as two forwards."""
    return float(3 * run["gradient"][1] + run["other"][1])


if __name__ == "__main__":
    sys.exit(main())
