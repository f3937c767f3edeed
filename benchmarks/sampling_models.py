"""Random models whose texts end when we want them to, and a tokenizer of one token a character."""

from __future__ import annotations

import math
from typing import Any

import torch

EOS = 1
SIZES: dict[str, dict[str, int]] = {
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "head_dim": 16,
    },
    "small": {
        "vocab_size": 4096,
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "head_dim": 64,
    },
}
MEAN_LENGTH = 40  # of the geometric distribution, before the limit cuts it


def build_model(size: str, ends: str) -> Any:
    """A Qwen3 that ends a text with the same probability at each token (`early`), or `never`.

    One channel of the residual stream is a constant that no layer writes to; the head reads the
    end-of-text score from it alone. So lengths are geometric, and each engine, harness and trainer
    sees them without a hook of ours.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        **SIZES[size],
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        eos_token_id=EOS,
        pad_token_id=0,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    model = Qwen3ForCausalLM(config).eval()
    with torch.no_grad():
        embedding, head = model.get_input_embeddings().weight, model.lm_head.weight
        embedding.normal_(std=1.0)
        embedding[:, 0] = 2.0
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0
            layer.mlp.down_proj.weight[0] = 0
        head.normal_(std=1.5 / math.sqrt(config.hidden_size))
        head[:, 0] = 0
        head[:3] = 0  # no padding, no unknown, and end-of-text from the constant alone
        head[0, 0] = head[2, 0] = -100.0
        head[EOS, 0] = -100.0 if ends == "never" else _end_score(model)
    return model


def _end_score(model: Any) -> float:
    """The head's weight that gives end-of-text a probability of 1 / MEAN_LENGTH on average."""
    ids = torch.randint(3, 99, (8, 64), generator=torch.Generator().manual_seed(1))
    hidden = model.model(ids).last_hidden_state.flatten(0, 1)  # (B * T, D)
    rest = (hidden @ model.lm_head.weight[3:].T).logsumexp(dim=-1)  # (B * T,)
    low, high = -50.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        chance = (hidden[:, 0] * middle - rest).sigmoid().mean().item()
        low, high = (middle, high) if chance < 1 / MEAN_LENGTH else (low, middle)
    return low


def build_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", "<unk>", *(chr(c) for c in range(32, 127))]
    words += [chr(0x4E00 + i) for i in range(4096 - len(words))]  # a word for each row of the head
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )
