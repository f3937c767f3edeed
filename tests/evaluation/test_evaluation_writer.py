"""The writer of JSON Lines files: what is in them after a kill, a full disk, a second writer."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import threading
from pathlib import Path

import pytest
from conftest import HANG_S

from groupwise.evaluation.log import lock as locks
from groupwise.evaluation.log.writer import JsonlWriter, cut_log
from groupwise.rewards.errors import UserError


def test_a_log_is_cut_back_to_a_step(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    cut_log(log, 3)
    assert not log.exists()
    whole = "".join(f'{{"step": {step}}}\n' for step in (1, 2, 3))
    log.write_text(whole + '{"step": 4}\n{"step": 5, "rew')
    cut_log(log, 3)
    assert log.read_text() == whole
    log.write_text(whole + '{"step": 3')  # torn within the step that is kept
    cut_log(log, 3)
    assert log.read_text() == whole
    cut_log(log, 0)
    assert log.read_text() == ""


def test_a_writer_resumes_after_a_step(tmp_path: Path) -> None:
    log = tmp_path / "run" / "metrics.jsonl"
    with JsonlWriter(log, last_step=0) as writer:
        writer.append(f'{{"step": {step}}}\n' for step in (1, 1, 2, 3))
    with JsonlWriter(log, last_step=2) as writer:
        writer.append(['{"step": 3, "again": true}\n'])
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    assert steps == [{"step": 1}, {"step": 1}, {"step": 2}, {"step": 3, "again": True}]


# what a kill or another program left behind the last newline, and what becomes of it
TAILS = {
    "nothing": (b"", b""),
    "torn": (b'{"step": 2, "x', b""),
    "torn in a character": ('{"x": "中'.encode()[:-1], b""),
    "whole but for its newline": (b'{"step": 2}', b'{"step": 2}\n'),
    "longer than a block": (b'{"x": "' + b"y" * 200_000, b""),
}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("before", [b"", b'{"step": 1}\n'])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, tail: str, before: bytes) -> None:
    left, kept = TAILS[tail]
    log = tmp_path / "log.jsonl"
    log.write_bytes(before + left)
    with JsonlWriter(log) as writer:
        writer.append(['{"step": 9}\n'])
    assert log.read_bytes() == before + kept + b'{"step": 9}\n'


def write_for_ever(path: str, written: multiprocessing.synchronize.Event) -> None:
    writer = JsonlWriter(Path(path), lock="refuse")
    for step in range(100):
        writer.append([f'{{"step": {step}}}\n'])
    written.set()
    multiprocessing.Event().wait()  # until it is killed


def test_a_kill_loses_no_line_and_leaves_no_lock(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    context = multiprocessing.get_context("spawn")
    written = context.Event()
    other = context.Process(target=write_for_ever, args=(str(log), written))
    other.start()
    assert written.wait(HANG_S)
    with pytest.raises(UserError, match="another process is writing this log"):
        JsonlWriter(log, lock="refuse")
    other.kill()
    other.join()
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(100))
    JsonlWriter(log, lock="refuse").close()


def test_a_writer_may_wait_for_its_turn(tmp_path: Path) -> None:
    log = tmp_path / "reviews.jsonl"
    first = JsonlWriter(log, lock="wait")

    def write() -> None:
        with JsonlWriter(log, lock="wait") as second:
            second.append(['{"n": 2}\n'])

    thread = threading.Thread(target=write)
    thread.start()
    thread.join(timeout=0.3)
    assert thread.is_alive(), "it waits"
    first.append(['{"n": 1}\n'])
    first.close()
    thread.join(timeout=HANG_S)
    assert log.read_text() == '{"n": 1}\n{"n": 2}\n'


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log.jsonl"
    real = os.write

    def half(file: int, data: memoryview) -> int:
        if len(data) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data[: len(data) - 5])

    with JsonlWriter(log) as writer:
        writer.append(['{"step": 1}\n'])
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", half)
            with pytest.raises(UserError, match=r"log\.jsonl: the disk is full"):
                writer.append(['{"step": 2}\n', '{"step": 3}\n'])
        writer.append(['{"step": 4}\n'])
    assert log.read_text() == '{"step": 1}\n{"step": 4}\n'


def test_the_disk_is_told_to_write_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    now = [100.0]
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr("groupwise.evaluation.log.writer.time.monotonic", lambda: now[0])
    writer = JsonlWriter(tmp_path / "log.jsonl")
    for seconds, syncs in ((1, 0), (8, 0), (2, 1), (1, 1), (11, 2)):
        now[0] += seconds
        writer.append(["{}\n"])
        assert len(synced) == syncs
    writer.close()
    writer.close()
    assert len(synced) == 3


def test_what_may_not_be_written_stays_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"torn')

    def check() -> None:
        raise UserError("not ours")

    with pytest.raises(UserError, match="not ours"):
        JsonlWriter(log, lock="refuse", check=check)
    assert log.read_text() == '{"torn'
    (tmp_path / "link.jsonl").symlink_to(log)
    with pytest.raises(OSError, match="symbolic"):
        JsonlWriter(tmp_path / "link.jsonl", follow_links=False)
    assert log.read_text() == '{"torn'


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.lock_descriptor", missing)
    with (tmp_path / "file").open("w") as file:
        assert locks.take_lock(file.fileno()) == "unsupported"
    with JsonlWriter(tmp_path / "log.jsonl", lock="refuse") as writer:
        writer.append(["{}\n"])
