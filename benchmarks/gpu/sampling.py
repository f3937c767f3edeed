"""Parts of the GPU benchmark: do the engines agree, and how many tokens a second does each draw?

The engines are `slots`, our `generate`, and Unsloth's own `model.generate`: plain, as a notebook
calls it, and in the scope that its trainers open, where decoding is captured in CUDA graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.measure import Result, peak_gb, reset_peak, timed
from benchmarks.gpu.model import PROMPT_TOKENS, SYSTEM_PROMPT, best_dtype, ending_ids, make_problems
from groupwise.evaluation.sampler import Prompt, SampledCompletion, SamplingParams
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.policy import Policy, load
from groupwise.framework.policy.unsloth import load_unsloth
from groupwise.framework.sampling import (
    GenerateSampler,
    SlotSampler,
    make_sampler,
    sampling_mode,
)
from groupwise.framework.sampling.self_check import compare as check_engines

GROUP = 8  # answers to a prompt, as in a GRPO step
ROWS = (32, 8, 128)  # the usual number first
MAX_SEQ_LENGTH = 1280


@dataclass(frozen=True)
class Work:
    """A loaded model with an adapter that does something, and prompts of 256 tokens."""

    policy: Policy
    prompts: list[Prompt]
    tokens: int

    @property
    def model(self) -> Any:
        return self.policy.model


def loaded(folder: Path, name: str, tiny: bool, tokens: int) -> Work:
    """The model of that name, to draw answers of `tokens` tokens (with `tiny` of 8)."""
    config = ExperimentConfig.from_dict(
        {
            "model": {
                "name": str(folder / name),
                "max_seq_length": MAX_SEQ_LENGTH,
                "load_in_4bit": name == "model",
                "dtype": str(best_dtype()).removeprefix("torch."),
            },
            "data": {"train": "toy"},
        }
    )
    policy = load(config.model, seed=0)
    torch.manual_seed(0)
    with torch.no_grad():
        for key, parameter in policy.model.named_parameters():
            if "lora_B" in key:  # zero at first: an engine that left the adapter out would pass
                parameter.normal_(std=0.01)
    texts = make_problems(folder / f"{name}.jsonl", SYSTEM_PROMPT)
    return Work(
        policy, [Prompt(str(n), text) for n, text in enumerate(texts)], 8 if tiny else tokens
    )


# ---- parity


def parity(result: Result, folder: Path, tiny: bool) -> None:
    """Answers and log-probabilities of `slots` and of Unsloth's decoding beside `generate`'s."""
    for name in ("model", "model16"):
        work = loaded(folder, name, tiny, tokens=96)
        for temperature in (0.0, 1.0):
            compare(result, work, name, temperature)
        self_check(result, work, name)
        del work
        torch.cuda.empty_cache()
    result.note(
        "An answer counts as equal if all its tokens are; log-probabilities are compared up to the "
        "first token that differs."
    )


def compare(result: Result, work: Work, name: str, temperature: float) -> None:
    params = SamplingParams(temperature=temperature, max_tokens=work.tokens, logprobs=True)
    said = {"model": name, "temperature": temperature}

    def answers(engine: str, prompts: list[Prompt], rows: int) -> dict[int, SampledCompletion]:
        sampler = make_sampler(work.model, work.policy.tokenizer, engine, max_rows=rows)
        return {made.prompt_index: made for made in sampler.sample(prompts, 1, params)}

    prompts = of_many_lengths(work)
    reference = answers("generate", prompts, 16)
    with result.guarded(**said, compared="slots"):
        made = answers("slots", prompts, 6)  # refilled: rows are at different places
        pairs = [(reference[n], made[n]) for n in reference]
        result.row(
            **said,
            compared="slots",
            equal=sum(a.token_ids == b.token_ids for a, b in pairs),
            of=len(pairs),
            logprobs_differ_by=max(largest_difference(a, b) for a, b in pairs),
        )
    if temperature > 0.0:  # Unsloth's own draws are others
        return
    with result.guarded(**said, compared="Unsloth's generate"):
        reference = answers("generate", work.prompts[:16], 16)
        stock = unsloth_generate(work, work.prompts[:16], greedy=True)
        equal = [list(reference[n].token_ids) == tokens for n, tokens in enumerate(stock)]
        result.row(**said, compared="Unsloth's generate", equal=sum(equal), of=len(equal))


def of_many_lengths(work: Work) -> list[Prompt]:
    """The ends of 16 prompts: some have more blocks of keys than others, in the same batch."""
    found = []
    for n, prompt in enumerate(work.prompts[:16]):
        ids = work.policy.tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
        found.append(Prompt(prompt.key, "", token_ids=tuple(ids[-(4 + 16 * n) :])))
    return found


def largest_difference(one: SampledCompletion, other: SampledCompletion) -> float:
    """Over the tokens that both drew, up to the first that differs."""
    largest = 0.0
    pairs = zip(
        one.token_ids, other.token_ids, one.logprobs or (), other.logprobs or (), strict=False
    )
    for a, b, p, q in pairs:
        if a != b:
            break
        largest = max(largest, abs(p - q))
    return largest


def self_check(result: Result, work: Work, name: str) -> None:
    """What the check says that a run makes before its first rollout."""
    with result.guarded(model=name, compared="the self-check"):
        tokenizer = work.policy.tokenizer
        slots = SlotSampler(work.model, tokenizer)
        found = check_engines(slots, GenerateSampler(work.model, tokenizer), work.prompts)
        result.note(f"{name}: the self-check took {found.seconds:.2f} s and says: {found}.")


# ---- tokens a second


def sampling(result: Result, folder: Path, tiny: bool) -> None:
    """Each engine with 32, 8 and 128 rows at full length; then with answers that end."""
    work = loaded(folder, "model", tiny, tokens=128)
    result.note(
        f"Prompts of {PROMPT_TOKENS} tokens, {GROUP} answers to each. Where `answers` is empty, as "
        f"many are drawn as there are rows, all of {work.tokens} tokens; elsewhere they end by "
        "themselves. `gb` is what torch had reserved at most, weights included."
    )
    for rows in ROWS:
        for name, side in SIDES.items():
            if rows == ROWS[0] or name != "Unsloth":  # its plain call once: time is short
                measured(result, work, name, side, rows, rows)
    ends = ending_ids(work.model.config.vocab_size, mean=max(2, work.tokens * 3 // 8))
    work.model.generation_config.eos_token_id = ends
    for name, side in SIDES.items():
        if name != "Unsloth":
            measured(result, work, name, side, 16, 48, ends=True)


def measured(
    result: Result,
    work: Work,
    name: str,
    side: Callable[[Work, Sequence[Prompt], int, int], int],
    rows: int,
    answers: int,
    *,
    ends: bool = False,
) -> None:
    """A row of the table: one timed call, after a short one that compiles and allocates."""
    prompts = work.prompts[: answers // GROUP]
    said = {"rows": rows, "engine": name, "answers": f"{answers}, ending" if ends else ""}
    with result.guarded(**said):
        reset_peak()
        side(work, prompts[: rows // GROUP], rows, 4)
        tokens, seconds = timed(lambda: side(work, prompts, rows, work.tokens))
        result.row(**said, tokens_per_s=tokens / seconds, seconds=seconds, gb=peak_gb())


def with_engine(engine: str, **options: Any) -> Callable[[Work, Sequence[Prompt], int, int], int]:
    def run(work: Work, prompts: Sequence[Prompt], rows: int, tokens: int) -> int:
        tokenizer = work.policy.tokenizer
        sampler = make_sampler(work.model, tokenizer, engine, max_rows=rows, **options)
        params = SamplingParams(max_tokens=tokens)
        return sum(len(made.token_ids) for made in sampler.sample(prompts, GROUP, params))

    return run


def unsloth_side(work: Work, prompts: Sequence[Prompt], rows: int, tokens: int) -> int:
    repeated = [prompt for prompt in prompts for _ in range(GROUP)]
    batches = (repeated[at : at + rows] for at in range(0, len(repeated), rows))
    return sum(
        len(ids) for batch in batches for ids in unsloth_generate(work, batch, tokens=tokens)
    )


def unsloth_in_its_trainer(work: Work, prompts: Sequence[Prompt], rows: int, tokens: int) -> int:
    from unsloth.models._decode_graphs import rl_generation

    with rl_generation():
        return unsloth_side(work, prompts, rows, tokens)


SIDES: dict[str, Callable[[Work, Sequence[Prompt], int, int], int]] = {
    "slots": with_engine("slots"),
    "Unsloth": unsloth_side,
    "Unsloth in its trainer": unsloth_in_its_trainer,
    "generate": with_engine("generate"),
}


def unsloth_generate(
    work: Work, prompts: Sequence[Prompt], *, tokens: int | None = None, greedy: bool = False
) -> list[list[int]]:
    """`model.generate` as a notebook calls it: one batch, in Unsloth's inference mode.

    `tokens`: stop after so many, and not after all that the answers may have.
    """
    fast_model = load_unsloth()
    tokenizer = work.policy.tokenizer
    longest = PROMPT_TOKENS + (tokens or work.tokens)

    def has_drawn(ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((len(ids),), ids.shape[1] >= longest, device=ids.device)

    with sampling_mode(work.model, tokenizer), torch.no_grad():
        fast_model.for_inference(work.model)
        inputs = tokenizer(
            [prompt.text for prompt in prompts],
            return_tensors="pt",
            padding_side="left",
            padding=True,
        ).to(work.policy.device)
        made = work.model.generate(
            input_ids=inputs.input_ids,
            attention_mask=inputs.attention_mask,
            # Whatever `tokens` is: its buffers and graphs are made for the longest answer.
            max_new_tokens=work.tokens,
            stopping_criteria=[has_drawn],
            pad_token_id=tokenizer.pad_token_id,
            **(
                {"do_sample": False}
                if greedy
                else {"do_sample": True, "temperature": 1.0, "top_k": 0}
            ),
        )
    ends = set(as_list(work.model.generation_config.eos_token_id))
    return [until_end(row, ends) for row in made[:, inputs.input_ids.shape[1] :].tolist()]


def as_list(ids: int | list[int]) -> list[int]:
    return [ids] if isinstance(ids, int) else ids


def until_end(tokens: Iterable[int], ends: set[int]) -> list[int]:
    """Up to the end-of-text token, and with it: what comes after is padding."""
    kept = []
    for token in tokens:
        kept.append(token)
        if token in ends:
            break
    return kept


# ---- CUDA graph


def cuda_graph(result: Result, folder: Path, tiny: bool) -> None:
    """The slots' step as a CUDA graph, beside the same step without; without a GPU, neither is."""
    work = loaded(folder, "model", tiny, tokens=128)
    params = SamplingParams(temperature=0.0, max_tokens=min(work.tokens, 32))
    answers = []
    for graphs in (False, True):
        with result.guarded(compared=f"cuda_graphs {graphs}"):
            sampler = make_sampler(work.model, work.policy.tokenizer, "slots", cuda_graphs=graphs)
            made = sampler.sample(work.prompts[:4], GROUP, params)
            answers.append({(m.prompt_index, m.sample_index): m.token_ids for m in made})
    if len(answers) == 2:
        equal = sum(answers[0][at] == ids for at, ids in answers[1].items())
        result.row(compared="greedy answers, on and off", equal=equal, of=len(answers[1]))
    for rows in (32, 8):
        for graphs in (False, True):
            name = f"slots, cuda_graphs {'on' if graphs else 'off'}"
            measured(result, work, name, with_engine("slots", cuda_graphs=graphs), rows, rows)
