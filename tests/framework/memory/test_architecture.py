"""What is read of a model: its parameters as published, and by kind as transformers counts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groupwise.framework.config import ModelConfig
from groupwise.framework.memory.architecture import read_architecture
from groupwise.rewards.errors import UserError

# Parameters as each model's page on the hub states them, a tied head counted once.
PUBLISHED = {
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "unsloth/Qwen2.5-Coder-1.5B-Instruct": 1_543_714_304,
    "unsloth/Qwen2.5-3B-Instruct-unsloth-bnb-4bit": 3_085_938_688,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-1.7B-Base": 1_720_574_976,
    "unsloth/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-4B-Instruct-2507": 4_022_468_096,
    "unsloth/Qwen3-8B-bnb-4bit": 8_190_735_360,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "unsloth/Llama-3.2-3B-Instruct": 3_212_749_824,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit": 8_030_261_248,
    "google/gemma-3-1b-it": 999_885_952,
    "unsloth/gemma-3-4b-it": 4_300_079_472,
    "mistralai/Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "microsoft/Phi-4-mini-instruct": 3_836_021_760,
    "microsoft/Phi-3.5-mini-instruct": 3_821_079_552,
    "unsloth/Phi-3.5-mini-instruct-bnb-4bit": 3_821_079_552,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711_376_384,
    "HuggingFaceTB/SmolLM3-3B": 3_075_098_624,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_well_known_model_has_the_parameters_that_are_published(name: str) -> None:
    assert read_architecture(ModelConfig(name=name)).parameters == PUBLISHED[name]


def test_unsloths_copy_of_phi_has_llamas_layers() -> None:
    for owner, layers in (("unsloth", 7), ("microsoft", 4)):
        found = read_architecture(ModelConfig(name=f"{owner}/Phi-3.5-mini-instruct"))
        assert len(found.linears) == layers


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("someone/Qwen3-4B", "hf download someone/Qwen3-4B config.json"),
        ("mistralai/Mistral-7B-v0.1", "not known here"),
        ("./nowhere", "no folder with a config.json"),
    ],
)
def test_a_model_that_is_not_here_is_refused_with_a_remedy(name: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        read_architecture(ModelConfig(name=name))


def test_a_folder_goes_before_the_table_and_a_broken_one_is_named(tmp_path: Path) -> None:
    shape = {"model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "vocab_size": 10}
    shape |= {"num_hidden_layers": 1, "num_attention_heads": 2, "tie_word_embeddings": False}
    (tmp_path / "config.json").write_text(json.dumps(shape))
    found = read_architecture(ModelConfig(name=str(tmp_path)))
    assert found.parameters == 2 * 10 * 8 + 4 * 8 * 8 + 3 * 8 * 16 + 3 * 8
    assert (found.embedding, found.head, found.norms, found.biases) == (80, 80, 24, 0)
    for broken in ("{", '{"a":' * 100_000):
        (tmp_path / "config.json").write_text(broken)
        with pytest.raises(UserError, match="cannot be read"):
            read_architecture(ModelConfig(name=str(tmp_path)))


TINY = {
    **{"model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "vocab_size": 10},
    **{"num_hidden_layers": 1, "num_attention_heads": 2, "tie_word_embeddings": True},
}


def folder_with(folder: Path, name: str, content: dict[str, object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder


WRONG: dict[str, dict[str, object]] = {
    "a width": {"hidden_size": "x"},
    "more than there is": {"vocab_size": 10**30},
    "no layers": {"num_hidden_layers": -1},
    "quantisation": {"quantization_config": [1]},
    "rope": {"rope_scaling": "x"},
    "a part": {"model_type": "gemma3", "text_config": 3},
    "a tower": {"model_type": "gemma3", "text_config": TINY, "vision_config": {"hidden_size": 1}},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_values_that_no_model_has_are_one_line(wrong: str, tmp_path: Path) -> None:
    folder_with(tmp_path, "config.json", TINY | WRONG[wrong])
    with pytest.raises(UserError, match=r"config\.json: no config of a model"):
        read_architecture(ModelConfig(name=str(tmp_path)))


@pytest.mark.parametrize("with_weights", [True, False])
def test_an_earlier_adapter_is_counted(tmp_path: Path, with_weights: bool) -> None:
    """By its weights; without them, by its config."""
    import numpy as np
    from safetensors.numpy import save_file

    base = folder_with(tmp_path / "base", "config.json", TINY)
    settings = {"base_model_name_or_path": str(base), "r": 4, "target_modules": ["q_proj"]}
    adapter = folder_with(tmp_path / "adapter", "adapter_config.json", settings)
    if with_weights:
        shapes = {"a": (4, 8), "b": (8, 4)}
        tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        save_file(tensors, adapter / "adapter_model.safetensors")
    found = read_architecture(ModelConfig(name=str(base), adapter=str(adapter)))
    assert found.adapter == 4 * (8 + 8)
    assert read_architecture(ModelConfig(name=str(adapter))) == found
    merged = ModelConfig(name=str(base), adapter=str(adapter), adapter_mode="merge")
    assert read_architecture(merged).adapter is None


def test_layers_to_adapt_that_are_not_there_are_named(tmp_path: Path) -> None:
    folder_with(tmp_path, "config.json", TINY)
    with pytest.raises(UserError, match=r"target_modules: the model has no qkv; its layers are q_"):
        read_architecture(ModelConfig(name=str(tmp_path), target_modules=("qkv",)))


def header(text: bytes, length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text


# what the adapter's file of weights holds, or its config where there is none
BROKEN: dict[str, bytes | str] = {
    "no weights": b"garbage of more than 8 bytes",
    "longer than the file": header(b"{}", 2**62),
    "no object": header(b"[1]"),
    "no tensors": header(b'{"a": 7}'),
    "no shape": header(b'{"a": {"shape": ["x"]}}'),
    "no JSON": "{",
    "a list": "[1]",
    "no rank": '{"r": "x", "target_modules": []}',
    "nested": '{"a":' * 100_000,
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_adapter_is_named(broken: str, tmp_path: Path) -> None:
    base = folder_with(tmp_path / "base", "config.json", TINY)
    adapter, content = folder_with(tmp_path / "adapter", "adapter_config.json", {}), BROKEN[broken]
    if isinstance(content, bytes):
        (adapter / "adapter_model.safetensors").write_bytes(content)
    else:
        (adapter / "adapter_config.json").write_text(content)
    with pytest.raises(UserError, match="adapter"):
        read_architecture(ModelConfig(name=str(base), adapter=str(adapter)))


def test_a_name_in_the_hubs_cache_goes_before_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    repository = tmp_path / "models--unsloth--Qwen3-4B"
    folder_with(repository / "snapshots" / "1", "config.json", TINY)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1")
    monkeypatch.setattr(huggingface_hub.file_download.constants, "HF_HUB_CACHE", str(tmp_path))
    found = read_architecture(ModelConfig(name="unsloth/Qwen3-4B"))
    assert (found.vocab, found.on_this_machine) == (10, True)
    monkeypatch.setattr(huggingface_hub.file_download.constants, "HF_HUB_CACHE", "/nowhere")
    found = read_architecture(ModelConfig(name="unsloth/Qwen3-4B"))
    assert (found.vocab, found.on_this_machine) == (151_936, False)


def test_the_toy_has_its_models_shape() -> None:
    found = read_architecture(ModelConfig(name="toy"))
    assert (found.layers, found.hidden, found.kv_elements) == (2, 128, 2 * 2 * 2 * 32)
    assert found.positions == 1024


@pytest.mark.parametrize("told", [None, "many", 0, -1, True, 1.5])
def test_positions_that_are_no_number_are_not_known(told: object, tmp_path: Path) -> None:
    folder_with(tmp_path, "config.json", TINY | {"max_position_embeddings": told})
    assert read_architecture(ModelConfig(name=str(tmp_path))).positions is None
