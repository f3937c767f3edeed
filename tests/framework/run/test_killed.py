"""A run that the kernel killed for lack of memory is told so when it is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from groupwise.framework.run import killed
from groupwise.framework.run.directory import RunDir

NOW = {"boot": "today", "kills": 3}
# what the last session left -> whether it was killed for lack of memory
LEFT: dict[str, tuple[Any, bool]] = {
    "nothing": (None, False),
    "fewer kills": ({"boot": "today", "kills": 2}, True),
    "as many kills": ({"boot": "today", "kills": 3}, False),
    "the machine started anew": ({"boot": "yesterday", "kills": 2}, False),
    "half a file": ("{", False),
    "no object": ([1], False),
    "no number": ({"boot": "today", "kills": None}, False),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_the_last_session_left(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, was_killed = LEFT[case]
    if left is not None:
        text = left if isinstance(left, str) else json.dumps(left)
        (tmp_path / killed.SESSION).write_text(text)
    monkeypatch.setattr(killed, "_kills", lambda: NOW)
    assert ("lack of main memory" in killed.begin_session(tmp_path)) == was_killed
    assert json.loads((tmp_path / killed.SESSION).read_text()) == NOW


def test_every_other_end_removes_the_mark(tmp_path: Path) -> None:
    def fail() -> None:
        with RunDir(tmp_path) as run:
            run.lock()
            assert (tmp_path / killed.SESSION).is_file()
            raise ValueError("a failure")

    with pytest.raises(ValueError, match="a failure"):
        fail()
    assert not (tmp_path / killed.SESSION).exists()


def test_where_the_kernel_does_not_say_nothing_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(killed, "_kills", lambda: None)
    assert killed.begin_session(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []
