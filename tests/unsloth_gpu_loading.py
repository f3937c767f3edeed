"""What loading does with Unsloth's GPU loader; run by itself, in emulation.

    python tests/gpu_emulation.py tests/unsloth_gpu_loading.py FOLDER

Prints one JSON object, by part. `tests/framework/policy/test_policy_unsloth.py` looks at it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bitsandbytes
import huggingface_hub.constants
import torch
import transformers
from sampling_toys import make_model, make_tokenizer
from unsloth_gpu_sampling import LENGTH, make_folder

from groupwise.framework.config import ModelConfig
from groupwise.framework.policy import Policy, load, loading
from groupwise.rewards.reward_model import LearnedReward

HUB_NAME = "unsloth/Qwen3-4B"  # that Unsloth has a quantised copy of


def config_of(folder: Path, **settings: Any) -> ModelConfig:
    config = ModelConfig(
        name=str(folder),
        max_seq_length=LENGTH,
        dtype="float32",
        load_in_4bit=False,
        lora_r=4,
        use_gradient_checkpointing=False,
    )
    return replace(config, **settings)


def trained_by(policy: Policy) -> dict[str, Any]:
    trained = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    return {
        "is_adapter": policy.is_adapter,
        "lora": sum("lora_" in name for name in trained),
        "others": sum("lora_" not in name for name in trained),
    }


def one_after_the_other(toy: Path) -> dict[str, Any]:
    """LoRA, full fine-tuning and LoRA again, in one process."""
    return {
        name: trained_by(load(config_of(toy, full_finetuning=full)))
        for name, full in (("first", False), ("full", True), ("again", False))
    }


def no_adapter(toy: Path) -> dict[str, str]:
    """What is said where Unsloth makes no adapter: the process is told to train all weights."""
    real = loading._with_new_adapter

    def told_otherwise(*arguments: Any) -> Any:
        os.environ["UNSLOTH_ENABLE_FULL_FINETUNING"] = "1"
        return real(*arguments)

    loading._with_new_adapter = told_otherwise
    try:
        load(config_of(toy))
    except RuntimeError as error:
        return {"said": str(error)}
    finally:
        loading._with_new_adapter = real
    return {"said": "nothing"}


def a_hub_name(toy: Path) -> dict[str, Any]:
    """A name in a cache of the hub, in 4 bits: that model, with every projection quantised."""
    cache = toy.parent / "hub"
    repository = cache / ("models--" + HUB_NAME.replace("/", "--"))
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(toy, repository / "snapshots" / ("0" * 40))
    huggingface_hub.constants.HF_HUB_CACHE = str(cache)
    policy = load(config_of(toy, name=HUB_NAME, load_in_4bit=True))
    quantised = [m for m in policy.model.modules() if type(m) is bitsandbytes.nn.Linear4bit]
    adapter: Any = policy.model.peft_config["default"]
    return {"quantised": len(quantised), "base": adapter.base_model_name_or_path}


def changed(toy: Path, name: str, file: str, **values: Any) -> Path:
    folder = toy.parent / name
    shutil.copytree(toy, folder)
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def failures(toy: Path) -> dict[str, list[str]]:
    """The type of what is raised, and its words."""
    adapter = toy.parent / "adapter"
    load(config_of(toy)).save(adapter)
    wide = toy.parent / "wide"
    make_model(hidden_size=96).save_pretrained(wide)
    shutil.copy(toy / "tokenizer.json", wide)
    moved = changed(adapter, "moved", "adapter_config.json", base_model_name_or_path=str(wide))
    broken = changed(toy, "broken", "config.json")
    (broken / "config.json").write_text("{")
    shapes = changed(toy, "shapes", "config.json", hidden_size=96)
    unknown = changed(toy, "unknown", "config.json", model_type="qwen99")

    def defect(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a defect of a program")

    cases: dict[str, Callable[[], Any]] = {
        "not on the hub": lambda: load(config_of(toy, name="someone/some-model")),
        "broken config": lambda: load(config_of(broken)),
        "other shapes": lambda: load(config_of(shapes)),
        "unknown type": lambda: load(config_of(unknown)),
        "another's adapter": lambda: load(config_of(wide, adapter=str(moved))),
        "no such layers": lambda: load(config_of(toy, target_modules=("nothing",))),
        # Without a card `load` refuses this before Unsloth is asked.
        "no vLLM": lambda: loading._from_pretrained(
            loading.load_unsloth(), config_of(toy, fast_inference=True), 0
        ),
        "a defect": lambda: load(config_of(toy)),
    }
    said = {}
    for name, case in cases.items():
        if name == "a defect":
            loading.load_unsloth().from_pretrained = staticmethod(defect)
        try:
            case()
            said[name] = ["", "loaded"]
        except Exception as error:
            said[name] = [type(error).__name__, str(error)]
    return said


def reward_models_on_the_cpu(toy: Path) -> dict[str, list[list[float]]]:
    """Scores by a plain model, before and after Unsloth has loaded its family, beside a card.

    The card is stood in for by torch's "meta" device: what is computed with its tables fails.
    """
    scaled = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0}
    scaled |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    families: dict[str, dict[str, Any]] = {
        "llama": {"rope_parameters": scaled},
        "mistral": {},
        "gemma": {},
    }
    scores: dict[str, list[list[float]]] = {}
    for family, changes in families.items():
        classifier_of(toy.parent / family, family, changes)
        scores[family] = [scores_of(toy.parent / family)]
    for family in families:
        load(config_of(make_folder(toy.parent / f"policy-{family}", family)))
    from unsloth.models.llama import _PerDeviceRopeCache

    def on_the_card(self: Any, index: int) -> None:
        table = torch.empty(self._rope_cache_rows(), self.dim, device="meta")
        self.multi_gpu_cos_cached[index] = self.multi_gpu_sin_cached[index] = table
        self._rope_cache_versions[index] = self._rope_cache_version

    _PerDeviceRopeCache._build_rope_cache = on_the_card
    for family in families:
        scores[family].append(scores_of(toy.parent / family))
    return scores


def classifier_of(folder: Path, family: str, changes: dict[str, Any]) -> None:
    plain = make_model(family, num_labels=1, **changes)
    torch.manual_seed(0)
    name = type(plain).__name__.replace("ForCausalLM", "ForSequenceClassification")
    getattr(transformers, name)(plain.config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def scores_of(folder: Path) -> list[float]:
    model = LearnedReward(str(folder), device="cpu")
    return model.compute_reward(["1 + 2 = ?", "What is 3?"], ["3", "a number"], ["", ""])


# The last one leaves a loader that fails.
PARTS = {
    part.__name__: part
    for part in (
        one_after_the_other,
        no_adapter,
        a_hub_name,
        reward_models_on_the_cpu,
        failures,
    )
}


def main(folder: str, *names: str) -> None:
    toy = make_folder(Path(folder) / "model")
    print("\n" + json.dumps({name: PARTS[name](toy) for name in names or PARTS}))


if __name__ == "__main__":
    main(*sys.argv[1:])
