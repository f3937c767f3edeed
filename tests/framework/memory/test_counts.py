"""Parameters in closed form beside the real model on the meta device, kind by kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from model_families import FAMILIES as OTHER_FAMILIES
from model_families import config_of

from groupwise.framework.config import ModelConfig
from groupwise.framework.memory.architecture import read_architecture
from groupwise.framework.memory.families import FAMILIES, count
from groupwise.framework.memory.known import _KNOWN
from groupwise.framework.memory.meta import counts_of
from groupwise.framework.policy.targets import linear_layers, without_weights

pytestmark = pytest.mark.stack

TINY = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
TINY |= {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0}
VARIANTS: dict[str, dict[str, Any]] = {
    "tied": {"tie_word_embeddings": True},
    "untied": {"tie_word_embeddings": False},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "wide heads": {"head_dim": 48},
}


def on_meta(folder: Path, config: dict[str, Any]) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    model = without_weights(str(folder))
    assert model is not None
    return counts_of(model, {path for path, _ in linear_layers(model)})


def compare(folder: Path, config: dict[str, Any]) -> None:
    ours, real = count(config), on_meta(folder, config)
    assert ours is not None
    assert sorted(ours.linears, key=str) == sorted(real.linears, key=str)
    others = dict.fromkeys(real.others, 0) | dict(ours.others)
    assert others == real.others
    assert ours.widths | {"sliding_window": None} == real.widths | {"sliding_window": None}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_closed_form_counts_what_transformers_builds(
    family: str, variant: str, tmp_path: Path
) -> None:
    compare(tmp_path, {"model_type": family, **TINY, **VARIANTS[variant]})


@pytest.mark.parametrize("known", _KNOWN, ids="/".join)
def test_a_well_known_model_is_counted_as_transformers_builds_it(
    known: tuple[str, str], tmp_path: Path
) -> None:
    config = dict(_KNOWN[known])
    config.pop("rope_scaling", None)  # of no weight; its other keys are not in the table
    compare(tmp_path, config)


@pytest.mark.parametrize("family", [f for f in OTHER_FAMILIES if f not in FAMILIES])
def test_any_other_family_is_counted_on_the_meta_device_once(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    config_of(family).save_pretrained(folder)
    model = ModelConfig(name=str(folder))
    found = read_architecture(model)
    real = transformers.AutoModelForCausalLM.from_config(config_of(family))
    assert found.parameters == sum(p.numel() for p in real.parameters())
    adapted = dict(linear_layers(real))
    assert sum(linear.count for linear in found.linears if linear.adapts) == len(adapted)
    monkeypatch.setattr("groupwise.framework.memory.meta._count", None)
    assert read_architecture(model) == found
