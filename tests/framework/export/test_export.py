"""Whole exports: what is written, loaded again in a fresh process, and what fails the check.

The runs here were not trained: their adapters, or weights, were changed at random, which an export
has to carry as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import RunCli, Toy, run_python
from policy_toys import untrained_run

from groupwise.framework.export.formats import FORMATS, Format
from groupwise.framework.export.run import Outcome, export
from groupwise.framework.export.source import source_of
from groupwise.framework.export.tuned import Asked, Tuned
from groupwise.framework.run.terminal import Terminal

pytestmark = [pytest.mark.stack, pytest.mark.long]

QUIET = Terminal(quiet=True)


@pytest.fixture(scope="module")
def run(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_run(toy.config(data__system_prompt="Add."), tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def merged(run: Path) -> Outcome:
    """Merged weights with all of the check."""
    to = run / "exports" / "merged"
    return export(source_of(run), FORMATS["merged"], to, Asked(), QUIET)


def test_an_adapter_by_the_command(run: Path, cli: RunCli) -> None:
    ended = cli("export", run, "--format", "adapter", "--json", "--num-samples", "2")
    assert ended.code == 0, ended.err
    folder = run / "exports" / "adapter"
    assert ended.json["export"] == str(folder)
    found = ended.json["check"]["answers"]
    assert found["same_answers"] == found["prompts"] == 12
    assert (found["token_agreement"], found["other_prompts"]) == (1.0, 0)
    assert found["divergence"] < 1e-6 < found["base_divergence"]
    assert found["loader"].startswith("transformers ")
    (pair,) = ended.json["check"]["pass_at_k"]["pairs"]
    assert (pair["base"], pair["other"]) == ("tuned", "tuned-adapter")
    assert pair["pass_at_k"]["1"]["difference"]["value"] == 0, "drawn by the same random numbers"
    assert json.loads((folder / "export.json").read_text())["check"] == ended.json["check"]
    assert "names its base model by a folder of this machine" in ended.err
    again = cli("export", run, "--format", "adapter")
    assert again.code == 2
    assert "is there already; name another folder with --to, or remove it" in again.err


def test_merged_weights_are_within_rounding(merged: Outcome) -> None:
    assert merged.passed, merged.check
    assert merged.check is not None
    assert merged.check.findings is not None
    found = merged.check.findings
    assert 0 < found.divergence < found.tolerance < 0.01
    assert found.from_base > 10 * found.divergence
    names = {file.name for file in merged.folder.iterdir()}
    assert {"model.safetensors", "tokenizer.json", "README.md", "export.json"} <= names
    settings = json.loads((merged.folder / "config.json").read_text())
    assert settings["dtype"] == "bfloat16"
    assert settings["tie_word_embeddings"] is True, "as the base model has it"


def test_the_card_is_the_hubs_and_its_program_runs(merged: Outcome, run: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(merged.folder / "README.md")
    assert (card.data.library_name, card.data.tags) == ("transformers", ["groupwise", "grpo"])
    assert card.data.base_model is None, "a folder of this machine"
    for part in ("| pass@1 |", "this export", "correctness 1", "the export lost", "Add."):
        assert part in card.content, part
    for file in merged.folder.iterdir():
        if file.suffix != ".safetensors":
            assert str(run.parent.parent) not in file.read_text(encoding="utf-8"), file.name
    program = card.content.partition("```python\n")[2].partition("```")[0]
    assert run_python(program, cwd=merged.folder).strip()


def _quantised_base(toy: Toy, folder: Path) -> dict[str, Any]:
    """The toy as models are published in 4 bits alone, under a name that says so.

    transformers 5.17 writes none (its conversion has no way back): so the files are made here.
    """
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    there = folder / "toy-bnb-4bit"
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = AutoModelForCausalLM.from_pretrained(
        str(toy.model), quantization_config=how, device_map={"": "cpu"}
    )
    model.config.save_pretrained(there)
    weights = {k: v.clone() for k, v in model.state_dict().items() if "lm_head" not in k}
    save_file(weights, there / "model.safetensors", {"format": "pt"})
    AutoTokenizer.from_pretrained(str(toy.model)).save_pretrained(there)
    return {"model__name": str(there), "model__load_in_4bit": True}


MODES: dict[str, Callable[[Toy, Path], dict[str, Any]]] = {
    "4 bits": lambda *_: {"model__load_in_4bit": True},
    "a base that exists in 4 bits alone": _quantised_base,
    "every weight": lambda *_: {"model__full_finetuning": True},
}


@pytest.mark.parametrize("name", MODES)
def test_merged_weights_answer_as_the_run_did(name: str, toy: Toy, tmp_path: Path) -> None:
    run = untrained_run(toy.config(**MODES[name](toy, tmp_path)), tmp_path / "runs")
    asked = Asked(num_problems=0)
    outcome = export(source_of(run), FORMATS["merged"], tmp_path / "merged", asked, QUIET)
    assert outcome.passed, outcome.check
    assert outcome.check is not None
    assert outcome.check.comparison is None
    settings = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert "quantization_config" not in settings


def test_groups_without_problems_are_asked_their_own_prompts(toy: Toy, tmp_path: Path) -> None:
    groups = tmp_path / "groups.jsonl"
    chat = [{"role": "user", "content": "1+1=?"}]
    completions = [{"text": "2", "score": 1.0}, {"text": "3", "score": 0.0}]
    texts = [f"<|im_start|>user\n{n}+1=?<|im_end|>\n<|im_start|>assistant\n" for n in range(3)]
    rows = [{"prompt": prompt, "completions": completions} for prompt in [*texts, chat]]
    groups.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = toy.config(
        data__train=str(groups), data__eval=None, training__method="group_scores",
        training__warm_start__enabled=False, evaluation__before=False, evaluation__after=False,
    )  # fmt: skip
    run = untrained_run(config, tmp_path / "runs")
    outcome = export(source_of(run), FORMATS["adapter"], tmp_path / "adapter", Asked(), QUIET)
    assert outcome.passed, outcome.check
    assert outcome.check is not None
    assert outcome.check.findings is not None
    assert (outcome.check.findings.prompts, outcome.check.comparison) == (4, None)


def _sabotaged(folder: Path) -> None:
    """An adapter without effect, another chat template, another token that ends an answer."""
    from safetensors.torch import load_file, save_file

    file = folder / "adapter_model.safetensors"
    weights = load_file(file)
    save_file({k: v * (0 if "lora_B" in k else 1) for k, v in weights.items()}, file)
    template, ends = folder / "chat_template.jinja", folder / "generation_config.json"
    template.write_text("Now " + template.read_text())
    ends.write_text(json.dumps(json.loads(ends.read_text()) | {"eos_token_id": 0}))


def test_a_sabotaged_export_fails(run: Path, monkeypatch: pytest.MonkeyPatch, cli: RunCli) -> None:
    whole = FORMATS["adapter"]

    def write(tuned: Tuned, folder: Path) -> list[str]:
        notices = whole.write(tuned, folder)
        _sabotaged(folder)
        return notices

    forms: dict[str, Format] = {**FORMATS, "adapter": replace(whole, write=write)}
    monkeypatch.setattr("groupwise.framework.cli.export.FORMATS", forms)
    to = run / "exports" / "torn"
    ended = cli("export", run, "--format", "adapter", "--to", to, "--num-problems", "0")
    assert ended.code == 1, ended.err
    for failure in (
        "12 of 12 prompts have other tokens than in the run",
        "it does not end an answer at token",
        "its probabilities are not the tuned model's",
        "it is nearer to the model before training than to the tuned one",
    ):
        assert f"FAILED: {failure}" in ended.out
    assert not to.exists()
    assert not to.with_name("torn-unchecked").exists()
    kept = json.loads((to.with_name("torn-failed") / "export.json").read_text())
    assert kept["check"]["passed"] is False
