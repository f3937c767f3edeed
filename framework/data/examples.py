"""The problems of a split: what is trained on, and what is held out of it for evaluation.

    train = load_examples(config.data, "train")   # without prompts

Reading files is left to `rows.py`, the chat template to `prompts.py`. No torch here; `datasets` is
imported only for a hub data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from groupwise.framework.config import DataConfig
from groupwise.framework.data.conversations import SYSTEM
from groupwise.framework.data.fields import MISSING, field_of, listed, nearest, nested_names
from groupwise.framework.data.rows import SourceExample, digest, read_examples
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Example

Split = Literal["train", "eval"]

Reader = Callable[[DataConfig, str, str], list[SourceExample]]
"""(data, source, split of a hub data set) -> its examples: `read_examples`, or one that caches."""


def load_examples(
    data: DataConfig, split: Split, read: Reader = read_examples
) -> tuple[Example, ...]:
    """The problems of one split, in the order of the source, without `prompt`.

    Where `data.eval` is null, `eval_fraction` of train is held out: by the hash of the question, so
    that the same questions are held out whatever the order of the rows and the seed, and a question
    that appears twice never lands on both sides. With an `eval_fraction` of 0 there are no problems
    to evaluate on. `read` reads a source.

    Raises:
        UserError: the source is missing, empty or broken, or rows of it cannot be used.
    """
    limit = data.max_train_examples if split == "train" else data.max_eval_examples
    return tuple(item.example for item in load_items(data, split, read)[:limit])


def check_data_size(num_examples: int, prompts_per_step: int) -> None:
    """Refuses less data than a step needs: TRL would make no step and raise no error."""
    if num_examples < prompts_per_step:
        raise UserError(
            f"training.prompts_per_step: {prompts_per_step} problems per step, but the training "
            f"data has {num_examples}. Set prompts_per_step to {max(num_examples, 1)} or less, or "
            "add data."
        )


def overlap(train: Iterable[Example], evaluation: Iterable[Example]) -> list[str]:
    """Ids of evaluation examples that are asked in train too, ignoring case and spaces."""
    seen = {_normalised(example) for example in train}
    return [example.id for example in evaluation if _normalised(example) in seen]


def check_categories(names: Iterable[str], examples: Sequence[Example]) -> None:
    """Refuses `evaluation.category_fields` that no problem has.

    Raises:
        UserError: with the field that was probably meant.
    """
    rows = [example.metadata for example in examples]
    for name in names if rows else ():
        if all(field_of(row, name) is MISSING for row in rows):
            close = nearest(name, rows)
            hint = (
                f"did you mean {close!r}?" if close else f"fields are {listed(nested_names(rows))}"
            )
            raise UserError(f"evaluation.category_fields: no problem has a field {name!r}; {hint}")


def load_items(data: DataConfig, split: Split, read: Reader = read_examples) -> list[SourceExample]:
    """As `load_examples`, with the row of each example, and without a limit on their number."""
    held_out = data.eval is None
    if split == "eval" and data.eval is not None:
        source, hub_split = data.eval, data.eval_split
    else:
        source, hub_split = data.train, data.train_split
    items = everything = read(data, source, hub_split)
    if held_out:
        for_eval = _held_out(everything, data.eval_fraction)
        items = [item for item in everything if (item.key in for_eval) == (split == "eval")]
        if not items and data.eval_fraction:
            rows = f"{len(everything)} row{'s are' if len(everything) > 1 else ' is'}"
            different = len({item.key for item in everything})
            if different < len(everything):  # the same problem is never on both sides
                problems = f"different problem{'s' if different > 1 else ''}"
                rows = f"{len(everything)} rows with {different} {problems} are"
            raise UserError(
                f"{source}: {rows} too few to hold data.eval_fraction {data.eval_fraction:g} of "
                "them out for evaluation; name a file under data.eval"
            )
    return items


def _held_out(items: Sequence[SourceExample], fraction: float) -> set[str]:
    """The keys of the problems to hold out: those with the smallest hashes, at least one."""
    keys = sorted({item.key for item in items}, key=digest)
    return set(keys[: max(1, round(fraction * len(keys)))] if fraction else [])


def _normalised(example: Example) -> str:
    """All that is asked: of a conversation every turn but the instructions."""
    turns = [turn["content"] for turn in example.messages if turn["role"] not in SYSTEM]
    return " ".join(" ".join(turns or [example.question]).lower().split())
