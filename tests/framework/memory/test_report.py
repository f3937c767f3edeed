"""The page of `groupwise plan`, drawn from numbers that are made up here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from conftest import assert_golden

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.memory.architecture import read_architecture
from groupwise.framework.memory.chart import GB, amount, chart, plain, without_bar
from groupwise.framework.memory.fit import Change, Fitted, Largest
from groupwise.framework.memory.parts import MemoryPlan, Part, Phase
from groupwise.framework.memory.planner import Fit, with_keys
from groupwise.framework.memory.report import (
    Report,
    card_of,
    make_report,
    report_json,
    report_lines,
)
from groupwise.framework.run.machine import Memory

MB = 1_000_000
BASE = (Part("context", 550 * MB), Part("weights", 2653 * MB), Part("lora", 132 * MB))
TRAINING = (
    *BASE,
    *(Part("optimizer", 67 * MB), Part("gradients", 132 * MB), Part("activations", 1378 * MB)),
    *(Part("logits", 4 * MB), Part("of_a_name_longer_than_its_column", 10)),
)


def phase(name: str, parts: tuple[Part, ...]) -> Phase:
    total = sum(part.bytes for part in parts)
    return Phase(name, parts, int(0.95 * total), int(1.1 * total))  # type: ignore[arg-type]


def report(size: float, *, rows: int | None = 12) -> Report:
    config = ExperimentConfig.from_dict(
        {"name": "mine", "model": {"name": "unsloth/Qwen3-4B"}, "data": {"train": "toy"}}
    )
    sampling = (*BASE, Part("kv_cache", 2 * GB))
    generation = replace(phase("generation", sampling), use="evaluation", rows=rows or 2048)
    phases = (phase("loading", BASE), generation, phase("training", TRAINING))
    host = (Part("process", 3 * GB), Part("loading", 5 * GB), Part("small", 1))
    plan = MemoryPlan(phases, host, (Part("hub_download", 8 * GB),))
    card = card_of(size)
    changes = (
        Change("training.completions_per_forward", 8, 2, True, "more passes over the same step"),
        Change("model.load_in_4bit", False, True, False, "the frozen weights are rounded"),
    )
    best = Fitted(None if size < 4 else config, changes, 4 * GB, "with another model it fits")
    largest = (
        Largest("training.max_completion_length", 1024, 1024, True, "max_seq_length (else 5,632)"),
        Largest("training.num_generations", 8, 2048, bounded=False),
        Largest("training.max_rows", 32, rows, bounded=True, note="the others wait their turn"),
        Largest("training.completions_per_forward", 8, None, bounded=True),
    )
    return Report(
        config,
        read_architecture(config.model),
        Memory("this machine", 32 * GB, 30 * GB),
        card,
        Fit(plan, plan, card.free, rows),
        best,
        largest,
        ((6, "too large"), (8, "fits")) if size == 12 else (),
        "about 5-7 h on this machine" if size == 12 else "",
    )


def text(one: Report, *, ascii_only: bool = False) -> str:
    return "".join(f"{plain(line, ascii_only=ascii_only)}\n" for line in report_lines(one))


def test_the_page() -> None:
    pages = [text(report(12)), text(report(5.2)), text(report(4.5)), text(report(3, rows=None))]
    assert_golden("plan.txt", f"{'-' * 80}\n".join(pages))


def test_the_page_fits_80_columns() -> None:
    lines = text(report(5.2)).splitlines()
    prose = ("Does not fit", "May not fit", "  training.comp", "  model.load", "main memory")
    assert max(len(line) for line in lines if not line.startswith(prose)) <= 80


def test_what_a_terminal_cannot_draw_is_drawn_in_ascii() -> None:
    page = text(report(5.2), ascii_only=True)
    assert page.isascii()
    assert "####" in page


def test_a_narrow_screen_has_the_numbers_without_bars() -> None:
    lines = [plain(without_bar(line)) for line in report_lines(report(5.2))]
    assert not any("█" in line or "━" in line for line in lines)
    assert lines[0] == "mine: unsloth/Qwen3-4B"
    assert "  weights               2.65" in lines


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"name": "unsloth/Qwen3-4B"}, "4.02B parameters in 4 bits, "),
        ({"name": "unsloth/Qwen3-0.6B", "load_in_4bit": False}, "596M parameters in 16 bits, "),
        ({"name": "toy", "load_in_4bit": False, "dtype": "float32"}, " parameters in 32 bits, "),
    ],
)
def test_the_head_says_how_large_and_in_which_form(model: dict[str, Any], expected: str) -> None:
    config = with_keys(report(12).config, {f"model.{key}": value for key, value in model.items()})
    one = replace(report(12), config=config, architecture=read_architecture(config.model))
    assert expected in text(one).splitlines()[1]
    assert "0.00B" not in text(one)


def test_with_vllm_the_page_counts_one_answer_everywhere() -> None:
    config = with_keys(report(12).config, {"model.fast_inference": True})
    architecture = read_architecture(config.model)
    one = make_report(config, architecture, card_of(12), Memory("this machine", 32 * GB, 30 * GB))
    page = text(one)
    assert "takes 50% of the card; all that is counted here are the keys and values of one" in page
    assert f"training needs up to {amount(one.fit.plan.phases[-1].high)}, which" in page
    assert "The rest of vLLM's share is not predicted, and comes on top." in page
    assert "training.max_rows" not in page


@pytest.mark.parametrize("size", [0.001, 1, 7, 900])
def test_any_card_has_a_chart(size: float) -> None:
    one = report(size)
    lines = [plain(line) for line in chart(one.fit.plan.phases, one.fit.memory, {})]
    assert max(map(len, lines)) <= 80
    assert lines[-1].split()[:2] == ["GB", "0"]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        *((0, "0 MB"), (1_400_000, "1 MB"), (49 * MB, "49 MB"), (50 * MB, "0.1 GB")),
        *((9 * GB, "9.0 GB"), (999_960 * MB, "1,000.0 GB"), (73_734_100 * MB, "73,734.1 GB")),
    ],
)
def test_amounts(count: int, expected: str) -> None:
    assert amount(count) == expected


def test_what_the_machine_does_not_have_is_a_warning() -> None:
    """Of main memory, and of the disk without the download: the hub's cache may be elsewhere."""
    one = replace(report(12), machine=Memory("this machine", 7 * GB, GB), disk=GB)
    assert "Main memory: 8.0 GB are more than this machine has." in text(one)
    assert "Disk: " not in text(one)
    disk = (Part("hub_download", 8 * GB), Part("checkpoints", 2_000_000 * MB))
    plan = replace(one.fit.plan, host=(), disk=disk)
    page = text(replace(one, fit=replace(one.fit, plan=plan)))
    assert "Disk: 2,000.0 GB are more than the 1.0 GB that are free in runs." in page
    assert "Main memory: " not in page


def test_json_has_all_of_it() -> None:
    found = report_json(report(4.5))
    assert found["verdict"] == "too large"
    assert found["spare"] < 0
    assert found["changes"][0]["key"] == "training.completions_per_forward"
    assert found["phases"]["training"]["parts"][1] == {
        "name": "weights", "bytes": 2653 * MB, "what": "",
    }  # fmt: skip
    assert found["largest"]["training.num_generations"]["bounded"] is False
