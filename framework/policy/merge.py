"""An earlier adapter merged into its base model, so that a new one can be trained on top of it.

    model = merged(config.model, folder)    # the config that loads the merged base model

PEFT merges on the CPU, in 16 bits or more, into weights that were never quantised: merging into
4 bits would round them twice. Left out: base models that exist only in quantised form; they are
refused.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from groupwise.evaluation.log.files import replacing_folder
from groupwise.framework.policy.folders import base_of_adapter
from groupwise.framework.policy.loading import named_model, unusable_as_user_error
from groupwise.framework.policy.unsloth import load_unsloth
from groupwise.framework.run.errors import unwritable_as_user_error
from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from groupwise.framework.config import ModelConfig

# Name endings of quantised copies of a model on the hub.
_QUANTISED = ("-unsloth-bnb-4bit", "-bnb-4bit")


def merged(config: ModelConfig, folder: Path) -> ModelConfig:
    """Writes base model + adapter as one plain model to `folder`; returns the config to load it.

    An existing `folder` is used as it is: a run that is resumed merges once.

    Raises:
        UserError: the adapter is of another base model, the base model is quantised already, one of
            them cannot be loaded, or the disk is full.
    """
    if config.adapter is None:
        raise UserError("model.adapter_mode: merge, but model.adapter is null")
    if not folder.is_dir():
        _check_base(config, Path(config.adapter))
        with unusable_as_user_error(named_model(config)), replacing_folder(folder) as new:
            _merge(config, config.adapter, new, folder)
    return replace(config, name=str(folder), adapter=None, adapter_mode="continue")


def _merge(config: ModelConfig, adapter: str, new: Path, folder: Path) -> None:
    load_unsloth()  # before transformers and peft, which it patches
    from peft import PeftModel  # slow, both: not at start-up
    from transformers import AutoModelForCausalLM, AutoTokenizer

    remote = {"trust_remote_code": config.trust_remote_code}
    base = AutoModelForCausalLM.from_pretrained(
        config.name, dtype="auto", device_map={"": "cpu"}, **remote
    )
    # safe_merge: weights that are not finite are an error here, and not in the training.
    model = PeftModel.from_pretrained(base, adapter).merge_and_unload(safe_merge=True)
    has_tokenizer = (Path(adapter) / "tokenizer_config.json").is_file()
    tokenizer = AutoTokenizer.from_pretrained(adapter if has_tokenizer else config.name, **remote)
    with unwritable_as_user_error(folder):
        model.save_pretrained(str(new))
        tokenizer.save_pretrained(str(new))


def requantised(config: ModelConfig) -> str | None:
    """The notice to give if the merged weights are quantised again; None if they are not."""
    if not (config.load_in_4bit or config.load_in_8bit):
        return None
    bits = 4 if config.load_in_4bit else 8
    return (
        f"model.adapter_mode: merge, with model.load_in_{bits}bit: the merged weights are rounded "
        f"to {bits} bits again, and what the earlier adapter learned is rounded with them; the "
        "evaluation before training shows what is left of it. adapter_mode: continue rounds nothing"
    )


def _check_base(config: ModelConfig, adapter: Path) -> None:
    """Refuses a base model that is not the adapter's own, and one that is quantised already."""
    own = base_of_adapter(adapter)
    if own is not None and not _is_same(own, config.name):
        raise UserError(
            f"model.name: {config.name}, but the adapter {adapter} was trained on {own}; set "
            "model.name to that model, in 16 bits"
        )
    file = Path(config.name) / "config.json"
    is_quantised = config.name.endswith(_QUANTISED) or (
        file.is_file() and "quantization_config" in json.loads(file.read_text(encoding="utf-8"))
    )
    if is_quantised:
        raise UserError(
            f"model.name: {config.name} is quantised already, and merging into quantised weights "
            "would round them twice. Name the same model in 16 bits (load_in_4bit: true quantises "
            "it after merging), or set model.adapter_mode: continue"
        )


def _is_same(own: str, name: str) -> bool:
    """Whether an adapter's base `own` is the model `name`, even if quantised or moved."""
    if Path(own).is_dir() and Path(name).is_dir():
        return Path(own).resolve() == Path(name).resolve()
    if Path(own).is_absolute() or Path(name).is_dir():
        return True  # moved or renamed: PEFT refuses what does not fit
    return _bare(own) == _bare(name)


def _bare(name: str) -> str:
    """`unsloth/Qwen3-4B-unsloth-bnb-4bit` and `Qwen/Qwen3-4B` are one model."""
    last = name.rsplit("/", 1)[-1]
    for ending in _QUANTISED:
        last = last.removesuffix(ending)
    return last.lower()
