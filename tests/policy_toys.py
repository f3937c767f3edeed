"""What a policy answers: in this process, and loaded by plain transformers and peft."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from conftest import run_python

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.policy import Policy, load
from groupwise.framework.run.directory import create_run_dir
from groupwise.framework.sampling import sampling_mode

PROMPTS = ["<|im_start|>user\n7+5=?<|im_end|>\n<|im_start|>assistant\n", "Hello, 3+4 ="]
NEW_TOKENS = 12

# Loads what was saved with transformers and peft alone, and says what it answers.
PLAIN = """
import json, sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

base, prompts, new_tokens, *folders = sys.argv[1:]
NF4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
                         bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32)
found = {}
for folder in folders:
    is_adapter = Path(folder, "adapter_config.json").is_file()
    options = {"quantization_config": NF4} if folder.endswith("4bit") else {}
    source = base if is_adapter else folder
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **options)
    if is_adapter:
        model = PeftModel.from_pretrained(model, folder)
    model.eval()
    for layer in model.modules():  # CPUs with AVX512 would compute 4-bit layers in bfloat16
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    tokenizer = AutoTokenizer.from_pretrained(folder)
    answers, logits = [], []
    with torch.no_grad():
        for prompt in json.loads(prompts):
            ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids),
                                 do_sample=False, max_new_tokens=int(new_tokens),
                                 pad_token_id=tokenizer.pad_token_id)
            answers.append(out[0, ids.shape[1]:].tolist())
            logits.append(model(input_ids=ids).logits[0, -1].tolist())
    found[Path(folder).name] = {"answers": answers, "logits": logits,
                                "template": tokenizer.chat_template, "eos": tokenizer.eos_token}
assert "unsloth" not in sys.modules
print(json.dumps(found))
"""


def change_weights(policy: Policy) -> None:
    """As training would: a fresh adapter adds nothing, so that losing it would go unseen."""
    import torch

    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))


def untrained_run(config: ExperimentConfig, folder: Path) -> Path:
    """A run of this config whose weights were changed at random, in place of a training."""
    config = replace(config, output_dir=str(folder))
    with create_run_dir(config) as run:
        policy = load(config.model, config.seed)
        change_weights(policy)
        policy.save(run.final_model)
    return run.path


def answers_of(policy: Policy) -> dict[str, list[Any]]:
    """Greedy tokens after each prompt, and the logits of the first of them."""
    import torch

    found: dict[str, list[Any]] = {"answers": [], "logits": []}
    with sampling_mode(policy.model), torch.no_grad():
        for prompt in PROMPTS:
            ids = policy.tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
            out = policy.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=NEW_TOKENS,
                pad_token_id=policy.tokenizer.pad_token_id,
            )
            found["answers"].append(out[0, ids.shape[1] :].tolist())
            found["logits"].append(policy.model(input_ids=ids).logits[0, -1].tolist())
    return found


def plain_answers(base: Path, *folders: Path, cwd: Path) -> dict[str, Any]:
    """The same of saved models and adapters, by their folders' names, without Unsloth."""
    arguments = (base, json.dumps(PROMPTS), str(NEW_TOKENS), *folders)
    found: dict[str, Any] = json.loads(run_python(PLAIN, *arguments, cwd=cwd))
    return found
