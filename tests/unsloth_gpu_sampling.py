"""What sampling does to a model with Unsloth's GPU forward; run by itself, in emulation.

    python tests/gpu_emulation.py tests/unsloth_gpu_sampling.py FOLDER

Prints one JSON object, by part. `tests/framework/sampling/test_sampling_unsloth.py` looks at it.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from sampling_toys import counted_reads, make_model, make_tokenizer
from torch import Tensor

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.config import ExperimentConfig, ModelConfig
from groupwise.framework.experiment.chat import chat
from groupwise.framework.policy import Policy, load
from groupwise.framework.run.terminal import Terminal
from groupwise.framework.sampling import (
    CheckedSampler,
    Engine,
    EngineSampler,
    SlotSampler,
    make_sampler,
)
from groupwise.framework.sampling.requests import encode_prompts
from groupwise.framework.sampling.stopping import Stopping
from groupwise.rewards.errors import UserError

LENGTH = 96
PROMPTS = [Prompt(str(n), text) for n, text in enumerate(["Add 1 and 2.", "What is 3?", "And 4?"])]
PARAMS = SamplingParams(max_tokens=8, seed=3)
# Constants of the shape, and what each forward sets anew.
OF_EACH_FORWARD = (".scalar", ".half_head_dim", "_head_reads_final_norm", "._has_no_labels")
TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}:{% endif %}"
)


def make_folder(folder: Path, family: str = "qwen3") -> Path:
    make_model(family).save_pretrained(folder)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def policy_of(folder: Path, **settings: Any) -> Policy:
    config = ModelConfig(
        name=str(folder),
        max_seq_length=LENGTH,
        dtype="float32",
        load_in_4bit=False,
        lora_r=4,
        use_gradient_checkpointing="unsloth",
    )
    policy = load(replace(config, **settings))
    torch.manual_seed(1)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return policy


def in_training(policy: Policy) -> Policy:
    """As the trainer leaves a model between two steps."""
    policy.model.for_training(use_gradient_checkpointing="unsloth")
    policy.tokenizer.padding_side = "right"
    return policy


def sampler_of(policy: Policy, max_rows: int, engine: Engine = "generate") -> EngineSampler:
    return make_sampler(policy.model, policy.tokenizer, engine, max_rows=max_rows)


def state_of(policy: Policy) -> dict[str, Any]:
    """Every plain value and buffer on each module, and what lies beside the modules."""
    found: dict[str, Any] = {"padding_side": policy.tokenizer.padding_side}
    for name, module in policy.model.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, Tensor):
                found[f"{name}.{key}"] = f"a tensor of {list(value.shape)}"
            elif value is None or isinstance(value, bool | int | float | str):
                found[f"{name}.{key}"] = value
        if hasattr(vars(module).get("config"), "use_cache"):
            found[f"{name}.config.use_cache"] = module.config.use_cache
    cast = sum("_fast_lora" in vars(p) for p in policy.model.parameters())
    return found | {"cast adapters": cast}


def kv_bytes(policy: Policy) -> int:
    caches = [vars(m).get("paged_attention") for m in policy.model.modules()]
    return sum(cache.nbytes for cache in caches if cache is not None)


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[Any]]:
    return {
        key: [before.get(key, "nothing"), after.get(key, "nothing")]
        for key in before.keys() | after.keys()
        if before.get(key, "nothing") != after.get(key, "nothing")
        and not key.endswith(OF_EACH_FORWARD)
    }


def what_is_left(folder: Path, engine: Engine = "generate") -> dict[str, Any]:
    """After a whole sample, and after one whose iterator is closed in the middle."""
    policy = in_training(policy_of(folder, dtype="float16"))
    before = state_of(policy)
    whole = list(sampler_of(policy, 16, engine).sample(PROMPTS, 4, PARAMS))
    after_whole = changes(before, state_of(policy))
    part = sampler_of(policy, 4, engine).sample(PROMPTS, 4, PARAMS)
    next(part)
    meanwhile = kv_bytes(policy)
    part.close()  # type: ignore[attr-defined]
    return {
        "drawn": len(whole),
        "checkpointing": sorted({str(v) for k, v in before.items() if k.endswith("checkpointing")}),
        "after": after_whole,
        "KV bytes meanwhile": meanwhile,
        "after closing": changes(before, state_of(policy)),
    }


def slots(folder: Path) -> dict[str, Any]:
    """The slot engine: what it leaves, that it agrees with `generate`, and when the host waits."""
    found = {"left": what_is_left(folder, "slots")}
    for name, settings in PRECISIONS.items():
        policy = in_training(policy_of(folder, **settings))
        sampler = make_sampler(policy.model, policy.tokenizer)
        assert isinstance(sampler, CheckedSampler)
        found[name] = {
            "said": str(sampler.check(PROMPTS)),
            "engine": sampler.name,
            "waits": waits_of_a_step(policy),
            "4-bit products": four_bit_products_of_a_step(policy),
        }
    return found


def compiled_blocks(folder: Path) -> dict[str, Any]:
    """The slot engine on layers that Unsloth has wrapped to compile them, as it does on a card."""
    from unsloth.models._block_compile import patch_block_compile

    policy = in_training(policy_of(folder, dtype="float16", load_in_4bit=True))
    disabled, is_available = os.environ["UNSLOTH_COMPILE_DISABLE"], torch.cuda.is_available
    os.environ["UNSLOTH_COMPILE_DISABLE"] = "0"
    torch.cuda.is_available = lambda: True
    try:
        wrapped = patch_block_compile(policy.model)
    finally:
        os.environ["UNSLOTH_COMPILE_DISABLE"] = disabled
        torch.cuda.is_available = is_available
    sampler = make_sampler(policy.model, policy.tokenizer)
    drawn = list(sampler.sample(PROMPTS, 2, PARAMS))
    return {"wrapped": wrapped, "engine": sampler.name, "said": sampler.reason, "drawn": len(drawn)}


def short_answers(folder: Path) -> int:
    """A prompt is padded by more positions than its answers have tokens."""
    policy = policy_of(folder)
    tokens = tuple(policy.tokenizer("3" * 18)["input_ids"])
    assert len(tokens) == 18, "the prompt is to be padded from 17 positions to 32"
    sampler = sampler_of(policy, 4, "slots")
    return len(
        list(sampler.sample([Prompt("p", "", token_ids=tokens)], 2, SamplingParams(max_tokens=2)))
    )


PRECISIONS: dict[str, dict[str, Any]] = {
    "float32": {},
    "float16": {"dtype": "float16"},
    "4 bits": {"dtype": "float16", "load_in_4bit": True},
}


def four_bit_products_of_a_step(policy: Policy) -> int:
    """How many of bitsandbytes' 4-bit layers a step runs: those that multiply packed weights."""
    from bitsandbytes.nn import Linear4bit  # PEFT's class around it has the same name

    sampler = SlotSampler(policy.model, policy.tokenizer)
    encoded = encode_prompts(PROMPTS, 4, PARAMS, policy.model, policy.tokenizer)
    stopping = Stopping(policy.model, policy.tokenizer, (), PARAMS.max_tokens)
    calls: list[Any] = []
    with sampler.running(encoded, PARAMS, stopping) as run:
        run.advance()
        layers = [m for m in policy.model.modules() if type(m) is Linear4bit]
        hooks = [m.register_forward_hook(lambda *_: calls.append(1)) for m in layers]
        run.advance()
        for hook in hooks:
            hook.remove()
    return len(calls)


