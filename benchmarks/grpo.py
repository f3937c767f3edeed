"""GRPO steps beside stock TRL: seconds for each completion trained, and time to an accuracy.

    python -m benchmarks.grpo [--seeds 0 1 2 3 4] [--steps 60] [--repeats 2]

Writes benchmarks/results/grpo.md. Both sides train the same LoRA on the same warm-started toy model
with the same data, batch, learning rate, dtype and seed, in processes of their own, one after the
other and in turn (ours, TRL's, ours, ...). Of the repeats of a run, which train alike to the bit,
the fastest counts: what else a machine does only ever adds. TRL's side is `trl.GRPOTrainer` without
Unsloth, its defaults but for what has to be equal. Evaluation (200 held-out problems, 4 samples
each, the same code on both sides) happens between steps, and its time is taken out.

Two data sets, with the same model: `toy` as it is; `unsolvable`, where 30 % of the problems have an
answer that is never given, so that their groups have no variance. A third side, `resampling`, is
ours with dynamic sampling (`resample_rounds`), which TRL does not have.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.data import toy
from groupwise.framework.grpo_trainer import GRPOArguments, GRPOTrainer
from groupwise.framework.policy.unsloth import load_unsloth
from groupwise.rewards import build_rubric
from groupwise.rewards.types import Example

RESULTS = Path(__file__).parent / "results" / "grpo.md"
PROMPTS, GENERATIONS, MAX_TOKENS, LEARNING_RATE = 16, 8, 24, 1e-3
EVALUATE_EVERY, LEVEL = 2, 0.80
SIDES = ("ours", "trl", "resampling")
RESAMPLE_ROUNDS = 2
UNSOLVABLE_SHARE = 0.3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--data", choices=["toy", "unsolvable"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(
            arguments.worker, arguments.model, arguments.data, arguments.seeds[0], arguments.steps
        )
        return 0
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder))
        turns = [
            [run(side, model, data, seed, arguments.steps) for side in SIDES]
            for data in ("toy", "unsolvable")
            for seed in arguments.seeds
            for _ in range(arguments.repeats)
        ]
    groups = [turns[i : i + arguments.repeats] for i in range(0, len(turns), arguments.repeats)]
    runs = [fastest(same) for group in groups for same in zip(*group, strict=True)]
    text = table(runs, arguments)
    RESULTS.write_text(text, encoding="utf-8")
    print(text)
    return 0


def make_model(folder: Path) -> Path:
    """The toy model, trained on until it writes the tags: where GRPO starts in the quickstart."""
    train, _ = toy.make_problems(0)
    toy.TAGGED_SHARE = 1.0
    toy.make_model(folder / "model", train, seed=0)
    return folder / "model"


def run(side: str, model: Path, data: str, seed: int, steps: int) -> dict[str, Any]:
    """One training of one side, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.grpo", "--worker", side, "--model", str(model)]
    command += ["--data", data, "--seeds", str(seed), "--steps", str(steps)]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    result |= {"side": side, "data": data, "seed": seed}
    print(
        f"{data} seed {seed} {side:<5} {result['cpu_ms']:.2f} CPU ms a completion, pass@1 "
        f"{result['curve'][0][1]:.2f} -> {result['curve'][-1][1]:.2f}, "
        f"level after {result['level_seconds']} s",
        file=sys.stderr,
    )
    return result


