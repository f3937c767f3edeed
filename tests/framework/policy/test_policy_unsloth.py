"""Loading through Unsloth's GPU loader: what is trained, what a name loads, what failures say.

In emulation, in one process: tests/unsloth_gpu_loading.py makes what is looked at here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import gpu_emulation
import pytest
from conftest import ENVIRONMENT, HANG_S, ROOT

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("unsloth")
    tests = ROOT / "tests"
    done = subprocess.run(
        [
            *(sys.executable, tests / "gpu_emulation.py"),
            *(tests / "unsloth_gpu_loading.py", folder),
        ],
        cwd=folder,
        env={**gpu_emulation.outside(), **ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    parts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1].replace(f"{folder}/", ""))
    return parts


def test_an_adapter_is_made_after_a_full_fine_tuning(found: dict[str, Any]) -> None:
    loaded = found["one_after_the_other"]
    assert loaded["full"] == {"is_adapter": False, "lora": 0, "others": 25}
    assert loaded["first"] == {"is_adapter": True, "lora": 2 * 7 * 2, "others": 0}
    assert loaded["again"] == loaded["first"]


def test_a_missing_adapter_is_no_secret(found: dict[str, Any]) -> None:
    said = found["no_adapter"]["said"]
    assert said.startswith("Qwen3ForCausalLM was to be trained by a LoRA adapter and has none: ")


def test_a_name_loads_that_model_with_every_projection_quantised(found: dict[str, Any]) -> None:
    """And not the copy that Unsloth knows, which keeps layers in 16 bits."""
    assert found["a_hub_name"] == {"quantised": 7 * 2, "base": "unsloth/Qwen3-4B"}


def test_reward_models_on_the_cpu_score_beside_a_card(found: dict[str, Any]) -> None:
    scores = found["reward_models_on_the_cpu"]
    assert set(scores) == {"llama", "mistral", "gemma"}
    for before, after in scores.values():
        assert len(set(before)) == 2
        assert after == pytest.approx(before, abs=1e-6)


FAILURES = {
    "not on the hub": "model.name: someone/some-model cannot be loaded: We couldn't connect to "
    "'https://huggingface.co' to load the files, and couldn't find them in the cached files. Is "
    "the name the hub's, and the network up? A folder needs neither.",
    "broken config": "model.name: broken cannot be loaded: It looks like the config file at "
    "'broken/config.json' is not a valid JSON file.",
    "other shapes": "model.name: shapes cannot be loaded: its weights have other shapes than its "
    "config.json says; save or fetch both again",
    "unknown type": "model.name: unknown cannot be loaded: `unknown` is not supported yet in ",
    "another's adapter": "model.adapter: moved cannot be loaded: its weights do not fit the base "
    "model, is it that of another one? (size mismatch for ",
    "no such layers": "model.target_modules: nothing: model has no such layers. ",
    "no vLLM": "model.fast_inference: true cannot be used here (Please install vLLM before "
    "enabling `fast_inference`!). Set model.fast_inference: false, or install a vLLM that ",
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_cannot_be_loaded_is_said_in_a_line(found: dict[str, Any], name: str) -> None:
    kind, said = found["failures"][name]
    assert kind == "UserError", said
    assert said.startswith(FAILURES[name])
    assert "\n" not in said


def test_a_defect_keeps_its_traceback(found: dict[str, Any]) -> None:
    assert found["failures"]["a defect"] == ["RuntimeError", "a defect of a program"]
