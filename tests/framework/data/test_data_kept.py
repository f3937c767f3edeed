"""Folders kept in the cache: the same content from it and without it, whatever becomes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import run_python

from groupwise.framework.data.kept import kept_folder

KEY = {"toy": 0, "torch": "1"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "groupwise"


class Maker:
    """Makes a folder of two files, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, folder: Path) -> None:
        self.times += 1
        folder.mkdir()
        (folder / "weights").write_bytes(bytes(range(256)) * 40)
        (folder / "notes.txt").write_text("as it was made")


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_it_is_made_once_for_each_key(cache: Path, tmp_path: Path) -> None:
    make = Maker()
    for at, key in enumerate((KEY, KEY, KEY | {"toy": 1}, KEY | {"torch": "2"}, KEY)):
        kept_folder(tmp_path / str(at), key, make)
    assert make.times == 3
    assert content(tmp_path / "0") == content(tmp_path / "1") == content(tmp_path / "4")
    assert len(list(cache.iterdir())) == 3
    (tmp_path / "0" / "weights").write_text("a run changes its own copy")
    kept_folder(tmp_path / "5", KEY, make)
    assert content(tmp_path / "5") == content(tmp_path / "1")


# what happens to the one kept folder
DAMAGES: dict[str, Callable[[Path], object]] = {
    "a bit has changed": lambda kept: (kept / "weights").write_bytes(bytes(range(255)) * 40),
    "cut short": lambda kept: os.truncate(kept / "weights", 100),
    "a file is gone": lambda kept: (kept / "notes.txt").unlink(),
    "nothing said of it": lambda kept: (kept / ".contents.json").unlink(),
    "half of what is said of it": lambda kept: os.truncate(kept / ".contents.json", 30),
    "something else is said of it": lambda kept: (kept / ".contents.json").write_text("[1]"),
    "a file in its place": lambda kept: (shutil.rmtree(kept), kept.write_text("")),
    "empty": lambda kept: (shutil.rmtree(kept), kept.mkdir()),
    "removed": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_as_it_was_written_is_made_again(
    cache: Path, tmp_path: Path, damage: str
) -> None:
    make = Maker()
    kept_folder(tmp_path / "first", KEY, make)
    DAMAGES[damage](next(cache.iterdir()))
    kept_folder(tmp_path / "second", KEY, make)
    assert make.times == 2
    assert content(tmp_path / "second") == content(tmp_path / "first")
    kept_folder(tmp_path / "third", KEY, make)
    assert make.times == 2, "and kept again"
    assert content(tmp_path / "third") == content(tmp_path / "first")


def test_a_cache_that_cannot_be_written_to(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.mkdir()
    cache.write_text("a file in its place")
    make = Maker()
    for name in ("first", "second"):
        kept_folder(tmp_path / name, KEY, make)
    assert make.times == 2
    assert content(tmp_path / "second") == content(tmp_path / "first")
    assert "not kept for the next time" in caplog.text


@pytest.mark.parametrize("value", ["", "relative/folder"])
def test_where_it_is_kept_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    kept_folder(tmp_path / "made", KEY, Maker())
    assert len(list((tmp_path / ".cache" / "groupwise").iterdir())) == 1


PROCESS = """
import sys
from pathlib import Path
from groupwise.framework.data.kept import kept_folder
def make(folder):
    folder.mkdir()
    (folder / "weights").write_bytes(b"x" * 1_000_000)
for at in range(40):
    folder = Path(f"{sys.argv[1]}-{at}")
    kept_folder(folder, {"toy": at % 3}, make)
    assert (folder / "weights").read_bytes() == b"x" * 1_000_000
print("whole")
"""


def test_several_processes_at_once(cache: Path, tmp_path: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", PROCESS, name], cwd=tmp_path, text=True,
                         stdout=subprocess.PIPE)
        for name in ("one", "two", "three")
    ]  # fmt: skip
    assert [process.communicate()[0] for process in running] == ["whole\n"] * 3
    assert len([kept for kept in cache.iterdir() if not kept.name.startswith(".")]) == 3


TOY = """
import sys
from pathlib import Path
from groupwise.framework.data.toy import make_toy
told = []
make_toy(Path(sys.argv[1]), 7, steps=3, on_step=lambda *step: told.append(step))
print(len(told))
"""


@pytest.mark.stack
def test_the_toy_is_the_same_with_and_without(tmp_path: Path) -> None:
    made = {
        name: run_python(TOY, name, cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / folder)).split()[-1]
        for name, folder in (("new", "cache"), ("kept", "cache"), ("other", "another"))
    }
    assert made == {"new": "3", "kept": "0", "other": "3"}
    for part in ("model", "."):
        files = [
            {f.name: f.read_bytes() for f in (tmp_path / name / part).iterdir() if f.is_file()}
            for name in made
        ]
        assert files[0] == files[1] == files[2]
