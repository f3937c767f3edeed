"""Leaving out what has no gradient changes nothing but the time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import lines
from grpo_toys import odd_problems_only, toy_trainer

from groupwise.framework.grpo_trainer.batching import rows, shifted_left, sorted_batches, trimmed

pytestmark = pytest.mark.stack


def test_sorting_keeps_rows_together_and_puts_gradients_first() -> None:
    def batch(first: int, advantages: list[float], lengths: list[int]) -> dict[str, Any]:
        number = torch.arange(first, first + 2)
        return {
            "prompt_ids": number[:, None].expand(2, 3),
            "prompt_mask": torch.tensor([[0, 1, 1], [0, 0, 1]]),
            "completion_ids": number[:, None].expand(2, 4),
            "completion_mask": torch.tensor([[1] * n + [0] * (4 - n) for n in lengths]),
            "advantages": torch.tensor(advantages),
            "num_items_in_batch": torch.tensor(9),
        }

    before = [batch(0, [0.0, 1.0], [4, 2]), batch(2, [0.0, -1.0], [1, 3])]
    after = sorted_batches(before)
    assert [part["advantages"].tolist() for part in after] == [[-1.0, 1.0], [0.0, 0.0]]
    assert [part["completion_ids"][:, 0].tolist() for part in after] == [[3, 1], [0, 2]]
    assert after[0]["completion_ids"].shape == (2, 3)  # trimmed to its longest completion
    assert after[0]["prompt_ids"].shape == (2, 1)  # and to its longest prompt
    assert after[1]["num_items_in_batch"] == 9


def test_trimming_never_cuts_a_token() -> None:
    batch = {
        "prompt_ids": torch.arange(8).reshape(2, 4),
        "prompt_mask": torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]]),
        "completion_ids": torch.arange(6).reshape(2, 3),
        "completion_mask": torch.tensor([[1, 0, 0], [1, 1, 0]]),
        "advantages": torch.ones(2),
    }
    cut = trimmed(batch)
    assert cut["prompt_ids"].tolist() == [[1, 2, 3], [5, 6, 7]]
    assert cut["completion_ids"].tolist() == [[0, 1], [3, 4]]
    assert trimmed(rows(cut, torch.tensor([0])))["prompt_mask"].tolist() == [[1, 1]]


def _weights_after(toy: Any, folder: Path, steps: int, **training: Any) -> dict[str, torch.Tensor]:
    """The trained weights of a short run in which half of the groups have no variance."""
    trainer = toy_trainer(
        toy,
        folder,
        odd_problems_only,
        max_steps=steps,
        prompts_per_step=4,
        num_generations=4,
        max_completion_length=12,
        learning_rate=1e-3,
        weight_decay=0.01,
        save_steps=1000,
        **training,
    )
    assert trainer.train().steps == steps
    return {n: p.detach().clone() for n, p in trainer.model.named_parameters() if p.requires_grad}


def test_skipping_whole_forwards_gives_the_same_bits(toy: Any, tmp_path: Path) -> None:
    """A forward is one group here, so that none holds both kinds of rows."""
    shape: dict[str, Any] = {"completions_per_forward": 4, "loss_type": "dapo"}
    skipping = _weights_after(toy, tmp_path / "a", 20, **shape)
    skipped = [line["skipped_forwards"] for line in lines(tmp_path / "a" / "metrics.jsonl")]
    assert 0.2 < sum(skipped) / len(skipped) < 1
    plain = _weights_after(toy, tmp_path / "b", 20, **shape, skip_zero_advantage=False)
    for name, weights in plain.items():
        assert torch.equal(skipping[name], weights), name


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "bnpo", "dr_grpo"])
def test_dropping_rows_gives_the_same_weights(toy: Any, tmp_path: Path, loss_type: str) -> None:
    """One forward for the whole step: rows are dropped from within it."""
    shape: dict[str, Any] = {"completions_per_forward": 16, "loss_type": loss_type}
    if loss_type == "dr_grpo":
        shape["scale_rewards"] = "none"
    # SGD's step is proportional to the gradient, where Adam's would hide a wrong scale.
    shape |= {"optim": "sgd", "max_grad_norm": 0.0}
    dropping = _weights_after(toy, tmp_path / "a", 3, **shape)
    plain = _weights_after(toy, tmp_path / "b", 3, **shape, skip_zero_advantage=False)
    for name, weights in plain.items():
        torch.testing.assert_close(dropping[name], weights, rtol=1e-4, atol=1e-6, msg=name)


def test_old_log_probabilities_come_from_the_sampler(toy: Any, tmp_path: Path) -> None:
    """They are the forward's, which is saved; with several iterations, and in float32."""
    from groupwise.framework.grpo_trainer import trl_subclass

    found: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    class Watching(trl_subclass.GroupwiseTrainer):
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            output = super()._generate_and_score_completions(inputs)
            ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
            mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
            length = output["completion_ids"].shape[1]
            with torch.no_grad():
                forward, _, _ = trl_subclass.TRLTrainer._get_per_token_logps_and_entropies(
                    self, self.model, ids, mask, length
                )
            drawn = output["old_per_token_logps"]
            expected, completion_mask = self._rollouts.log_probs(length), output["completion_mask"]
            if not trl_subclass.IS_STOCK:  # Unsloth's trainer has no padding before a prompt
                expected, completion_mask = (
                    shifted_left(values, output["prompt_mask"])
                    for values in (expected, completion_mask)
                )
            assert torch.equal(drawn, expected), "not the sampler's"
            found.append((drawn, forward, completion_mask))
            return output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trl_subclass, "GroupwiseTrainer", Watching)
        shape = {"completions_per_forward": 16, "num_iterations": 2, "temperature": 0.8}
        _weights_after(toy, tmp_path, 4, **shape)
    assert len(found) == 2
    for drawn, forward, mask in found:
        torch.testing.assert_close(drawn * mask, forward * mask, rtol=1e-4, atol=1e-4)
        assert (drawn[mask == 1] < 0).all()
