"""A step's rollouts: hooks that need no order, and prompts that are tokenised once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Toy, lines
from grpo_toys import problems, trainer_for

from groupwise.framework.policy import load

pytestmark = pytest.mark.stack


def test_the_hooks_make_what_they_need(toy: Toy, tmp_path: Path) -> None:
    """In whatever order and number TRL calls them, the log of a step has the same lines."""
    config = toy.config()
    policy = load(config.model, config.seed)
    size = config.training.num_generations
    state = SimpleNamespace(state=SimpleNamespace(global_step=0, max_steps=3))
    logged = []
    for i, hooks in enumerate(("sample reward", "reward", "sample sample reward sample")):
        trainer = trainer_for(config, policy, tmp_path / str(i))
        rollouts = trainer.rollouts
        ids = [example.id for example in trainer.examples[:2] for _ in range(size)]

        def trl(given: list[dict[str, Any]], rollouts: Any, hooks: str) -> dict[str, Any]:
            prompts = [row["prompt"] for row in given]
            for hook in hooks.split():
                rollouts.reward(prompts) if hook == "reward" else rollouts.sample(prompts, None)
            return {"advantages": torch.zeros(len(prompts))}

        rollouts.open()
        rollouts.step(
            [{"example_id": example_id} for example_id in ids],
            state,
            partial(trl, rollouts=rollouts, hooks=hooks),
        )
        rollouts.close()
        found = lines(tmp_path / str(i) / "rollouts.jsonl")
        assert [line["example_id"] for line in found] == ids
        logged.append([{k: v for k, v in line.items() if k != "seconds"} for line in found])
    assert logged[0] == logged[1] == logged[2]


def test_no_hook_works_outside_a_step(toy: Toy, tmp_path: Path) -> None:
    config = toy.config()
    rollouts = trainer_for(config, load(config.model, config.seed), tmp_path).rollouts
    with pytest.raises(AssertionError, match="inside step"):
        rollouts.sample(["1+1=?"], None)
    with pytest.raises(AssertionError, match="inside step"):
        rollouts.reward(["1+1=?"])


@pytest.mark.parametrize("times", [0, 1], ids=["the data brings its tokens", "it does not"])
def test_each_prompt_is_tokenised_once(toy: Toy, tmp_path: Path, times: int) -> None:
    """In a training of several epochs, by the trainer and by the engine together."""
    calls: Counter[str] = Counter()
    config = toy.config(
        training__max_steps=8, training__num_train_epochs=4, data__max_train_examples=8
    )
    policy = load(config.model, config.seed)

    class Counting(type(policy.tokenizer)):  # type: ignore[misc]
        def __call__(self, text: Any = None, *args: Any, **kwargs: Any) -> Any:
            calls.update([text] if isinstance(text, str) else text)
            return super().__call__(text, *args, **kwargs)

    examples = problems(config, policy)
    if times:
        examples = tuple(replace(example, prompt_ids=()) for example in examples)
    trainer = trainer_for(config, policy, tmp_path, train_dataset=examples)
    calls.clear()
    policy.tokenizer.__class__ = Counting
    assert trainer.train().steps == 8
    prompts = {line["prompt"] for line in lines(tmp_path / "rollouts.jsonl")}
    assert len(prompts) == 8
    # The self-check of the engine encodes four of them itself, with each of two engines.
    expected = {1: 4, 3: 4} if times else {0: 8}
    assert Counter(calls[prompt] for prompt in prompts) == expected
