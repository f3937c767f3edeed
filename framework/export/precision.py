"""In which precision a policy computed while it was tuned, and what rounding does to weights.

    precision = precision_of(policy)      # Precision(bits=4, dtype="bfloat16", whole=("lm_head",))
    rounding("bfloat16")                  # 0.0017: the relative error of a rounded number

Read from the loaded model, and not from the config: which layers a library leaves unquantised is
its own affair.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from groupwise.framework.policy import Policy
from groupwise.framework.policy.loading import compute_dtype

QUANTISED = {4: "Linear4bit", 8: "Linear8bitLt"}
"""The classes of bitsandbytes' layers, by their bits."""
_MANTISSA = {"float32": 23, "float16": 10, "bfloat16": 7}  # bits behind the point


@dataclass(frozen=True, slots=True)
class Precision:
    """`bits` of the frozen weights: 4, 8 or 16 (which stands for more, too). `dtype`: of the rest
    and of the arithmetic. `whole`: the linear layers that were not quantised.
    """

    bits: int
    dtype: str
    whole: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def precision_of(policy: Policy) -> Precision:
    """The precision that a loaded policy computes in."""
    linear = {
        name: type(module).__name__
        for name, module in policy.model.named_modules()
        if type(module).__name__ in ("Linear", *QUANTISED.values()) and "lora_" not in name
    }
    bits = next((bits for bits, kind in QUANTISED.items() if kind in linear.values()), 16)
    whole = [_plain(name) for name, kind in linear.items() if kind == "Linear"]
    dtype = str(compute_dtype(policy.model)).removeprefix("torch.")
    return Precision(bits, dtype, tuple(whole) if bits < 16 else ())


def quantisation(precision: Precision) -> Any:
    """The config with which transformers quantises as the policy was; None without."""
    import torch  # slow, both: not at start-up
    from transformers import BitsAndBytesConfig

    whole = list(precision.whole)
    if precision.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=whole)
    if precision.bits == 16:
        return None
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, precision.dtype),
        llm_int8_skip_modules=whole,
    )


@dataclass(frozen=True, slots=True)
class Rounding:
    """The relative errors (rms) by which an export and the policy differ: of a weight, and of a
    number in their arithmetic, both together.
    """

    weights: float
    arithmetic: float


def rounding(dtype: str) -> float:
    """The root mean square of the relative error of a number rounded to this type.

    Half a step at most, uniform: step / sqrt(12), relative to a mantissa in [1, 2) whose logarithm
    is uniform: times sqrt(3/8 / ln 2).
    """
    return float(2.0 ** -_MANTISSA[dtype] * 0.2123)


def _plain(name: str) -> str:
    """A module's name in the model without an adapter around it."""
    return name.removeprefix("base_model.model.").replace(".base_layer", "")
