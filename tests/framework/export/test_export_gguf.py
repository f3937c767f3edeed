"""A GGUF export answers like the tuned model, by llama.cpp; and one that does not is found out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import FinishedRun, Toy

from groupwise.framework.export import formats
from groupwise.framework.export.run import check_export, export
from groupwise.framework.export.source import Source, source_of
from groupwise.framework.export.tuned import Asked, Tuned, load_tuned
from groupwise.framework.run.terminal import Terminal

pytestmark = [pytest.mark.stack, pytest.mark.long]


@pytest.fixture(scope="module")
def source(finished_run: FinishedRun) -> Source:
    pytest.importorskip("llama_cpp", reason="make gguf")
    return source_of(finished_run.folder, [])


@pytest.fixture(scope="module")
def tuned(source: Source) -> Tuned:
    return load_tuned(source, Asked(True, 0), Terminal(quiet=True))


def test_an_export_answers_like_the_tuned_model(source: Source, tmp_path: Path) -> None:
    format = formats.gguf("q8_0")
    outcome = export(source, format, tmp_path / "to", Asked(True, 5), Terminal(quiet=True))
    check = outcome.check
    assert outcome.passed, check
    assert check is not None
    assert check.findings is not None
    assert check.findings.loader.startswith("llama.cpp")
    assert check.findings.other_prompts == 0
    assert check.findings.token_agreement > 0.95
    assert check.findings.divergence < check.findings.tolerance / 10
    assert check.comparison is not None  # Pass@K, by llama.cpp
    files = sorted(path.name for path in outcome.folder.iterdir())
    assert files == ["Modelfile", "README.md", "export.json", "model-q8_0.gguf"]
    assert "FROM ./model-q8_0.gguf\n" in (outcome.folder / "Modelfile").read_text()


def with_base_weights(merged: Path, toy: Toy) -> None:
    shutil.copy(toy.model / "model.safetensors", merged)


def with_another_template_and_end(merged: Path, _: Toy) -> None:
    """The token that ends a turn has a name that llama.cpp does not know, and is no end token."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        text = (merged / name).read_text(encoding="utf-8")
        (merged / name).write_text(text.replace("<|im_end|>", "<|ended|>"), encoding="utf-8")
    for name, key, value in (
        ("tokenizer_config.json", "eos_token", "<|endoftext|>"),
        ("generation_config.json", "eos_token_id", 256),
        ("config.json", "eos_token_id", 256),
    ):
        settings = json.loads((merged / name).read_text(encoding="utf-8"))
        (merged / name).write_text(json.dumps(settings | {key: value}), encoding="utf-8")
    template = merged / "chat_template.jinja"
    template.write_text("Question: " + template.read_text(encoding="utf-8"), encoding="utf-8")


@pytest.mark.parametrize(
    ("sabotage", "found"),
    [
        (with_base_weights, ["is nearer to the model before training"]),
        (
            with_another_template_and_end,
            ["prompts have other tokens than in the run", "does not end an answer at token 258"],
        ),
    ],
)
def test_a_file_of_another_model_is_found_out(
    sabotage: Callable[[Path, Toy], None],
    found: list[str],
    tuned: Tuned,
    toy: Toy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    convert = formats.write_gguf

    def convert_another(merged: Path, file: Path, quantisation: str, name: str) -> list[str]:
        sabotage(merged, toy)
        return convert(merged, file, quantisation, name)

    monkeypatch.setattr(formats, "write_gguf", convert_another)
    format = formats.gguf("f16")
    format.write(tuned, tmp_path)
    check = check_export(tuned, format, tmp_path, Terminal(quiet=True))
    for text in found:
        assert any(text in failure for failure in check.failures), check.failures
    assert check.comparison is None
