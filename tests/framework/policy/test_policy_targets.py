"""Which layers get an adapter, by family; what is said of it, and when none is found."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Toy, on_the_cpu_backend
from model_families import FAMILIES, config_of, make_family
from transformers import AutoModelForCausalLM

from groupwise.framework.config import ModelConfig
from groupwise.framework.config.schema import WarmStartConfig
from groupwise.framework.policy import Policy, load
from groupwise.framework.policy.targets import Targets, find_targets, plan
from groupwise.framework.trainers.sft import warm_start
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Example

pytestmark = pytest.mark.stack

Make = Callable[[str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder, kept = tmp_path_factory.mktemp("families"), dict[str, Path]()

    def make(family: str) -> Path:
        return kept.setdefault(family, make_family(folder / family, family))

    return make


def model_config(name: Path | str, **settings: Any) -> ModelConfig:
    base = {"load_in_4bit": False, "dtype": "float32", "lora_r": 4, "max_seq_length": 64}
    return ModelConfig(name=str(name), use_gradient_checkpointing=False, **{**base, **settings})


def on_meta(family: str, *target_modules: str) -> tuple[Any, Targets]:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(family))
    names = target_modules or ("all-linear",)
    return model, find_targets(model, model_config(family, target_modules=names))


@pytest.mark.parametrize("family", FAMILIES)
def test_all_linear_is_every_linear_layer_of_the_blocks(family: str) -> None:
    model, targets = on_meta(family)
    named = [path.rsplit(".", 1)[-1] for path in targets.layers]
    counts = ", ".join(f"{name} {named.count(name)}" for name in dict.fromkeys(named))
    assert counts == FAMILIES[family][2]
    assert targets.missing == ()
    if isinstance(pattern := targets.for_peft, str):
        paths = [path for path, _ in model.named_modules() if re.fullmatch(pattern, path)]
        assert paths == list(targets.layers)


GIVEN: dict[str, tuple[str, tuple[str, ...], list[str], tuple[str, ...]]] = {
    # family, given, names of the layers found, not found
    "the ends of paths": ("llama", ("self_attn.q_proj",), ["q_proj"] * 2, ()),
    "one block": ("llama", ("layers.1.mlp.up_proj",), ["up_proj"], ()),
    "some": ("opt", ("q_proj", "gate_proj", "fc1"), ["q_proj", "fc1"] * 2, ("gate_proj",)),
    "all and another": ("gpt2", ("all-linear", "lm_head"), ["c_attn", "c_proj", "c_fc"], ()),
    "as PEFT may have it": ("gpt2", ("ALL-LINEAR",), ["c_attn", "c_proj", "c_fc"], ()),
    "experts are no layers": ("qwen3_moe", ("q_proj", "up_proj"), ["q_proj"] * 2, ()),
    "no part of a name": ("llama", ("proj", "v_proj"), ["v_proj"] * 2, ("proj",)),
}


@pytest.mark.parametrize("name", GIVEN)
def test_names_that_a_user_gives(name: str) -> None:
    family, given, found, missing = GIVEN[name]
    _, targets = on_meta(family, *given)
    leaves = [path.rsplit(".", 1)[-1] for path in targets.layers]
    assert set(found) <= set(leaves)
    if "all" not in name.lower() and "PEFT" not in name:
        assert sorted(leaves) == sorted(found)
    assert targets.missing == missing


def test_layers_that_do_not_exist_are_refused_before_the_weights_are_read(made: Make) -> None:
    folder = made("gpt_neox")
    (folder / "model.safetensors").rename(folder / "elsewhere")
    try:
        with pytest.raises(UserError) as refused:
            load(model_config(folder, target_modules=("q_proj", "v_proj")))
    finally:
        (folder / "elsewhere").rename(folder / "model.safetensors")
    assert str(refused.value) == (
        f"model.target_modules: q_proj, v_proj: {folder} has no such layers. Its linear layers: "
        "query_key_value, dense, dense_h_to_4h, dense_4h_to_h. Name some of them, or take all with "
        "model.target_modules: all-linear."
    )


@pytest.mark.parametrize("family", ["gpt_neox", "lfm2", "gpt2", "opt", "phi3"])
def test_what_is_planned_is_what_is_adapted(made: Make, family: str) -> None:
    config = model_config(made(family))
    policy = load(config)
    assert str(policy.adapted) == str(plan(config))
    assert f"({FAMILIES[family][2]})" in str(policy.adapted)
    trained = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
    assert policy.adapted.trained == trained
    assert policy.adapted.notices == ()


def test_quantised_layers_are_adapted_and_counted_alike(toy: Toy) -> None:
    config = toy.model_config(load_in_4bit=True)
    assert str(load(config).adapted) == str(plan(config))


def test_what_is_not_found_or_not_adapted_is_said(made: Make) -> None:
    config = model_config(made("opt"), target_modules=("q_proj", "gate_proj"))
    said = (
        f"model.target_modules: {made('opt')} has no gate_proj; only q_proj are adapted. "
        "all-linear takes every linear layer that the model has",
    )
    assert plan(config).notices == load(config).adapted.notices == said  # type: ignore[union-attr]


@on_the_cpu_backend("on a GPU Unsloth adapts the experts of every family")
def test_experts_that_stay_as_they_are_are_counted(made: Make) -> None:
    (notice,) = load(model_config(made("mixtral"))).adapted.notices
    assert notice.startswith("the weights of the experts (196,608 of ")


def test_all_parameters_are_counted_with_full_finetuning(made: Make) -> None:
    config = model_config(made("opt"), full_finetuning=True)
    assert str(plan(config)) == str(load(config).adapted)
    assert str(plan(config)).startswith("all ")


def generated(policy: Policy) -> int:
    ids = torch.tensor([[5, 6, 7]])
    mask = torch.ones_like(ids)
    out = policy.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=4)
    return int(out.shape[1])


@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral"])
def test_a_mixture_of_experts_answers_after_a_warm_start(
    made: Make, family: str, tmp_path: Path
) -> None:
    """TRL's SFTTrainer leaves `output_router_logits` on, and Mixtral's own config has it."""
    policy = load(model_config(made(family)))
    assert generated(policy) > 3
    example = Example("1", "1+1=?", "2", prompt="1+1=?\n")
    demonstrations = [(example, "2")] * 4
    config = WarmStartConfig(max_steps=1, batch_size=2)
    warm_start(policy, demonstrations, config, seed=0, max_length=64, folder=tmp_path)
    assert generated(policy) > 3
