"""Parameters of any family that transformers builds: counted on the meta device, and kept.

    counted = count_on_meta(name, config)     # seconds the first time

The count is kept in the user's cache folder under the text of the config. Left out: models that
transformers builds with another class than a causal language model.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.evaluation.log.files import write_json
from groupwise.framework.data.kept import kept_folder
from groupwise.framework.memory.families import Counts, Linear
from groupwise.framework.policy.targets import linear_layers, without_weights
from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from torch import nn

_TOWER = re.compile(r"(?:^|\.)(?:vision|visual|image|audio|speech|multi_modal)")


def count_on_meta(
    name: str, config: Mapping[str, Any], *, trust_remote_code: bool = False
) -> Counts:
    """Widths and parameters of a model. Raises UserError if transformers cannot build it."""
    text = json.dumps(config, sort_keys=True)
    key = {
        "count": hashlib.sha256(text.encode()).hexdigest(),
        "code": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        "transformers": version("transformers"),
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "counts"
        kept_folder(
            folder, key, lambda new: _write(new, _count(name, trust_remote_code=trust_remote_code))
        )
        kept = json.loads((folder / "counts.json").read_text(encoding="utf-8"))
    linears = tuple(Linear(**linear) for linear in kept["linears"])
    return Counts(kept["widths"], linears, kept["others"])


def _write(folder: Path, counted: Counts) -> None:
    folder.mkdir()
    write_json(folder / "counts.json", asdict(counted))


def _count(name: str, *, trust_remote_code: bool) -> Counts:
    model = without_weights(name, trust_remote_code=trust_remote_code)
    if model is None:
        raise UserError(
            f"model.name: {name}: transformers builds no causal language model from its config.json"
        )
    return counts_of(model, {path for path, _ in linear_layers(model)})


def counts_of(model: nn.Module, adapts: set[str]) -> Counts:
    """Parameters of a model (on any device) by kind; `adapts`: paths that `all-linear` takes."""
    others = Counter(dict.fromkeys(("embedding", "head", "norms", "biases", "tower", "other"), 0))
    linears: Counter[tuple[str, int, int, bool]] = Counter()
    widths = _widths(model)
    embedding = model.get_input_embeddings().weight  # type: ignore[operator]
    output = model.get_output_embeddings()  # type: ignore[operator]
    head = getattr(output, "weight", None)
    seen = set()
    for path, module in model.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            block = re.search(r"\.\d+\.(.*)", path)
            is_linear = "Linear" in type(module).__name__ or type(module).__name__ == "Conv1D"
            if _TOWER.search(path):
                kind = "tower"
            elif parameter is embedding:
                kind = "embedding"
            elif parameter is head:
                kind = "head"
            elif own == "bias":
                kind = "biases"
            elif is_linear and block and parameter.dim() == 2:
                outputs, inputs = parameter.shape
                if type(module).__name__ == "Conv1D":
                    outputs, inputs = inputs, outputs
                linears[block[1], inputs, outputs, path in adapts] += 1
                continue
            else:
                kind = "norms" if parameter.dim() == 1 else "other"
            others[kind] += parameter.numel()
    found = tuple(Linear(p, i, o, n, adapts=a) for (p, i, o, a), n in linears.items())
    return Counts(widths, found, dict(others))


def _widths(model: Any) -> dict[str, Any]:
    config = model.config.get_text_config()
    hidden, heads = int(config.hidden_size), int(getattr(config, "num_attention_heads", 0) or 1)
    wide = getattr(config, "intermediate_size", None) or getattr(config, "ffn_dim", None)
    return {
        "model_type": str(model.config.model_type),
        "layers": int(config.num_hidden_layers),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": int(getattr(config, "num_key_value_heads", None) or heads),
        "head_dim": int(getattr(config, "head_dim", None) or hidden // heads),
        "ffn": int(wide or 4 * hidden),
        "vocab": int(config.vocab_size),
        "sliding_window": getattr(config, "sliding_window", None),
    }
