"""`groupwise chat`: answers a line at a time, and the base model beside the tuned one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.stack


def test_chat_answers_twice_and_escapes(
    toy: Any, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = toy.settings()
    settings["evaluation"] |= {"before": False, "after": False}
    Path("tiny.yaml").write_text(yaml.safe_dump(settings))
    assert cli("train", "tiny.yaml").code == 0
    run = tmp_path / "runs" / "tiny"

    monkeypatch.setattr("sys.stdin", io.StringIO("1+2=?\n\n/reset\n3+4=?\n/quit\n5+6=?\n"))
    ended = cli("chat", run, "--compare", "base", "--max-tokens", "8")
    assert ended.code == 0, ended.err
    starts = [line.split(">")[0] for line in ended.out.splitlines() if ">" in line]
    assert starts == ["base", "tuned", "base", "tuned"]
    assert "\x1b" not in ended.out

    monkeypatch.setattr("sys.stdin", io.StringIO("/help\n/exit\n/usr/bin?\n/reset now?\n"))
    ended = cli("chat", run, "--max-tokens", "4")
    assert ended.out.count("tuned> ") == 2, (
        "no word with a slash is lost, commands are no questions"
    )
    for said in ("/reset   drop", "/help    list", "/quit    end", "no command /exit; there are"):
        assert said in ended.err

    missing = cli("chat", tmp_path / "nowhere")
    assert missing.code == 2
    assert "there is no such run" in missing.err
