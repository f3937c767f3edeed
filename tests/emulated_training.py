"""Short trainings through whichever trainers there are; says what came of them, as JSON.

    python tests/gpu_emulation.py tests/emulated_training.py MODEL TRAIN OUT   Unsloth's, for a GPU
    python tests/emulated_training.py MODEL TRAIN OUT                          TRL's, as on a CPU

One process for all of them, because the import alone takes ten seconds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import Toy, lines
from grpo_toys import odd_problems_only, problems, trainer_for

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.data.scored_groups import ScoredCompletion, ScoredGroup
from groupwise.framework.policy import Policy, load
from groupwise.framework.run.directory import RunDir
from groupwise.framework.run.terminal import Terminal

KL = {
    "training.beta": 0.05,
    "training.max_steps": 3,
    "training.warmup_ratio": 0.0,
    "training.save_steps": 1,
    "training.max_completion_length": 12,
    "training.prompts_per_step": 2,
}


def warm(config: ExperimentConfig, folder: Path) -> Policy:
    """A policy after a warm start: its adapter is no longer that of the base model."""
    from groupwise.framework.trainers.sft import warm_start

    policy = load(config.model, config.seed)
    examples = problems(config, policy)[:32]
    warm_start(
        policy,
        [(example, f"<answer>{example.answer}</answer>") for example in examples],
        config.training.warm_start,
        seed=0,
        max_length=96,
        folder=folder,
    )
    return policy


def kl_after_a_warm_start(config: ExperimentConfig, out: Path) -> dict[str, Any]:
    """Twice the same model: the second training counts from where the first has ended."""
    config = config.with_values(KL)
    policy = warm(config, out / "warm")
    found: dict[str, Any] = {}
    for name in ("first", "second"):
        trainer = trainer_for(config, policy, out / name)
        trainer.train()
        found[name] = lines(out / name / "metrics.jsonl")
        found["trained"] = sorted(
            {n.split(".")[-2] for n, p in policy.model.named_parameters() if p.requires_grad}
        )
        checkpoint = out / name / "checkpoints" / "checkpoint-2"
        found["in the checkpoint"] = sorted(p.name for p in checkpoint.iterdir() if p.is_dir())
        if name == "first":  # as a user does who has stopped it: the same trainer goes on
            trainer.train(checkpoint)
            found["resumed by itself"] = lines(out / name / "metrics.jsonl")
    # As `run` does: the model as it was when the training began, and the checkpoint over it.
    again = warm(config, out / "warm again")
    trainer_for(config, again, out / "first").train(out / "first/checkpoints/checkpoint-2")
    found["resumed"] = lines(out / "first" / "metrics.jsonl")
    found["adapters"] = sorted(policy.model.peft_config)
    found["active"] = policy.model.active_adapters
    return found


def kl_of_a_fresh_adapter(config: ExperimentConfig, out: Path) -> dict[str, Any]:
    config = config.with_values(KL)
    policy = load(config.model, config.seed)
    trainer_for(config, policy, out).train()
    return {
        "lines": lines(out / "metrics.jsonl"),
        "adapters": sorted(policy.model.peft_config),
    }


def longest_first_with_a_kl(config: ExperimentConfig, out: Path) -> dict[str, Any]:
    """Prompts of different lengths, several completions a forward, an old and a reference pass."""
    config = config.with_values(
        KL
        | {
            "training.max_steps": 2,
            "training.save_steps": 2,
            "training.num_iterations": 2,
            "training.completions_per_forward": 4,
        }
    )
    found: dict[str, Any] = {}
    for tries in (False, True):
        config = config.with_values({"training.longest_first": tries})
        policy = warm(config, out / f"warm {tries}")
        examples = problems(config, policy)
        by_length = sorted(examples, key=lambda e: len(policy.tokenizer(e.prompt).input_ids))
        few = (by_length[0], by_length[-1])
        trainer = trainer_for(config, policy, out / str(tries), train_dataset=few)
        found[f"lengths {tries}"] = sorted(len(trainer.rollouts.prompt_ids(e.prompt)) for e in few)
        with shapes_of(trainer.trl_trainer) as found[f"shapes {tries}"]:
            trainer.train()
        found[f"lines {tries}"] = lines(out / str(tries) / "metrics.jsonl")
    return found


@contextmanager
def shapes_of(trl: Any) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """The shapes of each batch that the trainer below gets inside: of the trial, and of steps."""
    from groupwise.framework.grpo_trainer.trl_subclass import TRLTrainer

    made: dict[str, list[dict[str, Any]]] = {"trial": [], "step": []}
    below, in_trial = TRLTrainer.compute_loss, trl.try_forward

    def compute(self: Any, model: Any, inputs: Any, *more: Any) -> Any:
        made["step"].append({k: list(getattr(v, "shape", [])) for k, v in inputs.items()})
        return below(self, model, inputs, *more)

    def attempt(inputs: Any) -> None:
        in_trial(inputs)
        made["trial"].append(made["step"].pop())

    TRLTrainer.compute_loss, trl.try_forward = compute, attempt
    try:
        yield made
    finally:
        TRLTrainer.compute_loss = below


GROUPS = [
    ScoredGroup(
        f"<|im_start|>user\n{a}+1=?<|im_end|>\n<|im_start|>assistant\n",
        (
            ScoredCompletion(f"<answer>{a + 1}</answer>", 1.25),
            ScoredCompletion(f"{a}", 0.0),
            ScoredCompletion(f"{a + 2}", 0.1, finished=False),
        ),
    )
    for a in range(1, 7)
]


def scored_groups(config: ExperimentConfig, out: Path) -> dict[str, Any]:
    """In pieces that are recomputed, under Unsloth's checkpointing, and all at once without it."""
    found = {}
    for checkpointing, size in (("unsloth", 4), (False, 64)):
        config = config.with_values(
            {
                "model.use_gradient_checkpointing": checkpointing,
                "model.max_seq_length": 512,  # Unsloth takes its own checkpointing from there on
                "training.method": "group_scores",
                "training.warm_start.enabled": False,
                "training.completions_per_forward": size,
                "training.warmup_ratio": 0.0,
                "training.group_scores.logging_steps": 1,
            }
        )
        name = f"{checkpointing}, {size}"
        run_dir = RunDir(out / name)
        run_dir.path.mkdir(parents=True)
        policy = load(config.model, config.seed)
        # After the model is loaded, as in a run: loading it changes torch's functions.
        from groupwise.framework.trainers.group_scores import train_on_groups

        train_on_groups(config, policy, GROUPS, run_dir, Terminal(quiet=True))
        found[name] = lines(run_dir.metrics)
    return found


