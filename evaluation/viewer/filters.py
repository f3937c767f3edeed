"""The filters and the order of a list: from the parameters of its URL, checked, to SQL.

Values reach the engine as parameters only, names through the tables below. Regular expressions run
in RE2, whose time is linear in the text whatever the expression.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from groupwise.rewards.errors import UserError
from groupwise.rewards.types import STATUSES

STATUSES_SHOWN = (*STATUSES, "ungraded")
CHANGES = ("any", "won", "lost", "newly_solved", "no_longer_solved", "unsolved", "always", "mixed")
MARKS = ("any", "none", "right", "wrong", "unsure")
SCOPES = ("both", "answers", "prompts")
_LONGEST_TEXT = 1_000

# Sort key -> expression over the columns of the list; NULLS always come last.
SORTS = {
    "flips": "flip DESC, abs(delta) DESC NULLS LAST, delta DESC",
    "change": "delta DESC",
    "solved_before": "solved_a DESC",
    "solved_after": "solved_b DESC",
    "score": "score_b DESC",
    "score_change": "score_b - score_a DESC",
    "tokens": "tokens_b DESC",
    "truncated": "truncated DESC",
    "matches": "matches DESC",
    "id": "example_id ASC",
    "question": "snippet ASC",
}


class BadRequestError(UserError):
    """A parameter that is not valid; the message is shown beside the filter."""


@dataclass(frozen=True, slots=True)
class Filter:
    """The filters of the problem list. Empty and None mean "all"."""

    status: str = ""
    finish: str = ""
    change: str = ""
    mark: str = ""
    field: str = ""
    value: str = ""
    q: str = ""
    regex: bool = False
    scope: str = "both"
    score_min: float | None = None
    score_max: float | None = None
    tokens_min: float | None = None
    tokens_max: float | None = None
    sort: str = "flips"
    reverse: bool = False

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Filter:
        """From the parameters of a URL. BadRequestError says which one is wrong."""
        values: dict[str, Any] = {}
        for name in (f.name for f in fields(cls)):
            text = query.get(name, "")
            if not text:
                continue
            if len(text) > _LONGEST_TEXT:
                raise BadRequestError(f"{name}: at most {_LONGEST_TEXT} characters")
            if name in ("regex", "reverse"):
                values[name] = text in ("1", "true")
            elif name.endswith(("_min", "_max")):
                values[name] = _number(name, text)
            else:
                values[name] = text
        made = cls(**values)
        for name, known in (
            ("status", STATUSES_SHOWN),
            ("finish", ("stop", "length")),
            ("change", CHANGES),
            ("mark", MARKS),
            ("scope", SCOPES),
            ("sort", tuple(SORTS)),
        ):
            if (value := getattr(made, name)) and value not in known:
                raise BadRequestError(f"{name}: {value!r} is none of {', '.join(known)}")
        return made

    @property
    def pattern(self) -> str:
        """The search as an expression for RE2; a plain text is taken literally."""
        return self.q if self.regex else re.escape(self.q)

    def sample_conditions(self) -> tuple[list[str], list[Any]]:
        """Conditions on a sample `s`, without the text search, and their parameters."""
        conditions: list[str] = []
        parameters: list[Any] = []
        for column, operator, value in (
            ("status", "=", self.status or None),
            ("finish", "=", self.finish or None),
            ("score", ">=", self.score_min),
            ("score", "<=", self.score_max),
            ("tokens", ">=", self.tokens_min),
            ("tokens", "<=", self.tokens_max),
        ):
            if value is not None:
                conditions.append(f"s.{column} {operator} ?")
                parameters.append(value)
        if self.mark:
            marked = "(s.log, s.pid, s.idx) IN (SELECT (log, pid, idx) FROM marks"
            if self.mark in ("any", "none"):
                conditions.append(f"{'NOT ' if self.mark == 'none' else ''}{marked})")
            else:
                conditions.append(f"{marked} WHERE mark = ?)")
                parameters.append(self.mark)
        return conditions, parameters

    def order(self) -> str:
        order = SORTS[self.sort]
        if self.reverse:
            swapped = {"ASC": "DESC", "DESC": "ASC"}
            order = re.sub(r"\b(ASC|DESC)\b", lambda found: swapped[found[0]], order)
        terms = [term if "NULLS" in term else f"{term} NULLS LAST" for term in order.split(", ")]
        return ", ".join([*terms, "pid"])

    def change_condition(self) -> str:
        return {
            "": "",
            "any": "delta <> 0",
            "won": "delta > 0",
            "lost": "delta < 0",
            "newly_solved": "solved_a = 0 AND solved_b > 0",
            "no_longer_solved": "solved_b = 0 AND solved_a > 0",
            "unsolved": "coalesce(solved_a, 0) = 0 AND coalesce(solved_b, 0) = 0",
            "always": "coalesce(solved_a, 1) = 1 AND coalesce(solved_b, 1) = 1",
            "mixed": "(solved_b > 0 AND solved_b < 1)",
        }[self.change]


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadRequestError(f"{name}: {text!r} is not a number")
    return value
