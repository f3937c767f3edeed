"""YAML with the scalars of version 1.2, and with the line of every key.

PyYAML follows YAML 1.1, in which `1e-6` is text, `off`, `no` and `on` are booleans, `010` is octal,
`2026-01-01` is a date and `1:30` is a number. Here `1e-6` is a number and the others are text. A
duplicate key is an error; PyYAML would take the last one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from groupwise.framework.config.errors import Problem

KeyPath = tuple[str, ...]


@dataclass
class YamlText:
    """The content of a text, the line (from 1) of each key, and what is wrong with it."""

    data: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's core scalars (and 1.1's merge key `<<`)."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 (PyYAML's own protocol)


def _scalar(tag: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


_scalar("null", r"^(~|null|Null|NULL|)$", "~nN\0")
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^$"), [""])
_scalar("bool", r"^(true|True|TRUE|false|False|FALSE)$", "tTfF")
_scalar("int", r"^[-+]?(0|[1-9][0-9]*)$", "-+0123456789")
_scalar(
    "float",
    r"^([-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)"
    r"|\.(nan|NaN|NAN))$",
    "-+.0123456789",
)
_scalar("merge", r"^<<$", "<")


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # "\\ud800" in YAML: no file can hold it


def parse_yaml(text: str) -> YamlText:
    """Read one YAML document; errors are listed in `problems` and not raised."""
    result = YamlText()
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return result
        _walk(node, (), result, set())
        result.data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}" if mark else ""
        result.problems.append(Problem("", _explain(text, error), where=where))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        result.problems.append(Problem("", f"not YAML: {first}"))
    finally:
        if loader is not None:
            loader.dispose()
    return result


def _walk(node: yaml.Node, path: KeyPath, result: YamlText, seen: set[int]) -> None:
    """Note the line of each key, and duplicate keys. An alias is visited once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode) and _LONE_SURROGATE.search(node.value):
        where = f"line {node.start_mark.line + 1}"
        result.problems.append(Problem(".".join(path), "holds half a character", where=where))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, str(index)), result, seen)
    if not isinstance(node, yaml.MappingNode):
        return
    here: dict[str, int] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag.endswith(":merge"):
            continue
        key, line = key_node.value, key_node.start_mark.line + 1
        if key in here:
            result.problems.append(
                Problem(
                    ".".join((*path, key)),
                    f"is given twice, in lines {here[key]} and {line}; remove one",
                    where=f"line {line}",
                )
            )
        here.setdefault(key, line)
        result.lines.setdefault((*path, key), line)
        _walk(value_node, (*path, key), result, seen)


def _explain(text: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    if mark is not None:
        lines = text.splitlines()
        line = lines[mark.line] if mark.line < len(lines) else ""
        if "\t" in line[: len(line) - len(line.lstrip())]:
            return "a tab in the indentation; YAML takes spaces only"
    problem = error.problem or str(error)
    context = f" ({error.context})" if error.context else ""
    return f"not YAML: {problem}{context}"
