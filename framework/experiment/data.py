"""The data of a run: each source read once, each prompt rendered and tokenised once.

    data = RunData(config)
    data.examples("train")             # without prompts: no tokenizer is needed
    data.prompts("eval", tokenizer)    # with prompts, as text and in tokens
    problems = load_data(data, policy.tokenizer, terminal)

The preflight, the warm start, the evaluations and the trainer of a run share one `RunData`. How
rows become examples is in `framework/data`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from groupwise.framework.config import DataConfig, ExperimentConfig
from groupwise.framework.data.demonstrations import (
    Demonstration,
    load_demonstrations,
    render_demonstrations,
)
from groupwise.framework.data.examples import (
    Split,
    check_data_size,
    load_examples,
    load_items,
    overlap,
)
from groupwise.framework.data.prompts import (
    PromptCache,
    RenderedPrompts,
    render_prompts,
    template_variables,
)
from groupwise.framework.data.rows import SourceExample, read_examples
from groupwise.framework.data.scored_groups import (
    ScoredGroup,
    as_chat,
    notice_known_problems,
    plain_prompts_notice,
    read_groups,
)
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Example


class RunData:
    """The problems, demonstrations and scored groups that a config names, read when asked for.

    Every method raises UserError for a source that cannot be used. `config` names files; the name
    `toy` must have been replaced (`experiment/toy.py`). `notices` is what was decided in reading
    the sources so far, one sentence each.
    """

    def __init__(self, config: ExperimentConfig) -> None:
        self.config = config
        self._variables = template_variables(config.model)
        self._sources: dict[tuple[str, str], list[SourceExample]] = {}
        self._examples: dict[Split, tuple[Example, ...]] = {}
        self._cache = PromptCache()
        self.notices: list[str] = []

    def of(self, config: ExperimentConfig) -> RunData:
        """The data of `config`: this object, unless it names other sources (a toy elsewhere)."""
        ours, theirs = self.config.standing_alone(), config.standing_alone()
        if ours.data != theirs.data or ours.training != theirs.training:
            return RunData(config)
        # The same files, named as they were when they were read.
        self.config = replace(config, data=self.config.data, training=self.config.training)
        self._variables = template_variables(config.model)  # a run has fixed the date since
        return self

    def examples(self, split: Split) -> tuple[Example, ...]:
        """The problems of a split, without prompts."""
        if split not in self._examples:
            self._examples[split] = load_examples(self.config.data, split, self._read)
        return self._examples[split]

    def places(self, split: Split) -> dict[str, str]:
        """The row of each example of a split by the example's id: "line 7", "row 7"."""
        items = load_items(self.config.data, split, self._read)
        return {item.example.id: item.row.where for item in items}

    @cached_property
    def demonstrations(self) -> list[Demonstration]:
        """What the warm start imitates, without prompts."""
        return load_demonstrations(self.config.data, self.config.training.warm_start, self._read)

    @cached_property
    def groups(self) -> list[ScoredGroup]:
        """The scored completions that method `group_scores` trains on."""
        groups = read_groups(self.config.data.train, self.notices.append)
        if self.config.training.group_scores.prompt_format == "chat":
            return as_chat(groups, self.config.data.system_prompt)
        return groups

    def prompts(self, split: Split, tokenizer: Any) -> RenderedPrompts:
        """The problems of a split with prompts; those whose prompt is too long are left out."""
        return self.rendered(self.examples(split), tokenizer)

    def rendered(self, examples: Sequence[Example], tokenizer: Any) -> RenderedPrompts:
        """The given problems with prompts."""
        limit = self.config.data.max_prompt_length
        return render_prompts(examples, tokenizer, limit, self._cache, self._variables)

    def rendered_demonstrations(self, tokenizer: Any) -> list[Demonstration]:
        """What the warm start imitates, with prompts, without those whose prompt is too long."""
        limit = self.config.data.max_prompt_length
        return render_demonstrations(
            self.demonstrations, tokenizer, limit, self._cache, self._variables
        )

    def forget_rows(self) -> None:
        """Frees the rows as read; the examples and demonstrations made from them stay."""
        if self.config.training.warm_start.enabled:
            _ = self.demonstrations  # made from the rows: to be cached before these are freed
        self._sources.clear()

    def _read(self, data: DataConfig, source: str, hub_split: str) -> list[SourceExample]:
        key = source, hub_split
        if key not in self._sources:
            self._sources[key] = read_examples(data, source, hub_split, self.notices.append)
        return self._sources[key]

    def __reduce__(self) -> tuple[type[RunData], tuple[ExperimentConfig]]:
        """Pickled, it is its config alone: another process reads the data itself."""
        return RunData, (self.config,)


@dataclass(frozen=True, slots=True)
class Problems:
    """What a run trains and is evaluated on, with prompts; `groups` are those of an offline run."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    groups: tuple[ScoredGroup, ...] = ()


def load_data(data: RunData, tokenizer: Any, terminal: Terminal) -> Problems:
    """Reads what is not read yet, renders the prompts, and reports what was left out."""
    training = data.config.training
    if training.method == "group_scores":
        return _load_groups(data, tokenizer, terminal)
    with terminal.stage("Read the data") as stage:
        train = data.prompts("train", tokenizer)
        held_out = data.prompts("eval", tokenizer)
        stage.summary = f"{len(train.examples)} to train on, {len(held_out.examples)} held out"
    if training.method == "grpo":
        check_data_size(len(train.examples), training.prompts_per_step)
    _report_left_out(terminal, "train", train)
    _report_left_out(terminal, "eval", held_out)
    if repeated := overlap(train.examples, held_out.examples):
        terminal.notice(
            f"{len(repeated)} of the held-out problems are in the training data too: their Pass@K "
            "is not measured on new problems"
        )
    data.forget_rows()
    return Problems(train.examples, held_out.examples)


def _load_groups(data: RunData, tokenizer: Any, terminal: Terminal) -> Problems:
    held_out = load_held_out(data, tokenizer, terminal) if evaluates(data.config) else ()
    completions = sum(len(group.completions) for group in data.groups)
    terminal.line(f"  {len(data.groups)} groups with {completions} completions to train on")
    notice_known_problems(data.groups, held_out, terminal.notice)
    variables = template_variables(data.config.model)
    if plain := plain_prompts_notice(data.groups, tokenizer, variables):
        terminal.notice(plain)
    return Problems((), held_out, tuple(data.groups))


def load_held_out(data: RunData, tokenizer: Any, terminal: Terminal) -> tuple[Example, ...]:
    """Only the problems to evaluate on, with prompts. Raises UserError if there are none."""
    with terminal.stage("Read the data") as stage:
        held_out = data.prompts("eval", tokenizer)
        if not held_out.examples:
            raise UserError(
                "data.eval: there is nothing to evaluate on; name a file, or set "
                "data.eval_fraction: 0.1"
            )
        stage.summary = f"{len(held_out.examples)} problems"
    _report_left_out(terminal, "eval", held_out)
    return held_out.examples


def evaluates(config: ExperimentConfig) -> bool:
    """Whether the run measures Pass@K, before or after."""
    return config.evaluation.before or config.evaluation.after


def _report_left_out(terminal: Terminal, split: Split, rendered: RenderedPrompts) -> None:
    if rendered.left_out:
        terminal.notice(f"{split}: {rendered}")
