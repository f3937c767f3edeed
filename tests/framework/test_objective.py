"""The plain formulas against TRL's loss and gradient, finite differences, and a worked example."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import on_the_cpu_backend

from groupwise.framework.objective import (
    KLEstimator,
    Objective,
    compute_advantages,
    compute_kl_penalty,
    policy_loss,
    token_logps,
)

pytestmark = pytest.mark.stack

WORKED_EXAMPLE = [
    # rewards of four answers to "What is 2+2?", their advantages
    ([1.0, 0.0, 1.0, 0.0], [1.0, -1.0, 1.0, -1.0]),
    ([1.25, 0.25, 1.25, 0.25], [1.0, -1.0, 1.0, -1.0]),
    ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]),
    ([0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]),
]


@pytest.mark.parametrize(("rewards", "advantages"), WORKED_EXAMPLE)
def test_advantages_of_the_worked_example(rewards: list[float], advantages: list[float]) -> None:
    got = compute_advantages(torch.tensor([rewards]))
    assert got[0].tolist() == pytest.approx(advantages, abs=1e-3)


# one right answer of two, in every form that people have rewards in
FORMS: dict[str, Any] = {
    "a list": [1.0, 0.0],
    "whole numbers": [1, 0],
    "truth values": [True, False],
    "a tuple": (1.0, 0.0),
    "numbers of NumPy": [np.float64(1.0), np.float32(0.0)],
    "an array": np.array([1.0, 0.0]),
    "an array of whole numbers": np.array([1, 0]),
    "a column of a table": pd.Series([1.0, 0.0], index=[7, 8]),
    "a tensor": torch.tensor([1.0, 0.0]),
    "a tensor of whole numbers": torch.tensor([1, 0]),
    "a list of tensors": [torch.tensor(1.0), torch.tensor(0.0)],
}


@pytest.mark.parametrize("form", FORMS)
def test_rewards_in_any_form(form: str) -> None:
    one = compute_advantages(FORMS[form], epsilon=0.0)
    assert one.tolist() == [1.0, -1.0]
    two = compute_advantages([FORMS[form], FORMS[form]], epsilon=0.0)
    assert two.tolist() == [[1.0, -1.0]] * 2
    assert one.dtype == (torch.float64 if form == "an array" else torch.float32)


# what is no groups of numbers, and what is said of it
NO_GROUPS: dict[str, tuple[Any, str]] = {
    "groups of different sizes": ([[1.0, 0.0], [1.0]], "in groups of one size"),
    "a number": (1.0, r"not of shape \(\)"),
    "three levels": ([[[1.0]]], r"not of shape \(1, 1, 1\)"),
    "texts": (["right", "wrong"], "must be numbers"),
    "a dictionary": ({"a": 1.0}, "must be numbers"),
    "an array of objects": (np.array(["a"], dtype=object), "must be numbers"),
}


@pytest.mark.parametrize("case", NO_GROUPS)
def test_what_is_no_group_is_refused(case: str) -> None:
    rewards, said = NO_GROUPS[case]
    with pytest.raises(ValueError, match=said):
        compute_advantages(rewards)


def test_advantages_without_scaling_are_what_is_left_of_the_mean() -> None:
    got = compute_advantages(torch.tensor([[3.0, 1.0], [5.0, 5.0]]), scale="none")
    assert got.tolist() == [[1.0, -1.0], [0.0, 0.0]]


def test_a_group_of_one_has_no_advantage() -> None:
    assert compute_advantages(torch.tensor([[3.0], [1.0]])).tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_estimators_agree_with_the_exact_divergence(estimator: KLEstimator) -> None:
    """Close distributions, all tokens weighted by the policy: the estimate's expectation."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, generator=generator, dtype=torch.float64)
    logp = logits.log_softmax(0)
    ref = (logits + 0.01 * torch.randn(50, generator=generator, dtype=torch.float64)).log_softmax(0)
    exact = (logp.exp() * (logp - ref)).sum()
    expected = (logp.exp() * compute_kl_penalty(logp, ref, estimator)).sum()
    tolerance = 0.02 if estimator == "k2" else 1e-9  # k2 is biased by a third-order term
    assert expected.item() == pytest.approx(exact.item(), rel=tolerance)


LOSS_CASES = [
    Objective(loss_type=loss_type, beta=beta, sequence_level=sequence_level, epsilon_high=high)
    for loss_type, beta, sequence_level, high in [
        *itertools.product(
            ("grpo", "bnpo", "dr_grpo", "dapo", "sapo", "luspo"),
            (0.0, 0.04),
            (False, True),
            (0.28,),
        ),
        ("cispo", 0.0, False, 5.0),
        ("cispo", 0.04, False, 5.0),
        ("grpo", 0.0, False, None),
    ]
]


