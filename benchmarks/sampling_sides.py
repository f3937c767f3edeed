"""The ways to get K answers for each of N prompts that `benchmarks/sampling.py` times."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.sampling_models import EOS
from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.sampling import make_sampler


@dataclass(frozen=True)
class Workload:
    model: Any
    tokenizer: Any
    prompts: Sequence[str]
    num_samples: int
    max_tokens: int

    @property
    def ids(self) -> list[list[int]]:
        return [self.tokenizer(p)["input_ids"] for p in self.prompts]


@dataclass(frozen=True)
class Side:
    """`run` does the whole workload and returns each answer's length, end-of-text included."""

    run: Callable[[], list[int]]
    trial: Callable[[], list[int]]
    own_process: bool = False


def sides(work: Workload) -> dict[str, Side]:
    small = Workload(work.model, work.tokenizer, work.prompts[:2], 8, 24)
    table: dict[str, Callable[[Workload], list[int]]] = {
        "slots": slots,
        "generate, K rows": generate_k_rows,
        "generate, one row": generate_one_row,
        "transformers generate_batch": generate_batch,
        "a GRPO step's rollout, stock TRL": TrlRollout(work.model, work.tokenizer, work),
    }
    return {name: _side(way, work, small) for name, way in table.items()}


def _side(way: Callable[[Workload], list[int]], work: Workload, small: Workload) -> Side:
    return Side(run=lambda: way(work), trial=lambda: way(small))


def slots(work: Workload) -> list[int]:
    sampler = make_sampler(work.model, work.tokenizer, "slots")
    prompts = [Prompt(str(i), p) for i, p in enumerate(work.prompts)]
    params = SamplingParams(max_tokens=work.max_tokens)
    made = {
        (c.prompt_index, c.sample_index): len(c.token_ids)
        for c in sampler.sample(prompts, work.num_samples, params)
    }
    return [made[at] for at in sorted(made)]


def _generate(work: Workload, ids: Sequence[int], rows: int) -> list[int]:
    inputs = torch.tensor([list(ids)] * rows)
    with torch.no_grad():
        out = work.model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            max_new_tokens=work.max_tokens,
        )
    return [_length(row) for row in out[:, len(ids) :].tolist()]


def _length(tokens: list[int]) -> int:
    return tokens.index(EOS) + 1 if EOS in tokens else len(tokens)


def generate_k_rows(work: Workload) -> list[int]:
    return [n for ids in work.ids for n in _generate(work, ids, work.num_samples)]


def generate_one_row(work: Workload) -> list[int]:
    return [n for ids in work.ids for _ in range(work.num_samples) for n in _generate(work, ids, 1)]


def generate_batch(work: Workload) -> list[int]:
    from transformers import ContinuousBatchingConfig, GenerationConfig

    # By default it fills the memory with cache before it starts; this is room for 64 requests.
    # Each prompt K times: with num_return_sequences this release returns the first of each.
    outputs = work.model.generate_batch(
        [ids for ids in work.ids for _ in range(work.num_samples)],
        generation_config=GenerationConfig(
            do_sample=True,
            temperature=1.0,
            top_k=0,
            max_new_tokens=work.max_tokens,
            eos_token_id=EOS,
            pad_token_id=0,
        ),
        continuous_batching_config=ContinuousBatchingConfig(
            block_size=32, num_blocks=512, max_batch_tokens=512
        ),
        progress_bar=False,
    )
    assert len(outputs) == len(work.prompts) * work.num_samples
    return [_length(o.generated_tokens) for o in outputs.values()]


class TrlRollout:
    """The generation of TRL's own GRPOTrainer, one call for the step's whole batch."""

    def __init__(self, model: Any, tokenizer: Any, work: Workload) -> None:
        from datasets import Dataset
        from trl import GRPOConfig, GRPOTrainer

        tokenizer.padding_side = "left"
        self.trainer = GRPOTrainer(
            model=model,
            reward_funcs=[lambda completions, **_: [0.0] * len(completions)],
            args=GRPOConfig(
                output_dir="unused",
                report_to=[],
                use_cpu=True,
                bf16=False,
                per_device_train_batch_size=work.num_samples,
                num_generations=work.num_samples,
                max_completion_length=work.max_tokens,
                gradient_checkpointing=False,
                temperature=1.0,
                top_k=0,
            ),
            train_dataset=Dataset.from_dict({"prompt": list(work.prompts)}),
            processing_class=tokenizer,
        )

    def __call__(self, work: Workload) -> list[int]:
        self.trainer.generation_config.max_new_tokens = work.max_tokens
        repeated = [ids for ids in work.ids for _ in range(work.num_samples)]
        made, _ = self.trainer._generate_single_turn(repeated, None, {}, work.num_samples)
        work.model.eval()
        return [len(ids) for ids in made]


TASK = """\
task: groupwise_bench
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "none"
repeats: {repeats}
target_delimiter: ""
generation_kwargs:
  until: ["<eos>"]
  do_sample: true
  temperature: 1.0
  top_k: 0
  max_gen_toks: {max_tokens}
filter_list:
  - name: first
    filter:
      - function: take_first
metric_list:
  - metric: bypass
"""


def lm_eval_side(work: Workload, command: str, folder: Path) -> Side:
    """lm-evaluation-harness, hf backend, its command line: the whole process, loading included.

    Its rate is net of the start: the time of a run with one prompt and one token is taken off, so
    that imports and loading, tens of seconds, do not stand in the comparison.
    """
    work.model.save_pretrained(folder / "model")
    work.tokenizer.save_pretrained(folder / "model")
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps({"question": p}) + "\n" for p in work.prompts))

    def call(limit: int | None, repeats: int, max_tokens: int) -> list[int]:
        output = folder / "output"
        (folder / "groupwise_bench.yaml").write_text(
            TASK.format(data=data, repeats=repeats, max_tokens=max_tokens)
        )
        arguments = [
            *("--model", "hf", "--device", "cpu", "--batch_size", str(work.num_samples)),
            *("--model_args", f"pretrained={folder / 'model'},dtype=float32"),
            *("--tasks", "groupwise_bench", "--include_path", str(folder)),
            *("--output_path", str(output), "--log_samples"),
            *(("--limit", str(limit)) if limit else ()),
        ]
        done = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr[-3000:], file=sys.stderr)
            raise RuntimeError(f"lm_eval ended with {done.returncode}")
        newest = max(output.rglob("samples_*.jsonl"), key=lambda p: p.stat().st_mtime)
        lengths = []
        for line in newest.read_text().splitlines():
            for answer in json.loads(line)["resps"][0]:
                lengths.append(min(len(answer) + 1, max_tokens))  # one token a character
        return lengths

    return Side(
        run=lambda: call(None, work.num_samples, work.max_tokens),
        trial=lambda: call(1, 1, 1),
        own_process=True,
    )
