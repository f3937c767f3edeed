"""The config.json of well-known models of 0.5B to 8B parameters, so that a plan works offline.

    known_config("unsloth/Qwen3-4B-unsloth-bnb-4bit")      # a dictionary, or None

Each is known by the hub names of its owner and of Unsloth's copies. The values are those of the
published config.json; a test compares the parameters that follow with those that the hub states.
"""

from __future__ import annotations

import re
from typing import Any

_QUANTISED = re.compile(r"(?:-unsloth)?-bnb-4bit$")
# The same shapes under other names: tuned for chat, code, mathematics.
_VARIANTS = re.compile(r"-(?:instruct|base|it|pt|2507|thinking|coder|math|reasoning)(?=-|$)")


def without_quantised_ending(name: str) -> str:
    """`unsloth/Qwen3-4B-unsloth-bnb-4bit` is a quantised copy of `unsloth/Qwen3-4B`."""
    return _QUANTISED.sub("", name)


def _shape(
    model_type: str,
    *sizes: int,
    tied: bool,
    head_dim: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    layers, hidden, heads, kv_heads, wide, vocab = sizes
    return {
        "model_type": model_type,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim or hidden // heads,
        "intermediate_size": wide,
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
        **more,
    }


_GEMMA_3_4B = {
    "model_type": "gemma3",
    "text_config": _shape(
        *("gemma3_text", 34, 2560, 8, 4, 10240, 262208),
        tied=True,
        head_dim=256,
        sliding_window=1024,
    ),
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 896,
        "patch_size": 14,
        "vision_use_head": False,
    },
}

_LONGROPE = {"type": "longrope"}

# Owner, name in lower letters without its variants: layers, hidden, heads, key-value heads,
# feed-forward, vocabulary.
_KNOWN: dict[tuple[str, str], dict[str, Any]] = {
    ("qwen", "qwen2.5-0.5b"): _shape("qwen2", 24, 896, 14, 2, 4864, 151936, tied=True),
    ("qwen", "qwen2.5-1.5b"): _shape("qwen2", 28, 1536, 12, 2, 8960, 151936, tied=True),
    ("qwen", "qwen2.5-3b"): _shape("qwen2", 36, 2048, 16, 2, 11008, 151936, tied=True),
    ("qwen", "qwen2.5-7b"): _shape("qwen2", 28, 3584, 28, 4, 18944, 152064, tied=False),
    ("qwen", "qwen3-0.6b"): _shape("qwen3", 28, 1024, 16, 8, 3072, 151936, tied=True, head_dim=128),
    ("qwen", "qwen3-1.7b"): _shape("qwen3", 28, 2048, 16, 8, 6144, 151936, tied=True, head_dim=128),
    ("qwen", "qwen3-4b"): _shape("qwen3", 36, 2560, 32, 8, 9728, 151936, tied=True, head_dim=128),
    ("qwen", "qwen3-8b"): _shape("qwen3", 36, 4096, 32, 8, 12288, 151936, tied=False, head_dim=128),
    ("meta-llama", "llama-3.2-1b"): _shape("llama", 16, 2048, 32, 8, 8192, 128256, tied=True),
    ("meta-llama", "llama-3.2-3b"): _shape("llama", 28, 3072, 24, 8, 8192, 128256, tied=True),
    ("meta-llama", "llama-3.1-8b"): _shape("llama", 32, 4096, 32, 8, 14336, 128256, tied=False),
    ("google", "gemma-3-1b"): _shape(
        *("gemma3_text", 26, 1152, 4, 1, 6912, 262144),
        tied=True,
        head_dim=256,
        sliding_window=512,
    ),
    ("google", "gemma-3-4b"): _GEMMA_3_4B,
    ("mistralai", "mistral-7b-v0.3"): _shape("mistral", 32, 4096, 32, 8, 14336, 32768, tied=False),
    ("microsoft", "phi-4-mini"): _shape(
        *("phi3", 32, 3072, 24, 8, 8192, 200064), tied=True, rope_scaling=_LONGROPE
    ),
    ("microsoft", "phi-3.5-mini"): _shape(
        *("phi3", 32, 3072, 32, 32, 8192, 32064), tied=False, rope_scaling=_LONGROPE
    ),
    # Unsloth's copy has Llama's layers in place of Phi's fused ones.
    ("unsloth", "phi-3.5-mini"): _shape("llama", 32, 3072, 32, 32, 8192, 32064, tied=False),
    ("huggingfacetb", "smollm2-135m"): _shape("llama", 30, 576, 9, 3, 1536, 49152, tied=True),
    ("huggingfacetb", "smollm2-360m"): _shape("llama", 32, 960, 15, 5, 2560, 49152, tied=True),
    ("huggingfacetb", "smollm2-1.7b"): _shape("llama", 24, 2048, 32, 32, 8192, 49152, tied=True),
    ("huggingfacetb", "smollm3-3b"): _shape("smollm3", 36, 2048, 16, 4, 11008, 128256, tied=True),
}


def known_names() -> list[str]:
    """A hub name, in lower letters, of each model that is built in."""
    return [f"{owner}/{name}" for owner, name in _KNOWN]


def known_config(name: str) -> dict[str, Any] | None:
    """The config of a well-known model by its hub name, quantised copies included."""
    owner, _, last = without_quantised_ending(name).lower().partition("/")
    last = _VARIANTS.sub("", last).removeprefix("meta-")
    found = _KNOWN.get((owner, last))
    if found is None and owner == "unsloth":
        found = next((config for (_, own), config in _KNOWN.items() if own == last), None)
    return found
