"""What the GPU benchmark works on: Qwen3-4B's shapes with random weights in NF4, and problems.

    make_model(folder, QWEN3_4B)                 # a folder that transformers and Unsloth load
    make_problems(path, SYSTEM_PROMPT, tokens=256)

Memory and speed depend on shapes alone, so that nothing has to be downloaded. The weights are made
and quantised layer by layer on the device: a card of 8 GB has room for that. The folder is like one
that bitsandbytes has quantised: loading it quantises nothing again.

The end-of-text token is never drawn: one channel of the residual stream is a constant that no layer
writes to, and that token's logit is read from it alone. Completions of other lengths come from more
end-of-text tokens (`ending_ids`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from groupwise.framework.data.toy import make_tokenizer

QWEN3_4B = {
    "vocab_size": 151_936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
TINY = {
    "vocab_size": 512,
    "hidden_size": 64,  # bitsandbytes quantises nothing narrower
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
SYSTEM_PROMPT = (
    "Think step by step between <think> and </think>, then give only the final answer between "
    "<answer> and </answer>."
)
PROMPT_TOKENS = 256
FIRST_FREE_TOKEN = 300  # the tokenizer's own words are below it
MOST_LAYERS = 36
BYTES_A_LAYER = 70e6  # of NF4 weights, adapter and optimiser, at Qwen3-4B's shapes
BYTES_BESIDE_LAYERS = 3.5e9  # embeddings, context, keys and values, activations, logits


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def best_dtype() -> torch.dtype:
    """What to compute in: cards before Ampere have no bfloat16, and a CPU is slow in 16 bits."""
    if device() == "cpu":
        return torch.float32
    # Not `is_bf16_supported`: it says yes where bfloat16 is emulated.
    return torch.bfloat16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float16


def layers_that_fit(free_bytes: float) -> int:
    """How many of the 36 layers a card with so much free memory can train: all from 6 GB on."""
    return max(4, min(MOST_LAYERS, int((free_bytes - BYTES_BESIDE_LAYERS) / BYTES_A_LAYER)))


def make_model(folder: Path, shape: dict[str, int], *, quantised: bool = True) -> None:
    """Writes weights, config and tokenizer; without `quantised` the weights stay in bfloat16."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    files: dict[str, str] = {}
    size = 0
    for number, part in enumerate(_parts(shape, tokenizer.eos_token_id)):
        tensors = {
            name: value
            for key, weight in part.items()
            for name, value in _stored(key, weight, quantised).items()
        }
        file = f"model-{number:05d}.safetensors"  # a file a layer: never two of them in memory
        save_file(tensors, folder / file, metadata={"format": "pt"})
        files |= dict.fromkeys(tensors, file)
        size += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    _write_config(folder, shape, tokenizer, quantised)


def _parts(shape: dict[str, int], eos_id: int) -> Iterator[dict[str, torch.Tensor]]:
    """The weights, a layer at a time, with transformers' names."""
    hidden, width = shape["hidden_size"], shape["intermediate_size"]
    head = shape["head_dim"]
    q, kv = shape["num_attention_heads"] * head, shape["num_key_value_heads"] * head
    embedding = _random(shape["vocab_size"], hidden)
    embedding[:, 0] = 1.0
    embedding[eos_id, 0] = -1000.0
    yield {"model.embed_tokens.weight": embedding, "model.norm.weight": _ones(hidden)}
    for number in range(shape["num_hidden_layers"]):
        linear = {
            "self_attn.q_proj": _random(q, hidden),
            "self_attn.k_proj": _random(kv, hidden),
            "self_attn.v_proj": _random(kv, hidden),
            "self_attn.o_proj": _random(hidden, q),
            "mlp.gate_proj": _random(width, hidden),
            "mlp.up_proj": _random(width, hidden),
            "mlp.down_proj": _random(hidden, width),
        }
        for name in ("self_attn.o_proj", "mlp.down_proj"):
            linear[name][0] = 0  # nothing is added to the constant channel
        norms = {
            "self_attn.q_norm": _ones(head),
            "self_attn.k_norm": _ones(head),
            "input_layernorm": _ones(hidden),
            "post_attention_layernorm": _ones(hidden),
        }
        yield {
            f"model.layers.{number}.{name}.weight": weight
            for name, weight in {**linear, **norms}.items()
        }


def _random(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, device=device(), dtype=torch.bfloat16) * 0.02


def _ones(size: int) -> torch.Tensor:
    return torch.ones(size, device=device(), dtype=torch.bfloat16)


def _stored(key: str, weight: torch.Tensor, quantised: bool) -> dict[str, torch.Tensor]:
    """The tensors of a weight in a file: for a quantised one those that bitsandbytes saves."""
    from bitsandbytes.functional import quantize_4bit

    if not quantised or "_proj" not in key:
        return {key: weight.cpu()}
    packed, state = quantize_4bit(weight, compress_statistics=True, quant_type="nf4")
    parts = {f"{key}.{name}": value.cpu() for name, value in state.as_dict(packed=True).items()}
    return {key: packed.cpu(), **parts}


def _write_config(folder: Path, shape: dict[str, int], tokenizer: Any, quantised: bool) -> None:
    from transformers import GenerationConfig, Qwen3Config

    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = Qwen3Config(
        **shape,
        **ids,
        bos_token_id=None,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        dtype="bfloat16",
        architectures=["Qwen3ForCausalLM"],
    )
    if quantised:
        config.quantization_config = {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": str(best_dtype()).removeprefix("torch."),
        }
    config.save_pretrained(folder)
    GenerationConfig(**ids).save_pretrained(folder)


def ending_ids(vocab_size: int, mean: int) -> list[int]:
    """Tokens that, taken as ends of text, give the random model answers of about `mean` tokens.

    Its distribution is flat: a set of tokens is drawn about as often as its share of all.
    """
    return list(range(FIRST_FREE_TOKEN, FIRST_FREE_TOKEN + max(1, vocab_size // mean)))


def make_problems(path: Path, system_prompt: str, tokens: int = PROMPT_TOKENS) -> list[str]:
    """Writes 64 problems whose prompts have exactly `tokens` tokens; returns the prompts.

    The tokenizer is one of bytes: a sentence of ordinary length is many tokens.
    """
    tokenizer = make_tokenizer()

    def prompt(question: str) -> str:
        messages = [
            {"role": "system", "content": system_prompt},
            {"role": "user", "content": question},
        ]
        text: str = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        return text

    rows, prompts = [], []
    for number in range(64):
        start = f"Problem {number:02d}: "
        room = tokens - len(tokenizer(prompt(start))["input_ids"])
        question = start + ("how many are there in all? " * tokens)[:room]
        rows.append(json.dumps({"question": question, "answer": str(number)}) + "\n")
        prompts.append(prompt(question))
        assert len(tokenizer(prompts[-1])["input_ids"]) == tokens
    path.write_text("".join(rows), encoding="utf-8")
    return prompts