def precision(config: ExperimentConfig, out: Path) -> dict[str, Any]:
    """Of a float32 training that comes after one in float16 in the same process."""
    found = {}
    for dtype in ("float16", "float32"):
        config = config.with_values(KL | {"model.dtype": dtype})
        policy = load(config.model, config.seed)
        trainers = {
            # First: plain transformers takes over what an earlier trainer has left behind.
            "scored groups": group_trainer(config, policy, out / dtype),
            "GRPO": trainer_for(config, policy, out / dtype).trl_trainer,
            "SFT": supervised_trainer(config, policy, out / dtype),
        }
        for name, trainer in trainers.items():
            args = trainer.args
            numbers = {"fp16": args.fp16, "bf16": args.bf16, "mixed": args.mixed_precision}
            found[f"{name}, {dtype[-2:]}"] = numbers
    return found


def supervised_trainer(config: ExperimentConfig, policy: Policy, folder: Path) -> Any:
    from groupwise.framework.run.metrics import TrainingLog
    from groupwise.framework.trainers.sft import _trainer, tokenized

    rows = [tokenized(policy.tokenizer, example, "4") for example in problems(config, policy)[:4]]
    log = TrainingLog(folder / "metrics.jsonl")
    return _trainer(policy, rows, config.training.warm_start, 0, folder, log, [])


def group_trainer(config: ExperimentConfig, policy: Policy, folder: Path) -> Any:
    from groupwise.framework.policy.unsloth import plain_precision
    from groupwise.framework.trainers.common import training_dtype
    from groupwise.framework.trainers.group_scores import GroupScoreTrainer, arguments

    with plain_precision(training_dtype(policy.model)):
        made = arguments(config, policy, RunDir(folder))
        return GroupScoreTrainer(policy.model, made, GROUPS, policy.tokenizer)


def nothing_to_learn(example: Any, completion: Any) -> float:  # noqa: ARG001
    """Every group has a variance of zero."""
    return 1.0


SAVINGS = {
    "training.beta": 0.0,
    "training.max_steps": 2,
    "training.max_completion_length": 12,
    "training.prompts_per_step": 4,
    "training.completions_per_forward": 8,
}
LOSSES: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("dapo", "grpo", "bnpo", "dr_grpo", "sapo", "vespo")},
    "cispo": {"epsilon_high": 5.0},
    "luspo": {"importance_sampling_level": "sequence"},
}


