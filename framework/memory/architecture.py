"""What a plan needs to know of a model, from its config.json: widths, and parameters by kind.

    architecture = read_architecture(config.model)

The config.json is that of the model's folder, of the hub's cache on this machine, or one of the
well-known models built in (`known.py`); nothing is downloaded. Parameters of the usual families are
counted in closed form (`families.py`), those of any other on the meta device (`meta.py`), once:
counts are kept in the user's cache folder.

Left out: the checkpoint's files. A count is of what transformers builds from the config.
"""

from __future__ import annotations

import json
import math
import operator
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.evaluation.log.files import read_json
from groupwise.framework.config import TOY
from groupwise.framework.data.toy import make_folder_without_weights
from groupwise.framework.memory.families import Counts, Linear, count
from groupwise.framework.memory.known import known_config, without_quantised_ending
from groupwise.framework.memory.meta import count_on_meta
from groupwise.framework.policy.folders import base_of_adapter
from groupwise.framework.sampling.support import FAMILIES, ROPE_OF_THE_LONGEST
from groupwise.rewards.errors import UserError, as_user_error

if TYPE_CHECKING:
    from groupwise.framework.config import ModelConfig
    from groupwise.framework.run.terminal import Terminal


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model's widths and parameters. `source` says where its config was found.

    `linears` are the linear layers of the decoder's blocks: what is quantised and adapted.
    `embedding`, `head` (0 if tied), `norms`, `biases`, `tower` (images, sound) and `other` (experts
    and the like) are numbers of parameters that stay in 16 bits.
    """

    model_type: str
    source: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    linears: tuple[Linear, ...]
    embedding: int
    head: int
    norms: int
    biases: int
    tower: int = 0
    other: int = 0
    quantised: str | None = None
    """"4bit" or "8bit" of bitsandbytes where the checkpoint itself is quantised; else its method,
    of which there is no plan."""
    kept_in_16_bits: int | None = 0
    """Parameters of `linears` that a quantised checkpoint keeps in 16 bits; None: not known."""
    sliding_window: int | None = None
    """Positions that layers with a sliding window look back."""
    positions: int | None = None
    """`max_position_embeddings`, where the config.json says it; the built-in ones do not."""
    served_by_slots: bool = False
    """Whether the slot engine samples from it; else `model.generate` does."""
    adapter: int | None = None
    """Parameters of the earlier adapter (`model.adapter`), where there is one."""
    on_this_machine: bool = True
    """Whether the weights are here already, and need no download."""

    @property
    def linear_parameters(self) -> int:
        """Parameters of the blocks' linear layers, without biases."""
        return sum(linear.parameters for linear in self.linears)

    @property
    def parameters(self) -> int:
        """All parameters, a tied head counted once."""
        rest = self.embedding + self.head + self.norms + self.biases + self.tower + self.other
        return self.linear_parameters + rest

    @property
    def kv_elements(self) -> int:
        """Keys and values of one position in all layers, in elements."""
        return 2 * self.layers * self.kv_heads * self.head_dim

    def adapted(self, target_modules: tuple[str, ...]) -> Iterator[Linear]:
        """The linear layers that `model.target_modules` names."""
        takes_all = any(name.lower() == "all-linear" for name in target_modules)
        for linear in self.linears:
            if (takes_all and linear.adapts) or linear.name in target_modules:
                yield linear

    def lora_parameters(self, rank: int, target_modules: tuple[str, ...]) -> int:
        """Parameters of a LoRA adapter of this rank on these layers."""
        layers = self.adapted(target_modules)
        return sum(rank * (layer.inputs + layer.outputs) * layer.count for layer in layers)


def read_architecture(model: ModelConfig, terminal: Terminal | None = None) -> Architecture:
    """The architecture of `model.name` (and `model.adapter`), without weights and without network.

    `terminal` shows that a family is counted which is not known here: that takes seconds.

    Raises:
        UserError: there is no config.json for this name here, transformers cannot build it, or it
            has none of `target_modules`.
    """
    name, adapter = model.name, model.adapter
    base = base_of_adapter(Path(name))
    if adapter is None and base is not None and not (Path(name) / "config.json").is_file():
        name, adapter = base, name  # a folder of an adapter, which names its base
    config, source = find_config(name)
    wrong = (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError)
    with as_user_error(lambda e: f"model.name: {source}: no config of a model ({e!r})", *wrong):
        counted = count(config)
        if counted is None:
            with _stage(terminal):
                counted = count_on_meta(name, config, trust_remote_code=model.trust_remote_code)
        found = _architecture(config, counted, source, here=source != BUILT_IN)
    if without_quantised_ending(name) != name and found.quantised is None:
        # Of the config of its 16-bit form; which layers stay in 16 bits is not said there.
        is_dynamic = name.endswith("-unsloth-bnb-4bit")
        found = replace(found, quantised="4bit", kept_in_16_bits=None if is_dynamic else 0)
    if adapter is not None and model.adapter_mode == "continue":
        found = replace(found, adapter=_adapter_parameters(Path(adapter), found))
    elif not model.full_finetuning:
        _check_targets(found, model.target_modules)
    return found


