"""A tiny model and problems made on the spot, so that everything runs without a download or a GPU.

    paths = make_toy(Path("toy"), seed=42)   # model/, train.jsonl, eval.jsonl
    config = with_toy(config, Path("toy"))   # the config with these in place of the name `toy`

The model stands in for what people download: a Qwen3-architecture base model (0.5 million
parameters, byte-level tokenizer, chat template) that has seen two-digit addition, half of it
wrong. So it gives right and wrong sums, and rarely writes think/answer tags: a warm start teaches
it the format, and GRPO makes right sums more likely. A model that cannot add at all would not
improve: none of its answers would be right.

What it leaves out: carries are not spelled out, and no sum is above 78. When and where the
files are made is decided in `experiment/toy.py`.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.evaluation.log.files import write_json, write_text
from groupwise.framework.config import TOY, ExperimentConfig
from groupwise.framework.data.kept import kept_folder

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

OnStep = Callable[[int, int, float], None]

NUMBERS_BELOW = 40
NUM_HELD_OUT = 200
WRONG_SHARE = 0.5
PRETRAINING_STEPS = 400
PRETRAINING_BATCH_SIZE = 64
PRETRAINING_LEARNING_RATE = 5e-3
TAGGED_SHARE = 0.3  # of the pretraining texts: how often the base model writes the tags unasked

# Errors that real models make: a digit off, a carry forgotten or invented.
_SLIPS = (-20, -11, -10, -9, -2, -1, 1, 2, 9, 10, 11, 20)

# The format of Qwen's own templates. A user's system prompt is rendered; the toy has none.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}"""

_SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_WORDS = ("<think>", "</think>", "<answer>", "</answer>", "system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class ToyPaths:
    """The toy's files: a model folder, and JSON Lines of problems."""

    model: Path
    train: Path
    eval: Path

    @classmethod
    def under(cls, folder: Path) -> ToyPaths:
        return cls(folder / "model", folder / "train.jsonl", folder / "eval.jsonl")


def make_toy(
    folder: Path,
    seed: int,
    *,
    with_model: bool = True,
    on_step: OnStep | None = None,
    steps: int = PRETRAINING_STEPS,
) -> ToyPaths:
    """Writes problems and model to `folder`; `on_step(step, steps, loss)` reports pretraining.

    A model that was made before, by the same code from the same seed, is taken from the cache.
    """
    folder.mkdir(parents=True, exist_ok=True)
    train, held_out = make_problems(seed)
    paths = ToyPaths.under(folder)
    rng = random.Random(f"demonstrations/{seed}")
    _write_jsonl(paths.train, [_row(a, b, rng) for a, b in train])
    _write_jsonl(paths.eval, [_row(a, b, None) for a, b in held_out])
    if with_model:
        kept_folder(
            paths.model,
            {"toy": seed, "steps": steps, **_made_with()},
            lambda new: make_model(new, train, seed, on_step, steps),
        )
    return paths


def _made_with() -> dict[str, str]:
    """What the bits of the model depend on, beside seed and steps."""
    import torch  # slow: not at start-up

    return {
        "code": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        # Unsloth's GPU code replaces the model's forward, where it was loaded before.
        "forward": "Unsloth" if "unsloth.models.llama" in sys.modules else "transformers",
        **{name: version(name) for name in ("torch", "transformers", "tokenizers")},
    }


def make_problems(seed: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """All sums of two numbers below `NUMBERS_BELOW`, shuffled: (train, held out), disjoint."""
    problems = [(a, b) for a in range(NUMBERS_BELOW) for b in range(NUMBERS_BELOW)]
    random.Random(f"problems/{seed}").shuffle(problems)
    return problems[NUM_HELD_OUT:], problems[:NUM_HELD_OUT]


def question(a: int, b: int) -> str:
    return f"{a}+{b}=?"


def _row(a: int, b: int, rng: random.Random | None) -> dict[str, object]:
    """One line of the data: the answer is right, the demonstrated `solution` half the time."""
    row: dict[str, object] = {
        "question": question(a, b),
        "answer": str(a + b),
        "category": "carry" if a % 10 + b % 10 >= 10 else "no carry",
    }
    if rng is not None:
        row["solution"] = _tagged(_thought(a, b), _stated_sum(a, b, rng))
    return row


def _thought(a: int, b: int) -> str:
    return f"{a % 10}+{b % 10}={a % 10 + b % 10}"


def _tagged(thought: str, answer: int) -> str:
    return f"<think>{thought}</think><answer>{answer}</answer>"


def _stated_sum(a: int, b: int, rng: random.Random) -> int:
    wrong = rng.random() < WRONG_SHARE
    return max(0, a + b + rng.choice(_SLIPS)) if wrong else a + b


def _write_jsonl(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges: one token a byte, and one for each tag and role.

    Any text can be encoded, so that real data meets the real pipeline with the toy model too.
    """
    from transformers import PreTrainedTokenizerFast  # slow: not at start-up

    fast = PreTrainedTokenizerFast(tokenizer_object=_byte_level(), **_TOKENIZER)
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_folder_without_weights(folder: Path) -> None:
    """A model folder with everything but the weights, for checks that load no model.

    Written without transformers, whose import takes seconds and has to come after Unsloth's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _byte_level()
    tokenizer.save(str(folder / "tokenizer.json"))
    shape = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], **_shape(tokenizer)}
    described = {"tokenizer_class": "PreTrainedTokenizerFast", **_TOKENIZER}
    write_json(folder / "config.json", shape)
    write_json(folder / "tokenizer_config.json", described)
    write_text(folder / "chat_template.jinja", CHAT_TEMPLATE)


_TOKENIZER: dict[str, Any] = {
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "clean_up_tokenization_spaces": False,
}


def _byte_level() -> Tokenizer:
    from tokenizers import (  # not needed for most commands: not at start-up
        AddedToken,
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
    )

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in _WORDS])
    return tokenizer