def waits_of_a_step(policy: Policy) -> dict[str, int]:
    """How often a step in the middle reads a value of a tensor, by method."""
    sampler = SlotSampler(policy.model, policy.tokenizer)
    encoded = encode_prompts(PROMPTS, 4, PARAMS, policy.model, policy.tokenizer)
    stopping = Stopping(policy.model, policy.tokenizer, (), PARAMS.max_tokens)
    with sampler.running(encoded, PARAMS, stopping) as run:
        run.advance()
        with counted_reads() as reads:
            run._step()
    return dict(reads)


class Recorded:
    """What `module.name` returned, call by call."""

    def __init__(self, module: Any, name: str) -> None:
        self.returned: list[Any] = []
        real = getattr(module, name)

        def recorded(*arguments: Any, **options: Any) -> Any:
            self.returned.append(real(*arguments, **options))
            return self.returned[-1]

        setattr(module, name, recorded)


def how_it_decodes(folder: Path) -> dict[str, Any]:
    """CUDA graphs asked for, masks made in decoding, and the answers in batches and alone."""
    from unsloth.models import _decode_graphs, llama

    policy = in_training(policy_of(folder))
    alone = answers(policy, max_rows=1)
    _decode_graphs._DEFAULT_OK = True  # as on a card
    graphs = Recorded(_decode_graphs, "enabled")
    masks = Recorded(llama, "_prepare_4d_causal_attention_mask_for_sdpa")
    released = Recorded(_decode_graphs, "release_for_training")
    together = answers(policy, max_rows=8)
    return {
        "asked for graphs": len(graphs.returned),
        "graphs on": sum(graphs.returned),
        "on outside": _decode_graphs.enabled(),
        "asked for a mask": len(masks.returned),
        "masks": sum(mask is not None for mask in masks.returned),
        "released": len(released.returned),
        "equal": together == alone,
        "answers": len(together),
    }