def _check_targets(found: Architecture, names: tuple[str, ...]) -> None:
    """Raises UserError if a LoRA would be on no layer; experts (`other`) have their own names."""
    if found.linears and not found.other and not any(found.adapted(names)):
        there = ", ".join(dict.fromkeys(linear.name for linear in found.linears if linear.adapts))
        raise UserError(
            f"model.target_modules: the model has no {', '.join(names)}; its layers are {there}"
        )


@contextmanager
def _stage(terminal: Terminal | None) -> Iterator[None]:
    """Progress of a count; what libraries print meanwhile is dropped."""
    if terminal is None:
        yield
        return
    with terminal.libraries_to(), terminal.stage("Count the parameters"):
        yield


BUILT_IN = "built in"


def find_config(name: str) -> tuple[dict[str, Any], str]:
    """The config.json of a folder, of the hub's cache or of a well-known model, and its source."""
    if name == TOY:
        with tempfile.TemporaryDirectory() as scratch:
            make_folder_without_weights(Path(scratch))
            return _read(Path(scratch) / "config.json"), "the toy"
    file = Path(name) / "config.json"
    if file.is_file():
        return _read(file), str(file)
    if Path(name).exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(f"model.name: {name} is no folder with a config.json")
    from huggingface_hub import try_to_load_from_cache  # not at start-up

    cached = try_to_load_from_cache(name, "config.json")
    if isinstance(cached, str):
        return _read(Path(cached)), cached
    found = known_config(name)
    if found is not None:
        return found, BUILT_IN
    raise UserError(
        f"model.name: the architecture of {name} is not known here: it is not in the hub's cache, "
        "and none of the models that are built in. Fetch its config (`hf download "
        f"{name} config.json`), or name a folder that has one."
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"model.name: {file} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"model.name: {file} holds no model's config")
    return found


def _architecture(
    config: Mapping[str, Any], counted: Counts, source: str, *, here: bool
) -> Architecture:
    quantisation = config.get("quantization_config") or {}
    quantised = str(quantisation.get("quant_method", "unknown")) if quantisation else None
    quantised = "4bit" if quantisation.get("load_in_4bit") else quantised
    quantised = "8bit" if quantisation.get("load_in_8bit") else quantised
    skipped = tuple(quantisation.get("llm_int8_skip_modules") or ())
    return Architecture(
        **counted.widths,
        source=source,
        positions=_positions(config),
        served_by_slots=_is_served(config),
        linears=counted.linears,
        **counted.others,
        quantised=quantised,
        kept_in_16_bits=_kept(counted, skipped) if quantised else 0,
        on_this_machine=here,
    )


def _positions(config: Mapping[str, Any]) -> int | None:
    text = config.get("text_config") or config
    found = text.get("max_position_embeddings", text.get("n_positions"))
    return found if type(found) is int and found > 0 else None


def _is_served(config: Mapping[str, Any]) -> bool:
    """What `sampling.support.why_not_slots` says of a model, from its config."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    nested = [value for value in rope.values() if isinstance(value, dict)] or [rope]
    kinds = {value.get("rope_type", value.get("type")) for value in nested}
    return config.get("model_type") in FAMILIES and kinds.isdisjoint(ROPE_OF_THE_LONGEST)


def _kept(counted: Counts, skipped: tuple[str, ...]) -> int:
    """Parameters of linear layers that `llm_int8_skip_modules` names, layer by layer."""
    starts = tuple(name[name.find("layers.") :] for name in skipped if "layers." in name)
    kept = 0
    for linear in counted.linears:
        for layer in range(linear.count):
            path = f"layers.{layer}.{linear.path}."
            if any(path.startswith(f"{start}.") for start in starts):
                kept += linear.inputs * linear.outputs
    return kept


def _adapter_parameters(folder: Path, architecture: Architecture) -> int:
    """Parameters of an adapter: of its file's header, else of its config."""
    weights = folder / "adapter_model.safetensors"
    if weights.is_file():
        broken = (OSError, ValueError, OverflowError, LookupError, TypeError, AttributeError)
        with as_user_error(f"model.adapter: {weights} is no file of weights", *broken):
            return _parameters_in(weights)
    try:
        settings = read_json(folder / "adapter_config.json")
        rank, targets = int(settings["r"]), settings["target_modules"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"model.adapter: {folder} cannot be read: {error!r}") from error
    names = tuple(map(str, targets)) if isinstance(targets, list) else ("all-linear",)
    return architecture.lora_parameters(rank, names)


def _parameters_in(weights: Path) -> int:
    """By the header of a file of safetensors: its length in 8 bytes, then JSON."""
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > weights.stat().st_size:
            raise ValueError("the header is longer than the file")
        header = json.loads(file.read(length))
    shapes = [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]
    return sum(math.prod(map(operator.index, shape)) for shape in shapes)
