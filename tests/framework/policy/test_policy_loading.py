"""Loading through Unsloth, saving for plain transformers, and messages for unusable models."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Toy
from policy_toys import answers_of, change_weights, plain_answers

from groupwise.framework.config import ModelConfig
from groupwise.framework.policy import Policy, load
from groupwise.framework.policy.folders import as_saved, base_of_adapter, check_model_folder
from groupwise.framework.policy.loading import compute_dtype
from groupwise.framework.policy.unsloth import adapter_precision
from groupwise.rewards.errors import UserError

stack = pytest.mark.stack

MODES: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora_4bit": {"load_in_4bit": True},
    "full": {"full_finetuning": True},
}


def loaded(toy: Toy, **settings: Any) -> Policy:
    return load(toy.model_config(**settings), seed=0)


@dataclass(frozen=True)
class Saved:
    """A policy that was changed and saved, and what it answered before and after the change."""

    policy: Policy
    folder: Path
    before: dict[str, list[Any]]
    after: dict[str, list[Any]]
    plain: dict[str, Any]


@pytest.fixture(scope="module")
def saved(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Saved]:
    """One of each mode, and the answers of plain transformers + peft to what was saved."""
    folder = tmp_path_factory.mktemp("saved")
    made = {}
    for mode, settings in MODES.items():
        policy = loaded(toy, **settings)
        before = answers_of(policy)
        change_weights(policy)
        policy.save(folder / mode)
        made[mode] = (policy, folder / mode, before, answers_of(policy))
    plain = plain_answers(toy.model, *(folder / mode for mode in MODES), cwd=folder)
    return {mode: Saved(*parts, plain=plain[mode]) for mode, parts in made.items()}


@stack
@pytest.mark.parametrize("mode", MODES)
def test_what_is_trained(toy: Toy, mode: str) -> None:
    import torch

    policy = loaded(toy, **MODES[mode])
    total = sum(p.numel() for p in policy.model.parameters())
    trainable = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
    quantised = [n for n, m in policy.model.named_modules() if "Linear4bit" in type(m).__name__]
    if mode == "full":
        assert not policy.is_adapter
        assert trainable == total
    else:
        assert policy.is_adapter
        assert 0 < trainable < total / 3
        trained = {n for n, p in policy.model.named_parameters() if p.requires_grad}
        assert all("lora_" in name for name in trained)
        assert len(trained) == 2 * 7 * 2  # A and B, of seven projections, in two layers
    assert bool(quantised) == (mode == "lora_4bit")
    assert compute_dtype(policy.model) == torch.float32
    assert {p.dtype for p in policy.model.parameters() if p.requires_grad} == {torch.float32}


@stack
@pytest.mark.parametrize("mode", MODES)
def test_what_is_saved_answers_the_same_without_unsloth(saved: dict[str, Saved], mode: str) -> None:
    it = saved[mode]
    assert it.after["answers"] != it.before["answers"]
    assert it.plain["answers"] == it.after["answers"]
    for plain, ours in zip(it.plain["logits"], it.after["logits"], strict=True):
        assert plain == pytest.approx(ours, abs=1e-3)
    assert it.plain["template"] == it.policy.tokenizer.chat_template
    assert it.plain["eos"] == "<|im_end|>"
    assert not list(it.folder.glob("*.bin")), "safetensors only"


@stack
@pytest.mark.parametrize("mode", MODES)
def test_what_is_saved_loads_again(toy: Toy, saved: dict[str, Saved], mode: str) -> None:
    it = saved[mode]
    again = load(as_saved(it.policy.config, it.folder), for_training=False)
    assert answers_of(again)["answers"] == it.after["answers"]
    assert base_of_adapter(it.folder) == (None if mode == "full" else str(toy.model))


@stack
def test_saving_replaces_what_was_there(toy: Toy, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "stale.txt").write_text("of another model")
    loaded(toy).save(folder)
    assert (folder / "adapter_model.safetensors").is_file()
    assert not (folder / "stale.txt").exists()


@stack
def test_adapter_weights_keep_their_precision(toy: Toy) -> None:
    """What TRL does to a quantised model's adapter when a trainer is built is undone."""
    import torch

    policy = loaded(toy, load_in_4bit=True)
    change_weights(policy)
    trained = [p for p in policy.model.parameters() if p.requires_grad]
    exact = [p.detach().clone() for p in trained]
    with adapter_precision(policy.model):
        for parameter in trained:
            parameter.data = parameter.data.to(torch.bfloat16)
    assert {p.dtype for p in trained} == {torch.float32}
    assert all(torch.equal(now, then) for now, then in zip(trained, exact, strict=True))


