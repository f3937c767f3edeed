"""An export loaded by transformers and peft alone, as its users load it: a program for the check.

    python -m groupwise.framework.export.plain '{"folder": "exports/merged", …}'

Of Groupwise, only the engine that samples for Pass@K is used, on the model as transformers has
built it. Unsloth is never imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from groupwise.evaluation.sampler import Prompt, SampledCompletion, SamplingParams
from groupwise.framework.export.answerer import Reply
from groupwise.framework.export.precision import Precision, quantisation
from groupwise.framework.export.process import serve
from groupwise.framework.sampling import make_sampler, sampling_mode, stopping
from groupwise.rewards.types import Message


class PlainAnswerer:
    """A model and its tokenizer from `folder`: weights, or an adapter on `base`.

    `precision`: how the base model is loaded, as in training; None for weights as they are.
    """

    def __init__(
        self,
        folder: str,
        base: str | None,
        precision: Mapping[str, Any] | None,
        max_rows: int | None,
        trust_remote_code: bool,
    ) -> None:
        import transformers  # slow: not at start-up
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

        how = None if precision is None else Precision(**precision)
        remote = {"trust_remote_code": trust_remote_code}
        self.tokenizer = AutoTokenizer.from_pretrained(folder, **remote)
        self.model = AutoModelForCausalLM.from_pretrained(
            base or folder,
            dtype=how.dtype if how else "auto",
            device_map="auto" if torch.cuda.is_available() else {"": "cpu"},
            quantization_config=quantisation(how) if how else None,
            **remote,
        )
        self.loader = f"transformers {transformers.__version__}"
        if base:
            import peft  # slow, and not needed without an adapter: not at start-up

            self.model = peft.PeftModel.from_pretrained(self.model, folder)
            self.loader += f", peft {peft.__version__}"
        if Path(folder, "generation_config.json").is_file():
            self.model.generation_config = GenerationConfig.from_pretrained(folder)
        self._engine = make_sampler(self.model, self.tokenizer, max_rows=max_rows)
        self.model.eval()
        assert "unsloth" not in sys.modules

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def end_ids(self) -> list[int]:
        return sorted(stopping.as_ids(self.model.generation_config.eos_token_id))

    def render(self, messages: Sequence[Message], variables: Mapping[str, Any]) -> list[int]:
        now = datetime.fromisoformat(variables["strftime_now"])
        given = {**variables, "strftime_now": now.strftime}
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **given
        )
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @torch.no_grad()
    def answer(
        self,
        prompt_ids: Sequence[int],
        answer_ids: Sequence[int],
        candidates: Sequence[Sequence[int]],
        max_tokens: int,
    ) -> Reply:
        device = self.model.get_input_embeddings().weight.device
        prompt = torch.tensor([list(prompt_ids)], device=device)  # (1, P)
        pad = self.tokenizer.pad_token_id
        with sampling_mode(self.model, self.tokenizer):
            greedy = self.model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=False,
                max_new_tokens=max_tokens,
                pad_token_id=min(self.end_ids, default=0) if pad is None else pad,
            )
            ids = torch.tensor([[*prompt_ids, *answer_ids]], device=device)
            logits = self.model(input_ids=ids).logits[0, len(prompt_ids) - 1 : -1]  # (T, V)
        logprobs = logits.float().log_softmax(-1)
        at = torch.tensor(candidates, device=logits.device)  # (T, K)
        return Reply(
            tuple(greedy[0, len(prompt_ids) :].tolist()),
            tuple(map(tuple, logprobs.gather(-1, at).tolist())),
            tuple(logprobs.argmax(-1).tolist()),
        )

    def sample(
        self, prompts: Sequence[Prompt], num_samples: int, params: SamplingParams
    ) -> Iterator[SampledCompletion]:
        return self._engine.sample(prompts, num_samples, params)


if __name__ == "__main__":
    serve(lambda options: PlainAnswerer(**options))
