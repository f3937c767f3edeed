"""The tiny model and its problems: right answers, solutions half wrong, the same each time."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import Toy, lines

from groupwise.framework.data import toy as module
from groupwise.framework.data.toy import NUM_HELD_OUT, NUMBERS_BELOW, make_problems, make_toy
from groupwise.rewards import grade

SYSTEM = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1=?"}]


def test_held_out_problems_are_held_out() -> None:
    train, held_out = make_problems(0)
    assert len(held_out) == NUM_HELD_OUT == 200
    assert len(train) + len(held_out) == NUMBERS_BELOW**2 == len({*train, *held_out})
    assert make_problems(0) == (train, held_out)
    assert make_problems(1) != (train, held_out)


def test_rows_are_right_and_demonstrations_half_wrong(tmp_path: Path) -> None:
    paths = make_toy(tmp_path, 0, with_model=False)
    train, held_out = lines(paths.train), lines(paths.eval)
    for row in train + held_out:
        a, b = map(int, re.findall(r"\d+", row["question"]))
        assert row["answer"] == str(a + b)
        assert row["category"] == ("carry" if a % 10 + b % 10 > 9 else "no carry")
    assert "solution" not in json.dumps(held_out), "held-out problems have no solutions"
    grades = [grade(row["solution"], row["answer"]) for row in train]
    assert all(g.status in ("correct", "wrong") for g in grades)
    assert sum(g.correct for g in grades) / len(grades) == pytest.approx(0.5, abs=0.04)
    assert all(
        re.fullmatch(r"<think>\d\+\d=\d+</think><answer>\d+</answer>", r["solution"]) for r in train
    )
    again = make_toy(tmp_path / "again", 0, with_model=False)
    assert again.train.read_bytes() == paths.train.read_bytes()
    assert not paths.model.exists()


@pytest.mark.stack
def test_the_tokenizer_takes_any_text(toy: Toy) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(toy.model)
    for text in (
        "7+5=?",
        "Zoë paid 3 €.\n\tOK",
        "数学 😀",
        "<think>4+2=6</think><answer>6</answer>",
    ):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text
    assert len(tokenizer("<think></think>", add_special_tokens=False).input_ids) == 2
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id, "or the mask would drop the real end"
    rendered = tokenizer.apply_chat_template(SYSTEM, add_generation_prompt=True, tokenize=False)
    assert rendered == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1+1=?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    alone = tokenizer.apply_chat_template(SYSTEM[1:], add_generation_prompt=True, tokenize=False)
    assert alone == module._prompt(1, 1)


@pytest.mark.stack
def test_the_same_seed_makes_the_same_model(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    train, _ = make_problems(0)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    losses: list[float] = []
    for name in ("first", "second"):
        module.make_model(tmp_path / name, train, 0, lambda *s: losses.append(s[2]), steps=3)
    assert torch.equal(torch.get_rng_state(), state), "nobody else's draws change"
    assert losses[:3] == losses[3:]
    first, second = (load_file(tmp_path / n / "model.safetensors") for n in ("first", "second"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert sum(p.numel() for p in first.values()) < 1_000_000


@pytest.mark.stack
def test_the_model_is_an_ordinary_one(toy: Toy) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(toy.model)
    assert type(model).__name__ == "Qwen3ForCausalLM"
    assert str(model.dtype) == "torch.float32"
    assert model.generation_config.eos_token_id == model.config.eos_token_id
    widths = {p.shape[-1] for n, p in model.named_parameters() if "proj" in n}
    assert min(widths) >= 64, "bitsandbytes quantises nothing narrower"
