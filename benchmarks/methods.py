"""Methods of training, from the same model and with the same answers, on the toy task.

    python -m benchmarks.methods [--seeds 0 1 2]

Writes benchmarks/results/methods.md. Each seed makes a toy base model, lets it answer 400 training
problems 8 times each, and trains the same fresh LoRA from there: offline on those 3,200 logged
answers, or online on as many answers of its own. The runs themselves measure held-out Pass@K.

Left out: times. Those of the toy say nothing about a real model.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from groupwise.evaluation import Comparison, compare, read_samples
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.data import toy
from groupwise.framework.data.scored_groups import export_groups
from groupwise.framework.experiment import run as experiment
from groupwise.framework.experiment.data import RunData, load_held_out
from groupwise.framework.experiment.evaluate import measure
from groupwise.framework.policy import load
from groupwise.framework.policy.unsloth import load_unsloth
from groupwise.framework.run.directory import RunDir, create_run_dir
from groupwise.framework.run.terminal import Terminal

RESULTS = Path(__file__).parent / "results" / "methods.md"
PROBLEMS, SAMPLES, EPOCHS, GROUPS_PER_STEP = 400, 8, 2, 16
LEARNING_RATE, MAX_TOKENS = 1e-3, 24


class Bench:
    """The model, the problems and the log of one seed, and the ways to train on them."""

    def __init__(self, folder: Path, seed: int) -> None:
        load_unsloth()
        self.folder, self.seed = folder, seed
        self.paths = toy.make_toy(folder / "toy", seed)
        config = self.config("log", data={"eval": str(self.paths.train)}, before=False)
        config = config.with_values({"data.max_eval_examples": PROBLEMS})
        policy = load(config.model, seed)
        run_dir = RunDir(folder / "log")
        problems = load_held_out(RunData(config), policy.tokenizer, Terminal(quiet=True))
        measure("base", config, policy, problems, run_dir, Terminal(quiet=True))
        self.log = run_dir.evaluation("base")
        self.groups = folder / "groups.jsonl"
        self.export = export_groups(self.log, self.groups)

    def config(
        self,
        name: str,
        training: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        before: bool = True,
    ) -> ExperimentConfig:
        """One run, alike in all but `training`."""
        optimiser = {
            "learning_rate": LEARNING_RATE,
            "lr_scheduler_type": "constant_with_warmup",
            "warmup_ratio": 0.05,
            "max_grad_norm": 1.0,
            "weight_decay": 0.0,
            "prompts_per_step": GROUPS_PER_STEP,
            "num_generations": SAMPLES,
            "completions_per_forward": GROUPS_PER_STEP * SAMPLES,
            "save_steps": 1000,
            "max_completion_length": MAX_TOKENS,
            "num_train_epochs": EPOCHS,
        }
        return ExperimentConfig.from_dict(
            {
                "name": name,
                "seed": self.seed,
                "output_dir": str(self.folder / "runs"),
                "model": {
                    "name": str(self.paths.model),
                    "max_seq_length": 128,
                    "dtype": "float32",
                    "load_in_4bit": False,
                    "use_gradient_checkpointing": False,
                },
                "data": {
                    "train": str(self.paths.train),
                    "eval": str(self.paths.eval),
                    "max_prompt_length": 64,
                    "max_train_examples": PROBLEMS,
                    **(data or {}),
                },
                "training": optimiser | (training or {}),
                "evaluation": {"num_samples": 8, "k": [1, 8], "before": before},
            }
        )

    def run(self, config: ExperimentConfig) -> experiment.Outcome:
        with create_run_dir(config) as run_dir:
            return experiment.run(config, run_dir, Terminal(quiet=True))

    def offline(self, loss: str, **group_scores: Any) -> experiment.Outcome:
        """`method: group_scores` on the log."""
        form = {"loss": loss, "sequence_logps": "mean" if loss == "advantage" else "sum"}
        training = {"method": "group_scores", "group_scores": form | group_scores}
        name = "-".join(["offline", loss, *map(str, group_scores.values())])
        return self.run(self.config(name, training, {"train": str(self.groups)}))

    def supervised(self, *, filtered: bool) -> experiment.Outcome:
        """SFT: on the toy's demonstrations, half of them wrong, or on the log's right answers."""
        warm_start: dict[str, Any] = {
            "enabled": True,
            "completion_field": "solution",
            "completion_template": "{solution}",
            "num_train_epochs": EPOCHS,
            "batch_size": 16,
            "learning_rate": LEARNING_RATE,
        }
        data: dict[str, Any] = {}
        if filtered:
            data = {"train": str(self._right_answers()), "max_train_examples": None}
        name = f"sft-{'filtered' if filtered else 'demonstrations'}"
        return self.run(self.config(name, {"method": "sft", "warm_start": warm_start}, data))

    def _right_answers(self) -> Path:
        questions = {
            str(row["question"]): row
            for row in map(json.loads, self.paths.train.read_text(encoding="utf-8").splitlines())
        }
        rows = []
        for sample in read_samples(self.log):
            if sample.correct:
                question = next(q for q in questions if f"\n{q}<" in sample.prompt)
                rows.append(questions[question] | {"solution": sample.completion})
        path = self.folder / "right.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    def online(self, answers: int) -> experiment.Outcome:
        """GRPO through TRL and Unsloth, on so many answers of its own."""
        steps = answers // (GROUPS_PER_STEP * SAMPLES)
        return self.run(self.config(f"online-{answers}", {"max_steps": steps}))

    def minimal(self) -> Comparison:
        """The page-long GRPO: one question in a step, as many answers as the log has."""
        import torch  # slow, all of these: not at start-up
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from groupwise.framework.minimal_grpo import MathDataset, MinimalGRPOTrainer

        torch.manual_seed(self.seed)
        trainer = MinimalGRPOTrainer(
            AutoModelForCausalLM.from_pretrained(self.paths.model),
            AutoTokenizer.from_pretrained(self.paths.model),
            num_generations=SAMPLES,
            max_completion_length=MAX_TOKENS,
            learning_rate=LEARNING_RATE,
        )
        for question, answer in list(MathDataset(self.paths.train))[:PROBLEMS]:
            trainer.train_step(question, answer)
        run_dir = RunDir(self.folder / "runs" / "minimal")
        trainer.model.save_pretrained(run_dir.final_model)
        trainer.tokenizer.save_pretrained(run_dir.final_model)
        config = self.config("minimal")
        for label, adapter in (("base", None), ("tuned", str(run_dir.final_model))):
            one = config.with_values({"model.adapter": adapter})
            policy = load(one.model, self.seed, for_training=False)
            problems = load_held_out(RunData(one), policy.tokenizer, Terminal(quiet=True))
            measure(label, one, policy, problems, run_dir, Terminal(quiet=True))
        return compare({label: run_dir.evaluation(label) for label in ("base", "tuned")}, ks=(1, 8))


def _compared(outcome: experiment.Outcome) -> Comparison:
    assert outcome.comparison is not None
    return outcome.comparison


# what is shown, what signal and answers it takes, and how it is run
METHODS: dict[str, tuple[str, Callable[[Bench], Comparison]]] = {
    "SFT, demonstrations": (
        "400 demonstrations, half of them wrong; 50 steps",
        lambda b: _compared(b.supervised(filtered=False)),
    ),
    "SFT, right answers of the log": (
        "the right ones of 3,200 logged answers; 2 passes",
        lambda b: _compared(b.supervised(filtered=True)),
    ),
    "offline groups, KL reverse": (
        "3,200 logged answers with scores; 2 passes",
        lambda b: _compared(b.offline("kl", kl_direction="reverse")),
    ),
    "offline groups, KL forward": (
        "3,200 logged answers with scores; 2 passes",
        lambda b: _compared(b.offline("kl")),
    ),
    "offline groups, advantage": (
        "3,200 logged answers with scores; 2 passes",
        lambda b: _compared(b.offline("advantage")),
    ),
    "minimal GRPO": ("3,200 answers of its own, in 400 steps", lambda b: b.minimal()),
    "online GRPO": (
        "3,200 answers of its own, in 25 steps",
        lambda b: _compared(b.online(3200)),
    ),
    "online GRPO, longer": (
        "12,800 answers of its own, in 100 steps",
        lambda b: _compared(b.online(12800)),
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in METHODS}
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder), seed)
            for name, (_, method) in METHODS.items():
                pair = method(bench).to_json()["pairs"][0]["pass_at_k"]
                rows[name].append({int(k): row for k, row in pair.items()})
                gain = rows[name][-1][1]["difference"]["value"]
                print(f"seed {seed}, {name}: {gain:+.3f}", file=sys.stderr, flush=True)
        done = arguments.seeds[: arguments.seeds.index(seed) + 1]
        text = table(rows, done)
        arguments.output.write_text(text, encoding="utf-8")  # after each seed: it takes a while
    print(text)
    return 0


def table(rows: dict[str, list[dict[str, Any]]], seeds: list[int]) -> str:
    """Markdown: the mean over seeds, and the gain of each seed with its interval."""
    versions = ", ".join(f"{n} {metadata.version(n)}" for n in ("torch", "trl", "unsloth", "peft"))
    lines = [
        "# Methods on the toy task",
        "",
        f"`python -m benchmarks.methods --seeds {' '.join(map(str, seeds))}`",
        "",
        f"{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}, "
        f"{versions}. All train the same LoRA from the same base model, without a warm start. "
        "Percent of 200 held-out problems, mean over the seeds; the gain of each seed with its "
        "95 % interval over problems, paired. Learning rate 1e-3 throughout; the defaults of the "
        "offline losses were chosen on seed 0. No times: the machine was shared, and a model of "
        "this size says nothing about them.",
        "",
        "| method | learns from | pass@1 | pass@8 | gain at pass@1, by seed |",
        "|---|---|---|---|---|",
    ]
    base = next(iter(rows.values()))
    lines.append(f"| base | | {_mean(base, 1, 'base')} | {_mean(base, 8, 'base')} | |")
    for name, found in rows.items():
        gains = ", ".join(_gain(row[1]["difference"]) for row in found)
        tuned = f"{_mean(found, 1, 'other')} | {_mean(found, 8, 'other')}"
        lines.append(f"| {name} | {METHODS[name][0]} | {tuned} | {gains} |")
    return "\n".join([*lines, ""])


def _mean(rows: list[dict[str, Any]], k: int, side: str) -> str:
    return f"{100 * statistics.fmean(row[k][side]['value'] for row in rows):.1f}"


def _gain(gain: dict[str, float]) -> str:
    low, high = 100 * gain["low"], 100 * gain["high"]
    return f"{100 * gain['value']:+.1f} [{low:+.1f}, {high:+.1f}]"


if __name__ == "__main__":
    sys.exit(main())
