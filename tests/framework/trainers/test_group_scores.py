"""Training on scored groups: the loss against a plain reference, the trainer, the file format."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import EMULATES_GPU, Toy, on_the_cpu_backend
from torch import Tensor

from groupwise.framework.data.scored_groups import ScoredCompletion, ScoredGroup
from groupwise.framework.objective import group_score_kl, group_score_surrogate
from groupwise.framework.policy import Policy, load
from groupwise.framework.trainers.group_score_batches import Collator, tokenized_groups
from groupwise.framework.trainers.group_scores import GroupScoreArguments, GroupScoreTrainer
from groupwise.rewards.errors import UserError

pytestmark = pytest.mark.stack

SIZES = (4, 2, 3)  # groups of unequal size, padded to (3, 4)
MASK = torch.tensor([[1] * size + [0] * (4 - size) for size in SIZES])
LOGPS = -torch.rand(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5
OLD = LOGPS + 0.3 * torch.randn(3, 4, generator=torch.Generator().manual_seed(1)).double()
SCORES = torch.tensor(
    [[1.0, 0.25, 0.0, 1.35], [0.5, 0.5, 9.0, 9.0], [2.0, -1.0, 0.0, 9.0]], dtype=torch.float64
)


def tokenized(groups: Any, tokenizer: Any, args: GroupScoreArguments) -> Any:
    """As the trainer has them tokenised."""
    return tokenized_groups(
        groups, tokenizer, max_length=args.max_length, stored_logps=args.stored_logps
    )


def plain_kl(logps: list[float], scores: list[float], temperature: float, direction: str) -> float:
    """The definition, group by group, in Python's own numbers."""

    def softmax(values: list[float]) -> list[float]:
        total = sum(math.exp(v) for v in values)
        return [math.exp(v) / total for v in values]

    p, q = softmax([s / temperature for s in scores]), softmax(logps)
    if direction == "reverse":
        p, q = q, p
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def plain_surrogate(
    logps: list[float], old: list[float], scores: list[float], low: float, high: float, most: float
) -> float:
    n, mean = len(scores), sum(scores) / len(scores)
    deviation = (sum((s - mean) ** 2 for s in scores) / n) ** 0.5
    total = 0.0
    for logp, before, score in zip(logps, old, scores, strict=True):
        advantage, ratio = (score - mean) / (deviation + 1e-4), math.exp(logp - before)
        if advantage >= 0:
            total += min(ratio, 1 + high) * advantage
        else:
            total += min(max(ratio, 1 - low), most) * advantage
    return -total / n


def by_group(plain: Any, *tensors: Tensor) -> float:
    rows = [[t[i, :size].tolist() for t in tensors] for i, size in enumerate(SIZES)]
    return sum(plain(*row) for row in rows) / len(SIZES)


KL_CASES = [(d, t) for d in ("forward", "reverse") for t in (0.2, 1.0, 5.0)]


@pytest.mark.parametrize(("direction", "temperature"), KL_CASES)
def test_group_kl_equals_its_definition(direction: Any, temperature: float) -> None:
    def plain(logps: list[float], scores: list[float]) -> float:
        return plain_kl(logps, scores, temperature, direction)

    logps = LOGPS.clone().requires_grad_()
    loss = group_score_kl(logps, SCORES, MASK, temperature, direction)
    assert loss.item() == pytest.approx(by_group(plain, LOGPS, SCORES), rel=1e-9)
    assert torch.autograd.gradcheck(
        lambda x: group_score_kl(x, SCORES, MASK, temperature, direction), (logps,)
    )
    (gradient,) = torch.autograd.grad(loss, logps)
    assert (gradient[MASK == 0] == 0).all()
    # The forward direction has the gradient of a cross-entropy: q - p, over the groups.
    if direction == "forward":
        p = (SCORES / temperature).masked_fill(MASK == 0, -torch.inf).softmax(1)
        q = LOGPS.masked_fill(MASK == 0, -torch.inf).softmax(1)
        torch.testing.assert_close(gradient, (q - p) / len(SIZES))


def test_group_kl_is_zero_where_scores_are_log_probabilities() -> None:
    for direction in ("forward", "reverse"):
        loss = group_score_kl(LOGPS + 3.0, LOGPS, MASK, 1.0, direction)
        assert loss.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("low", "high", "most"), [(0.2, 0.2, 3.0), (0.1, 0.3, 1.5)])