def test_loss_is_differentiated_as_finite_differences_say() -> None:
    """Away from the kinks of the clip, in float64, for every loss."""
    generator = torch.Generator().manual_seed(1)
    logps = -torch.rand(4, 5, generator=generator, dtype=torch.float64) - 0.1
    old = logps + 0.05 * torch.randn(4, 5, generator=generator, dtype=torch.float64)
    ref = logps + 0.1 * torch.randn(4, 5, generator=generator, dtype=torch.float64)
    advantages = torch.tensor([1.0, -0.5, 0.0, 0.7], dtype=torch.float64)
    mask = torch.tensor([[1] * 5, [1, 1, 1, 0, 0], [1] * 4 + [0], [1, 0, 0, 0, 0]])
    for objective in LOSS_CASES:
        if objective.loss_type == "cispo":
            continue  # its clipped weight is detached on purpose: no derivative of its value

        def loss(values: torch.Tensor, objective: Objective = objective) -> torch.Tensor:
            return policy_loss(values, advantages, mask, objective, old_logps=old, ref_logps=ref)

        assert torch.autograd.gradcheck(loss, (logps.clone().requires_grad_(),)), objective


@pytest.fixture(scope="module")
def trl_batch(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A real TRL trainer on the toy model, and one batch for its loss."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    model = AutoModelForCausalLM.from_pretrained(toy.model, dtype=torch.float64)
    tokenizer = AutoTokenizer.from_pretrained(toy.model)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([{"prompt": "1+1=?"}] * 8),
        args=GRPOConfig(
            output_dir=str(tmp_path_factory.mktemp("trl")),
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=16,
            epsilon=0.2,
            bf16=False,
            report_to=[],
            gradient_checkpointing=False,
        ),
    )
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    generator = torch.Generator().manual_seed(3)
    completion_mask = torch.tensor(
        [[1] * 9, [1] * 6 + [0] * 3, [1] * 9, [1] * 2 + [0] * 7]  # (B, T)
    )
    inputs = {
        "prompt_ids": torch.randint(5, 200, (4, 6), generator=generator),
        "prompt_mask": torch.tensor([[1] * 6, [0] + [1] * 5, [1] * 6, [0, 0] + [1] * 4]),
        "completion_ids": torch.randint(5, 200, (4, 9), generator=generator),
        "completion_mask": completion_mask,
        "advantages": torch.tensor([0.8, -1.2, 0.0, 0.4], dtype=torch.float64),
        "num_items_in_batch": completion_mask.sum(),
    }
    with torch.no_grad():
        now = _logps(model, inputs)
    noise = torch.randn(2, 4, 9, generator=generator, dtype=torch.float64)
    inputs["old_per_token_logps"] = now + 0.3 * noise[0]  # far enough for the clip to act
    inputs["ref_per_token_logps"] = now + 0.3 * noise[1]
    return trainer, inputs


def _logps(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    length = inputs["completion_ids"].shape[1]
    logits = model(input_ids=ids, attention_mask=attention).logits[:, -length - 1 : -1]
    return token_logps(logits, inputs["completion_ids"])


@on_the_cpu_backend("it is TRL's own loss that the formulas are compared with")
@pytest.mark.parametrize("objective", LOSS_CASES, ids=str)
def test_loss_and_gradient_equal_trls(trl_batch: Any, objective: Objective) -> None:
    trainer, inputs = trl_batch
    trainer.loss_type = objective.loss_type
    trainer.beta = objective.beta
    trainer.epsilon_high = objective.epsilon_high or objective.epsilon
    trainer.importance_sampling_level = "sequence" if objective.sequence_level else "token"
    objective = Objective(
        loss_type=objective.loss_type,
        beta=objective.beta,
        sequence_level=objective.sequence_level,
        epsilon_high=objective.epsilon_high,
        max_completion_length=16,
    )
    theirs, their_gradient = _gradient(
        trainer.model, lambda: trainer._compute_loss(trainer.model, inputs)
    )
    ours, our_gradient = _gradient(
        trainer.model,
        lambda: policy_loss(
            _logps(trainer.model, inputs),
            inputs["advantages"],
            inputs["completion_mask"],
            objective,
            old_logps=inputs["old_per_token_logps"],
            ref_logps=inputs["ref_per_token_logps"],
            num_items_in_batch=inputs["num_items_in_batch"],
        ),
    )
    # TRL takes log-probabilities in float32, whatever the model computes in.
    assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)
    assert their_gradient.norm() > 0
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-3, atol=1e-6)


def _gradient(model: Any, loss_of: Any) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    loss = loss_of()
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])