def _without(toy: Toy, folder: Path, *patterns: str) -> Path:
    shutil.copytree(toy.model, folder, ignore=shutil.ignore_patterns(*patterns))
    return folder


def _no_template(toy: Toy, folder: Path) -> Path:
    from transformers import AutoTokenizer

    _without(toy, folder, "chat_template*")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    return folder


def _other_folder(_: Toy, folder: Path) -> Path:
    folder.mkdir()
    (folder / "notes.txt").write_text("not a model")
    return folder


def _broken_weights(toy: Toy, folder: Path) -> Path:
    _without(toy, folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    return folder


# what is wrong: how the folder is made, further settings, what the user reads
BAD: dict[str, tuple[Callable[[Toy, Path], Path], dict[str, Any], str]] = {
    "missing folder": (
        lambda _, folder: folder,
        {},
        "model.name: no such folder: {folder}; if it has moved, say where it is: "
        "--set model.name=PATH",
    ),
    "no model": (
        _other_folder,
        {},
        "model.name: {folder} is not a model folder: it has neither config.json nor "
        "adapter_config.json",
    ),
    "no tokenizer": (
        lambda toy, folder: _without(toy, folder, "tokenizer*", "chat_template*"),
        {},
        "model.name: {folder} has no tokenizer (no tokenizer.json). Save one beside the weights: "
        "tokenizer.save_pretrained('{folder}')",
    ),
    "no chat template": (
        _no_template,
        {},
        "model.name: the tokenizer of {folder} has no chat template. Take the -Instruct version of "
        "the model, or set model.chat_template to a Jinja file.",
    ),
    "template file missing": (
        _without,
        {"chat_template": "chat.jinja"},
        "model.chat_template: there is no file chat.jinja",
    ),
    "8 bits without a GPU": (
        _without,
        {"load_in_8bit": True},
        "model.load_in_8bit: 8-bit weights need a GPU. Set model.load_in_8bit: false "
        "(model.load_in_4bit: true works on a CPU).",
    ),
    "vLLM without a GPU": (
        _without,
        {"fast_inference": True},
        "model.fast_inference: vLLM needs a GPU. Set model.fast_inference: false.",
    ),
    "adapter that is none": (
        _without,
        {"adapter": "{folder}"},
        "model.adapter: {folder} has no adapter_config.json: not a LoRA adapter",
    ),
    "weights that are none": (
        _broken_weights,
        {},
        "model.name: {folder} cannot be loaded: ",
    ),
}


@stack
@pytest.mark.parametrize("wrong", BAD)
def test_what_cannot_be_used_is_said(toy: Toy, tmp_path: Path, wrong: str) -> None:
    make, settings, message = BAD[wrong]
    folder = make(toy, tmp_path / "model")
    settings = {
        key: value.format(folder=folder) if isinstance(value, str) else value
        for key, value in settings.items()
    }
    config = replace(toy.model_config(), name=str(folder), **settings)
    with pytest.raises(UserError) as caught:
        load(config)
    said = str(caught.value)
    expected = message.format(folder=folder)
    assert said.startswith(expected) if message.endswith(": ") else said == expected


@stack
def test_what_the_hub_does_not_have_is_said() -> None:
    with pytest.raises(UserError, match=r"^model\.name: someone/some-model cannot be loaded: "):
        load(ModelConfig(name="someone/some-model"))


def test_a_hub_name_is_left_to_the_hub() -> None:
    check_model_folder(ModelConfig(name="someone/some-model"))
