"""One JSON object per line, read alike by json, jq, pandas and pyarrow, whatever a model wrote.

    dumps_line({"completion": text, "score": 0.5})

Changed are values that not all of them can read:

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
from collections.abc import Mapping
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
_HARMFUL = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_INT64 = 2**63


def dumps_line(value: Mapping[str, Any]) -> str:
    """The object as one line of strict JSON, with its newline."""
    text = json.dumps(clean(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Such characters can only stand inside a string of the JSON text, where the escape means them.
    return _HARMFUL.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def clean(value: Any) -> Any:
    """The same value, made of types and numbers that every JSON reader accepts."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    if isinstance(value, int):
        return int(value) if -_INT64 <= value < _INT64 else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict | Mapping):  # dict first: asking an abstract class is slow
        return {clean(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return clean(value.tolist())
    return clean(str(value))
