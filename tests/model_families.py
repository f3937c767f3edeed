"""Tiny models of families whose layers have other names than Llama's, and their linear layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sampling_toys import make_tokenizer

_LLAMA = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
_GPT = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
_SHARED = {"shared_expert_intermediate_size": 64}

# name: (architecture, its config, linear layers of its blocks and how many there are)
FAMILIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama": (
        "Llama",
        _LLAMA,
        "q_proj 2, k_proj 2, v_proj 2, o_proj 2, gate_proj 2, up_proj 2, down_proj 2",
    ),
    "phi3": ("Phi3", _LLAMA, "o_proj 2, qkv_proj 2, gate_up_proj 2, down_proj 2"),
    "phi": ("Phi", _LLAMA, "q_proj 2, k_proj 2, v_proj 2, dense 2, fc1 2, fc2 2"),
    "gpt_neox": (
        "GPTNeoX",
        {**_GPT, "intermediate_size": 128},
        "query_key_value 2, dense 2, dense_h_to_4h 2, dense_4h_to_h 2",
    ),
    "falcon": ("Falcon", _GPT, "query_key_value 2, dense 2, dense_h_to_4h 2, dense_4h_to_h 2"),
    "bloom": (
        "Bloom",
        {"hidden_size": 64, "n_layer": 2, "n_head": 4},
        "query_key_value 2, dense 2, dense_h_to_4h 2, dense_4h_to_h 2",
    ),
    "opt": (
        "OPT",
        {**_GPT, "ffn_dim": 128, "word_embed_proj_dim": 64, "max_position_embeddings": 256},
        "k_proj 2, v_proj 2, q_proj 2, out_proj 2, fc1 2, fc2 2",
    ),
    "gpt2": (
        "GPT2",
        {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256},
        "c_attn 2, c_proj 4, c_fc 2",
    ),
    "lfm2": (
        "Lfm2",
        {**_LLAMA, "num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"]},
        "in_proj 2, out_proj 3, w1 3, w3 3, w2 3, q_proj 1, k_proj 1, v_proj 1",
    ),
    "mamba": (
        "Mamba",
        {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8},
        "in_proj 2, x_proj 2, dt_proj 2",
    ),
    "qwen3_moe": (
        "Qwen3Moe",
        {**_LLAMA, **_EXPERTS, "head_dim": 16},
        "q_proj 2, k_proj 2, v_proj 2, o_proj 2",
    ),
    "mixtral": (
        "Mixtral",
        {**_LLAMA, "num_local_experts": 4, "output_router_logits": True},
        "q_proj 2, k_proj 2, v_proj 2, o_proj 2",
    ),
    "qwen2_moe": (
        "Qwen2Moe",
        {**_LLAMA, **_EXPERTS, **_SHARED},
        "q_proj 2, k_proj 2, v_proj 2, o_proj 2, gate_proj 2, up_proj 2, down_proj 2",
    ),
}


def config_of(family: str) -> Any:
    import transformers

    architecture, settings, _ = FAMILIES[family]
    vocabulary = {"vocab_size": 100, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    return getattr(transformers, f"{architecture}Config")(**settings, **vocabulary)


def make_family(folder: Path, family: str) -> Path:
    """A folder with a random model of the family, and a tokenizer of one token a character."""
    import transformers

    transformers.AutoModelForCausalLM.from_config(config_of(family)).save_pretrained(folder)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    tokenizer.save_pretrained(folder)
    return folder
