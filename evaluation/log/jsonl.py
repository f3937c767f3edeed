"""One JSON object per line, read alike by json, jq, pandas and pyarrow, whatever a model wrote.

    dumps_line({"completion": text, "score": 0.5})
    for row in read_lines(path, loads): ...

Every log of a run is read by `read_lines`: a last line that is not whole is ignored, because it is
being written, or a kill cut it off; any other line that cannot be read is an error with its number.

Changed, in writing, are values that not all of them can read:

- a lone surrogate (half a character; no tokenizer makes one, a data file may) becomes U+FFFD;
- NaN and the infinities become null;
- an integer beyond 64 bits becomes a string; so does any type that JSON does not have.

Everything else is read back unchanged. Characters that some tools take for a line's end (U+0085,
U+2028), and bidirectional controls, are written as `\\uXXXX`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from groupwise.rewards.errors import UserError

T = TypeVar("T")

_SURROGATE = re.compile("[\ud800-\udfff]")
_HARMFUL = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
INT64 = 2**63


def dumps_line(value: Mapping[str, Any]) -> str:
    """The object as one line of strict JSON, with its newline."""
    text = json.dumps(clean(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Such characters can only stand inside a string of the JSON text, where the escape means them.
    return _HARMFUL.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def loads(line: str | bytes) -> dict[str, Any]:
    """The object of a line. ValueError for what is no JSON object, NaN and the infinities among it.

    Python's own parser would take those, and most others refuse the file.
    """
    row = json.loads(line, parse_constant=_no_constant)
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    return row


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON; where there is no number, null stands")


def read_lines(
    path: Path, parse: Callable[[bytes], T], what: str = "a line of this log"
) -> Iterator[T]:
    """What `parse` makes of each line; a torn last line is ignored.

    `parse` raises ValueError, with the reason, for what is not `what`.

    Raises:
        UserError: a line cannot be read; the message has the file, the line and the reason.
        FileNotFoundError: there is no such file.
    """
    with path.open("rb") as log:
        for number, line in enumerate(log, start=1):
            try:
                yield parse(line)
            except (ValueError, RecursionError) as error:
                if not line.endswith(b"\n"):
                    return
                raise broken_line(path, number, what, error) from None


def broken_line(path: Path, number: int, what: str, reason: Exception) -> UserError:
    """What every reader says of a line that cannot be read."""
    text = str(reason)
    if isinstance(reason, json.JSONDecodeError):  # its own text counts lines within this one
        blank = not reason.doc.strip()
        text = "it is empty" if blank else f"{reason.msg}, at character {reason.pos + 1}"
    remedy = "correct that line, or remove it"
    if number == 1:
        remedy = "correct that line, remove it, or name another file"
    return UserError(f"{path}, line {number}: not {what} ({text}); {remedy}")


def number_or_null(name: str, value: Any) -> float | None:
    """A finite number or null, as numbers of a log are. ValueError for anything else."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    raise ValueError(f"{name} is {value!r:.50}, no number")


def whole(text: str) -> str:
    """The text with U+FFFD for half characters, which no file can hold."""
    return _SURROGATE.sub("\ufffd", text)


def clean(value: Any) -> Any:
    """The same value, made of types and numbers that every JSON reader accepts."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value if value.isascii() else whole(value)
    if isinstance(value, int):
        return int(value) if -INT64 <= value < INT64 else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict | Mapping):  # dict first: asking an abstract class is slow
        return {clean(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return clean(value.tolist())
    return clean(str(value))
