"""The slot engine earns its place: a few greedy tokens beside `generate`, before the first rollout.

    sampler = CheckedSampler(SlotSampler(...), GenerateSampler(...))
    sampler.check(prompts)          # or at the first call of `sample`

On a GPU the two share little: `generate` runs Unsloth's decoding, `slots` transformers' forward and
its own attention. Their log-probabilities agree up to the rounding of the precision, or one of them
is wrong on this machine, with these versions; then `generate` is used, and the run says so.

A model is checked once in a process: its weights may change, its code does not.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch

from groupwise.evaluation.sampler import Prompt, SampledCompletion, SamplingParams
from groupwise.framework.sampling.generate import GenerateSampler
from groupwise.framework.sampling.slots import Options, SlotSampler
from groupwise.framework.sampling.support import base_model
from groupwise.rewards.errors import UserError

PROMPTS = 4
SAMPLES = 2  # of each, so that a prompt's keys are shared
TOKENS = 8

# The largest difference of two log-probabilities, and the mean of all, that rounding explains.
# docs/sampling.md has what was measured.
TOLERANCE: dict[str, tuple[float, float]] = {
    "float32": (2e-3, 5e-4),
    "float32 (TF32)": (0.1, 0.02),  # where the process lets products of float32 round
    "float16": (0.1, 0.02),
    "bfloat16": (0.5, 0.1),
    "8 bits": (0.5, 0.1),
}


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """What the comparison found.

    `error` is what stopped the slot engine, `uncompared` what stopped `generate`, if anything did.
    """

    precision: str
    tokens: int
    largest: float
    mean: float
    allowed_largest: float
    allowed_mean: float
    seconds: float
    error: str | None = None
    uncompared: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether nothing speaks against the slot engine."""
        within = self.largest <= self.allowed_largest and self.mean <= self.allowed_mean
        return self.error is None and (self.uncompared is not None or within)

    def __str__(self) -> str:
        if self.error is not None:
            return f"it failed on this model: {self.error}"
        if self.uncompared is not None:
            return f"it was not compared, because generate failed: {self.uncompared}"
        verb = "agrees" if self.agrees else "disagrees"
        return (
            f"it {verb} with generate: over {self.tokens} greedy tokens, log-probabilities differ "
            f"by {self.largest:.2g} at most and {self.mean:.2g} on average; {self.precision} "
            f"allows {self.allowed_largest:g} and {self.allowed_mean:g}"
        )


_checked: WeakKeyDictionary[Any, dict[Options, SelfCheck]] = WeakKeyDictionary()


class CheckedSampler:
    """The slot engine if it agrees with `generate` on this model, else `generate`."""

    def __init__(self, slots: SlotSampler, generate: GenerateSampler) -> None:
        self.slots, self.generate = slots, generate

    @property
    def _engine(self) -> SlotSampler | GenerateSampler:
        found = self.found
        return self.slots if found is None or found.agrees else self.generate

    @property
    def found(self) -> SelfCheck | None:
        """The result of the check; None before it."""
        return _checked.get(base_model(self.slots.model), {}).get(self.slots.options)

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def reason(self) -> str:
        found = self.found
        return self.slots.reason if found is None else f"slots: {found}"

    def check(self, prompts: Sequence[Prompt], max_tokens: int = TOKENS) -> SelfCheck:
        """Compares the engines on some of the prompts, unless this model has been checked.

        `max_tokens`: of the answers that will be asked for; the check draws no longer ones.
        """
        checks = _checked.setdefault(base_model(self.slots.model), {})
        options = self.slots.options
        if options not in checks:
            tokens = min(TOKENS, max_tokens)
            checks[options] = compare(self.slots, self.generate, prompts, tokens)
        return checks[options]

    def sample(
        self, prompts: Sequence[Prompt], num_samples: int, params: SamplingParams
    ) -> Iterator[SampledCompletion]:
        if prompts:
            self.check(prompts, params.max_tokens)
        yield from self._engine.sample(prompts, num_samples, params)

    def described(self) -> dict[str, Any]:
        """The choice and its numbers, for `config.effective.yaml`."""
        found = self.found
        return {
            "engine": self.name,
            "reason": self.reason,
            "self_check": None if found is None else {**asdict(found), "agrees": found.agrees},
        }


