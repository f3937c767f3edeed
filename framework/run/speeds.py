"""Speeds that runs had on this machine, kept for the time in `groupwise plan`.

    keep_speed(Speed(key, ...), terminal.notice)
    speed = find_speed(key, terminal.notice)         # None: nothing comparable was measured

They are in `$XDG_CACHE_HOME/groupwise/speeds.json` (`~/.cache/groupwise`), which may be removed at
any time: for each key the latest, and `MOST` in all. A key says what a speed depends on and is not
scaled by: device, model, precision, engines. Two runs that end in the same moment may lose one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from groupwise.evaluation.log.files import read_json, user_cache, write_json
from groupwise.framework.run import machine
from groupwise.rewards.errors import UserError

MOST = 64
_SCHEMA = 1

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Speed:
    """What a round of training and a sample of an evaluation took, in seconds: (least, most).

    A round has so many `completions`, of `tokens` each on average, at most `length`; an evaluation
    is of answers with at most `evaluation_length` tokens.
    """

    key: dict[str, Any]
    day: str
    round: tuple[float, float]
    sample: tuple[float, float]
    completions: int
    tokens: float
    length: int
    evaluation_length: int


def device_name() -> str:
    """The first GPU, by nvidia-smi; without one, the processor and its cores."""
    gpus = machine.gpus()
    if gpus:
        return gpus[0]["name"]
    found = machine.hardware()
    return f"{found['cpu']}, {found['cpu_cores']} cores"


def keep_speed(speed: Speed, notify: Notify) -> None:
    """Keeps a speed; one of the same key is replaced."""
    place = _place()
    if place is None:
        return
    others = [other for other in _read(place, notify) if other.key != speed.key]
    kept = [asdict(one) for one in (*others, speed)][-MOST:]
    try:
        write_json(place, {"schema": _SCHEMA, "speeds": kept})
    except (OSError, UserError, ValueError) as error:
        notify(f"{place}: the speed of this run was not kept for `groupwise plan`: {error}")


def find_speed(key: dict[str, Any], notify: Notify) -> Speed | None:
    """The speed that was measured under this key."""
    place = _place()
    return next((s for s in _read(place, notify) if s.key == key), None) if place else None


def _place() -> Path | None:
    folder = user_cache()
    return folder / "speeds.json" if folder else None


def _read(place: Path, notify: Notify) -> list[Speed]:
    if not place.is_file():
        return []
    try:
        kept = read_json(place)
        if kept.get("schema") != _SCHEMA:  # of another version of this project
            return []
        return [_speed(one) for one in kept["speeds"]]
    except (OSError, UserError, KeyError, TypeError, ValueError) as error:
        notify(f"{place}: is not as it was written, and is ignored: {str(error).splitlines()[0]}")
        return []


def _speed(kept: dict[str, Any]) -> Speed:
    pairs = {name: tuple(map(float, kept[name])) for name in ("round", "sample")}
    speed = Speed(**{**kept, **pairs})
    if any(len(pair) != 2 or not 0 <= pair[0] <= pair[1] for pair in pairs.values()):
        raise ValueError(f"the seconds {pairs} are none")
    if not (speed.completions > 0 and speed.length > 0 and speed.evaluation_length > 0):
        raise ValueError("a count is not above 0")
    return speed
