"""How far rounding to 16 bits moves a model's answers, beside what the check of an export expects.

    python -m benchmarks.export_rounding [--model FOLDER]

Writes benchmarks/results/export_rounding.md. Untrained models of three families, two to 24 layers
deep, and a real one (FOLDER: a chat model in the format of transformers): each answers greedily in
float32, and behind the same text its copy in 16 bits gives its own probabilities. Untrained models
find all tokens about equally likely, which is the hardest case: where a model is sure of its token,
the same error of a logit changes little.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from groupwise.evaluation.text import rounded
from groupwise.framework.export.check import expected_error
from groupwise.framework.export.precision import Rounding, rounding

RESULTS = Path(__file__).parent / "results" / "export_rounding.md"
QUESTIONS = (
    "What is 12+35?",
    "Name the capital of France.",
    "Tom has 3 apples and buys 4 more. How many has he?",
    "Write a haiku about rain.",
    "What is 7 times 8?",
    "Explain gravity in one sentence.",
)
TOKENS = 40
SHAPE = {
    "vocab_size": 1000,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "initializer_range": 0.06,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a real model, beside the untrained")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = []
    for name, model, prompts in models(arguments.model):
        for dtype in ("bfloat16", "float16"):
            rows.append(measured(name, model, prompts, dtype))
            print(" | ".join(rows[-1]), file=sys.stderr)
    text = page(rows)
    arguments.output.write_text(text, encoding="utf-8")
    print(text)
    return 0


def models(folder: Path | None) -> Iterator[tuple[str, Any, list[list[int]]]]:
    """Name, model in float32, prompts in tokens."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    if folder is not None:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
        texts = [
            tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            for chat in chats
        ]
        prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        yield folder.name, model.eval(), prompts
    torch.manual_seed(0)
    prompts = [torch.randint(5, 1000, (12,)).tolist() for _ in QUESTIONS]
    for layers in (2, 8, 24):
        for family in ("llama", "qwen3", "gemma3_text"):
            torch.manual_seed(layers)
            config = AutoConfig.for_model(family, num_hidden_layers=layers, **SHAPE)
            yield f"{family}, untrained", AutoModelForCausalLM.from_config(config).eval(), prompts


@torch.no_grad()
def measured(name: str, model: Any, prompts: list[list[int]], dtype: str) -> list[str]:
    """A row: what is expected of the rounding, and what it did."""
    small = copy.deepcopy(model).to(getattr(torch, dtype))
    divergences, spreads, agreeing, gaps = [], [], 0, [0.0]
    for prompt in prompts:
        ids = torch.tensor([prompt])
        text = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=TOKENS,
            pad_token_id=0,
        )
        own, other = (m(text).logits[0, len(prompt) - 1 : -1].float() for m in (model, small))
        p, q = own.log_softmax(-1), other.log_softmax(-1)
        divergences.append((p.exp() * (p - q)).sum(-1))
        spreads.append(own.std(-1).mean())
        best, theirs = own.argmax(-1), other.argmax(-1)
        agreeing += int((best == theirs).sum())
        at = torch.arange(len(own))
        gaps.append(float((p[at, best] - p[at, theirs]).max()))
    divergence = torch.cat(divergences)
    layers = model.config.get_text_config().num_hidden_layers
    error = rounding(dtype)
    sigma = expected_error(Rounding(error, error), layers, float(torch.stack(spreads).mean()))
    expected, found = sigma**2 / 2, float(divergence.mean())
    return [
        name,
        str(layers),
        dtype,
        f"{expected:.1e}",
        f"{found:.1e}",
        rounded(found / expected, 2),
        f"{agreeing} of {len(divergence)}",
        rounded(max(gaps) / sigma, 1),
    ]


def page(rows: list[list[str]]) -> str:
    heads = ["model", "layers", "type", "expected divergence, nats", "measured", "ratio"]
    heads += ["same likeliest token", "widest tie, sigma"]
    versions = ", ".join(f"{n} {metadata.version(n)}" for n in ("torch", "transformers"))
    return "\n".join(
        [
            "# Rounding to 16 bits, and what the check of an export expects of it",
            "",
            "`python -m benchmarks.export_rounding --model SmolLM2-135M-Instruct`",
            "",
            f"On a CPU, {versions}. {len(QUESTIONS)} greedy answers of up to {TOKENS} tokens in "
            "float32; behind the same text, the same model in 16 bits. The check lets a ratio of 4 "
            "pass, and a tie of 5.7 sigma.",
            "",
            *(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)),
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
