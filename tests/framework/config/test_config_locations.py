"""Which values of a config are paths, where they are looked for, and what a run keeps of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from groupwise.framework.config import ExperimentConfig

FILES = (
    "here/data.jsonl", "here/both.jsonl", "here/models/tiny/config.json", "here/owner/name/x",
    "here/rewards.py", "here/judge/weights", "here/think/x", "here/judge.json", "here/helpers.py",
    "beside/config.yaml", "beside/more.jsonl", "beside/both.jsonl", "beside/mine.py",
)  # fmt: skip

# a key, its value in a YAML file in `beside`, and what a run that was started in `here` keeps
CASES: list[tuple[str, str, str]] = [
    ("data.train", "data.jsonl", "HOME/here/data.jsonl"),
    ("data.train", "./data.jsonl", "HOME/here/data.jsonl"),
    ("data.train", "../here/data.jsonl", "HOME/here/data.jsonl"),
    ("data.train", "HOME/here/data.jsonl", "HOME/here/data.jsonl"),
    ("data.train", "both.jsonl", "HOME/here/both.jsonl"),
    ("data.train", "more.jsonl", "HOME/beside/more.jsonl"),
    ("data.train", "none.jsonl", "none.jsonl"),
    ("data.train", "openai/gsm8k", "openai/gsm8k"),
    ("data.train", "toy", "toy"),
    ("data.train", "link.jsonl", "HOME/here/link.jsonl"),
    ("data.eval", "data.jsonl", "HOME/here/data.jsonl"),
    ("training.warm_start.data", "data.jsonl", "HOME/here/data.jsonl"),
    ("model.name", "models/tiny", "HOME/here/models/tiny"),
    ("model.name", "models/tiny/", "HOME/here/models/tiny"),
    ("model.name", "owner/name", "HOME/here/owner/name"),  # transformers takes the folder, too
    ("model.name", "unsloth/Qwen3-4B", "unsloth/Qwen3-4B"),
    ("model.adapter", "models/tiny", "HOME/here/models/tiny"),
    ("model.chat_template", "data.jsonl", "HOME/here/data.jsonl"),
    ("rewards.parts.mine.use", "rewards.py:score", "HOME/here/rewards.py:score"),
    ("rewards.parts.mine.use", "./rewards.py:score", "HOME/here/rewards.py:score"),
    ("rewards.parts.mine.use", "mine.py:score", "HOME/beside/mine.py:score"),
    ("rewards.parts.mine.use", "none.py:score", "none.py:score"),
    ("rewards.parts.mine.use", "helpers:score", "HOME/here/helpers.py:score"),
    ("rewards.parts.mine.use", "math:sqrt", "math:sqrt"),
    ("rewards.parts.mine.params.model", "./judge", "HOME/here/judge"),
    ("rewards.parts.mine.params.file", "judge.json", "HOME/here/judge.json"),
    ("rewards.parts.mine.params.mode", "think", "think"),  # a word, and a folder by chance
    ("rewards.parts.mine.params.model", "owner/other", "owner/other"),
    ("rewards.parts.mine.params.pattern", "a/b\0" + "x" * 5000, "a/b\0" + "x" * 5000),
]


@pytest.mark.parametrize(("key", "value", "kept"), CASES)
def test_what_a_run_keeps_of_a_path(
    key: str, value: str, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    for name in FILES:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()
    (home / "here" / "link.jsonl").symlink_to(home / "here" / "data.jsonl")
    monkeypatch.chdir(home / "here")
    settings: dict[str, Any] = {"model": {"name": "m"}, "data": {"train": "toy"}}
    *parents, last = key.split(".")
    section = settings
    for name in parents:
        section = section.setdefault(name, {})
    section[last] = value.replace("HOME", str(home))
    if "params" in key:
        settings["rewards"]["parts"]["mine"]["use"] = "math:sqrt"
    (home / "beside" / "config.yaml").write_text(yaml.safe_dump(settings))
    config = ExperimentConfig.from_yaml(home / "beside" / "config.yaml")

    alone = config.standing_alone()
    found: Any = alone.to_dict()
    for name in key.split("."):
        found = found[name]
    assert found == kept.replace("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    assert alone.standing_alone() == alone