def test_surrogate_equals_its_definition(low: float, high: float, most: float) -> None:
    def plain(logps: list[float], old: list[float], scores: list[float]) -> float:
        return plain_surrogate(logps, old, scores, low, high, most)

    def loss(logps: Tensor) -> Tensor:
        return group_score_surrogate(
            logps, OLD, SCORES, MASK, epsilon=low, epsilon_high=high, max_ratio=most
        )

    assert loss(LOGPS).item() == pytest.approx(by_group(plain, LOGPS, OLD, SCORES), rel=1e-9)
    assert torch.autograd.gradcheck(loss, (LOGPS.clone().requires_grad_(),))


# ratio of a good and a bad answer -> whether each still has a gradient
BOUNDS = [
    (1.0, True, True),
    (1.15, True, True),
    (1.3, False, True),
    (0.7, True, False),
    (2.9, False, True),
    (3.1, False, False),
    (1e30, False, False),
]


@pytest.mark.parametrize(("ratio", "good", "bad"), BOUNDS)
def test_nothing_is_pushed_without_end(ratio: float, good: bool, bad: bool) -> None:
    logps = torch.full((1, 2), math.log(ratio)).requires_grad_()
    scores, mask = torch.tensor([[1.0, 0.0]]), torch.ones(1, 2)
    group_score_surrogate(logps, torch.zeros(1, 2), scores, mask).backward()
    assert logps.grad is not None
    assert logps.grad.isfinite().all()
    assert (logps.grad[0] != 0).tolist() == [good, bad]


# --- the trainer -----------------------------------------------------------------------------

GROUPS = [
    ScoredGroup(
        "<|im_start|>user\n1+1=?<|im_end|>\n<|im_start|>assistant\n",
        (
            ScoredCompletion("<answer>2</answer>", 1.25, logprob=-6.0),
            ScoredCompletion("3", 0.1, logprob=-4.0),
            ScoredCompletion("1+1=1+1=1+1", 0.0, finished=False, logprob=-30.0),
        ),
    ),
    ScoredGroup(
        ({"role": "user", "content": "12+13=?"},),
        (
            ScoredCompletion("25", 1.1, logprob=-3.0),
            ScoredCompletion("<answer>24</answer>", 0.35, logprob=-8.0),
        ),
    ),
]


def arguments(folder: Path, **changes: Any) -> GroupScoreArguments:
    values = {
        "max_steps": 1,
        "learning_rate": 1e-3,
        "max_grad_norm": 0.0,
        "save_strategy": "no",
        "max_length": 96,
        "disable_tqdm": True,
        "seed": 0,
    }
    return GroupScoreArguments(str(folder), **(values | changes))