def savings(config: ExperimentConfig, out: Path) -> dict[str, Any]:
    """The loss and gradient of a step, as this trainer makes it and as the one below it does."""
    from groupwise.framework.grpo_trainer.batching import sorted_batches
    from groupwise.framework.grpo_trainer.trl_subclass import TRLTrainer

    config = config.with_values(SAVINGS | {"training.num_iterations": 2, "training.save_steps": 2})
    policy = load(config.model, config.seed)
    trainer = trainer_for(config, policy, out, reward_funcs=[odd_problems_only])
    trainer.rollouts.open()
    trl = trainer.trl_trainer
    trl.current_gradient_accumulation_steps = trl.args.gradient_accumulation_steps
    rows = next(iter(trl.get_train_dataloader()))
    counts = tokens_of_the_layers(policy)
    found: dict[str, Any] = {}
    for masks in (False, True):
        trl.mask_truncated_completions = masks
        trl._buffered_inputs = None
        policy.model.train()
        counts.clear()
        TRLTrainer._prepare_inputs(trl, rows)
        if not masks:
            # Of the sampling, one token or prompt at a time, nothing is as wide as the batch.
            found["old"] = old_log_probs(trl, trl._buffered_inputs)
        nudge(
            policy
        )  # the policy is no longer the one that has sampled, so some tokens are clipped
        batches = trl._buffered_inputs
        for loss_type, changes in LOSSES.items():
            for key, value in {**DEFAULTS, **changes, "loss_type": loss_type}.items():
                setattr(trl, key, value)
                setattr(trl.args, key, value)
            steps = []
            sort = sorted_batches(batches)
            # The clip ratio is a mean over forwards, and bnpo's loss, too: they depend on which
            # rows are together.
            stock = batches if loss_type != "bnpo" else sort
            for made, compute in (
                (stock, TRLTrainer.compute_loss),
                (sort, TRLTrainer.compute_loss),
                (sort, type(trl).compute_loss),
            ):
                counts.clear()
                steps.append((*step_of(trl, made, compute), sum(counts)))
            theirs, _, ours = steps
            pairs = list(zip(theirs[1], ours[1], strict=True))
            found[f"{loss_type}, {masks}"] = {
                "loss": [theirs[0], ours[0]],
                "gradient": max(float(g.abs().max()) for g in theirs[1]),
                "apart": max(float((a - b).abs().max()) for a, b in pairs),
                "clipped": [steps[1][2], ours[2]],
                "tokens": {"theirs": theirs[3], "ours": ours[3]},
            }
    trainer.rollouts.close()
    return found


DEFAULTS = {"epsilon_high": 0.2, "importance_sampling_level": "token"}


def tokens_of_the_layers(policy: Policy) -> list[int]:
    """A list that gets the tokens of each forward through the first decoder layer."""
    counts: list[int] = []

    def count(_layer: Any, inputs: Any, named: Any) -> None:
        hidden = inputs[0] if inputs else named["hidden_states"]  # (B, T, H)
        counts.append(hidden.shape[0] * hidden.shape[1])

    layer = policy.model.get_base_model().model.layers[0]
    layer.register_forward_pre_hook(count, with_kwargs=True)
    return counts


def step_of(trl: Any, batches: list[Any], compute: Any) -> tuple[float, list[Any], float | None]:
    """Loss, gradients and clip ratio of all forwards of a step."""
    trl.model.zero_grad(set_to_none=True)
    trl._metrics["train"].clear()
    loss = 0.0
    for batch in batches:
        part = compute(trl, trl.model, dict(batch))
        loss += float(part.detach())
        trl.accelerator.backward(part)
    gradients = [p.grad.clone() for p in trl.model.parameters() if p.requires_grad]
    clipped = trl._metrics["train"].get("clip_ratio/region_mean")
    return loss, gradients, sum(clipped) / len(clipped) if clipped else None


def old_log_probs(trl: Any, batches: list[Any]) -> dict[str, Any]:
    """The sampler's, as this trainer gives them to the one below, and that one's own forward."""
    import torch

    from groupwise.framework.grpo_trainer.trl_subclass import TRLTrainer

    apart, tokens = 0.0, 0
    for batch in batches:
        ids, mask = (
            torch.cat([batch[f"prompt_{k}"], batch[f"completion_{k}"]], dim=1)
            for k in ("ids", "mask")
        )
        with torch.no_grad():
            own, *_ = TRLTrainer._get_per_token_logps_and_entropies(
                trl, trl.model, ids, mask, batch["completion_ids"].shape[1]
            )
        drawn = batch["old_per_token_logps"]
        # Unsloth's have as many columns more as the shortest prompt of their batch is shorter.
        drawn, own = drawn[:, -own.shape[1] :], own[:, -drawn.shape[1] :]
        there = drawn != 0
        apart = max(apart, float((drawn - own)[there].abs().max()))
        tokens += int(there.sum())
    wanted = sum(int(batch["completion_mask"].sum()) for batch in batches)
    return {"apart": apart, "tokens": tokens, "completion tokens": wanted}


def nudge(policy: Policy) -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    for _, parameter in trained(policy):
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)


def all_skipped(config: ExperimentConfig, out: Path) -> dict[str, Any]:
    config = config.with_values(SAVINGS)
    policy = load(config.model, config.seed)
    trainer_for(config, policy, out, reward_funcs=[nothing_to_learn]).train()
    return {"lines": lines(out / "metrics.jsonl")}


def trained(policy: Policy) -> list[tuple[str, Any]]:
    return [(n, p) for n, p in policy.model.named_parameters() if p.requires_grad]


SCENARIOS = {
    "precision": precision,
    "savings": savings,
    "all skipped": all_skipped,
    "KL after a warm start": kl_after_a_warm_start,
    "KL of a fresh adapter": kl_of_a_fresh_adapter,
    "longest first": longest_first_with_a_kl,
    "scored groups": scored_groups,
}


def train_all(model: Path, train: Path, out: Path, names: list[str]) -> dict[str, Any]:
    config = Toy(model, train, train).config()
    return {name: SCENARIOS[name](config, out / name) for name in names or SCENARIOS}


if __name__ == "__main__":
    model, train, out, *names = sys.argv[1:]
    print("\n" + json.dumps(train_all(Path(model), Path(train), Path(out), names)))
