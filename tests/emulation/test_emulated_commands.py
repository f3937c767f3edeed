"""Whole commands on Unsloth's GPU code, beside the same commands on its CPU backend.

Each command runs once, in a process of its own, and many tests look at what it left. What the
emulation is and what it does not cover: `tests/gpu_emulation.py`.
"""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, Toy, lines, write_yaml
from forked_runs import ForkedRun, ForkedRuns

pytestmark = [pytest.mark.stack, pytest.mark.emulated]

ENGINE = "slots"
"""What samples on a GPU, with `sampler: auto`."""

WITHOUT_EVALUATION = {"evaluation.before": False, "evaluation.after": False}
ODD = f"{ROOT / 'tests' / 'grpo_toys.py'}:odd_problems_only"
SKIPPING = {
    "training.beta": 0.0,
    "training.completions_per_forward": 4,
    "training.warm_start.enabled": False,
    "rewards.parts": {"odd": {"use": ODD, "weight": 1.0}},
    **WITHOUT_EVALUATION,
}

# The trainings, each a change of the toy's small run, and all of few steps.
TRAININGS: dict[str, dict[str, Any]] = {
    # Warm start, Pass@K before and after, GRPO with KL, checkpoints.
    "float32": {"training.max_steps": 4, "evaluation.num_samples": 2, "evaluation.k": [1, 2]},
    # Two optimiser steps on each batch, an evaluation between them, and the checkpointing that
    # Unsloth is for; where texts are shorter than 512 tokens it would take the plain one instead.
    "float16": {
        "model.dtype": "float16",
        "model.use_gradient_checkpointing": "unsloth",
        "model.max_seq_length": 512,
        "training.max_steps": 4,
        "training.num_iterations": 2,
        "training.beta": 0.0,
        "training.warm_start.enabled": False,
        "evaluation.every_steps": 1,
        "evaluation.every_examples": 2,
        "evaluation.num_samples": 1,
        "evaluation.k": [1],
        **WITHOUT_EVALUATION,
    },
    "NF4": {
        "model.load_in_4bit": True,
        "training.warm_start.max_steps": 3,
        "evaluation.before": False,
        "evaluation.num_samples": 1,
        "evaluation.k": [1],
    },
    "skipping": SKIPPING,
    "every forward": SKIPPING | {"training.skip_zero_advantage": False},
    "group_scores": {
        "training.method": "group_scores",
        "training.warm_start.enabled": False,
        "training.prompts_per_step": 2,
        "training.completions_per_forward": 4,
        "training.group_scores.logging_steps": 1,
        **WITHOUT_EVALUATION,
    },
}
# More completions in a batch than in a forward, each of which is then recomputed.
TRAININGS["group_scores in pieces"] = TRAININGS["group_scores"] | {
    "model.use_gradient_checkpointing": "unsloth",
    "model.max_seq_length": 512,
    "training.completions_per_forward": 2,
}
GRPO = [name for name in TRAININGS if "group_scores" not in name]


