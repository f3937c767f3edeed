"""A tokenizer compared with the embedding: a token beyond its rows would end a run in the middle.

    check_folder_vocabulary(config.model)      # of a local model's files, without torch
    check_vocabulary(model, tokenizer, name)   # of what was loaded

An embedding may have more rows than the tokenizer has tokens: many are padded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from groupwise.framework.config import ModelConfig

# Text models cut out of larger ones keep such tokens, and no text has them: Gemma 3 1B has 262,144
# rows, and <image_soft_token> is token 262,144.
_OF_OTHER_MODALITIES = re.compile(r"image|audio|video|vision|<img", re.IGNORECASE)
_SHOWN = 3


def check_folder_vocabulary(config: ModelConfig, name_key: str = "model.name") -> None:
    """Checks a local model's tokenizer.json against its config.json, where it has both.

    `name_key` is the config key or option that holds the model's name, for messages.

    Raises:
        UserError: the tokenizer makes ids for which the embedding has no row.
    """
    from tokenizers import Tokenizer  # a compiled library: not at start-up

    folder = Path(config.name)
    files = folder / "config.json", folder / "tokenizer.json"
    if config.adapter is not None or not all(file.is_file() for file in files):
        return  # an adapter may bring rows for tokens that were added with it
    try:
        shape = json.loads(files[0].read_text(encoding="utf-8"))
        rows = shape.get("vocab_size") or shape.get("text_config", {}).get("vocab_size")
        vocabulary = Tokenizer.from_file(str(files[1])).get_vocab(with_added_tokens=True)
    except Exception:  # tokenizers has no other; loading says what is wrong with the files
        return
    if isinstance(rows, int):
        _compare(vocabulary, rows, f"{name_key}: {config.name}")


def check_vocabulary(model: Any, tokenizer: Any, what: str) -> None:
    """The same of a loaded model; `what` begins the message. Raises UserError."""
    _compare(tokenizer.get_vocab(), int(model.get_input_embeddings().weight.shape[0]), what)


def _compare(vocabulary: Mapping[str, int], rows: int, what: str) -> None:
    beyond = {
        id: token
        for token, id in vocabulary.items()
        if id >= rows and not _OF_OTHER_MODALITIES.search(token)
    }
    if not beyond:
        return
    ids = sorted(beyond)
    shown = ", ".join(f"{id} {beyond[id]!r:.40}" for id in ids[-_SHOWN:])
    raise UserError(
        f"{what}: its tokenizer is larger than its embedding: {len(ids)} tokens have ids from "
        f"{ids[0]} to {ids[-1]} ({'…, ' if len(ids) > _SHOWN else ''}{shown}), and the embedding "
        f"(vocab_size) ends at {rows - 1}. Put the tokenizer that belongs to this model beside it; "
        "or, where tokens were added on purpose, enlarge the model and save both: "
        f"model.resize_token_embeddings({ids[-1] + 1}, pad_to_multiple_of=64)"
    )
