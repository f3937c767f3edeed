"""Unsloth's log-probabilities and loss, as its rewritten GRPO trainer computes them.

The fused operation is opaque to fake tensors: they know the shapes of its results, not what it
allocates meanwhile. So its own body is run in its place, with the answers that a card gives where
it asks for one, and with its Triton kernels, which allocate nothing, left out.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

FUSED = "unsloth_zoo.fused_losses.fused_linear"


class _Bodies(TorchDispatchMode):
    """Runs the body of the fused operation wherever the operation is called."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ == importlib.import_module(FUSED)._LP_OP:
            with self:
                return _body(*args)
        return func(*args, **(kwargs or {}))


def _body(*args: Any) -> Any:
    module = importlib.import_module(FUSED)
    *most, want_u, need_h, need_w, need_b, rows, _ = args
    tiled = (need_h or need_w or need_b) and not want_u
    return module._logprobs_impl(*most, want_u, rows, tiled, need_w)


@contextmanager
def as_on_a_small_card() -> Iterator[None]:
    """Inside, the operation takes the route of an NVIDIA card of at most 24 GiB."""
    module = importlib.import_module(FUSED)
    answers = {
        "_use_triton": lambda *_: True,
        "_flash_min_rows": lambda *_: 0,
        "_logits_mode": lambda *_: (True, False),  # float32 logits of 16-bit products
        "_keep_index": lambda targets, *_: (torch.arange(len(targets)), len(targets)),
        "_launch": lambda *_: None,
        "_mm_fp32": lambda *_, out: out,
        "_addmm_fp32": lambda *_: None,
    }
    was = {name: getattr(module, name) for name in answers}
    try:
        for name, answer in answers.items():
            setattr(module, name, answer)
        with _Bodies():
            yield
    finally:
        for name, plain in was.items():
            setattr(module, name, plain)


def loss(hidden: Tensor, weight: Tensor, completion: int) -> Tensor:
    """The loss from hidden states (rows, tokens, H), the rows being packed: a scalar.

    The lines of `grpo_accumulated_loss` around `_pack_result`, without what only reads lengths.
    """
    from unsloth_zoo import rl_replacements as unsloth  # slow, and only after the emulation

    rows, tokens, _ = hidden.shape
    kept = torch.zeros(rows * completion, dtype=torch.int64)  # where the completions' tokens are
    chosen = hidden.view(1, rows * tokens, -1)[0, :-1, :][kept].unsqueeze(0)  # (1, kept, H)
    logps = unsloth.grpo_chunked_hidden_states_logprobs(
        chosen, weight, torch.zeros(1, len(kept), dtype=torch.int64)
    )[0]
    whole = torch.zeros(rows * tokens).index_put((kept,), logps).view(rows, tokens)
    made, *_ = unsloth.UnslothEfficientGRPO.apply(
        whole[:, -completion:], None, None, None, weight,
        torch.zeros(rows, completion, dtype=torch.int64), torch.ones(rows, completion),
        torch.ones(rows), 0.0, None, 1, {"loss_type": "dapo", "num_items_in_batch": len(kept)},
    )  # fmt: skip
    result: Tensor = made
    return result
