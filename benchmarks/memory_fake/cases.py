"""What is measured: two models, and settings of training and of sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.gpu.model import QWEN3_4B

LLAMA_3B = {
    "vocab_size": 128_256,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 28,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
PROMPT = 256


@dataclass(frozen=True)
class Training:
    """A forward and backward of `per_forward` completions."""

    checkpointing: str | bool
    per_forward: int
    completion: int
    prompt: int = PROMPT


@dataclass(frozen=True)
class Generation:
    """A rollout of `rows` rows at once, `group` answers a prompt, all of full length."""

    rows: int
    completion: int
    group: int = 8
    prompt: int = PROMPT


@dataclass(frozen=True)
class Measured:
    """Bytes by part at the peak of a case, and what waits in main memory meanwhile."""

    case: Training | Generation
    parts: dict[str, int]
    host: int = 0

    @property
    def peak(self) -> int:
        return sum(self.parts.values())


TRAINING = (
    *(Training("unsloth", n, c) for n in (1, 4, 8) for c in (512, 1024, 2048)),
    *(Training(kind, 4, 1024) for kind in (True, False)),
)
GENERATION = (
    Generation(8, 1024),
    *(Generation(32, completion) for completion in (512, 1024, 2048)),
    Generation(64, 1024),
    Generation(32, 1024, group=32),  # one prompt: no prefill beside the rows
)
MODELS = ("Qwen3-4B", "Llama-3.2-3B")


def settings(model: str, **changes: Any) -> Any:
    """The transformers config of a model by name."""
    from transformers import LlamaConfig, Qwen3Config  # slow: not at start-up

    kind, shape = {"Qwen3-4B": (Qwen3Config, QWEN3_4B), "Llama-3.2-3B": (LlamaConfig, LLAMA_3B)}[
        model
    ]
    return kind(
        **{
            **shape,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
            "eos_token_id": 1,
            "pad_token_id": 2,
            "bos_token_id": None,
            "dtype": "bfloat16",
            "attn_implementation": "sdpa",
            **changes,
        }
    )
