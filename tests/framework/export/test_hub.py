"""Pushing an export, by the hub's own client, to a server of this machine that speaks its API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import run_python
from hub_server import TOKEN, Hub

from groupwise.framework.export.hub import check_folder, check_hub
from groupwise.rewards.errors import UserError

# The client reads its environment when it is imported: each test is a process of its own.
PUSH = """
import sys
from pathlib import Path
from groupwise.framework.export.hub import check_hub, push
from groupwise.rewards.errors import UserError

folder, repo, public = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "public"
try:
    check_hub(repo)
    print(push(folder, repo, public=public))
except UserError as error:
    print("refused:", error)
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export as its files look: weights, card, what its check has found."""
    made = tmp_path / "merged"
    made.mkdir()
    (made / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    (made / "README.md").write_text("---\nlibrary_name: transformers\n---\n\n# x\n")
    described = {"format": "merged", "check": {"passed": True}}
    (made / "export.json").write_text(json.dumps(described))
    return made


def push(folder: Path, repo: str, visibility: str, environment: dict[str, str]) -> str:
    settings = {
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": str(folder.parent / "home"),
        "HF_TOKEN": TOKEN,
    }
    said = run_python(PUSH, folder, repo, visibility, cwd=folder.parent, **(settings | environment))
    return said.strip()


@pytest.mark.long
def test_what_arrives(hub: Hub, folder: Path) -> None:
    """Private at first; another push is another commit, and changes no visibility."""
    for visibility in ("private", "public"):
        assert push(folder, "me/x", visibility, {"HF_ENDPOINT": hub.url}) == f"{hub.url}/me/x"
    repo = hub.repos["me/x"]
    assert repo.private
    assert repo.files == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert repo.commits == 2 * ["merged, exported by Groupwise"]
    push(folder, "me/shown", "public", {"HF_ENDPOINT": hub.url})
    assert not hub.repos["me/shown"].private


NOBODY = "http://127.0.0.1:9"  # the port `discard`, where nothing listens
REFUSED: dict[str, tuple[str, dict[str, str], str]] = {
    "offline": ("me/x", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set; unset it to push"),
    "no token": ("me/x", {"HF_TOKEN": ""}, "there is no token of the hub here; `hf auth login`"),
    "another token": ("me/x", {"HF_TOKEN": "hf_other"}, "the hub does not know this token"),
    "another's": ("you/x", {}, "this token may not write to you/x"),
    "no network": ("me/x", {"HF_ENDPOINT": NOBODY}, "the hub cannot be reached"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", REFUSED)
def test_what_the_hub_refuses(name: str, hub: Hub, folder: Path) -> None:
    repo, environment, message = REFUSED[name]
    said = push(folder, repo, "private", {"HF_ENDPOINT": hub.url, **environment})
    assert said.startswith("refused: --format hub: ")
    assert message in said
    assert hub.repos == {}


@pytest.mark.parametrize(
    ("repo", "message"),
    [
        ("x", r"--repo x: is no name of the hub; write OWNER/NAME"),
        ("me/x/y", r"--repo me/x/y: is no name of the hub"),
        ("me/x y", r"--repo me/x y: Repo id must"),
        ("me/a\x1b[31m", r"--repo me/a\\x1b"),
    ],
)
def test_what_is_no_name(repo: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        check_hub(repo)
    assert "\x1b" not in str(raised.value)


UNFIT: dict[str, tuple[dict[str, Any] | None, str]] = {
    "failed": ({"passed": False}, "its check has failed, so it is not pushed"),
    "unchecked": (None, "it was not checked, so it is not pushed"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_is_not_for_others(name: str, folder: Path) -> None:
    check, message = UNFIT[name]
    (folder / "export.json").write_text(json.dumps({"format": "merged", "check": check}))
    with pytest.raises(UserError, match=message):
        check_folder(folder)


def test_an_adapter_on_a_folder_of_this_machine(folder: Path) -> None:
    check_folder(folder)
    settings = {"base_model_name_or_path": str(folder.parent)}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="--base OWNER/NAME"):
        check_folder(folder)
