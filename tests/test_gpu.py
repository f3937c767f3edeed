"""What only a GPU shows; skipped elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import lines

pytestmark = [
    pytest.mark.stack,
    pytest.mark.gpu,
    pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="needs an NVIDIA GPU"),
]


def test_training_runs_through_unsloths_own_trainer_in_4_bits(
    toy: Any, cli: Any, tmp_path: Path
) -> None:
    settings = toy.settings()
    settings["model"] |= {"load_in_4bit": True, "dtype": "auto"}
    Path("tiny.yaml").write_text(yaml.safe_dump(settings))
    ended = cli("train", "tiny.yaml")
    assert ended.code == 0, ended.err
    run = tmp_path / "runs" / "tiny"
    for line in lines(run / "metrics.jsonl"):
        assert line["memory/peak_gb"] > 0
        assert line["policy_loss"] is not None
    assert (run / "final_model" / "adapter_model.safetensors").is_file()


def test_the_trainer_is_unsloths() -> None:
    from groupwise.framework.grpo_trainer.trl_config import trl_classes

    trainer_class, _ = trl_classes()
    assert trainer_class.__name__.startswith("Unsloth")


def test_slots_and_generate_agree_on_the_gpu(toy: Any) -> None:
    """Greedy answers of the slot engine, token for token."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from groupwise.evaluation.sampler import Prompt, SamplingParams
    from groupwise.framework.sampling import make_sampler

    model = AutoModelForCausalLM.from_pretrained(toy.model, dtype=torch.float32).cuda()
    tokenizer = AutoTokenizer.from_pretrained(toy.model)
    prompts = [
        Prompt(str(n), f"<|im_start|>user\n{n}+7=?<|im_end|>\n<|im_start|>assistant\n")
        for n in range(16)
    ]
    params = SamplingParams(temperature=0.0, max_tokens=24)
    texts = {
        engine: {
            s.prompt_index: s.text
            for s in make_sampler(model, tokenizer, engine=engine).sample(prompts, 1, params)
        }
        for engine in ("slots", "generate")
    }
    assert texts["slots"] == texts["generate"]
