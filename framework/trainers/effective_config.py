"""The effective config of a training, with the values that the libraries used.

`config.effective.yaml` complements `config.yaml` (as asked for) and `config.resolved.json` (with
every default). It has derived values, such as batch sizes and the number of steps; values that this
machine changed, such as an optimiser without CPU kernels; and what was loaded, such as the rank of
an earlier adapter. All of it is read from the trainer's arguments and the model when training
begins.

Left out: settings of this project that no library sees; they are in `config.resolved.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from groupwise.evaluation.log.files import write_text
from groupwise.framework.policy.loading import compute_dtype
from groupwise.framework.policy.targets import adapted
from groupwise.framework.run import processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainingArguments

EFFECTIVE = "config.effective.yaml"
_HEAD = """\
# The effective config when training began, as the libraries had it. What was asked for is in
# config.yaml, and with every default in config.resolved.json.
"""


def write_effective_config(
    folder: Path,
    asked: Any,
    arguments: TrainingArguments,
    num_steps: int,
    model: PreTrainedModel,
    more: Mapping[str, Any],
) -> None:
    """Writes `effective_config(...)` to `config.effective.yaml` in `folder`."""
    found = effective_config(asked, arguments, num_steps, model, more)
    text = yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=100)
    write_text(folder / EFFECTIVE, _HEAD + text)


def effective_config(
    asked: Any,
    arguments: TrainingArguments,
    num_steps: int,
    model: PreTrainedModel,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """The config in effect, as plain values.

    `asked` is the section of the config that the training follows; `more` is added as it is.
    """
    section = asdict(asked) if is_dataclass(asked) and not isinstance(asked, type) else {}
    library = {k: v for k, v in arguments.to_dict().items() if v is not None}
    found = {
        "num_steps": num_steps,
        "processes": processes.count(),
        "device": str(arguments.device),
        **more,
        "model": _model(model),
        "changed": {
            name: {"asked": section[name], "in_force": library[name]}  # the file's own field names
            for name in sorted(section.keys() & library.keys())
            if section[name] != library[name]
        },
        type(arguments).__name__: library,
    }
    plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return plain


def _model(model: PreTrainedModel) -> dict[str, Any]:
    parameters = list(model.parameters())
    adapter = getattr(model, "peft_config", {}).get("default")
    modules = {type(module).__name__ for module in model.modules()}
    quantised = {"Linear4bit": "4 bits", "Linear8bitLt": "8 bits"}
    base = model.get_base_model() if adapter is not None else model
    return {
        "architecture": type(base).__name__,
        "base": adapter.base_model_name_or_path if adapter else base.config._name_or_path,
        "weights": next((q for name, q in quantised.items() if name in modules), str(model.dtype)),
        "compute_dtype": str(compute_dtype(model)),
        "trained_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "gradient_checkpointing": bool(base.is_gradient_checkpointing),
        "adapter": None
        if adapter is None
        else {
            "r": adapter.r,
            "lora_alpha": adapter.lora_alpha,
            "lora_dropout": adapter.lora_dropout,
            "target_modules": sorted(adapted(model).layers),
        },
    }
