"""The memory of a real GRPO training of a random model on a CPU, as the process has it.

    python -m benchmarks.memory_peak FOLDER FAMILY     # in a fresh process; prints one JSON object

Two steps of the real trainer and engine. The kernel's own high-water mark of the process is read
and reset after sampling and after each step, and what the process had after its imports is taken
off. Large blocks are to go back to the system when they are freed (`ENVIRONMENT`): glibc would keep
them, in pieces, and what it holds then says nothing of what the step needs.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from groupwise.framework.config import ExperimentConfig

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
PROMPT, COMPLETION, ROWS = 64, 64, 8
_COMMON = {"vocab_size": 8192, "max_position_embeddings": 1024, "pad_token_id": 0}
SHAPES: dict[str, dict[str, Any]] = {
    # Half of SmolLM2-135M's layers, a quarter of Qwen3-0.6B's.
    "llama": {
        **{"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 15},
        **{"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True},
    },
    "qwen3": {
        **{"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 7},
        **{"num_attention_heads": 16, "num_key_value_heads": 8, "tie_word_embeddings": True},
    },
}


def config_for(folder: Path, family: str, **changes: Any) -> ExperimentConfig:
    """The run that is measured, and planned: `FOLDER/FAMILY` is its model."""
    values = {
        "output_dir": str(folder / f"{family}-run"),
        "model": {
            "name": str(folder / family),
            "dtype": "float32",
            "load_in_4bit": False,
            "use_gradient_checkpointing": False,
        },
        "data": {"train": "none.jsonl", "max_prompt_length": PROMPT},
        "training": {
            "prompts_per_step": 2,
            "num_generations": ROWS // 2,
            "completions_per_forward": ROWS,
            "max_completion_length": COMPLETION,
            "max_steps": 2,
            "sampler": "slots",
            "longest_first": False,
        },
        "evaluation": {"before": False, "after": False},
    }
    return ExperimentConfig.from_dict(values, list(changes.items()))


def make_model(folder: Path) -> None:
    """A random model whose tokenizer has a token for each letter."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    letters = ["<pad>", "<end>", "<unknown>", *"abcdefghijklmnopqrstuvwxyz"]
    words = models.WordLevel({word: i for i, word in enumerate(letters)}, unk_token="<unknown>")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        folder.name, **_COMMON, **SHAPES[folder.name], eos_token_id=1, bos_token_id=None
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", unk_token="<unknown>"
    )
    fast.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    fast.save_pretrained(folder)


def measured(folder: Path, family: str) -> dict[str, int]:
    """Bytes at the peaks of sampling and of training, of a fresh process. Makes the model."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory_peak", str(folder), family],
        cwd=ROOT, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


class Watch:
    """The process' high-water mark, by what it did since the last look."""

    def __init__(self) -> None:
        self.peaks = {"generation": 0, "training": 0}
        self.before = self._bytes("VmRSS")

    def reset(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the kernel's documented way (proc(5))

    def look(self, phase: str) -> None:
        self.peaks[phase] = max(self.peaks[phase], self._bytes("VmHWM") - self.before)
        self.reset()

    @staticmethod
    def _bytes(key: str) -> int:
        found = re.search(rf"^{key}:\s+(\d+)", Path("/proc/self/status").read_text(), re.M)
        assert found is not None
        return 1024 * int(found[1])


def main(folder: Path, family: str) -> None:
    from groupwise.framework.policy.unsloth import load_unsloth

    load_unsloth()  # before what it patches
    from transformers import TrainerCallback

    from groupwise.framework.grpo_trainer import GRPOArguments, GRPOTrainer, trl_subclass
    from groupwise.framework.policy import load
    from groupwise.rewards.types import Example

    assert trl_subclass.IS_STOCK
    if not (folder / family).is_dir():
        make_model(folder / family)
    config = config_for(folder, family)
    rng = random.Random(0)
    prompts = ["".join(rng.choices("abcdefgh", k=PROMPT)) for _ in range(4)]
    examples = [
        Example(id=str(i), question=text, answer="1", prompt=text) for i, text in enumerate(prompts)
    ]
    watch = Watch()

    def reward(example: Any, completion: Any) -> float:  # noqa: ARG001 (names say what is passed)
        watch.look("generation")
        return rng.random()

    class AfterStep(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch.look("training")

    arguments = GRPOArguments(
        config.training, output_dir=config.output_dir, use_gradient_checkpointing=False
    )
    policy = load(config.model)
    trainer = GRPOTrainer(policy, [reward], arguments, examples, callbacks=[AfterStep()])
    watch.reset()
    trainer.train()
    print("\n" + json.dumps(watch.peaks))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
