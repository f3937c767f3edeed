"""A causal language model of fake tensors: real shapes, no data, in a second.

bitsandbytes' `quantize_4bit` reads its input, which has no data here: the state of a 4-bit weight
is made from its shape. That a real layer has these bytes is tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from benchmarks.gpu.model import QWEN3_4B

BLOCK = 64  # weights that share a scale
SCALES = 256  # scales that share a second scale
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
POSITIONS = 4096


def config(**changes: Any) -> Any:
    from transformers import Qwen3Config  # slow: not at start-up

    return Qwen3Config(
        **{
            **QWEN3_4B,
            "max_position_embeddings": POSITIONS,
            "tie_word_embeddings": True,
            "eos_token_id": 1,
            "pad_token_id": 2,
            "bos_token_id": None,
            "dtype": "bfloat16",
            "attn_implementation": "sdpa",
            **changes,
        }
    )


@contextmanager
def fake_mode() -> Iterator[None]:
    """A FakeTensorMode in which transformers takes the paths that it takes in a run.

    It takes fake tensors for the tracing of a graph, and then makes masks that a run leaves out.
    """
    from transformers.utils import import_utils  # slow: not at start-up

    was = import_utils.is_fake_tensor
    import_utils.is_fake_tensor = lambda _: False
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        import_utils.is_fake_tensor = was


def build(settings: Any, rank: int = 16, in_4bit: bool = True) -> Any:
    """A PEFT model, to be called in `fake_mode`.

    Made on the meta device and then given fake tensors: PEFT moves its modules, which those do not
    allow.
    """
    from peft import LoraConfig, get_peft_model  # slow, both: not at start-up
    from transformers import AutoModelForCausalLM

    with unset_fake_temporarily(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(settings, dtype=torch.bfloat16)
        if in_4bit:
            for parent in list(model.get_decoder().layers.modules()):
                for name, child in list(parent.named_children()):
                    if type(child) is torch.nn.Linear:
                        setattr(parent, name, _linear_4bit(child.out_features, child.in_features))
            model.is_loaded_in_4bit = True
        lora = LoraConfig(
            r=rank, lora_alpha=2 * rank, target_modules=PROJECTIONS, task_type="CAUSAL_LM"
        )
        peft_model = get_peft_model(model, lora, low_cpu_mem_usage=True)
    _materialise(peft_model)
    model.tie_weights()
    return peft_model


def build_real(settings: Any, rank: int = 16) -> Any:
    """The same with real weights, quantised by bitsandbytes: for small models, to compare."""
    from bitsandbytes.nn import Linear4bit, Params4bit  # slow, all: not at start-up
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(settings, dtype=torch.bfloat16)
    for parent in list(model.get_decoder().layers.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is not torch.nn.Linear:
                continue
            layer = Linear4bit(
                child.in_features, child.out_features, bias=False,
                compute_dtype=torch.bfloat16, quant_type="nf4",
            )  # fmt: skip
            layer.weight = Params4bit(
                child.weight.data, requires_grad=False, quant_type="nf4", module=layer
            ).to("cpu")
            layer.support_avx512bf16_for_cpu = False
            setattr(parent, name, layer)
    model.is_loaded_in_4bit = True
    lora = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=PROJECTIONS, task_type="CAUSAL_LM"
    )
    return get_peft_model(model, lora)


def _materialise(model: Any) -> None:
    for path, module in model.named_modules():
        for name, old in list(module.named_parameters(recurse=False)):
            dtype = torch.float32 if "lora_" in path else old.dtype  # as PEFT and Unsloth keep them
            new: Any = torch.nn.Parameter(torch.empty(old.shape, dtype=dtype), old.requires_grad)
            setattr(module, name, new)
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))
        if hasattr(module, "quant_storage"):
            _give_state(module)


def _linear_4bit(outputs: int, inputs: int) -> Any:
    """A layer as bitsandbytes loads it: NF4, double quantisation, computing in bfloat16."""
    from bitsandbytes.nn import Linear4bit  # slow: not at start-up

    layer = Linear4bit(inputs, outputs, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4")
    layer.support_avx512bf16_for_cpu = False  # a CPU's own layout
    return layer


def _give_state(layer: Any) -> None:
    from bitsandbytes.functional import QuantState  # slow: not at start-up

    outputs, inputs = layer.out_features, layer.in_features
    blocks = -(-outputs * inputs // BLOCK)
    second = QuantState(
        absmax=torch.empty(-(-blocks // SCALES)), blocksize=SCALES, code=torch.empty(256),
        dtype=torch.float32,
    )  # fmt: skip
    state = QuantState(
        absmax=torch.empty(blocks, dtype=torch.uint8), shape=torch.Size((outputs, inputs)),
        code=torch.empty(16), blocksize=BLOCK, quant_type="nf4", dtype=torch.bfloat16,
        offset=torch.empty(()), state2=second,
    )  # fmt: skip
    packed = torch.empty(outputs * inputs // 2, 1, dtype=torch.uint8)
    # A plain parameter: bitsandbytes' class cannot be fake, and quantises what it is given.
    weight: Any = torch.nn.Parameter(packed, requires_grad=False)
    weight.quant_state, weight.quant_type = state, "nf4"
    weight.compress_statistics, weight.bnb_quantized = True, True
    layer.weight, layer.quant_state = weight, state


def tensors(model: Any) -> Iterator[Tensor]:
    """All that the model keeps in memory, the parts of 4-bit weights included."""
    yield from model.parameters()
    yield from model.buffers()
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            yield from (state.absmax, state.code, state.offset)
            yield from (state.state2.absmax, state.state2.code)


def nbytes(model: Any) -> int:
    """Bytes of the model's storages, each once."""
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors(model)}
    return sum(storages.values())