def fastest(same: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of several times the same training: the fastest, by its processor time and by its clock."""
    accuracies = [[value for _, value in one["curve"]] for one in same]
    assert all(found == accuracies[0] for found in accuracies), (
        "the same training came out otherwise"
    )
    quickest = min(same, key=lambda one: float(one["wall_ms"]))
    return {**quickest, "cpu_ms": min(one["cpu_ms"] for one in same)}


def worker(side: str, model_folder: Path, data: str, seed: int, steps: int) -> None:
    """Trains one side and prints one JSON object as the last line."""
    if side != "trl":
        load_unsloth()
    else:
        os.environ["UNSLOTH_ZOO_DISABLE_GPU_INIT"] = "1"
    import torch  # slow, all of these, and not before Unsloth: not at start-up
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    projections = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(
        model, LoraConfig(r=16, lora_alpha=32, target_modules=projections, task_type="CAUSAL_LM")
    )
    train, held_out = examples(tokenizer, data)
    clock = Clock()

    class Evaluation(TrainerCallback):
        def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            if state.global_step % EVALUATE_EVERY == 0:
                clock.stop()
                clock.point(accuracy(model, tokenizer, held_out))
                clock.start()

    clock.point(accuracy(model, tokenizer, held_out))
    with tempfile.TemporaryDirectory() as folder:
        if side == "trl":
            trainer = stock(model, tokenizer, train, folder, seed, steps)
        else:
            rounds = RESAMPLE_ROUNDS if side == "resampling" else 0
            trainer = ours(model, tokenizer, train, folder, seed, steps, rounds)
        getattr(trainer, "trl_trainer", trainer).add_callback(Evaluation())
        clock.start()
        trainer.train()
        clock.stop()
    reached = [seconds for seconds, value in clock.curve if value >= LEVEL]
    print()
    print(
        json.dumps(
            {
                "cpu_ms": 1000 * clock.cpu / (steps * PROMPTS * GENERATIONS),
                "wall_ms": 1000 * clock.wall / (steps * PROMPTS * GENERATIONS),
                "curve": clock.curve,
                "level_seconds": round(reached[0], 2) if reached else None,
            }
        )
    )


class Clock:
    """Wall and processor seconds of training alone, and the accuracies reached by then."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self.curve: list[tuple[float, float]] = []

    def start(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self.wall += time.perf_counter() - self._wall
        self.cpu += time.process_time() - self._cpu

    def point(self, value: float) -> None:
        self.curve.append((self.wall, value))


def ours(
    model: Any,
    tokenizer: Any,
    train: list[Any],
    folder: str,
    seed: int,
    steps: int,
    resample_rounds: int = 0,
) -> Any:
    """This project's trainer, with the settings of TRL's side."""
    return GRPOTrainer(
        model,
        build_rubric({"correctness": 1.0, "format": 0.25}),
        GRPOArguments(
            seed=seed,
            output_dir=folder,
            use_gradient_checkpointing=False,
            max_steps=steps,
            prompts_per_step=PROMPTS,
            num_generations=GENERATIONS,
            completions_per_forward=PROMPTS * GENERATIONS,
            max_completion_length=MAX_TOKENS,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            warmup_ratio=0.0,
            max_grad_norm=1.0,
            weight_decay=0.0,
            adam_beta2=0.999,
            save_steps=10_000,
            resample_rounds=resample_rounds,
        ),
        train,
        tokenizer=tokenizer,
    )


def stock(model: Any, tokenizer: Any, train: list[Any], folder: str, seed: int, steps: int) -> Any:
    """TRL's trainer as it comes, with its own defaults where nothing has to be equal."""
    import trl  # slow, all of these: not at start-up
    from datasets import Dataset
    from unsloth_zoo.cpu.ops import patch_trl_fused_lm_head

    patch_trl_fused_lm_head()  # without a GPU, TRL 1.15 fails where triton is installed
    by_question = {example.prompt: example.answer for example in train}

    def correctness(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        return [
            float(text.endswith(f"<answer>{by_question[prompt]}</answer>"))
            for prompt, text in zip(prompts, completions, strict=True)
        ]

    def form(completions: list[str], **_: Any) -> list[float]:
        return [
            float(text.startswith("<think>") and text.endswith("</answer>")) for text in completions
        ]

    return trl.GRPOTrainer(
        model=model,
        reward_funcs=[correctness, form],
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([{"prompt": example.prompt} for example in train]),
        args=trl.GRPOConfig(
            output_dir=folder,
            seed=seed,
            max_steps=steps,
            per_device_train_batch_size=PROMPTS * GENERATIONS,
            num_generations=GENERATIONS,
            max_completion_length=MAX_TOKENS,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            reward_weights=[1.0, 0.25],
            bf16=False,  # the model is float32 on both sides
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
    )


def examples(tokenizer: Any, data: str) -> tuple[list[Any], list[Any]]:
    """Training problems and held-out ones with rendered prompts, the same on both sides."""

    def example(a: int, b: int) -> Any:
        message = {"role": "user", "content": toy.question(a, b)}
        prompt = tokenizer.apply_chat_template(
            [message], add_generation_prompt=True, tokenize=False
        )
        return Example(f"{a}+{b}", toy.question(a, b), str(a + b), (message,), prompt)

    train, held_out = toy.make_problems(0)
    problems = [example(a, b) for a, b in train]
    if data == "unsolvable":
        # An answer that is never given: the whole group is wrong, without variance.
        rng = random.Random(0)
        problems = [
            Example(p.id, p.question, "-1", p.messages, p.prompt)
            if rng.random() < UNSOLVABLE_SHARE
            else p
            for p in problems
        ]
    return problems, [example(a, b) for a, b in held_out]


def accuracy(model: Any, tokenizer: Any, held_out: list[Any]) -> float:
    """pass@1 from four samples of each held-out problem, drawn with the same numbers each time."""
    from groupwise.framework.sampling import make_sampler  # imports torch: not at start-up

    sampler = make_sampler(model, tokenizer, engine="slots")
    prompts = [Prompt(example.id, example.prompt) for example in held_out]
    drawn = sampler.sample(prompts, 4, SamplingParams(max_tokens=MAX_TOKENS, seed=1))
    right = sum(
        sample.text.endswith(f"<answer>{held_out[sample.prompt_index].answer}</answer>")
        for sample in drawn
    )
    return right / (4 * len(held_out))


def table(runs: list[dict[str, Any]], arguments: argparse.Namespace) -> str:
    def of(data: str, side: str) -> list[dict[str, Any]]:
        return [r for r in runs if r["data"] == data and r["side"] == side]

    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "trl", "peft"))
    lines = [
        "# GRPO beside stock TRL",
        "",
        f"`python -m benchmarks.grpo --seeds {' '.join(map(str, arguments.seeds))} "
        f"--steps {arguments.steps} --repeats {arguments.repeats}`",
        "",
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"{versions}, float32, LoRA r 16, {PROMPTS} prompts x {GENERATIONS} completions a step, "
        f"{arguments.steps} steps. Medians over seeds {arguments.seeds}, with the range; of "
        f"{arguments.repeats} runs of each the faster. `toy`: "
        f"the quickstart's problems; `unsolvable`: {UNSOLVABLE_SHARE:.0%} of them can never be "
        "solved: their groups have no variance from the first step on. `resampling`: ours, with "
        f"`resample_rounds: {RESAMPLE_ROUNDS}`; its completions are those trained on.",
        "",
        "| data | side | CPU ms a completion | wall ms a completion | pass@1 before -> after "
        f"| seconds to {LEVEL:.0%} |",
        "|---|---|---|---|---|---|",
    ]
    for data in ("toy", "unsolvable"):
        for side in SIDES:
            rows = of(data, side)
            reached = [r["level_seconds"] for r in rows if r["level_seconds"] is not None]
            level = _range(reached) + (f" ({len(reached)}/{len(rows)})" if reached else "never")
            before = statistics.median(r["curve"][0][1] for r in rows)
            after = statistics.median(r["curve"][-1][1] for r in rows)
            lines.append(
                f"| {data} | {side} | {_range([r['cpu_ms'] for r in rows])} "
                f"| {_range([r['wall_ms'] for r in rows])} "
                f"| {before:.2f} -> {after:.2f} | {level} |"
            )
    lines += [
        "",
        "| data | TRL beside | CPU a completion | time to accuracy, by seed |",
        "|---|---|---|---|",
    ]
    for data in ("toy", "unsolvable"):
        for side in ("ours", "resampling"):
            pairs = list(zip(of(data, side), of(data, "trl"), strict=True))
            cpu = statistics.median(t["cpu_ms"] / o["cpu_ms"] for o, t in pairs)
            ratios = [
                t["level_seconds"] / o["level_seconds"]
                for o, t in pairs
                if t["level_seconds"] and o["level_seconds"]
            ]
            said = f"{_range(ratios)} ({len(ratios)}/{len(pairs)})" if ratios else "-"
            lines.append(f"| {data} | {side} | {cpu:.2f}x | {said} |")
    lines += [
        "",
        "Goals, of ours: 1.5x CPU a completion (2x where 30 % have no variance), 2x to accuracy. "
        f"The level is looked for every {EVALUATE_EVERY} steps.",
        "",
    ]
    return "\n".join(lines)


def _range(values: list[float]) -> str:
    if not values:
        return ""
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


if __name__ == "__main__":
    sys.exit(main())
