"""What a training does to its model, seen from inside the run; `ForkedRuns` installs it there.

    {"trainer": ["GroupwiseTrainer", "UnslothGRPOTrainer", …],
     "forwards": [{"step": 0, "flags": ["unsloth"], "checkpointed": 4, "layers": 4, "kv_bytes": 0}],
     "loaded": …, "trained": …, "ended": {"attributes": {"forward": 1, …}, "kv_bytes": 0, …}}

`forwards` are those of GRPO with a gradient; the other three are what lies on the modules after
loading, after training, and when the command has ended. It looks on, and changes nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

REFERENCE = "ref"
"""TRL's name for that adapter."""
KV_CACHE = "paged_attention"
"""How Unsloth's attributes of an attention layer that hold `generate`'s keys and values begin."""


def kv_bytes(model: Any) -> int:
    import torch

    return sum(
        value.numel() * value.element_size()
        for module in model.modules()
        for name, value in vars(module).items()
        if name.startswith(KV_CACHE) and isinstance(value, torch.Tensor)
    )


def flags(model: Any) -> list[Any]:
    """The different values of `gradient_checkpointing` on the layers that obey it."""
    found = {m.gradient_checkpointing for m in model.modules() if _is_layer(m)}
    return sorted(found, key=str)


def _is_layer(module: Any) -> bool:
    from transformers.modeling_layers import GradientCheckpointingLayer

    return isinstance(module, GradientCheckpointingLayer)


def lying_on(model: Any) -> dict[str, Any]:
    """How many modules have each attribute of their own, and what the others are.

    Without the modules of the reference adapter, which a training with KL adds.
    """
    modules = [m for name, m in model.named_modules() if not name.endswith(f".{REFERENCE}")]
    own = [(name, value) for module in modules for name, value in vars(module).items()]
    return {
        "attributes": dict(sorted(Counter(name for name, _ in own).items())),
        "of_ours": sorted(name for name, value in own if _home(value).startswith("groupwise")),
        "fast_path": sorted({value for name, value in own if name == "_unsloth_fast_path"}),
        "kv_bytes": kv_bytes(model),
    }


def _home(value: Any) -> str:
    """The module that a function, a partial function or an object is from."""
    value = getattr(value, "func", value)
    return str(getattr(value, "__module__", None) or type(value).__module__)


def watched(main: Callable[[list[str]], int], arguments: list[str], out: Path) -> int:
    """Runs the command, and writes to `out` what it did to the model."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    from groupwise.framework.experiment import run
    from groupwise.framework.grpo_trainer.trainer import GRPOTrainer
    from groupwise.framework.grpo_trainer.trl_subclass import GroupwiseTrainer

    found: dict[str, Any] = {"forwards": []}
    models = []
    load, train = run.load, GRPOTrainer.train
    compute_loss, call = GroupwiseTrainer.compute_loss, GradientCheckpointingLayer.__call__

    def noting_load(*args: Any, **options: Any) -> Any:
        policy = load(*args, **options)
        models.append(policy.model)
        found["loaded"] = lying_on(policy.model)
        return policy

    def noting_train(self: Any, *args: Any, **options: Any) -> Any:
        result = train(self, *args, **options)
        found["trained"] = lying_on(models[-1])
        return result

    def noting_loss(self: Any, model: Any, *args: Any, **options: Any) -> Any:
        found["trainer"] = [cls.__name__ for cls in type(self).__mro__]
        forward = {"step": self.state.global_step, "flags": flags(model), "layers": 0}
        found["forwards"].append(forward | {"checkpointed": 0, "kv_bytes": kv_bytes(model)})
        return compute_loss(self, model, *args, **options)

    def noting_call(self: Any, *args: Any, **options: Any) -> Any:
        import torch

        if torch.is_grad_enabled() and self.training and found["forwards"]:
            found["forwards"][-1]["layers"] += 1
            found["forwards"][-1]["checkpointed"] += bool(self.gradient_checkpointing)
        return call(self, *args, **options)

    run.load, GRPOTrainer.train = noting_load, noting_train
    GroupwiseTrainer.compute_loss = noting_loss
    GradientCheckpointingLayer.__call__ = noting_call
    code = main(arguments)
    found["ended"] = lying_on(models[-1])
    out.write_text(json.dumps(found), encoding="utf-8")
    return code
