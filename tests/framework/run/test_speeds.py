"""Speeds of this machine: one of each kind, not too many, and no file that cannot be read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groupwise.framework.run.speeds import MOST, Speed, find_speed, keep_speed

SPEED = Speed(
    key={"device": "a card", "model": {"layers": 2}},
    day="2026-11-26",
    round=(1.0, 1.5),
    sample=(0.01, 0.02),
    completions=128,
    tokens=200.5,
    length=512,
    evaluation_length=1024,
)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "groupwise" / "speeds.json"


def refuse(text: str) -> None:
    raise AssertionError(text)


def test_the_latest_of_a_key_is_found(file: Path) -> None:
    assert find_speed(SPEED.key, refuse) is None
    keep_speed(SPEED, refuse)
    assert find_speed(SPEED.key, refuse) == SPEED
    assert find_speed({**SPEED.key, "device": "another"}, refuse) is None
    later = replace(SPEED, day="2026-11-27", round=(2.0, 2.5))
    keep_speed(later, refuse)
    assert find_speed(SPEED.key, refuse) == later
    assert len(json.loads(file.read_text())["speeds"]) == 1


def test_the_oldest_go(file: Path) -> None:
    for number in range(MOST + 3):
        keep_speed(replace(SPEED, key={"device": number}), refuse)
    assert find_speed({"device": 2}, refuse) is None
    assert find_speed({"device": 3}, refuse) is not None
    assert len(json.loads(file.read_text())["speeds"]) == MOST


def kept(**changes: Any) -> str:
    speed = {name: getattr(SPEED, name) for name in SPEED.__slots__} | changes
    return json.dumps({"schema": 1, "speeds": [speed]})


BAD: dict[str, str] = {
    "half a file": kept()[:40],
    "no object": "[1, 2]",
    "bytes of nobody": "\0\ufffd",
    "nothing in it": '{"schema": 1}',
    "no list": '{"schema": 1, "speeds": 3}',
    "a field too many": kept(more=1),
    "a field of another kind": kept(round="fast"),
    "three seconds": kept(round=[1, 2, 3]),
    "seconds below nothing": kept(sample=[-1, 2]),
    "not a number": kept().replace("1.5", "NaN"),
    "no completions": kept(completions=0),
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_as_it_was_written_is_said_and_replaced(name: str, file: Path) -> None:
    file.parent.mkdir()
    file.write_text(BAD[name], encoding="utf-8")
    said: list[str] = []
    assert find_speed(SPEED.key, said.append) is None
    assert len(said) == 1
    assert said[0].startswith(f"{file}: is not as it was written, and is ignored: ")
    assert "\n" not in said[0]
    keep_speed(SPEED, said.append)
    assert find_speed(SPEED.key, refuse) == SPEED


def test_of_another_version_it_is_left_out_in_silence(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(kept().replace('"schema": 1', '"schema": 2'))
    assert find_speed(SPEED.key, refuse) is None


def test_where_nothing_can_be_written_it_is_said(file: Path) -> None:
    file.parent.write_text("a file in its place")
    said: list[str] = []
    keep_speed(SPEED, said.append)
    assert "was not kept for `groupwise plan`" in said[0]
    assert find_speed(SPEED.key, refuse) is None
