"""Model folders: checks that need no torch, the base model of an adapter, a model's identity.

    check_model_folder(config.model)         # UserError if it cannot be loaded

Left out: loading (`loading.py`), and hub names, which only the hub can check.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from groupwise.evaluation.log.files import read_json, write_json
from groupwise.framework.config.locations import where_now
from groupwise.framework.config.paths import nearby
from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from groupwise.framework.config import ModelConfig

_END = 1 << 20  # bytes of each end of a file of weights
_VALUES = 65_536  # of a tensor in memory that its identity looks at, at most


def check_model_folder(config: ModelConfig, name_key: str = "model.name") -> None:
    """Checks a local model and adapter, before anything slow is imported.

    `name_key` is the config key or option that holds the model's name, for messages.

    Raises:
        UserError: a folder is missing, or lacks config, adapter or tokenizer.
    """
    for key, name in ((name_key, config.name), ("model.adapter", config.adapter)):
        if name is None:
            continue
        folder = Path(name)
        if not folder.exists():
            if _looks_like_path(name):
                hint = "" if "/" in name else ", and a name on the hub is written owner/name"
                hint += where_now(key, name) if key.startswith("model.") else ""
                raise UserError(f"{key}: no such folder: {name}{nearby(folder)}{hint}")
            continue  # a hub name: only the hub knows
        is_adapter = (folder / "adapter_config.json").is_file()
        if not is_adapter and not (folder / "config.json").is_file():
            raise UserError(
                f"{key}: {name} is not a model folder: it has neither config.json nor "
                "adapter_config.json"
            )
        if key == "model.adapter" and not is_adapter:
            raise UserError(f"{key}: {name} has no adapter_config.json: not a LoRA adapter")
        has_tokenizer = any(
            (folder / file).is_file()
            for file in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
        )
        if not has_tokenizer and not is_adapter:
            raise UserError(
                f"{key}: {name} has no tokenizer (no tokenizer.json). Save one beside the weights: "
                f"tokenizer.save_pretrained({name!r})"
            )


def base_of_adapter(folder: Path) -> str | None:
    """The base model an adapter folder names; None if `folder` holds no adapter.

    Raises UserError where its config cannot be read.
    """
    file = folder / "adapter_config.json"
    if not file.is_file():
        return None
    name = read_json(file).get("base_model_name_or_path")
    return str(name) if name else None


def absolute(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def follow_moved_base(adapter: Path, name: str) -> None:
    """Points an adapter whose base model has moved to the folder that the config names.

    A run directory that holds its base model may be copied or moved; the absolute path in the
    adapter's config is then wrong.
    """
    base = base_of_adapter(adapter)
    if base is None or Path(base).is_dir() or not _looks_like_path(base):
        return
    if not Path(name).is_dir():
        raise UserError(
            f"model.adapter: {adapter} belongs to the base model {base}, which is not there. Set "
            "model.name to the folder where it is now."
        )
    file = adapter / "adapter_config.json"
    write_json(file, read_json(file) | {"base_model_name_or_path": absolute(name)})


def as_saved(config: ModelConfig, folder: Path) -> ModelConfig:
    """The config that loads what `Policy.save` wrote to `folder`."""
    if (folder / "adapter_config.json").is_file():
        return replace(config, adapter=str(folder), adapter_mode="continue")
    return replace(config, name=str(folder), adapter=None, adapter_mode="continue")


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") != 1 or name.endswith("/")


def read_chat_template(path: str) -> str:
    """The text of `model.chat_template`. Raises UserError if it cannot be read."""
    if not Path(path).is_file():
        key = "model.chat_template"
        raise UserError(f"{key}: there is no file {path}{where_now(key, path)}")
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"model.chat_template: {path} cannot be read: {reason}") from error


def identity_of(config: ModelConfig) -> str:
    """A name for a model as loaded, which changes with its weights.

    Local weights are identified by a hash of the size and both ends of each file, which any
    training changes; a hub model by its name.
    """
    folder = Path(config.adapter or config.name)
    precision = "4 bit" if config.load_in_4bit else "8 bit" if config.load_in_8bit else config.dtype
    if not folder.is_dir():
        return f"{folder} ({precision})"
    return f"{folder.name} ({precision}, weights {digest_of(folder)})"


def identity_of_loaded(model: PreTrainedModel) -> str:
    """A name for a model as it is in memory, which changes with its weights.

    Of what can be trained it looks at some values of each tensor, which any training changes; what
    is frozen is identified by where it came from, as in `identity_of`.
    """
    base = Path(model.config.name_or_path)
    digest = hashlib.blake2b(digest_size=8)
    if base.is_dir():
        digest.update(digest_of(base).encode())
    for name, weights in model.named_parameters():
        if weights.requires_grad:
            every = weights.numel() // _VALUES + 1
            digest.update(f"{name} {tuple(weights.shape)}".encode())
            digest.update(weights.detach().flatten()[::every].float().cpu().numpy().tobytes())
    return f"{base.name if base.is_dir() else base} (weights {digest.hexdigest()})"


def digest_of(folder: Path) -> str:
    """A hash of the weights in a folder, as `identity_of` has it."""
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(f for f in folder.iterdir() if f.suffix in (".safetensors", ".gguf")):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as weights:
            digest.update(weights.read(_END))
            weights.seek(max(0, size - _END))
            digest.update(weights.read())
    return digest.hexdigest()