class Commands:
    """Commands on one of Unsloth's backends; each runs when it is first asked for, and once."""

    def __init__(self, runs: ForkedRuns, toy: Toy, folder: Path) -> None:
        self.runs, self.toy, self.folder = runs, toy, folder
        self._made: dict[str, ForkedRun] = {}

    def done(self, key: str, *arguments: str | Path, **options: Any) -> ForkedRun:
        """The command, when it has ended; `key` names it, and its folder."""
        if key not in self._made:
            self._made[key] = self.runs.start(*arguments, cwd=self.folder / key, **options)
        self._made[key].wait()
        return self._made[key]

    def config(self, name: str) -> Path:
        """The file of one of TRAININGS, in its folder."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        changes = dict(TRAININGS[name])
        if "group_scores" in name:
            changes["data.train"] = str(scored_groups(folder / "groups.jsonl"))
        config = self.toy.config().with_values(changes)
        return write_yaml(folder / "tiny.yaml", config.to_dict())

    def training(self, name: str) -> Path:
        """The folder of one of TRAININGS, when it has ended well."""
        probe = self.folder / name / "probe.json"
        run = self.done(name, "train", self.config(name), probe=probe)
        assert run.wait() == 0, run.err
        return self.folder / name / "runs" / "tiny"

    def steps(self, name: str) -> list[dict[str, Any]]:
        return lines(self.training(name) / "metrics.jsonl")

    def seen(self, name: str) -> dict[str, Any]:
        """What `emulation_probe.py` saw of it."""
        probe = self.training(name).parents[1] / "probe.json"
        found: dict[str, Any] = json.loads(probe.read_text(encoding="utf-8"))
        return found


def scored_groups(path: Path) -> Path:
    groups = [
        {
            "prompt": f"<|im_start|>user\n{a}+1=?<|im_end|>\n<|im_start|>assistant\n",
            "completions": [
                {"text": f"<answer>{a + 1}</answer>", "score": 1.25},
                {"text": f"{a + 2}", "score": 0.0},
            ],
        }
        for a in range(1, 7)
    ]
    path.write_text("".join(json.dumps(group) + "\n" for group in groups), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def gpu(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with ForkedRuns(emulated=True) as runs:
        yield Commands(runs, toy, tmp_path_factory.mktemp("gpu"))


@pytest.fixture(scope="module")
def cpu(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with ForkedRuns(emulated=False) as runs:
        yield Commands(runs, toy, tmp_path_factory.mktemp("cpu"))


@pytest.mark.parametrize("name", GRPO)
def test_it_is_unsloths_trainer_that_trains(gpu: Commands, name: str) -> None:
    assert gpu.seen(name)["trainer"][:2] == ["GroupwiseTrainer", "UnslothGRPOTrainer"]


def test_the_other_side_is_trls_trainer(cpu: Commands) -> None:
    assert cpu.seen("skipping")["trainer"][:2] == ["GroupwiseTrainer", "GRPOTrainer"]


def test_the_warm_starts_agree(gpu: Commands, cpu: Commands) -> None:
    ours, theirs = (
        lines(c.training("float32") / "warm_start" / "metrics.jsonl") for c in (gpu, cpu)
    )
    assert len(ours) == len(theirs) == 12
    for a, b in zip(ours, theirs, strict=True):
        assert a["policy_loss"] == pytest.approx(b["policy_loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)


@pytest.mark.parametrize("name", ["float32", "skipping"])
def test_both_sides_draw_the_same(gpu: Commands, cpu: Commands, name: str) -> None:
    ours, theirs = (lines(c.training(name) / "rollouts.jsonl")[:16] for c in (gpu, cpu))
    assert [r["completion"] for r in ours] == [r["completion"] for r in theirs]
    assert [r["score"] for r in ours] == [r["score"] for r in theirs]


@pytest.mark.parametrize("name", ["float32", "skipping"])
def test_the_first_numbers_agree_to_five_digits(gpu: Commands, cpu: Commands, name: str) -> None:
    ours, theirs = (c.steps(name)[0] for c in (gpu, cpu))
    assert ours["kl_divergence"] == pytest.approx(theirs["kl_divergence"] or 0, abs=1e-7)
    assert ours["policy_loss"] == pytest.approx(theirs["policy_loss"], rel=1e-5)
    assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-5)


@pytest.mark.parametrize(("name", "rel"), [("NF4", 1e-4), ("float16", 0.03)])
def test_lower_precisions_agree_up_to_rounding(
    gpu: Commands, cpu: Commands, name: str, rel: float
) -> None:
    ours, theirs = (c.steps(name)[0] for c in (gpu, cpu))
    assert ours["kl_divergence"] == pytest.approx(theirs["kl_divergence"] or 0, abs=1e-6)
    assert ours["policy_loss"] == pytest.approx(theirs["policy_loss"], rel=rel)
    assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=rel)


def test_later_steps_without_kl_agree_too(gpu: Commands, cpu: Commands) -> None:
    for a, b in zip(gpu.steps("skipping"), cpu.steps("skipping"), strict=True):
        assert a["policy_loss"] == pytest.approx(b["policy_loss"], rel=1e-4)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)
        assert a["skipped_forwards"] == b["skipped_forwards"]


def test_a_skipped_forward_changes_no_bit(gpu: Commands) -> None:
    skipped = [step["skipped_forwards"] for step in gpu.steps("skipping")]
    assert min(skipped) >= 0.5
    assert {step["skipped_forwards"] for step in gpu.steps("every forward")} == {0}
    layers = [f["layers"] for f in gpu.seen("skipping")["forwards"]]
    assert layers.count(0) == sum(skipped) * 4, "these ran no layer"
    ours, theirs = (gpu.training(n) / "final_model" for n in ("skipping", "every forward"))
    name = "adapter_model.safetensors"
    assert (ours / name).read_bytes() == (theirs / name).read_bytes()


@pytest.mark.parametrize("name", GRPO)
def test_the_engine_of_the_rollouts(gpu: Commands, name: str) -> None:
    effective = yaml.safe_load((gpu.training(name) / "config.effective.yaml").read_text())
    assert effective["sampler"]["engine"] == ENGINE
    assert effective["sampler"]["self_check"]["agrees"]


def test_the_engine_of_the_evaluations(gpu: Commands) -> None:
    for label in ("base", "tuned"):
        settings = gpu.training("float32") / "evaluations" / label / "settings.json"
        assert json.loads(settings.read_text())["sampler"] == ENGINE


def test_every_forward_of_a_training_has_its_checkpointing(gpu: Commands) -> None:
    """Also those of the second step on a batch, after an evaluation has sampled."""
    found = gpu.seen("float16")["forwards"]
    assert [f["step"] for f in found] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [f["flags"] for f in found] == [["unsloth"]] * 8
    assert all(f["checkpointed"] == f["layers"] > 0 for f in found)


def test_without_checkpointing_no_forward_has_it(gpu: Commands) -> None:
    assert {str(f["flags"]) for f in gpu.seen("float32")["forwards"]} == {"[False]"}


@pytest.mark.parametrize("name", ["float32", "float16", "skipping"])
def test_no_forward_meets_keys_of_the_sampling(gpu: Commands, name: str) -> None:
    assert {f["kv_bytes"] for f in gpu.seen(name)["forwards"]} == {0}


@pytest.mark.parametrize("name", GRPO)
def test_no_keys_stay_after_the_last_sampling(gpu: Commands, name: str) -> None:
    assert gpu.seen(name)["ended"]["kv_bytes"] == 0


@pytest.mark.parametrize("name", GRPO)
def test_nothing_of_ours_stays_on_the_modules(gpu: Commands, name: str) -> None:
    found = gpu.seen(name)
    before = found["loaded"]
    for when in ("trained", "ended"):
        now = found[when]
        assert now["of_ours"] == before["of_ours"] == []
        assert now["fast_path"] == before["fast_path"] == [True]
        counts = now["attributes"].items()
        more = {a for a, count in counts if count > before["attributes"].get(a, 0)}
        left = {a for a in more if not a.startswith("_unsloth")}
        assert left <= OF_LIBRARIES | ON_CPU_TENSORS, when


# What Unsloth, TRL, accelerate and transformers leave after a training, and `generate`'s buffers.
OF_LIBRARIES = {
    *("_flag_for_generation", "_has_no_labels", "_is_accelerate_prepared", "accelerator_scaler"),
    *("warnings_issued", "forward", "prepare_inputs_for_generation", "scalar", "half_head_dim"),
    *("RH_Q", "attention", "temp_KV", "temp_O", "temp_QA"),
    *("paged_attention", "paged_attention_K", "paged_attention_V"),  # looked at above
}
ON_CPU_TENSORS = {"_groupwise_tables"}  # framework/policy/unsloth.py; none where tensors are CUDA's


@pytest.fixture(scope="module")
def resumed(gpu: Commands) -> Path:
    """The float32 run again, killed after its first checkpoint and continued."""
    gpu.folder.joinpath("resumed").mkdir()
    config = gpu.folder / "resumed" / "tiny.yaml"
    config.write_bytes(gpu.config("float32").read_bytes())
    folder = config.parent / "runs" / "tiny"
    killed = gpu.runs.start("train", config, cwd=config.parent)
    killed.until(lambda: (folder / "metrics.jsonl").is_file() and _count(folder) > 2)
    killed.signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (folder / "final_model").exists()
    resumed = gpu.done("resumed", "train", config, "--resume")
    assert resumed.wait() == 0, resumed.err
    return folder


def _count(folder: Path) -> int:
    return (folder / "metrics.jsonl").read_bytes().count(b"\n")


def test_killed_and_resumed_it_ends_as_if_it_had_not_been(gpu: Commands, resumed: Path) -> None:
    whole = gpu.training("float32")
    for name in ("final_model/adapter_model.safetensors", "warm_start/model/adapter_config.json"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()
    numbers = ("step", "policy_loss", "kl_divergence", "grad_norm", "reward/mean")
    ours, theirs = (
        [{n: line[n] for n in numbers} for line in lines(folder / "metrics.jsonl")]
        for folder in (resumed, whole)
    )
    assert ours == theirs


def test_an_evaluation_of_the_run_gives_its_samples_again(gpu: Commands, cpu: Commands) -> None:
    run = gpu.training("float32")
    answers = {"tuned": answers_in(run / "evaluations" / "tuned")}
    for label, side in (("gpu", gpu), ("cpu", cpu)):
        ended = side.done("evaluate", "evaluate", run, "--label", label, "--json", "--quiet")
        assert ended.wait() == 0, ended.err
        answers[label] = answers_in(run / "evaluations" / label)
    assert len(answers["tuned"]) == 24
    assert answers["gpu"] == answers["tuned"]
    same = sum(answers["cpu"][key] == answer for key, answer in answers["gpu"].items())
    assert same >= 23, "a rounding may turn one"


def answers_in(folder: Path) -> dict[tuple[str, int], str]:
    samples = lines(folder / "samples.jsonl")
    return {(s["example_id"], s["sample_index"]): s["completion"] for s in samples}


def test_chat_says_what_it_says_on_a_cpu(gpu: Commands, cpu: Commands) -> None:
    run, typed = gpu.training("float32"), "1+2=?\n/reset\n30+4=?\n"
    said = []
    for side in (gpu, cpu):
        options = ("--compare", "base", "--max-tokens", "8")
        ended = side.done("chat", "chat", run, *options, typed=typed)
        assert ended.wait() == 0, ended.err
        said.append(
            [line for line in ended.out.splitlines() if line.startswith(("base>", "tuned>"))]
        )
    assert [line.split(">")[0] for line in said[0]] == ["base", "tuned"] * 2
    assert said[0] == said[1]


@pytest.mark.parametrize("name", ["group_scores", "group_scores in pieces"])
def test_scored_groups_train_as_on_a_cpu(gpu: Commands, cpu: Commands, name: str) -> None:
    ours, theirs = gpu.steps(name), cpu.steps(name)
    assert len(ours) == len(theirs) == 3
    for a, b in zip(ours, theirs, strict=True):
        assert a["policy_loss"] == pytest.approx(b["policy_loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)
        assert a["mass_on_best"] == pytest.approx(b["mass_on_best"], rel=1e-5)


def test_a_reward_model_trains_as_on_a_cpu(gpu: Commands, cpu: Commands, tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = [
        {"question": f"{n}+1=?", "chosen": f"{rng.randrange(0, 80, 2)}", "rejected": "7"}
        for n in range(40)
    ]
    data = tmp_path / "preferences.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = []
    for side in (gpu, cpu):
        ended = side.done(
            *("judge", "train-reward", data, "--model", side.toy.model, "--output", "judge"),
            *("--lr", "1e-3", "--batch-size", "8", "--eval-fraction", "0.2", "--json", "--quiet"),
        )
        assert ended.wait() == 0, ended.err
        assert (side.folder / "judge" / "judge" / "model.safetensors").is_file()
        found.append(json.loads(ended.out))
    for name in ("train_pairs", "held_out_pairs", "truncated", "steps"):
        assert found[0][name] == found[1][name]
    # Before, a score is that of weights just drawn: after other draws, on a GPU.
    assert min(result["accuracy_after"] for result in found) >= 0.75