def answers(policy: Policy, max_rows: int) -> list[tuple[int, int, tuple[int, ...]]]:
    made = sampler_of(policy, max_rows).sample(PROMPTS, 4, PARAMS)
    return sorted((m.prompt_index, m.sample_index, m.token_ids) for m in made)


@contextmanager
def standard_output_to(file: Path) -> Iterator[None]:
    """By its descriptor, as the results of commands are written past Python's own stream."""
    sys.stdout.flush()
    kept = os.dup(1)
    with file.open("w") as out:
        os.dup2(out.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def too_long(folder: Path) -> dict[str, Any]:
    """A prompt that leaves no room, one without, and a conversation that outgrows the model."""
    policy = policy_of(folder)
    said = {}
    for name, length in (("no room", LENGTH - 4), ("cut off", LENGTH + 20), ("fits", LENGTH - 8)):
        prompt = Prompt(name, "x" * length)
        try:
            said[name] = str(len(list(sampler_of(policy, 4).sample([prompt], 1, PARAMS))))
        except UserError as error:
            said[name] = str(error)
    lines = ["a" * 30, "b" * 30, "c" * 30, "d" * 200, "e" * 10]
    config = ExperimentConfig.from_dict(
        {"model": {"name": str(folder)}, "data": {"train": "none", "system_prompt": None}}
    )
    sys.stdin = io.StringIO("\n".join(lines))
    out, err = folder / "out.txt", folder / "err.txt"
    with err.open("w") as notices, standard_output_to(out):
        chat(
            config,
            policy,
            with_base=True,
            temperature=0.0,
            max_tokens=8,
            terminal=Terminal(notices),
            log=folder / "libraries.log",
        )
    return said | {
        "answered": [line.split(">")[0] for line in out.read_text().splitlines() if "> " in line],
        "said": [line for line in err.read_text().splitlines() if line.startswith("[")],
    }


# The last one changes classes of transformers for good.
PARTS = {
    part.__name__: part
    for part in (what_is_left, how_it_decodes, too_long, slots, short_answers, compiled_blocks)
}


def main(folder: str, *names: str) -> None:
    toy = make_folder(Path(folder) / "model")
    print("\n" + json.dumps({name: PARTS[name](toy) for name in names or PARTS}))


if __name__ == "__main__":
    main(*sys.argv[1:])
