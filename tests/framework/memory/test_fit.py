"""What fits: laws that hold for any config, card and setting; a table of what is changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.framework.config import ConfigError, ExperimentConfig, WarmStartConfig
from groupwise.framework.memory.architecture import Architecture, read_architecture
from groupwise.framework.memory.chart import GB
from groupwise.framework.memory.fit import fitted, largest_settings
from groupwise.framework.memory.parts import MemoryPlan
from groupwise.framework.memory.planner import Planner, fit, upper_end, with_keys

MODELS = ("unsloth/Qwen3-4B", "unsloth/Llama-3.2-1B-Instruct", "unsloth/gemma-3-4b-it", "toy")
_ARCHITECTURES: dict[str, Architecture] = {}


def config_of(model: str, **changes: Any) -> ExperimentConfig:
    """A run on that model; `changes` by dotted path, with `__` for the dot."""
    base = ExperimentConfig.from_dict(
        {"model": {"name": model, "max_seq_length": 8192}, "data": {"train": "toy"}}
    )
    return with_keys(base, {key.replace("__", "."): value for key, value in changes.items()})


def planner_of(config: ExperimentConfig, total: int) -> Planner:
    name = config.model.name
    if name not in _ARCHITECTURES:
        _ARCHITECTURES[name] = read_architecture(config.model)
    return Planner(_ARCHITECTURES[name], total)


@st.composite
def configs(draw: st.DrawFn) -> ExperimentConfig:
    precision = draw(st.sampled_from([(True, False), (False, True), (False, False)]))
    step = draw(st.sampled_from([2, 8, 12, 32]))
    forward = draw(st.sampled_from([n for n in range(1, 2 * step + 1) if 2 * step % n == 0]))
    return config_of(
        draw(st.sampled_from(MODELS)),
        model__load_in_4bit=precision[0],
        model__load_in_8bit=precision[1],
        model__use_gradient_checkpointing=draw(st.sampled_from(["auto", "unsloth", True, False])),
        model__lora_r=draw(st.sampled_from([8, 64])),
        training__prompts_per_step=2,
        training__num_generations=step,
        training__completions_per_forward=forward,
        training__max_completion_length=draw(st.integers(65, 4096)),
        training__max_rows=draw(st.sampled_from([None, 1, 7, 64])),
        training__optim=draw(st.sampled_from(["adamw_8bit", "adamw_torch", "paged_adamw_8bit"])),
        training__beta=draw(st.sampled_from([0.0, 0.04])),
        evaluation__max_completion_length=draw(st.sampled_from([None, 512, 4096])),
    )


SHARE = st.floats(0.4, 1.1)  # of the memory that a config needs
FEW = settings(max_examples=40, deadline=None)


@FEW
@given(configs(), st.sampled_from(["prompt", "completion", "rows", "rank", "forward"]))
def test_more_of_a_setting_never_needs_less(config: ExperimentConfig, which: str) -> None:
    training = config.training
    more: dict[str, Any] = {
        "prompt": {"data.max_prompt_length": 1024},
        "completion": {"training.max_completion_length": training.max_completion_length + 64},
        "rows": {"training.max_rows": (training.max_rows or 64) + 1},
        "rank": {"model.lora_r": config.model.lora_r * 2},
        "forward": {"training.completions_per_forward": 2 * training.num_generations},
    }[which]
    if config.model.use_gradient_checkpointing == "auto":  # which may switch it on
        config = with_keys(config, {"model.use_gradient_checkpointing": "unsloth"})
    planner = planner_of(config, 8 * GB)
    less_phases, more_phases = (
        {phase.name: phase for phase in planner.plan(c).phases}
        for c in (config, with_keys(config, more))
    )
    for name, phase in less_phases.items():
        for end in ("low", "expected", "high"):
            assert getattr(phase, end) <= getattr(more_phases[name], end)


@FEW
@given(configs(), SHARE)
def test_what_is_fitted_fits_and_stays_as_it_is(config: ExperimentConfig, share: float) -> None:
    planner = planner_of(config, 8 * GB)
    memory = int(share * planner.needed(config))
    found = fitted(config, planner, memory)
    if fit(config, planner, memory).verdict == "fits":
        assert (found.config, found.changes) == (config, ())
    if found.config is None:
        assert found.needed > memory
        return
    assert fit(found.config, planner, memory).verdict == "fits"
    assert planner.needed(found.config) == found.needed <= memory
    assert fitted(found.config, planner, memory).changes == ()
    assert with_keys(config, {change.key: change.new for change in found.changes}) == found.config


@FEW
@given(configs(), SHARE)
def test_the_result_is_changed_only_where_nothing_else_helps(
    config: ExperimentConfig, share: float
) -> None:
    planner = planner_of(config, 8 * GB)
    memory = int(share * planner.needed(config))
    found = fitted(config, planner, memory)
    if all(change.same_result for change in found.changes):
        return
    cheapest = {
        "training.completions_per_forward": 1,
        "model.use_gradient_checkpointing": "unsloth",
    }
    assert planner.needed(with_keys(config, cheapest)) > memory


@settings(max_examples=20, deadline=None)
@given(configs(), SHARE)
def test_the_largest_setting_is_allowed_and_fits(config: ExperimentConfig, share: float) -> None:
    planner = planner_of(config, 8 * GB)
    memory = int(share * planner.needed(config))
    for largest in largest_settings(config, planner, memory):
        if largest.value is None:
            continue
        there = with_keys(config, {largest.key: largest.value})  # refuses what is not allowed
        assert planner.needed(there) <= memory, largest
        if largest.key == "training.completions_per_forward" and largest.bounded:
            step = config.training.batch_shape.completions_per_step
            larger = min(n for n in range(largest.value + 1, step + 1) if step % n == 0)
            assert planner.needed(with_keys(config, {largest.key: larger})) > memory


def test_a_length_that_the_model_has_no_room_for_is_not_named() -> None:
    config = config_of("unsloth/Qwen3-4B", model__max_seq_length=1536)
    longest = largest_settings(config, planner_of(config, 24 * GB), 24 * GB)[0]
    assert (longest.key, longest.value) == ("training.max_completion_length", 1024)
    assert longest.note.startswith("max_seq_length (else ")
    with pytest.raises(ConfigError):
        with_keys(config, {longest.key: 1025})


# what is there, and the changes that just do, of which the last is needed
ONE = {"training__completions_per_forward": 1}
WITHOUT_CHECKPOINTING = {"model__use_gradient_checkpointing": False}
CHANGED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the forward": (
        {"training__max_completion_length": 4096},
        {"training.completions_per_forward": 4},
    ),
    "checkpointing": (
        {
            **ONE,
            "training__max_completion_length": 4096,
            "model__use_gradient_checkpointing": False,
        },
        {"model.use_gradient_checkpointing": "unsloth"},
    ),
    "the optimiser": (
        {**ONE, "training__optim": "adamw_torch", "model__lora_r": 256},
        {"training.optim": "adamw_8bit"},
    ),
    "the warm start": (
        {**ONE, "training__warm_start": WarmStartConfig(enabled=True, completion_field="solution")},
        {"training.warm_start.batch_size": 3},
    ),
    "what is trained on at full length": (
        {
            "training__method": "group_scores",
            "data__train": "rows.jsonl",
            "evaluation__before": False,
            "evaluation__after": False,
            **ONE,
            "model__max_seq_length": 8192,
        },
        {"model.max_seq_length": 512 + 4096},
    ),
    "the weights": ({**ONE, "model__load_in_4bit": False}, {"model.load_in_4bit": True}),
    "8 bits": (
        {**ONE, "model__load_in_4bit": False, "model__load_in_8bit": True},
        {"model.load_in_8bit": False, "model.load_in_4bit": True},
    ),
    "the length": (
        {**ONE, "training__max_completion_length": 8000, "data__max_prompt_length": 128},
        {"training.max_completion_length": 4096},
    ),
}


@pytest.mark.parametrize("case", CHANGED)
def test_what_is_changed_to_make_it_fit(case: str) -> None:
    changes, expected = CHANGED[case]
    config = config_of("unsloth/Qwen3-4B", **changes)
    planner = planner_of(config, 8 * GB)
    memory = planner.needed(with_keys(config, expected))
    found = fitted(config, planner, memory)
    assert {change.key: change.new for change in found.changes} == expected


@pytest.mark.parametrize(
    ("method", "keys"),
    [("sft", []), ("group_scores", ["training.completions_per_forward"])],
)
def test_only_settings_of_the_method_are_listed(method: str, keys: list[str]) -> None:
    warm = WarmStartConfig(enabled=method == "sft", completion_field="solution")
    config = config_of(
        "unsloth/Qwen3-4B",
        data__train="rows.jsonl",
        training__method=method,
        training__warm_start=warm,
        evaluation__before=False,
        evaluation__after=False,
    )
    found = largest_settings(config, planner_of(config, 8 * GB), 8 * GB)
    assert [largest.key for largest in found] == keys


@pytest.mark.parametrize(
    ("positions", "value", "note"),
    [
        (None, 7936, "max_seq_length (else 131,072)"),
        (200_000, 7936, "max_seq_length (else 131,072)"),
        (40_960, 7936, "max_seq_length (model: 40,704)"),
        (8192, 7936, "the model's 8,192 positions"),
        (2048, 1792, "the model's 2,048 positions"),
        (256, None, "the model's 256 positions"),
    ],
)
def test_answers_are_no_longer_than_the_models_positions(
    positions: int | None, value: int | None, note: str
) -> None:
    config = config_of("unsloth/Llama-3.2-1B-Instruct", data__max_prompt_length=256)
    planner = planner_of(config, 1000 * GB)
    planner = replace(planner, architecture=replace(planner.architecture, positions=positions))
    longest = largest_settings(config, planner, 1000 * GB)[0]
    assert (longest.value, longest.note) == (value, note)


def test_vllm_adapts_to_its_share() -> None:
    config = config_of("unsloth/Qwen3-4B", model__fast_inference=True, **ONE)
    planner = planner_of(config, 8 * GB)
    assert upper_end(planner.plan(config)) > 8 * GB >= planner.needed(config)


def test_what_would_fit_where_nothing_does() -> None:
    every = {"model__load_in_4bit": False, "model__full_finetuning": True}
    for size, changes, expected in (
        (12, every, "with model.full_finetuning false and model.load_in_4bit true"),
        (3, {}, "with a model of the size of "),
        (0.5, {}, "no model known here"),
    ):
        config, memory = config_of("unsloth/Qwen3-8B", **changes), int(size * GB)
        found = fitted(config, planner_of(config, memory), memory)
        assert found.config is None
        assert found.instead.startswith(expected)


def test_sampling_takes_what_is_left() -> None:
    """Fewer rows at once are slower, and no fault; with more memory there are more."""
    config = config_of("unsloth/Qwen3-4B", training__completions_per_forward=1)
    plans: list[tuple[int, MemoryPlan]] = []
    for size in (6, 8, 12):
        found = fit(config, planner_of(config, size * GB), size * GB)
        assert found.verdict == "fits"
        plans.append((found.rows or 64, found.plan))
        assert upper_end(found.plan) <= size * GB
    assert plans[0][0] < plans[1][0] < plans[2][0]


def test_rows_do_not_depend_on_what_training_needs() -> None:
    """Where training does not fit, the page shows sampling as it would be."""
    rows = []
    for checkpointing in ("unsloth", False):
        config = config_of("unsloth/Qwen3-4B", model__use_gradient_checkpointing=checkpointing)
        rows.append(fit(config, planner_of(config, 8 * GB), 8 * GB).rows)
    assert rows[0] == rows[1] != 1


def test_without_a_card_generate_keeps_to_its_rows() -> None:
    config = config_of(
        "unsloth/Llama-3.2-1B-Instruct",
        **ONE,
        training__sampler="generate",
        training__max_rows=64,
        evaluation__sampler="generate",
        evaluation__max_rows=8,
    )
    planner = replace(planner_of(config, 64 * GB), device="cpu")
    needed = planner.needed(config)
    assert fit(config, planner, needed - 1).rows is None, "there is nothing to adapt"
    changes = fitted(config, planner, needed - 1).changes
    assert [(c.key, c.new, c.same_result) for c in changes] == [("training.max_rows", 63, True)]
    slots = with_keys(config, {"training.sampler": "slots", "evaluation.sampler": "slots"})
    assert planner.needed(slots) < needed
