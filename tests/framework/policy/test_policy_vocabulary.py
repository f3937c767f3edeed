"""A tokenizer larger than the embedding is refused before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import RunCli, Toy, on_the_cpu_backend
from tokenizers import Tokenizer, models

from groupwise.framework.config import ModelConfig
from groupwise.framework.policy.vocabulary import check_folder_vocabulary
from groupwise.rewards.errors import UserError

WORDS = {word: id for id, word in enumerate("abcdefgh")}


def folder_of(
    folder: Path, vocab_size: int | None, *added: str, text_config: bool = False
) -> ModelConfig:
    folder.mkdir(exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="a"))
    tokenizer.add_special_tokens([token for token in added if token.startswith("<|")])
    tokenizer.add_tokens([token for token in added if not token.startswith("<|")])
    tokenizer.save(str(folder / "tokenizer.json"))
    shape = {"vocab_size": vocab_size}
    shape = {"text_config": shape} if text_config else shape  # type: ignore[dict-item]
    (folder / "config.json").write_text(json.dumps(shape))
    return ModelConfig(name=str(folder))


FITS = {
    "as many rows as tokens": (8, ()),
    "padded": (64, ()),
    "padded, with added tokens": (64, ("<|end|>", "<think>")),
    "the added tokens have rows": (10, ("<|end|>", "<think>")),
    "tokens of images that no text has": (8, ("<image_soft_token>", "<|video_pad|>")),
    "not said": (None, ("<|end|>",)),
}


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("text_config", [False, True])
def test_fits(tmp_path: Path, name: str, text_config: bool) -> None:
    vocab_size, added = FITS[name]
    check_folder_vocabulary(folder_of(tmp_path, vocab_size, *added, text_config=text_config))


LARGER = {
    "words": (5, (), "3 tokens have ids from 5 to 7 (5 'f', 6 'g', 7 'h'), and", 8),
    "many": (2, (), "6 tokens have ids from 2 to 7 (…, 5 'f', 6 'g', 7 'h'), and", 8),
    "a special token": (8, ("<|end|>",), "1 tokens have ids from 8 to 8 (8 '<|end|>'), and", 9),
    "an added token": (9, ("<|end|>", "<think>"), "from 9 to 9 (9 '<think>'), and", 10),
}


@pytest.mark.parametrize("name", LARGER)
@pytest.mark.parametrize("text_config", [False, True])
def test_larger(tmp_path: Path, name: str, text_config: bool) -> None:
    vocab_size, added, said, rows = LARGER[name]
    with pytest.raises(UserError) as refused:
        check_folder_vocabulary(folder_of(tmp_path, vocab_size, *added, text_config=text_config))
    assert said in str(refused.value)
    assert f"the embedding (vocab_size) ends at {vocab_size - 1}. " in str(refused.value)
    assert f"model.resize_token_embeddings({rows}, " in str(refused.value)


@pytest.mark.parametrize("broken", ["config.json", "tokenizer.json"])
def test_broken_files_are_left_to_loading(tmp_path: Path, broken: str) -> None:
    config = folder_of(tmp_path, 5)
    (tmp_path / broken).write_text("{")
    check_folder_vocabulary(config)


COMMANDS = {
    "train": ("train", "CONFIG"),
    "a dry run": ("train", "CONFIG", "--dry-run"),
    "check": ("check", "CONFIG"),
    "evaluate": ("evaluate", "MODEL", "--config", "CONFIG"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_end_before_anything_is_loaded(cli: RunCli, tmp_path: Path, name: str) -> None:
    config = folder_of(tmp_path / "model", 5)
    (tmp_path / "p.jsonl").write_text('{"question": "1+1=?", "answer": "2"}\n' * 12)
    settings = {"name": "r", "model": {"name": config.name}, "data": {"train": "p.jsonl"}}
    (tmp_path / "c.yaml").write_text(json.dumps(settings))
    places = {"CONFIG": "c.yaml", "MODEL": config.name}
    ended = cli(*(places.get(word, word) for word in COMMANDS[name]))
    assert ended.code == 2
    assert "its tokenizer is larger than its embedding: 3 tokens" in ended.err.replace("\n", " ")
    assert not (tmp_path / "runs").exists()


@pytest.mark.stack
@on_the_cpu_backend("on a GPU Unsloth enlarges the embedding itself")
def test_what_was_loaded_is_compared_too(toy: Toy, tmp_path: Path) -> None:
    """Of a hub model the files are seen when it is loaded; of this one there is no tokenizer.json
    with the token in it."""
    import shutil

    from groupwise.framework.policy import load

    shutil.copytree(toy.model, tmp_path / "model")
    file = tmp_path / "model" / "tokenizer_config.json"
    rows = json.loads((toy.model / "config.json").read_text())["vocab_size"]
    added = {str(rows): {"content": "<more>", "special": False}}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"added_tokens_decoder": added}))
    config = toy.model_config(name=str(tmp_path / "model"))
    check_folder_vocabulary(config)
    with pytest.raises(UserError, match=f"1 tokens have ids from {rows} to {rows}"):
        load(config)
