"""llama.cpp's library: a GGUF file's weights and vocabulary, forwards, and quantising.

    model = load_model("model-q8_0.gguf")
    words = Vocabulary(model)                    # its tokenizer, template and end tokens
    with forwards(model, 4, 512) as forward:     # a KV cache for four sequences of 512 tokens
        logits = forward([Tokens(0, 0, prompt_ids, 1)])

The C interface of llama.h, by way of llama-cpp-python (the extra `gguf`), whose own class decodes
one sequence at a time. Of what the library says, warnings and errors go to standard error.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import torch
from torch import Tensor

_NAMED = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
_WARNING, _ERROR = 3, 4  # ggml_log_level

heard: list[str] = []
"""The warnings and errors of llama.cpp in this process."""


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _hear(level: int, text: bytes, _data: object) -> None:
    if level in (_WARNING, _ERROR):
        heard.append(text.decode("utf-8", "replace").strip())
        print(heard[-1], file=sys.stderr)


llama_cpp.llama_log_set(_hear, None)
llama_cpp.llama_backend_init()


def load_model(file: Path | str, *, vocab_only: bool = False) -> Any:
    """llama.cpp's model; with `vocab_only`, without its weights. Raises RuntimeError."""
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = vocab_only
    model = llama_cpp.llama_model_load_from_file(str(file).encode(), params)
    if not model:
        raise RuntimeError(f"llama.cpp does not load {file}: {heard[-1] if heard else ''}")
    return model


def quantise(whole: Path, file: Path, quantisation: str) -> list[str]:
    """Writes the model in `whole` to `file` with weights of another type; returns the warnings.

    Raises RuntimeError.
    """
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{quantisation.upper()}")
    params.nthread = len(os.sched_getaffinity(0))
    before = len(heard)
    if llama_cpp.llama_model_quantize(str(whole).encode(), str(file).encode(), params):
        raise RuntimeError(heard[-1])
    return heard[before:]


@dataclass(frozen=True, slots=True)
class Tokens:
    """`ids` of a sequence from position `start` on; of the last `outputs`, logits are wanted."""

    sequence: int
    start: int
    ids: list[int]
    outputs: int


@contextmanager
def forwards(model: Any, sequences: int, length: int) -> Iterator[Callable[[list[Tokens]], Tensor]]:
    """A KV cache for `sequences` of `length` tokens; gives the forward that fills it."""
    params = llama_cpp.llama_context_default_params()
    params.n_seq_max = sequences
    params.n_ctx = params.n_batch = sequences * length
    params.n_threads = params.n_threads_batch = len(os.sched_getaffinity(0))
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        raise RuntimeError(f"llama.cpp has no room for {sequences} answers of {length} tokens")
    size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    batch = llama_cpp.llama_batch_init(params.n_batch, 0, 1)
    memory = llama_cpp.llama_get_memory(context)

    def forward(fed: list[Tokens]) -> Tensor:
        """Feeds tokens; the logits behind the last `outputs` of each: (sum of outputs, V)."""
        wanted = []
        batch.n_tokens = 0
        for tokens in fed:
            if tokens.start == 0:  # what an earlier answer has left there
                llama_cpp.llama_memory_seq_rm(memory, tokens.sequence, -1, -1)
            for offset, token in enumerate(tokens.ids):
                at = batch.n_tokens
                batch.token[at], batch.pos[at] = token, tokens.start + offset
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, tokens.sequence
                batch.logits[at] = offset >= len(tokens.ids) - tokens.outputs
                if batch.logits[at]:
                    wanted.append(at)
                batch.n_tokens += 1
        if llama_cpp.llama_decode(context, batch):
            raise RuntimeError(f"llama.cpp could not decode {batch.n_tokens} tokens")
        found = [llama_cpp.llama_get_logits_ith(context, at) for at in wanted]
        return torch.from_numpy(np.stack([np.ctypeslib.as_array(row, (size,)) for row in found]))

    try:
        yield forward
    finally:
        llama_cpp.llama_batch_free(batch)
        llama_cpp.llama_free(context)


class Vocabulary:
    """A GGUF file's tokenizer and template."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._vocab = llama_cpp.llama_model_get_vocab(model)
        self.size = llama_cpp.llama_vocab_n_tokens(self._vocab)
        self.adds_bos = llama_cpp.llama_vocab_get_add_bos(self._vocab)
        self.bos_token = self.text_of(llama_cpp.llama_vocab_bos(self._vocab))
        self.eos_token_id = llama_cpp.llama_vocab_eos(self._vocab)
        self.eos_token = self.text_of(self.eos_token_id)
        self.end_ids = [
            token for token in range(self.size) if llama_cpp.llama_vocab_is_eog(self._vocab, token)
        ]
        template = llama_cpp.llama_model_chat_template(model, None)
        self.chat_template = template.decode() if template else ""

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        given = text.encode()
        ids = (llama_cpp.llama_token * (len(given) + 2))()
        count = llama_cpp.llama_tokenize(
            self._vocab, given, len(given), ids, len(ids), add_special, True
        )
        return list(ids[:count])

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        given = (llama_cpp.llama_token * len(ids))(*ids)
        text = ctypes.create_string_buffer(64 * len(ids) + 64)
        while True:
            size = llama_cpp.llama_detokenize(
                self._vocab, given, len(ids), text, len(text), False, not skip_special_tokens
            )
            if size >= 0:
                return text.raw[:size].decode("utf-8", "replace")
            text = ctypes.create_string_buffer(-size)

    def named_tokens(self) -> dict[str, int]:
        """The tokens that stand for a text of their own, such as those that end a turn."""
        named = [
            token
            for token in range(self.size)
            if llama_cpp.llama_vocab_get_attr(self._vocab, token) & _NAMED
        ]
        return {self.text_of(token): token for token in named}

    def text_of(self, token: int) -> str:
        text = llama_cpp.llama_vocab_get_text(self._vocab, token) if token >= 0 else None
        return text.decode() if text else ""
