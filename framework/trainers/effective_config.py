"""What was in force in a training, as the libraries had it: `config.effective.yaml`.

Beside `config.yaml` (as asked for) and `config.resolved.json` (with every default). Here stand what
is derived, such as batch sizes and the number of steps; what a machine made otherwise, such as an
optimiser that has no CPU kernels; and what was loaded, such as the rank of an earlier adapter.
Written as a training begins, from the trainer's own arguments and the model itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.evaluation.log.files import write_text
from groupwise.framework.run import processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainingArguments

EFFECTIVE = "config.effective.yaml"
_HEAD = """\
# What was in force when training began, as the libraries had it. What was asked for is in
# config.yaml, and with every default in config.resolved.json.
"""


def in_force(
    asked: Any,
    arguments: TrainingArguments,
    num_steps: int,
    model: PreTrainedModel,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """All of it, as plain values. `asked`: the section of the config that the training goes by."""
    section = asdict(asked) if is_dataclass(asked) and not isinstance(asked, type) else {}
    library = {k: v for k, v in arguments.to_dict().items() if v is not None}
    found = {
        "num_steps": num_steps,
        "processes": processes.count(),
        "device": str(arguments.device),
        **more,
        "model": _model(model),
        "changed": {
            name: {"asked": section[name], "in_force": library[name]}
            for name in sorted(section.keys() & library.keys())
            if section[name] != library[name]
        },
        type(arguments).__name__: library,
    }
    plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return plain


def _model(model: PreTrainedModel) -> dict[str, Any]:
    from groupwise.framework.policy.loading import compute_dtype

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
            "target_modules": sorted(adapter.target_modules),
        },
    }


def recorder(folder: Path, asked: Any, **more: Any) -> Any:
    """The `transformers.TrainerCallback` that writes the file to `folder`, on the main process."""
    import yaml
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(
            self, args: Any, state: Any, _control: Any, model: Any = None, **_: Any
        ) -> None:
            if not processes.is_main():
                return
            found = in_force(asked, args, int(state.max_steps), model, more)
            text = yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=100)
            write_text(folder / EFFECTIVE, _HEAD + text)

    return Recorder()