def test_batches_are_padded_and_masked(toy: Toy, tmp_path: Path) -> None:
    tokenizer = load(toy.model_config()).tokenizer
    features, left_out = tokenized(GROUPS, tokenizer, arguments(tmp_path))
    batch = Collator(tokenizer.pad_token_id)(features)
    B, K, _ = batch["input_ids"].shape
    assert (B, K, left_out) == (2, 3, 0)
    assert batch["group_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    torch.testing.assert_close(batch["scores"], torch.tensor([[1.25, 0.1, 0], [1.1, 0.35, 0]]))
    shown = [
        [
            tokenizer.decode(batch["input_ids"][b, k][batch["completion_mask"][b, k].bool()])
            for k in range(K)
        ]
        for b in range(B)
    ]
    end = "<|im_end|>"
    assert shown == [
        [f"<answer>2</answer>{end}", f"3{end}", "1+1=1+1=1+1"],
        [f"25{end}", f"<answer>24</answer>{end}", ""],
    ]
    whole = tokenizer.decode(batch["input_ids"][1, 0][batch["attention_mask"][1, 0].bool()])
    assert whole == f"<|im_start|>user\n12+13=?{end}\n<|im_start|>assistant\n25{end}"


def reference_logps(model: Any, batch: dict[str, Tensor], by_token: bool) -> Tensor:
    """One sequence at a time, without padding, from all the logits: as slow as it is plain."""
    B, K, _ = batch["input_ids"].shape
    out = torch.zeros(B, K, dtype=torch.float64)
    for b in range(B):
        for k in range(K):
            length = int(batch["attention_mask"][b, k].sum())
            learned = batch["completion_mask"][b, k, :length].bool()
            if length:
                ids = batch["input_ids"][b, k, :length]
                logp = model(input_ids=ids[None]).logits[0].double().log_softmax(-1)
                picked = logp[:-1].gather(1, ids[1:, None])[:, 0][learned[1:]]
                out[b, k] = picked.mean() if by_token else picked.sum()
    return out


TRAINER_CASES: list[dict[str, Any]] = [
    {"loss": "kl", "kl_direction": "forward", "sequence_logps": "sum"},
    {"loss": "kl", "kl_direction": "reverse", "sequence_logps": "mean"},
    {"loss": "advantage", "old_logps": "stored", "sequence_logps": "mean", "max_ratio": 50.0},
    {"loss": "advantage", "old_logps": "recomputed", "sequence_logps": "sum"},
]


@pytest.mark.parametrize("case", TRAINER_CASES, ids=lambda case: "-".join(map(str, case.values())))
@pytest.mark.parametrize("in_one_forward", [True, False])
def test_loss_and_gradient_equal_the_reference(
    toy: Toy, tmp_path: Path, case: dict[str, Any], in_one_forward: bool
) -> None:
    """In float64, from tokens to the adapter's gradient, whole and in pieces."""
    policy = load(toy.model_config(), seed=1)
    policy.model.double()
    spread_adapter(policy)
    size = 100 if in_one_forward else 2
    args = arguments(tmp_path, completions_per_forward=size, **case)
    trainer = GroupScoreTrainer(policy.model, args, GROUPS, policy.tokenizer)
    if case.get("old_logps") == "recomputed":
        trainer._recompute_old_logps()
        spread_adapter(policy, seed=9)  # so that the ratio is not 1
    batch = trainer.data_collator(trainer.train_dataset)

    by_token = case["sequence_logps"] == "mean"
    logps = reference_logps(policy.model, batch, by_token)
    sizes, scores = (3, 2), batch["scores"].double()
    expected = torch.zeros((), dtype=torch.float64)
    for b, n in enumerate(sizes):
        s, x, old = scores[b, :n], logps[b, :n], batch["old_logps"][b, :n].double()
        if case["loss"] == "kl":
            p, q = (s / args.score_temperature).log_softmax(0), x.log_softmax(0)
            a, c = (p, q) if case["kl_direction"] == "forward" else (q, p)
            expected = expected + (a.exp() * (a - c)).sum() / 2
        else:
            advantage = (s - s.mean()) / (s.std(correction=0) + 1e-4)
            ratio = (x - old).exp().clamp(max=args.max_ratio)
            gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
            expected = expected - gain.mean() / 2
    loss = trainer.compute_loss(policy.model, batch)
    # Scores are in float32; Unsloth's forward has tables and norms in float32, too.
    rounding = 1e-4 if EMULATES_GPU else 1e-6
    assert loss.item() == pytest.approx(expected.item(), rel=rounding)
    theirs, ours = gradient(policy, expected), gradient(policy, loss)
    assert theirs.norm() > 1e-4
    assert ((ours - theirs).norm() / theirs.norm()).item() < rounding


def spread_adapter(policy: Policy, seed: int = 4) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # LoRA starts with B = 0, where A has no gradient
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)


def gradient(policy: Policy, loss: Tensor) -> Tensor:
    trained = [p for p in policy.model.parameters() if p.requires_grad]
    grads = torch.autograd.grad(loss, trained)
    return torch.cat([g.flatten().double() for g in grads])


def test_the_logits_are_never_there_in_one_piece(toy: Toy, tmp_path: Path) -> None:
    policy = load(toy.model_config())
    args = arguments(tmp_path, completions_per_forward=1)
    trainer = GroupScoreTrainer(policy.model, args, GROUPS, policy.tokenizer)
    rows: list[int] = []
    head = policy.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda _m, _i, out: rows.append(out.shape[0]))
    trainer.compute_loss(policy.model, trainer.data_collator(trainer.train_dataset)).backward()
    handle.remove()
    assert rows == [1] * 5 * 2  # five completions, each once more for its gradient


