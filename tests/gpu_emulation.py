"""Unsloth's GPU code on CPU tensors: its loader, forwards, fused LoRA and trainers, without a GPU.

    python tests/gpu_emulation.py -m groupwise.framework.cli train tiny.yaml
    python tests/gpu_emulation.py script.py arguments
    EMULATE_GPU=1 pytest tests/framework      in-process: conftest calls `install`

Unsloth decides at its import which of its backends it is: `install` has to come before anything
imports it, in a process that does nothing else. `torch.cuda.is_available()` stays False.

What runs is Unsloth's own Python code. Replaced are the places where it asks CUDA for something
(sizes, streams, events), two Triton kernels (their interpreter takes milliseconds a program), and
the 4-bit kernels, by bitsandbytes' for the CPU. Not covered: CUDA kernels and their rounding,
bfloat16 autocast, torch.compile, CUDA graphs, memory, speed, vLLM.

Written for the Unsloth named below. Where another version has moved something, `install` raises
EmulationError and names it: look there, and update this file.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import runpy
import shutil
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WRITTEN_FOR = "2026.10.9"
VARIABLE = "EMULATE_GPU"
_ENVIRONMENT = {
    "UNSLOTH_ALLOW_CPU": "1",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "UNSLOTH_COMPILE_DISABLE": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "TRITON_INTERPRET": "1",
}
_REWRITTEN = "UNSLOTH_COMPILE_LOCATION"
"""Where Unsloth writes the trainers it makes; by default into the current folder."""
CARD = types.SimpleNamespace(
    name="Emulated",
    total_memory=8 * 2**30,
    major=8,
    minor=6,
    multi_processor_count=20,
    gcnArchName="",
    warp_size=32,
    shared_memory_per_block_optin=101376,
    max_threads_per_multi_processor=1536,
    regs_per_multiprocessor=65536,
)


class EmulationError(RuntimeError):
    """The emulation does not fit the installed Unsloth."""


def install() -> None:
    """Imports Unsloth as on a GPU. Raises EmulationError where this version cannot be emulated."""
    if "unsloth" in sys.modules:
        raise EmulationError("unsloth was imported before the emulation, as its CPU backend")
    os.environ.update(_ENVIRONMENT)
    # A folder for each process: two that write one file would read halves of it.
    os.environ[_REWRITTEN] = tempfile.mkdtemp(prefix="unsloth_rewritten_")
    atexit.register(shutil.rmtree, os.environ[_REWRITTEN], ignore_errors=True)
    import torch

    _stand_in_for_cuda(torch)
    import unsloth

    _tensors_on_the_cpu()
    _rope_caches_on_the_cpu()
    _load_onto_the_cpu(unsloth.FastLanguageModel)
    _load_onto_the_cpu(_get("unsloth", "FastModel"))
    _replace_triton_kernels()
    _replace_4bit_kernels()
    _rewrite_trainers()


def outside() -> dict[str, str]:
    """The environment for a child process, without what `install` has set in this one's."""
    ours = {*_ENVIRONMENT, _REWRITTEN}
    return {name: value for name, value in os.environ.items() if name not in ours}


def _get(module: str, name: str) -> Any:
    found = getattr(importlib.import_module(module), name, None)
    if found is None:
        from unsloth import __version__

        raise EmulationError(
            f"Unsloth {__version__} has no {module}.{name}: tests/gpu_emulation.py was written for "
            f"{WRITTEN_FOR} and has to follow"
        )
    return found


def _unsloth_modules() -> Iterator[Any]:
    for name, module in list(sys.modules.items()):
        if name.split(".")[0].startswith("unsloth") and module is not None:
            yield module


