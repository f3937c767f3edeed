"""A config's text with other values; its comments and its layout stay.

    edited(text, {"training.completions_per_forward": 2})

A value is replaced where it stands. A key that is not there is put at the head of its section, a
section at the end of the text. Left out: values in YAML's block forms (a list over several lines,
a text after `>`), and anchors. What cannot be edited so comes out changed in other places or not
at all: whoever edits reads the result back (`memory/fitted_file.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from groupwise.framework.config.yaml import KeyPath, parse_yaml

_INDENT = 2  # of a section that the text does not have yet
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")  # a text that needs no quotes


def edited(text: str, values: Mapping[str, Any]) -> str:
    """The YAML text of a mapping with these values, by dotted key.

    Raises ValueError where a key cannot be set by changing the text at one place.
    """
    for key, value in values.items():
        text = _with_value(text, tuple(key.split(".")), value)
    return text


def _with_value(text: str, keys: KeyPath, value: Any) -> str:
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    header: Any = None  # the key under which `node` stands
    for depth, key in enumerate(keys):
        if not isinstance(node, yaml.MappingNode):
            return _under_nothing(text, header, node, keys[depth:], value)
        found = next(((k, v) for k, v in node.value if k.value == key), None)
        if found is None:
            return _inserted(text, header, node, keys[depth:], value)
        header, node = found
    start, end = node.start_mark, node.end_mark
    is_block = isinstance(node, yaml.CollectionNode) and not node.flow_style
    if is_block or getattr(node, "style", None) in ("|", ">"):
        raise ValueError(f"{'.'.join(keys)}: its value is in a block form")
    gap = " " if start.index == end.index else ""  # `key:` with nothing behind it
    return text[: start.index] + gap + _written(value) + text[end.index :]


def _inserted(text: str, header: Any, node: yaml.MappingNode, keys: KeyPath, value: Any) -> str:
    """The text with a key that this mapping does not have."""
    if node.flow_style:
        at = node.start_mark.index + 1
        rest = ", " if node.value else ""
        return f"{text[:at]}{keys[0]}: {_flow(keys[1:], value)}{rest}{text[at:]}"
    if header is None:
        return f"{text.rstrip()}\n\n{_block(keys, value, 0)}"
    first = node.value[0][0].start_mark
    if first.line == header.start_mark.line:
        raise ValueError(f"{'.'.join(keys)}: its section is in a form that is not edited")
    return _after_line(text, header, _block(keys, value, first.column))


def _under_nothing(text: str, header: Any, node: Any, keys: KeyPath, value: Any) -> str:
    """The text with a key in a section that has none: `training:` and nothing behind it."""
    if node.start_mark.index != node.end_mark.index:
        raise ValueError(f"{'.'.join(keys)}: its section is a value")
    column = header.start_mark.column + _INDENT
    return _after_line(text, header, _block(keys, value, column))


def _after_line(text: str, key: yaml.Node, lines: str) -> str:
    """The text with lines put in behind the line of a key."""
    end = text.find("\n", key.end_mark.index)
    return f"{text}\n{lines}" if end < 0 else text[: end + 1] + lines + text[end + 1 :]


def _block(keys: KeyPath, value: Any, column: int) -> str:
    """The keys, each in a line of its own and the last with the value."""
    lines = [f"{' ' * (column + _INDENT * i)}{key}:" for i, key in enumerate(keys)]
    return "\n".join(lines) + f" {_written(value)}\n"


def _flow(keys: KeyPath, value: Any) -> str:
    return f"{{{keys[0]}: {_flow(keys[1:], value)}}}" if keys else _written(value)


def _written(value: Any) -> str:
    """A value as YAML 1.2 on one line; JSON is that, but words go without quotes."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and parse_yaml(value).data == value:
        return value
    return json.dumps(value, ensure_ascii=False)
