"""Parsers of the command line that say what was probably meant.

An option may be written with `_` for `-`. One that does not exist is explained: the option or the
config key that was meant, by the same table as in a config (`config/other_names.py`).
"""

from __future__ import annotations

import argparse
import re
from difflib import get_close_matches
from typing import Any, NoReturn


class UsageError(Exception):
    """Arguments that a command does not take; `usage` is its line of help."""

    def __init__(self, usage: str, message: str) -> None:
        super().__init__(message)
        self.usage = usage


class Parser(argparse.ArgumentParser):
    """argparse's, but an error is raised, and help has each text on the line of its option."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=_Help, **settings)

    def error(self, message: str) -> NoReturn:
        raise UsageError(self.format_usage(), f"{self.prog}: error: {message}")


class CommandParser(Parser):
    """The parser of one command, with its own options."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = list(args or ())
        end = words.index("--") if "--" in words else len(words)
        for at, word in enumerate(words[:end]):
            option, equals, value = word.partition("=")
            if re.match(r"--\w", option):
                if not self._has(option.replace("_", "-")):
                    value = value if equals else next(iter(words[at + 1 : at + 2]), "")
                    self.error(f"there is no option {option}{self._meaning(option[2:], value)}")
                words[at] = option.replace("_", "-") + equals + value
            elif (
                self._has("--set")
                and re.match(r"\w+(\.\w+)+=", word)
                and not (at and words[at - 1].startswith("--"))
            ):
                self.error(f"an override is written --set {word}")
        return super().parse_known_args(words, namespace)

    def _has(self, option: str) -> bool:
        """Whether it exists, as it is or as the beginning of one, which argparse takes as well."""
        return any(known.startswith(option) for known in self._option_string_actions)

    def _meaning(self, name: str, value: str) -> str:
        close = get_close_matches(f"--{name}", self._option_string_actions, 1, 0.85)
        if close:
            return f"; did you mean {close[0]}?"
        if not self._has("--set"):
            return ""
        # pydantic and the whole schema: not at start-up
        from groupwise.framework.config.messages import known_paths, probably
        from groupwise.framework.config.schema import SECTIONS

        keys = tuple(name.replace("-", "_").split("."))
        meaning = probably(keys)
        if ".".join(keys) in known_paths():
            meaning = f"did you mean {'.'.join(keys)}?"
        if "did you mean" not in meaning:
            return f"; {meaning}".rstrip("; ")  # why there is none, or nothing is like it
        named = [path for path in re.findall(r"[\w.]+", meaning) if path in known_paths()]
        if not named or named[0] in SECTIONS:
            return ""
        value = value if value and not value.startswith("-") else "VALUE"
        return f"; {meaning} A key of the config is set by --set {named[0]}={value}"


class _Help(argparse.HelpFormatter):
    """Help with each text on the line of its option, where argparse would begin a new one."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        # Commands are indented once more, which argparse's own width ignores.
        for command in self._iter_indented_subactions(action):
            length = len(self._format_action_invocation(command)) + self._current_indent
            self._action_max_length = max(self._action_max_length, length)