def test_accumulated_groups_weigh_the_same(toy: Toy, tmp_path: Path) -> None:
    """Two groups in a batch, or one after the other: the same step."""

    def trained(folder: Path, **batch: int) -> Tensor:
        policy = load(toy.model_config(), seed=1)
        args = arguments(folder, lr_scheduler_type="constant", **batch)
        GroupScoreTrainer(policy.model, args, GROUPS, policy.tokenizer).train()
        return torch.cat([p.flatten() for p in policy.model.parameters() if p.requires_grad])

    whole = trained(tmp_path / "a", per_device_train_batch_size=2)
    apart = trained(tmp_path / "b", per_device_train_batch_size=1, gradient_accumulation_steps=2)
    torch.testing.assert_close(whole, apart, rtol=1e-3, atol=1e-5)


def test_defaults_of_the_arguments(tmp_path: Path) -> None:
    args = GroupScoreArguments(str(tmp_path))
    assert (args.logging_steps, args.save_steps, args.save_total_limit) == (20, 500, 2)
    json.dumps(args.to_dict())


@pytest.mark.parametrize("loaded_by", ["policy", "peft"])
def test_an_adapter_from_a_folder_stays_trainable(toy: Toy, tmp_path: Path, loaded_by: str) -> None:
    first = load(toy.model_config(), seed=1)
    spread_adapter(first)
    first.save(tmp_path / "adapter")
    if loaded_by == "policy":
        model = load(toy.model_config(adapter=str(tmp_path / "adapter"))).model
    else:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        base = AutoModelForCausalLM.from_pretrained(toy.model)
        model = PeftModel.from_pretrained(base, tmp_path / "adapter")  # frozen, unless told
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    trainer = GroupScoreTrainer(model, arguments(tmp_path / "out"), GROUPS, first.tokenizer)
    trainer.train()
    changed = {n for n, p in model.named_parameters() if not p.equal(before[n])}
    assert changed == {n for n in before if "lora_" in n}
    trainer.save_model(tmp_path / "tuned")
    assert (tmp_path / "tuned" / "adapter_model.safetensors").is_file()


@on_the_cpu_backend("on a GPU, Unsloth finds no layers of GPT-2 to put adapters on")
def test_gpt2_through_the_same_loader(toy: Toy, tmp_path: Path) -> None:
    """Another architecture, absolute positions, no padding token, no chat template."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    tokenizer = AutoTokenizer.from_pretrained(toy.model)
    tokenizer.chat_template, tokenizer.pad_token = None, None
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=128, n_embd=64, n_layer=2, n_head=2)
    )
    model.save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    config = toy.model_config(
        name=str(tmp_path / "gpt2"), target_modules=["c_attn", "c_proj", "c_fc"]
    )
    policy = load(config, needs_chat_template=False)
    groups = [ScoredGroup("1+1=?", GROUPS[0].completions)]
    args = arguments(tmp_path / "out", max_steps=8, learning_rate=1e-2)
    trainer = GroupScoreTrainer(policy.model, args, groups, policy.tokenizer)
    batch = trainer.data_collator(trainer.train_dataset)
    policy.model.eval()
    before = trainer.compute_loss(policy.model, batch).item()
    trainer.train()
    policy.model.eval()
    assert trainer.compute_loss(policy.model, batch).item() < 0.7 * before
    policy.save(tmp_path / "tuned")
    assert (tmp_path / "tuned" / "adapter_model.safetensors").is_file()


UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"max_length": 10}, r"none of the groups has two completions within 10 tokens"),
    ({"loss": "advantage", "old_logps": "stored"}, r"old_logps: stored, .* without `logprob`"),
]


@pytest.mark.parametrize(("changes", "message"), UNUSABLE)
def test_unusable_groups(toy: Toy, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    tokenizer = load(toy.model_config()).tokenizer
    texts = ScoredCompletion("2", 1.0), ScoredCompletion("3", 0.0)
    groups = [ScoredGroup(GROUPS[0].prompt, texts)]
    with pytest.raises(UserError, match=message):
        tokenized(groups, tokenizer, arguments(tmp_path, **changes))


def test_long_completions_are_left_out_and_counted(toy: Toy, tmp_path: Path) -> None:
    tokenizer = load(toy.model_config()).tokenizer
    long = ScoredCompletion("1" * 200, 0.0)
    groups = [
        ScoredGroup(GROUPS[0].prompt, (*GROUPS[0].completions, long)),
        ScoredGroup(GROUPS[0].prompt, (GROUPS[0].completions[0], long)),
    ]
    features, left_out = tokenized(groups, tokenizer, arguments(tmp_path))
    assert [len(feature["scores"]) for feature in features] == [3]
    assert left_out == 3
