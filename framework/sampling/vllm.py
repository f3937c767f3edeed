"""Unsloth's vLLM engine (`fast_inference=True`), with the adapter as it is at this moment.

Untested here: it needs a GPU. Written from Unsloth 2026.10.9 (`unsloth_zoo/vllm_utils.py`,
`unsloth/models/rl.py`): `fast_generate` is the `generate` of vLLM's `LLM`, and answers as the base
model unless it is given a LoRA request, which `load_lora(..., load_tensors=True)` makes from the
live weights. With standby (`UNSLOTH_VLLM_STANDBY=1`) `generate` wakes the engine, and only
Unsloth's own trainer puts it back to sleep: after a sample that is done here. vLLM draws with
generators of its own, one a request: the answers are reproducible by (seed, example, sample) too,
but are not those of the other engines.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from groupwise.evaluation.sampler import Prompt, SampledCompletion, SamplingParams
from groupwise.framework.sampling.draw import check_params
from groupwise.framework.sampling.randomness import sample_key
from groupwise.framework.sampling.requests import PromptTokens, completion, encode_prompts
from groupwise.framework.sampling.state import sampling_mode
from groupwise.framework.sampling.stopping import Stopping
from groupwise.rewards.errors import UserError

REQUESTS_AT_ONCE = 1024  # the most that a kill can lose; vLLM makes its own batches of them


def why_not_vllm(model: Any) -> str | None:
    """Why the vLLM engine cannot serve this model; None if it can."""
    if getattr(model, "vllm_engine", None) is None:
        return "the model was loaded without fast_inference"
    if not hasattr(model, "peft_config"):
        return "the model has no adapter, and the engine's own weights may not be the model's"
    if getattr(model, "load_lora", None) is None:
        return "the adapter cannot be handed over (no load_lora), and the base model would answer"
    if list(model.active_adapters) != ["default"]:
        return f"load_lora knows the adapter 'default', and active is {list(model.active_adapters)}"
    return None


class VllmSampler:
    """Samples with vLLM and the adapter's weights as they are when `sample` is called."""

    name = "vllm"

    def __init__(self, model: Any, tokenizer: Any, *, reason: str = "asked for") -> None:
        why_not = why_not_vllm(model)
        if why_not is not None:
            raise UserError(
                f"sampling: the vllm engine cannot serve this model: {why_not}. "
                "Use engine: auto, or load the model with fast_inference."
            )
        self.model, self.tokenizer, self.reason = model, tokenizer, reason

    def sample(
        self, prompts: Sequence[Prompt], num_samples: int, params: SamplingParams
    ) -> Iterator[SampledCompletion]:
        check_params(params)
        if params.logprobs and params.temperature not in (0.0, 1.0):
            raise UserError(
                f"sampling: vLLM gives log-probabilities at temperature 1, and temperature is "
                f"{params.temperature}. Use engine: generate, or ask for no logprobs."
            )
        encoded = encode_prompts(prompts, num_samples, params, self.model, self.tokenizer)
        jobs = [(prompt, index) for prompt in encoded for index in prompt.samples]
        stopping = Stopping(self.model, self.tokenizer, params.stop, params.max_tokens)
        adapter = self._current_adapter()
        try:
            yield from self._sample(jobs, params, stopping, adapter)
        finally:
            _sleep(self.model.vllm_engine)

    def _sample(
        self,
        jobs: Sequence[tuple[PromptTokens, int]],
        params: SamplingParams,
        stopping: Stopping,
        adapter: Any,
    ) -> Iterator[SampledCompletion]:
        for start in range(0, len(jobs), REQUESTS_AT_ONCE):
            batch = jobs[start : start + REQUESTS_AT_ONCE]
            with sampling_mode(self.model, self.tokenizer):
                outputs = self.model.fast_generate(
                    [{"prompt_token_ids": list(prompt.ids)} for prompt, _ in batch],
                    sampling_params=[
                        _vllm_params(params, stopping, sample_key(params.seed, prompt.key, index))
                        for prompt, index in batch
                    ],
                    lora_request=adapter,
                    use_tqdm=False,
                )
            for (prompt, index), output in zip(batch, outputs, strict=True):
                made = output.outputs[0]
                ids = list(made.token_ids)
                logprobs = None
                if params.logprobs:
                    steps = zip(ids, made.logprobs, strict=True)
                    logprobs = [step[token].logprob for token, step in steps]
                yield completion(prompt.index, index, ids, logprobs, stopping)

    def _current_adapter(self) -> Any:
        """A LoRA request with the live weights; None only where the adapter is switched off."""
        if any(getattr(m, "disable_adapters", False) is True for m in self.model.modules()):
            return None
        folder = _folder_of(self.model) / "adapter"
        with _default_adapter_only(self.model):
            request = self.model.load_lora(str(folder), load_tensors=True)
        if request is None:
            raise RuntimeError("load_lora gave no request: the base model would have answered")
        return request


@contextmanager
def _default_adapter_only(model: Any) -> Iterator[None]:
    """Inside, `state_dict()` leaves out other adapters, such as the reference that a KL needs.

    `load_lora` takes every LoRA weight from there, and renames only those of "default".
    """

    def leave_out(_module: Any, state: dict[str, Any], _prefix: str, _metadata: Any) -> None:
        for key in [key for key in state if any(f".{name}." in key for name in others)]:
            del state[key]

    others = [name for name in model.peft_config if name != "default"]
    handle = model.register_state_dict_post_hook(leave_out)
    try:
        yield
    finally:
        handle.remove()


_FOLDERS: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def _folder_of(model: Any) -> Path:
    """One folder for each model, for its adapter's config: Unsloth keeps an entry of each path.

    (2026.10.9, `_LIVE_LORA_CONFIGS`.) It is written again when the model has another adapter, and
    lasts as long as the model.
    """
    if model not in _FOLDERS:
        _FOLDERS[model] = tempfile.TemporaryDirectory()
    return Path(_FOLDERS[model].name)


def _sleep(engine: Any) -> None:
    """Gives the memory of the engine's KV cache back to training, where it was made for that."""
    config = getattr(engine.llm_engine, "vllm_config", None)
    if getattr(getattr(config, "model_config", None), "enable_sleep_mode", False):
        engine.sleep(
            int(os.environ.get("VLLM_SLEEP_MODE", "1"))
        )  # the level Unsloth's trainer takes


def _vllm_params(params: SamplingParams, stopping: Stopping, key: int) -> Any:
    from vllm import SamplingParams as VllmParams  # slow: not at start-up

    return VllmParams(
        n=1,
        seed=key & 0x7FFF_FFFF_FFFF_FFFF,  # a key may be negative, a seed may not
        temperature=params.temperature,
        top_k=params.top_k or -1,  # off
        top_p=params.top_p,
        min_p=params.min_p,
        repetition_penalty=params.repetition_penalty,
        max_tokens=params.max_tokens,
        stop=list(stopping.strings),
        stop_token_ids=sorted(stopping.end_ids),
        logprobs=0 if params.logprobs else None,  # 0: of the sampled token alone
    )