def _shape(tokenizer: Tokenizer) -> dict[str, Any]:
    """The model's config, in the terms of transformers."""
    return {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 128,  # bitsandbytes quantises nothing narrower than 64
        "intermediate_size": 384,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.token_to_id(_TOKENIZER["pad_token"]),
        "eos_token_id": tokenizer.token_to_id(_TOKENIZER["eos_token"]),
        "bos_token_id": None,
        "dtype": "float32",
    }


def make_model(
    folder: Path,
    train: list[tuple[int, int]],
    seed: int,
    on_step: OnStep | None = None,
    steps: int = PRETRAINING_STEPS,
) -> None:
    """Pretrains the toy base model on sums from `train` and saves it with its tokenizer.

    Always on the CPU in float32: it takes seconds, and gives the same model on every machine.
    """
    import torch  # slow, as transformers is: not at start-up
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    tokenizer = make_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(Qwen3Config(**_shape(tokenizer.backend_tokenizer)))
        _pretrain(model, tokenizer, train, seed, steps, on_step)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _pretrain(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    train: list[tuple[int, int]],
    seed: int,
    steps: int,
    on_step: OnStep | None,
) -> None:
    import torch  # slow: not at start-up

    rng = random.Random(f"pretraining/{seed}")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PRETRAINING_LEARNING_RATE, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=PRETRAINING_LEARNING_RATE, total_steps=steps, pct_start=0.1
    )
    # Not learned from. Longer prompts have a few tokens more, which do no harm.
    shortest_prompt = len(tokenizer(_prompt(0, 0)).input_ids)
    model.train()
    for step in range(steps):
        texts = [_pretraining_text(*rng.choice(train), rng) for _ in range(PRETRAINING_BATCH_SIZE)]
        batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
        labels = batch.input_ids.masked_fill(batch.attention_mask == 0, -100)  # (B, T)
        labels[:, :shortest_prompt] = -100
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step + 1, steps, float(loss.detach()))
    model.eval()


def _pretraining_text(a: int, b: int, rng: random.Random) -> str:
    thought, stated = _thought(a, b), _stated_sum(a, b, rng)
    reply = _tagged(thought, stated) if rng.random() < TAGGED_SHARE else f"{thought} {stated}"
    return f"{_prompt(a, b)}{reply}<|im_end|>"


def _prompt(a: int, b: int) -> str:
    """A question in the chat template."""
    return f"<|im_start|>user\n{question(a, b)}<|im_end|>\n<|im_start|>assistant\n"


def with_toy(config: ExperimentConfig, folder: Path) -> ExperimentConfig:
    """The config with the files of `folder` wherever it says `toy`; nothing is made here."""
    paths = ToyPaths.under(folder)
    files = {
        "model.name": paths.model,
        "data.train": paths.train,
        "data.eval": paths.eval,
        "training.warm_start.data": paths.train,
    }
    values = {key: str(files[key]) for key in toy_keys(config)}
    return config.with_values(values) if values else config


def toy_keys(config: ExperimentConfig) -> list[str]:
    """The keys of the config that say `toy`."""
    named = {
        "model.name": config.model.name,
        "data.train": config.data.train,
        "data.eval": config.data.eval,
        "training.warm_start.data": config.training.warm_start.data,
    }
    return [key for key, value in named.items() if value == TOY]
