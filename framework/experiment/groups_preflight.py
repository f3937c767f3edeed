"""The check of scored groups (`training.method: group_scores`), before the model is loaded.

    found = check_groups(data, tokenizer)
    groups_table(found), groups_json(found)

Sizes, scores, lengths, and what each prompt and answer is in tokens, as the trainer makes them.
Left out: rewards; only the evaluation has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.evaluation.text import printable
from groupwise.framework.config import notices as config_notices
from groupwise.framework.data.prompts import apply_chat_template, template_variables
from groupwise.framework.data.scored_groups import (
    ScoredGroup,
    notice_known_problems,
    plain_prompts_notice,
)
from groupwise.framework.experiment.data import RunData, evaluates
from groupwise.framework.policy.targets import plan

_SHOWN_CHARS = 600  # of the first prompt


@dataclass(frozen=True, slots=True)
class GroupsPreflight:
    """The result: numbers by name, as they are shown. `problems` make training meaningless."""

    numbers: Mapping[str, float]
    end_of_text: str  # the token that finished answers get
    adapter: str  # what is trained; empty where the model's config does not say it
    first_prompt: str  # as the model sees it
    problems: tuple[str, ...]
    notices: tuple[str, ...]


def check_groups(data: RunData, tokenizer: Any) -> GroupsPreflight:
    """Looks at every group as the trainer will have it.

    Raises:
        UserError: the groups, or the problems of the evaluation, cannot be used at all.
    """
    # Both import torch: not at start-up.
    from groupwise.framework.sampling import turn_end
    from groupwise.framework.trainers.group_score_batches import tokenized_groups

    config, groups = data.config, data.groups
    method, limit = config.training.group_scores, config.model.max_seq_length
    is_stored = method.loss == "advantage" and method.old_logps == "stored"
    variables = template_variables(config.model)
    features, left_out = tokenized_groups(
        groups,
        tokenizer,
        max_length=limit,
        stored_logps=method.sequence_logps if is_stored else None,
        variables=variables,
    )
    end = tokenizer.decode([turn_end.end_token_id(tokenizer)])
    notices = [*config_notices(config), *data.notices, *_notices(groups, end)]
    if plain := plain_prompts_notice(groups, tokenizer, variables):
        notices.append(plain)
    if left_out:
        notices.append(
            f"{left_out} completions are left out: longer than model.max_seq_length {limit}, or "
            "alone in their group"
        )
    if evaluates(config):
        held_out = data.prompts("eval", tokenizer).examples
        notice_known_problems(groups, held_out, notices.append)
        notices += _cut_off(features, config.training.max_completion_length)
    planned = plan(config.model)
    notices += planned.notices if planned else ()
    prompt = groups[0].prompt
    if not isinstance(prompt, str):
        prompt = apply_chat_template(tokenizer, prompt, variables)
    return GroupsPreflight(
        _numbers(groups, features, left_out),
        end,
        str(planned or ""),
        prompt,
        tuple(_problems(groups)),
        tuple(notices),
    )


def _numbers(
    groups: Sequence[ScoredGroup], features: Sequence[Mapping[str, Any]], left_out: int
) -> dict[str, float]:
    sizes = [len(group.completions) for group in groups]
    completions = [completion for group in groups for completion in group.completions]
    answers = [ids for feature in features for ids in feature["completion_ids"]]
    return {
        "groups": len(groups),
        "completions": len(completions),
        "smallest_group": min(sizes),
        "largest_group": max(sizes),
        "lowest_score": min(completion.score for completion in completions),
        "highest_score": max(completion.score for completion in completions),
        "equal_scores": sum(map(_is_equal, groups)),
        "unfinished": sum(not completion.finished for completion in completions),
        "left_out": left_out,
        "longest_prompt": max(len(feature["prompt_ids"]) for feature in features),
        "longest_completion": max(map(len, answers)),
    }


def _is_equal(group: ScoredGroup) -> bool:
    return len({completion.score for completion in group.completions}) == 1


def _problems(groups: Sequence[ScoredGroup]) -> Iterator[str]:
    if all(map(_is_equal, groups)):
        yield (
            f"the scores of each of the {len(groups)} groups are all equal: no answer is better "
            "than another, and there is nothing to learn"
        )


def _notices(groups: Sequence[ScoredGroup], end: str) -> Iterator[str]:
    """Notices on groups that rank nothing, on repetitions, and on ends that are there already."""
    equal = sum(map(_is_equal, groups))
    if 0 < equal < len(groups):
        yield (
            f"the scores of {equal} of {len(groups)} groups are all equal: they rank nothing; "
            "leave them out, as `groupwise export-groups` does"
        )
    repeated = contradicting = 0
    for group in groups:
        scores: dict[str, list[float]] = {}
        for completion in group.completions:
            scores.setdefault(completion.text, []).append(completion.score)
        repeated += sum(len(values) - 1 for values in scores.values())
        contradicting += any(len(set(values)) > 1 for values in scores.values())
    if repeated:
        yield (
            f"{repeated} completions repeat the text of another in their group: it counts as often "
            "as it is there"
        )
    if contradicting:
        yield f"in {contradicting} groups one and the same text has different scores"
    prompts = Counter(str(group.prompt) for group in groups)
    if again := len(groups) - len(prompts):
        yield f"{again} groups have the prompt of another group: their scores are not compared"
    texts = [completion for group in groups for completion in group.completions]
    doubled = sum(c.finished and c.text.rstrip().endswith(end) for c in texts)
    if doubled:
        yield (
            f"{doubled} completions end with {end} already and get a second one: leave it out of "
            "`text`"
        )


def _cut_off(features: Sequence[Mapping[str, Any]], limit: int) -> Iterator[str]:
    answers = [ids for feature in features for ids in feature["completion_ids"]]
    if too_long := sum(len(ids) > limit for ids in answers):
        yield (
            f"{too_long} of {len(answers)} completions have more than "
            f"training.max_completion_length {limit} tokens: the evaluation cuts such answers off"
        )


def groups_json(found: GroupsPreflight) -> dict[str, Any]:
    """For scripts: what `check --json` and `train --dry-run --json` print."""
    return {
        "ok": not found.problems,
        **found.numbers,
        "end_of_text": found.end_of_text,
        "adapter": found.adapter,
        "first_prompt": found.first_prompt,
        "problems": list(found.problems),
        "notices": list(found.notices),
    }


def groups_table(found: GroupsPreflight) -> str:
    """For people: numbers, the first prompt, notices, problems; ends in a newline."""
    numbers = found.numbers.items()
    lines = [f"{name.replace('_', ' ') + ':':<20} {number:g}" for name, number in numbers]
    lines.append(f"{'end of an answer:':<20} {printable(found.end_of_text)}, unless unfinished")
    if found.adapter:
        lines.append(f"{'trained:':<20} {found.adapter}")
    lines.append("first prompt, as the model will see it:")
    shown = found.first_prompt[:_SHOWN_CHARS].splitlines()
    lines += [f"    {printable(line)}" for line in shown]
    lines += [f"note: {printable(notice, lines=True)}" for notice in found.notices]
    lines += [f"PROBLEM: {printable(problem, lines=True)}" for problem in found.problems]
    if not found.problems:
        lines.append("Everything short of loading the model is fine.")
    return "\n".join(lines) + "\n"
