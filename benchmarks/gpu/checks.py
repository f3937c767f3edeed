"""Checks that need a card, or Unsloth's GPU code: run by tests/test_gpu.py and by the benchmark.

    python -m benchmarks.gpu.checks          # all of them, one after the other, in this process

Plain functions of a folder with the toy model: a bare machine has no pytest. They run in one
process on purpose: Unsloth's patches outlive the model that they were made for.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.gpu.model import best_dtype, device
from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.cli.main import main as groupwise
from groupwise.framework.data import toy as toy_module
from groupwise.framework.data.toy import ToyPaths
from groupwise.framework.grpo_trainer.trl_config import trl_classes
from groupwise.framework.policy.unsloth import load_unsloth
from groupwise.framework.sampling import make_sampler

PRETRAINING_STEPS = 60


def make_toy(folder: Path) -> ToyPaths:
    """The toy model, briefly pretrained, and its problems."""
    return toy_module.make_toy(folder, 0, steps=PRETRAINING_STEPS)


def training_in_4_bits(toy: ToyPaths, folder: Path) -> None:
    """`groupwise train` from a warm start to an adapter, in NF4, through Unsloth's trainers."""
    changes = {
        "name": "checked",
        "output_dir": str(folder),
        "model.name": str(toy.model),
        "model.max_seq_length": 96,
        "model.dtype": str(best_dtype()).removeprefix("torch."),
        "data.train": str(toy.train),
        "data.eval": str(toy.eval),
        "data.max_prompt_length": 48,
        "data.max_train_examples": 64,
        "data.max_eval_examples": 8,
        "training.warm_start.enabled": True,
        "training.warm_start.completion_field": "solution",
        "training.warm_start.completion_template": "{solution}",
        "training.warm_start.max_steps": 4,
        "training.max_steps": 3,
        "training.prompts_per_step": 4,
        "training.num_generations": 4,
        "training.completions_per_forward": 8,
        "training.max_completion_length": 24,
        "training.beta": 0.01,
        "evaluation.num_samples": 2,
        "evaluation.k": [1, 2],
    }
    config = folder / "checked.yaml"
    config.write_text("model: {name: toy}\ndata: {train: toy, eval: toy}\n", encoding="utf-8")
    settings = [word for key, value in changes.items() for word in ("--set", setting(key, value))]
    assert groupwise(["train", str(config), *settings]) == 0, "groupwise train failed"
    run = folder / "checked"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 3
    for line in lines:
        assert line["memory/peak_gb"] > 0 or device() == "cpu"
        assert line["policy_loss"] is not None
    assert (run / "final_model" / "adapter_model.safetensors").is_file()


def setting(key: str, value: object) -> str:
    return f"{key}={json.dumps(value)}"


def trainer_is_unsloths(_toy: ToyPaths, _folder: Path) -> None:
    trainer_class, _ = trl_classes()
    assert trainer_class.__name__.startswith("Unsloth"), trainer_class.__name__


def engines_agree_on_a_plain_model(toy: ToyPaths, _folder: Path) -> None:
    """Greedy answers of the slot engine and of `generate`, token for token.

    A model that Unsloth did not load. Once Unsloth has loaded one of its family, the classes keep
    its forward, behind a gate that is shut for this one.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer  # after Unsloth, which patches it

    model = AutoModelForCausalLM.from_pretrained(toy.model, dtype=torch.float32).to(device())
    tokenizer = AutoTokenizer.from_pretrained(toy.model)
    prompts = [
        Prompt(str(n), f"<|im_start|>user\n{n}+7=?<|im_end|>\n<|im_start|>assistant\n")
        for n in range(16)
    ]
    params = SamplingParams(temperature=0.0, max_tokens=24)
    texts = {
        engine: {
            made.prompt_index: made.text
            for made in make_sampler(model, tokenizer, engine=engine).sample(prompts, 1, params)
        }
        for engine in ("slots", "generate")
    }
    assert texts["slots"] == texts["generate"]


CHECKS = (training_in_4_bits, trainer_is_unsloths, engines_agree_on_a_plain_model)
"""In this order: the last one is of what the first one leaves behind."""


def run_checks(folder: Path) -> Iterator[tuple[str, str]]:
    """Each check's name and what went wrong: empty if nothing did."""
    load_unsloth()
    toy = make_toy(folder / "toy")
    for check in CHECKS:
        try:
            check(toy, folder)
        except Exception as error:  # noted, and the next one runs
            traceback.print_exc()
            yield check.__name__, f"{type(error).__name__}: {error}"
        else:
            yield check.__name__, ""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        found = dict(run_checks(Path(folder)))
    print(json.dumps(found))
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
