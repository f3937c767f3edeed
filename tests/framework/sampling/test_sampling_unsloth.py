"""Sampling from a model with Unsloth's GPU forward: what it leaves behind, and how it decodes.

In emulation, in one process: tests/unsloth_gpu_sampling.py makes what is looked at here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import gpu_emulation
import pytest
from conftest import ENVIRONMENT, HANG_S, ROOT

from groupwise.framework.sampling.generate import Job, equal_lengths
from groupwise.framework.sampling.requests import PromptTokens

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("unsloth")
    tests = ROOT / "tests"
    done = subprocess.run(
        [
            *(sys.executable, tests / "gpu_emulation.py"),
            *(tests / "unsloth_gpu_sampling.py", folder),
        ],
        cwd=folder,
        env={**gpu_emulation.outside(), **ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    parts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return parts


def test_everything_is_as_it_was_after_a_sample(found: dict[str, Any]) -> None:
    """The kind of gradient checkpointing too, which is a string, and the KV cache is gone."""
    left = found["what_is_left"]
    assert left["drawn"] == 12
    assert "unsloth" in left["checkpointing"]
    assert left["after"] == {}


def test_everything_is_as_it_was_after_a_closed_iterator(found: dict[str, Any]) -> None:
    left = found["what_is_left"]
    assert left["KV bytes meanwhile"] > 0
    assert left["after closing"] == {}


def test_slots_leave_everything_as_it_was(found: dict[str, Any]) -> None:
    """Unsloth's gate, its rotary tables and the layers' forwards too."""
    left = found["slots"]["left"]
    assert left["drawn"] == 12
    assert left["after"] == {}
    assert left["after closing"] == {}
    assert left["KV bytes meanwhile"] == 0  # nothing on the layers


@pytest.mark.parametrize("precision", ["float32", "float16", "4 bits"])
def test_slots_agree_with_unsloths_decoding_and_wait_once(
    found: dict[str, Any], precision: str
) -> None:
    made = found["slots"][precision]
    assert made["engine"] == "slots"
    assert made["said"].startswith("it agrees with generate: over ")
    assert made["waits"] == {"tolist": 1}


def test_a_step_multiplies_packed_weights(found: dict[str, Any]) -> None:
    """All seven projections of both layers: Unsloth's fused MLP writes three out in 16 bits."""
    assert found["slots"]["4 bits"]["4-bit products"] == 14


def test_slots_serve_layers_that_unsloth_has_wrapped_to_compile(found: dict[str, Any]) -> None:
    made = found["compiled_blocks"]
    assert made["wrapped"] == ["Qwen3DecoderLayer"]
    assert made["engine"] == "slots", made["said"]
    assert made["drawn"] == 6


def test_answers_may_be_shorter_than_the_padding_of_a_prompt(found: dict[str, Any]) -> None:
    assert found["short_answers"] == 2


def test_cuda_graphs_are_asked_for_and_released_once(found: dict[str, Any]) -> None:
    decoding = found["how_it_decodes"]
    assert decoding["asked for graphs"] > 0
    assert decoding["graphs on"] == decoding["asked for graphs"]
    assert not decoding["on outside"]
    assert decoding["released"] == 1  # of three batches


def test_prompts_of_unlike_length_need_no_mask(found: dict[str, Any]) -> None:
    decoding = found["how_it_decodes"]
    assert decoding["asked for a mask"] > 0
    assert decoding["masks"] == 0
    assert decoding["answers"] == 12
    assert decoding["equal"], "an answer depends on the rows that it is drawn with"


def test_few_rows_of_a_length_are_padded_with_others() -> None:
    """A batch of its own would cost more steps than the mask does."""
    jobs = [
        Job(PromptTokens(length, str(length), tuple(range(length)), ()), sample)
        for length, samples in ((9, 1), (8, 10), (7, 1), (6, 2), (5, 1))
        for sample in range(samples)
    ]
    lengths = [[len(job.prompt.ids) for job in batch] for batch in equal_lengths(jobs, 8)]
    assert lengths == [[8] * 8, [8] * 2, [6] * 2, [9, 7, 5]]


def test_a_prompt_that_would_be_cut_off_is_refused(found: dict[str, Any]) -> None:
    said = found["too_long"]
    assert said["fits"] == "1"
    assert said["no room"] == (
        "sampling: the prompt of example 'no room' has 92 tokens; with max_tokens 8 that is more "
        "than model.max_seq_length 96: raise model.max_seq_length to 100, or lower max_tokens to "
        "4, or leave the example out."
    )
    assert said["cut off"].endswith(
        "than model.max_seq_length 96: raise model.max_seq_length to 124, or leave the example out."
    )


def test_a_conversation_that_outgrows_the_model_goes_on(found: dict[str, Any]) -> None:
    said = found["too_long"]
    assert said["answered"] == ["base", "tuned"] * 4  # of five questions
    assert said["said"] == [
        "[questions dropped from the start of the conversation: 1; with them and --max-tokens 8 it "
        "would be more than model.max_seq_length 96]",
        "[the question has 202 tokens; with --max-tokens 8 that is more than model.max_seq_length "
        "96: ask a shorter one]",
    ]
