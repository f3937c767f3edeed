"""What is wrong with a config: one `Problem` per key, all of them in one `ConfigError`."""

from __future__ import annotations

from dataclasses import dataclass

from groupwise.rewards.errors import UserError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a config.

    `path` is the key at fault and `others` the keys it clashes with: a rule over a key that is
    itself wrong is not reported. `where` is the line of the file, or the override.
    """

    path: str
    message: str
    others: tuple[str, ...] = ()
    where: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{self.where}: {text}" if self.where else text


class ConfigError(UserError):
    """A config that cannot be used. `problems` lists everything that is wrong with it."""

    def __init__(self, problems: list[Problem], source: str = "") -> None:
        self.problems = problems
        self.source = source
        super().__init__(_render(problems, source))


def _render(problems: list[Problem], source: str) -> str:
    if len(problems) == 1:
        return f"{source}: {problems[0]}" if source else str(problems[0])
    head = f"{source or 'config'}: {len(problems)} problems"
    return "\n".join([head, *(f"  {problem}" for problem in problems)])