def _stand_in_for_cuda(torch: Any) -> None:
    """Answers of `torch.cuda` for a card of 8 GiB; on a machine without a driver it raises."""

    class Nothing(contextlib.nullcontext[None]):
        cuda_stream = 0
        device = torch.device("cpu")

        def __init__(self, *_: Any, **__: Any) -> None:
            super().__init__()

        def _nothing(self, *_: Any) -> None: ...

        wait_stream = wait_event = synchronize = record = _nothing

        def record_event(self, *_: Any) -> Nothing:
            return self

    answers = {
        "get_device_properties": CARD,
        "get_device_capability": (CARD.major, CARD.minor),
        "get_device_name": CARD.name,
        "mem_get_info": (6 * 2**30, CARD.total_memory),
        "current_device": 0,
        "is_current_stream_capturing": False,
        **dict.fromkeys(
            (
                "memory_reserved",
                "memory_allocated",
                "max_memory_reserved",
                "max_memory_allocated",
            ),
            0,
        ),
        **dict.fromkeys(
            ("reset_peak_memory_stats", "empty_cache", "synchronize", "set_device"), None
        ),
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    for name in ("Stream", "Event", "device", "stream", "current_stream", "default_stream"):
        setattr(torch.cuda, name, Nothing)
    real_empty = torch.empty

    def empty(*size: Any, device: Any = None, **options: Any) -> Any:
        # Unsloth makes its buffers by the number of a card; page-locking asks a driver.
        options.pop("pin_memory", None)
        return real_empty(*size, device="cpu" if isinstance(device, int) else device, **options)

    torch.empty = empty


def _tensors_on_the_cpu() -> None:
    found = 0
    for module in _unsloth_modules():
        if vars(module).get("DEVICE_TYPE_TORCH") == "cuda":
            module.DEVICE_TYPE_TORCH = "cpu"
            found += 1
        if vars(module).get("DEVICE_COUNT") == 0:
            module.DEVICE_COUNT = 1
        for name in ("ALLOW_BITSANDBYTES", "ALLOW_PREQUANTIZED_MODELS"):
            if vars(module).get(name) is False:
                setattr(module, name, True)
    if not found:
        raise EmulationError("no module of Unsloth has DEVICE_TYPE_TORCH 'cuda': is it on its CPU?")


def _rope_caches_on_the_cpu() -> None:
    import torch

    cache = _get("unsloth.models.llama", "_PerDeviceRopeCache")
    for name in ("_build_rope_cache", "_rope_build_mode", "_rope_cache_rows", "_mark_rope_build"):
        if not hasattr(cache, name):
            raise EmulationError(f"unsloth.models.llama._PerDeviceRopeCache has no {name}")

    def build(self: Any, index: int) -> None:
        size = self.current_rope_size
        with self._rope_build_mode():
            self._set_cos_sin_cache(
                seq_len=self._rope_cache_rows(),
                device=torch.device("cpu", index),
                dtype=self._rope_cache_dtype,
            )
        self.current_rope_size = size
        self._rope_cache_versions[index] = self._rope_cache_version
        self._mark_rope_build(index)

    cache._build_rope_cache = build


def _load_onto_the_cpu(loader: Any) -> None:
    real = loader.from_pretrained

    def from_pretrained(*arguments: Any, **options: Any) -> Any:
        return real(*arguments, **{"device_map": {"": "cpu"}, **options})

    loader.from_pretrained = staticmethod(from_pretrained)


def _replace(old: Any, new: Any) -> None:
    """Replaces a function wherever Unsloth's modules have imported it."""
    found = 0
    for module in _unsloth_modules():
        for name, value in list(vars(module).items()):
            if value is old:
                setattr(module, name, new)
                found += 1
    if not found:
        raise EmulationError(f"no module of Unsloth uses {old.__module__}.{old.__name__}")


def _replace_triton_kernels() -> None:
    import torch

    def rms_norm(layer: Any, x: Any, gemma: bool = False, **_: Any) -> Any:
        epsilon = getattr(layer, "variance_epsilon", None) or layer.eps
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
        if gemma:
            return (wide * (1 + layer.weight.float())).to(x.dtype)
        return wide.to(x.dtype) * layer.weight

    def rope(q: Any, k: Any, cos: Any, sin: Any, rope_embedding_indices: Any = None) -> Any:
        rows, _, length, _ = q.shape  # (B, H, T, D)
        if rope_embedding_indices is None:
            at = torch.arange(length)[None]
        else:
            at = rope_embedding_indices.reshape(rows, length).long()
        c, s = (t[at][:, None].to(q.dtype) for t in (cos, sin))

        def turned(x: Any) -> Any:
            half = x.shape[-1] // 2
            return x * c + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * s

        return turned(q), turned(k)

    importlib.import_module("unsloth.kernels.qk_norm_rope").QK_NORM_ROPE_ENABLED = False
    _replace(_get("unsloth.kernels.rms_layernorm", "fast_rms_layernorm"), rms_norm)
    _replace(_get("unsloth.kernels.rope_embedding", "fast_rope_embedding"), rope)


def _replace_4bit_kernels() -> None:
    import torch
    from bitsandbytes.functional import dequantize_4bit

    def dequantize(
        weight: Any, quant_state: Any = None, out: Any = None, *_: Any, dtype: Any = None, **__: Any
    ) -> Any:
        if quant_state is None:
            return weight
        is_transposed = weight.dim() == 2 and weight.shape[0] == 1 and weight.shape[1] != 1
        packed = weight.t() if is_transposed else weight
        full = dequantize_4bit(packed.contiguous(), quant_state)
        full = full.to(dtype or full.dtype)
        full = full.t() if is_transposed else full
        return full if out is None else out.copy_(full)

    def product(x: Any, weight: Any, quant_state: Any = None, out: Any = None) -> Any:
        if quant_state is None:
            return torch.matmul(x, weight, out=out)
        full = dequantize_4bit(weight.contiguous(), quant_state).to(x.dtype)
        return torch.matmul(x, full.t(), out=out)

    _replace(_get("unsloth.kernels.utils", "fast_dequantize"), dequantize)
    _replace(_get("unsloth.kernels.utils", "fast_gemv"), product)


def _rewrite_trainers() -> None:
    """What UNSLOTH_ALLOW_CPU=1 leaves out of the import: the trainers rewritten from TRL's."""
    os.environ["UNSLOTH_ALLOW_CPU"] = "0"
    _get("unsloth.models.rl", "PatchFastRL")()
    _get("unsloth.trainer", "_patch_trl_trainer")()
    _get("unsloth.context_parallel", "patch_sft_trainer")()
    for module in _unsloth_modules():
        if vars(module).get("DEVICE_TYPE_TORCH") == "cuda":
            module.DEVICE_TYPE_TORCH = "cpu"
    import trl

    for name in ("GRPOTrainer", "SFTTrainer"):
        found = getattr(trl, name).__name__
        if found != f"Unsloth{name}":
            raise EmulationError(f"trl.{name} is {found} and not Unsloth's: it was not rewritten")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps greetings of libraries from a command's own output; shows them if something fails."""
    with tempfile.TemporaryFile() as greetings:
        streams = [(stream, os.dup(stream)) for stream in (1, 2)]
        for stream, _ in streams:
            os.dup2(greetings.fileno(), stream)
        try:
            yield
        except BaseException:
            greetings.seek(0)
            os.write(streams[1][1], greetings.read())
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for stream, copy in streams:
                os.dup2(copy, stream)
                os.close(copy)


def main(arguments: list[str]) -> None:
    """Runs a script or `-m module` with its arguments, as `python` would, in emulation."""
    with _quiet():
        install()
    is_module = arguments[0] == "-m"
    target, *rest = arguments[1:] if is_module else arguments
    sys.argv = [target, *rest]
    sys.path[0] = str(Path.cwd() if is_module else Path(target).resolve().parent)
    run = runpy.run_module if is_module else runpy.run_path
    run(target, run_name="__main__", **({"alter_sys": True} if is_module else {}))


if __name__ == "__main__":
    main(sys.argv[1:])
