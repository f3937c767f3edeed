"""An export pushed to the hub, as a private repository unless asked otherwise.

    check_hub("me/my-model")                          # before anything slow
    url = push(folder, "me/my-model", public=False)

By huggingface_hub and its own settings: the token of `hf auth login` or HF_TOKEN, HF_ENDPOINT,
HF_HUB_OFFLINE. A repository that exists gets another commit, and keeps its visibility.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groupwise.evaluation.log.files import read_json
from groupwise.framework.export.place import EXPORT
from groupwise.framework.policy.folders import base_of_adapter
from groupwise.rewards.errors import UserError
from groupwise.rewards.text import printable


def check_hub(repo: str) -> None:
    """Raises UserError for a name that is none, without a network, and without a token."""
    from huggingface_hub import HfApi  # slow: not at start-up

    check_name("--repo", repo)
    with _as_user_error(repo):
        HfApi().whoami()


def check_name(option: str, name: str) -> None:
    """Raises UserError for what the hub takes as no name of a repository."""
    from huggingface_hub.errors import HFValidationError  # slow, both: not at start-up
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if name.count("/") != 1:
        raise UserError(f"{option} {printable(name)}: is no name of the hub; write OWNER/NAME")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"{option} {printable(name)}: {printable(str(error))}") from error


def check_folder(folder: Path) -> None:
    """Refuses an export that is not to be given to others.

    Raises UserError where it was not checked or its check has failed, and where an adapter names a
    base model that lies on this machine.
    """
    check = read_json(folder / EXPORT).get("check") or {}
    if not check.get("passed"):
        what = "its check has failed" if check else "it was not checked"
        raise UserError(f"{folder}: {what}, so it is not pushed; export it again")
    base = base_of_adapter(folder)
    if base is not None and (Path(base).is_absolute() or Path(base).exists()):
        raise UserError(
            f"{folder}: the adapter names its base model by a folder of this machine, {base}; "
            "export it again with --base OWNER/NAME, the model's name on the hub, or push the "
            "merged weights: --format merged first, and then its folder"
        )


def push(folder: Path, repo: str, *, public: bool) -> str:
    """Uploads the folder; returns where it is. Raises UserError where the hub refuses."""
    from huggingface_hub import HfApi  # slow: not at start-up

    kind = json.loads((folder / EXPORT).read_text(encoding="utf-8"))["format"]
    with _as_user_error(repo):
        api = HfApi()
        url = api.create_repo(repo, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=repo, folder_path=folder, commit_message=f"{kind}, exported by Groupwise"
        )
    return str(url)


@contextmanager
def _as_user_error(repo: str) -> Iterator[None]:
    """Turns what a user can fix of the hub's errors into a message that says how."""
    import httpx  # slow, all of it: not at start-up
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise UserError("--format hub: HF_HUB_OFFLINE is set; unset it to push") from error
    except LocalTokenNotFoundError as error:
        raise UserError(
            "--format hub: there is no token of the hub here; `hf auth login`, or set HF_TOKEN to "
            "one that may write"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        why = {
            401: "the hub does not know this token; `hf auth login` with one that may write",
            403: f"this token may not write to {repo}; `hf auth login` with one that may",
        }.get(status, f"the hub refuses: {printable(str(error), limit=400)}")
        raise UserError(f"--format hub: {why}") from error
    except (httpx.TransportError, ConnectionError) as error:
        raise UserError(f"--format hub: the hub cannot be reached ({error})") from error