def check_engine(
    sampler: object,
    prompts: Sequence[Prompt],
    max_tokens: int,
    notify: Callable[[str], None],
) -> None:
    """Checks a sampler that `auto` has picked, and reports if it gives way to `generate`."""
    if not isinstance(sampler, CheckedSampler) or not prompts:
        return
    found = sampler.check(prompts, max_tokens)
    if not found.agrees:
        notify(f"sampling with generate, which is slower, in place of slots: {found}")
    elif found.uncompared is not None:
        notify(f"sampling with slots: {found}")


def compare(
    slots: SlotSampler, generate: GenerateSampler, prompts: Sequence[Prompt], tokens: int = TOKENS
) -> SelfCheck:
    """Greedy tokens of both engines, by prompts of unlike lengths in one batch."""
    start = time.perf_counter()
    params = SamplingParams(temperature=0.0, max_tokens=tokens, logprobs=True)
    chosen = _some(prompts)
    precision = _precision(slots.model)
    differences: list[float] = []
    expected, uncompared = _greedy(generate, chosen, params)
    found, error = _greedy(slots, chosen, params)
    for at in expected.keys() & found.keys():
        differences += _differences(expected[at], found[at])
    largest, mean = TOLERANCE.get(precision, TOLERANCE["float32"])
    return SelfCheck(
        precision,
        len(differences),
        max(differences, default=0.0),
        sum(differences) / max(1, len(differences)),
        largest,
        mean,
        round(time.perf_counter() - start, 2),
        error,
        uncompared,
    )


def _some(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The two shortest and the two longest, none of them done yet, and the end of the shortest.

    That one is a few tokens long: so some have more blocks of keys than others.
    """
    ordered = sorted(prompts, key=lambda prompt: len(prompt.token_ids or prompt.text))
    half = PROMPTS // 2
    chosen = ordered if len(ordered) <= PROMPTS else ordered[:half] + ordered[-half:]
    first = ordered[0]
    end = Prompt("self-check", first.text[-4:], token_ids=(first.token_ids or ())[-4:] or None)
    ends = [end] if end.text or end.token_ids else []
    return [*ends, *(replace(prompt, done=frozenset()) for prompt in chosen)]


def _greedy(
    sampler: SlotSampler | GenerateSampler, prompts: list[Prompt], params: SamplingParams
) -> tuple[dict[tuple[int, int], SampledCompletion], str | None]:
    """The answers, or what stopped the engine."""
    try:
        made = list(sampler.sample(prompts, SAMPLES, params))
    except UserError:
        raise
    except Exception as failure:  # whatever a library's forward may raise: the other engine runs
        text = str(failure)
        if isinstance(failure, torch.OutOfMemoryError) or _OUT_OF_MEMORY.search(text):
            raise
        return {}, f"{type(failure).__name__}: {text.partition(chr(10))[0]}"
    return {(one.prompt_index, one.sample_index): one for one in made}, None


# Drivers and cuBLAS have no type of error for it.
_OUT_OF_MEMORY = re.compile("out of memory|ALLOC_FAILED|DefaultCPUAllocator", re.IGNORECASE)


def _differences(one: SampledCompletion, other: SampledCompletion) -> list[float]:
    """By token, up to the first where they part: from there on they follow different texts.

    Where they part, both tokens are the likeliest to their engine, and should be as likely.
    """
    found = []
    for a, b, x, y in zip(
        one.token_ids, other.token_ids, one.logprobs or (), other.logprobs or (), strict=False
    ):
        found.append(abs(x - y) if abs(x - y) < float("inf") else float("inf"))
        if a != b:
            break
    return found


def _precision(model: Any) -> str:
    names = {type(module).__name__ for module in model.modules()}
    if "Linear8bitLt" in names:
        return "8 bits"
    layers = (m for m in model.modules() if type(m).__name__ == "Linear4bit")
    dtype = getattr(next(layers, None), "compute_dtype", None) or base_model(model).dtype
    if dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest":
        return "float32 (TF32)"
    return str(dtype).removeprefix("torch.")
