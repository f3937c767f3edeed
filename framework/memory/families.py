"""Parameters of the usual families in closed form, from their config.json.

    counted = count(json.loads(text))      # None for a family that is not in the table

Importing transformers and building a model on the meta device takes six seconds, this
milliseconds. A test compares both, for every family here. A config.json leaves out what is its
family's default; of those only the ones that published checkpoints rely on are known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Linear:
    """`count` linear layers of one name and shape; `path` is their place in a block."""

    path: str
    inputs: int
    outputs: int
    count: int
    adapts: bool = True
    """Whether `all-linear` takes it."""

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def parameters(self) -> int:
        """Without a bias, which is never quantised."""
        return self.inputs * self.outputs * self.count


@dataclass(frozen=True, slots=True)
class Counts:
    """The widths and the parameters of a model, by the names of `Architecture`'s fields."""

    widths: Mapping[str, Any]
    linears: tuple[Linear, ...]
    others: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Family:
    """How a family departs from Llama."""

    fused: bool = False  # qkv_proj and gate_up_proj
    qkv_bias: bool = False
    attention_bias: bool = False  # takes the key `attention_bias`
    mlp_bias: bool = False  # takes the key `mlp_bias`
    head_norms: bool = False  # of queries and keys
    block_norms: int = 2
    defaults: Mapping[str, Any] = field(default_factory=dict)


_GEMMA_3 = {
    "vocab_size": 262_208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "tie_word_embeddings": True,
}
FAMILIES = {
    "llama": Family(attention_bias=True, mlp_bias=True),
    "mistral": Family(defaults={"num_key_value_heads": 8}),
    "qwen2": Family(qkv_bias=True),
    "qwen3": Family(attention_bias=True, head_norms=True, defaults={"head_dim": 128}),
    "phi3": Family(fused=True),
    "smollm3": Family(attention_bias=True, mlp_bias=True, defaults={"tie_word_embeddings": True}),
    "gemma3_text": Family(attention_bias=True, head_norms=True, block_norms=4, defaults=_GEMMA_3),
}
_WIDEST = 2**24  # no layer is wider; a number beyond it is a mistake
_NEEDED = (
    *("vocab_size", "hidden_size", "intermediate_size"),
    *("num_hidden_layers", "num_attention_heads"),
)


def count(config: Mapping[str, Any]) -> Counts | None:
    """Widths and parameters; None for another family, or where the config leaves out a width.

    Raises ValueError, TypeError or KeyError for values that no model has.
    """
    text, tower = config, 0
    if config.get("model_type") == "gemma3":
        text = {"model_type": "gemma3_text", **(config.get("text_config") or {})}
        if not config.get("vision_config"):
            return None
        tower = _gemma_tower(config["vision_config"], text)
    family = FAMILIES.get(str(text.get("model_type")))
    if family is None or text.get("auto_map"):
        return None
    values = {**family.defaults, **{key: v for key, v in text.items() if v is not None}}
    if any(key not in values for key in _NEEDED):
        return None
    for key in (*_NEEDED, "num_key_value_heads", "head_dim"):
        if type(values.get(key, 1)) is not int or not 0 < values.get(key, 1) < _WIDEST:
            raise ValueError(f"{key} is {values[key]!r}")
    layers, hidden = values["num_hidden_layers"], values["hidden_size"]
    heads = values["num_attention_heads"]
    kv_heads = values.get("num_key_value_heads", heads)
    width = values.get("head_dim", hidden // heads)
    linears = _linears(family, values, heads * width, kv_heads * width)
    vocab = values["vocab_size"] * hidden
    norms = hidden * (family.block_norms * layers + 1)
    norms += 2 * width * layers if family.head_norms else 0
    return Counts(
        {
            "model_type": str(config["model_type"]),
            "layers": layers,
            "hidden": hidden,
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": width,
            "ffn": values["intermediate_size"],
            "vocab": values["vocab_size"],
            "sliding_window": _window(values),
        },
        linears,
        {
            "embedding": vocab,
            "head": 0 if values.get("tie_word_embeddings", False) else vocab,
            "norms": norms,
            "biases": _biases(family, values, linears),
            "tower": tower,
        },
    )


def _linears(family: Family, values: Mapping[str, Any], q: int, kv: int) -> tuple[Linear, ...]:
    layers, hidden, wide = (
        values[key] for key in ("num_hidden_layers", "hidden_size", "intermediate_size")
    )
    if family.fused:
        shapes = {
            "self_attn.qkv_proj": (hidden, q + 2 * kv),
            "self_attn.o_proj": (q, hidden),
            "mlp.gate_up_proj": (hidden, 2 * wide),
        }
    else:
        shapes = {
            "self_attn.q_proj": (hidden, q),
            "self_attn.k_proj": (hidden, kv),
            "self_attn.v_proj": (hidden, kv),
            "self_attn.o_proj": (q, hidden),
            "mlp.gate_proj": (hidden, wide),
            "mlp.up_proj": (hidden, wide),
        }
    shapes["mlp.down_proj"] = (wide, hidden)
    return tuple(Linear(path, *shape, layers) for path, shape in shapes.items())


def _biases(family: Family, values: Mapping[str, Any], linears: tuple[Linear, ...]) -> int:
    has = {
        "self_attn": family.attention_bias and values.get("attention_bias", False),
        "mlp": family.mlp_bias and values.get("mlp_bias", False),
    }
    biased = [linear for linear in linears if has[linear.path.partition(".")[0]]]
    if family.qkv_bias:
        biased = [linear for linear in linears if linear.name in ("q_proj", "k_proj", "v_proj")]
    return sum(linear.outputs * linear.count for linear in biased)


def _window(values: Mapping[str, Any]) -> int | None:
    window = values.get("sliding_window") if values.get("use_sliding_window", True) else None
    return int(window) if window else None


# SigLIP as Gemma 3 has it, without a pooling head; what its config.json leaves out.
_SIGLIP = {"num_channels": 3, "patch_size": 14, "image_size": 896}


def _gemma_tower(vision: Mapping[str, Any], text: Mapping[str, Any]) -> int:
    """Parameters of the vision encoder, and of the projector behind it."""
    values = {**_SIGLIP, **vision}
    width, wide = int(values["hidden_size"]), int(values["intermediate_size"])
    patch, layers = int(values["patch_size"]), int(values["num_hidden_layers"])
    positions = (int(values["image_size"]) // patch) ** 2
    embeddings = int(values["num_channels"]) * patch**2 * width + width + positions * width
    attention = 4 * (width * width + width)
    mlp = 2 * width * wide + wide + width
    encoder = embeddings + layers * (attention + mlp + 4 * width) + 2 * width
    head = 0
    if values.get("vision_use_head", True):
        head = width + attention + 2 * width + mlp  # a probe, attention, a norm, a perceptron
    return encoder + head + width * int(text["hidden_size"]) + width
