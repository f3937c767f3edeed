"""A report that is posted names no person, no machine, no folder and no secret."""

from __future__ import annotations

import os
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groupwise.framework.run.doctor.scrub import scrub

HOME = "/home/ann.lee"
ENVIRONMENT = {
    "HOME": HOME,
    "USER": "annlee",
    "HOSTNAME": "gpu-box-7",
    "HF_TOKEN": "hf_aBcDeFgHiJkLmNoPqRsT",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "MY_PASSWORD": "correct horse (battery) [staple] $^*",
    "PRIVATE_KEY": "-----BEGIN KEY-----\nabcdef\n-----END KEY-----",
    "TOKENIZERS_PARALLELISM": "false",
    "AWS_SECRET_ACCESS_KEY": "torch/2.13.0+cu130",
}


@pytest.fixture(autouse=True)
def _somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USERNAME", "VIRTUAL_ENV", "HF_HOME", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


# a text, and what is left of it
CASES = {
    "File /home/ann.lee/venv/lib/python3.11/site-packages/torch/__init__.py": (
        "File …/torch/__init__.py"
    ),
    'File "/opt/my models/x.py", line 3': 'File "…/my models/x.py", line 3',
    "runs: /mnt/data/secret-project cannot be written to": (
        "runs: …/secret-project cannot be written to"
    ),
    "~/work and ~root/x": "…/work and …/x",
    r"C:\Users\Ann\x.py": "…/x.py",
    "PYTHONPATH=/a/b:/c/d": "PYTHONPATH=…/b:…/d",
    "see https://github.com/pytorch/pytorch/issues/131284": (
        "see https://github.com/pytorch/pytorch/issues/131284"
    ),
    "https://ann:pw@example.org/simple": "https://example.org/simple",
    "annlee@gpu-box-7: ANNLEE, ann@lee.org": "[name]@[name]: [name], [address]",
    "token hf_aBcDeFgHiJkLmNoPqRsT": "token [HF_TOKEN]",
    "token hf_otherOtherOther and sk-abcdefghijkl": "token [token] and [token]",
    "key 0123456789abcdef0123456789abcdef01234567": "key [WANDB_API_KEY]",
    "key ffffffffffffffffffffffffffffffffffffffff": "key [token]",
    "correct horse (battery) [staple] $^*": "[MY_PASSWORD]",
    "-----BEGIN KEY----- abcdef -----END KEY-----": "[PRIVATE_KEY]",
    "at 10.0.3.17, torch 2.13.0": "at [address], torch 2.13.0",
    "false": "false",
    "driver 580.82.07, CUDA 13.0, 1/2 of it": "driver 580.82.07, CUDA 13.0, 1/2 of it",
    "Authorization: Bearer abc.def": "Authorization: Bearer [token]",
}


@pytest.mark.parametrize("text", CASES, ids=lambda text: text[:30])
def test_what_is_left(text: str) -> None:
    assert scrub(text) == CASES[text]


def test_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "a b" / "c"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert scrub(f"in {folder}/runs/x and {folder}") == "in …/x and …"


def test_a_user_called_like_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "torch")
    monkeypatch.setenv("HOME", "/home/torch")
    assert scrub("torch 2.13.0", {"torch"}) == "torch 2.13.0"
    assert scrub("/home/torch/x", {"torch"}) == "…/x"


names = st.text(string.ascii_letters + string.digits + "-_.", min_size=4, max_size=12)
secrets = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=6, max_size=40)
NAMED_LIKE_SECRETS = ("HF_TOKEN", "X_API_KEY", "DB_PASSWORD", "SENTRY_DSN", "AUTH")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(NAMED_LIKE_SECRETS),
    secret=secrets.filter(lambda value: value.strip() and "\0" not in value),
    before=st.text(max_size=20),
    after=st.text(max_size=20),
)
def test_no_secret_of_the_environment_is_left(
    name: str, secret: str, before: str, after: str
) -> None:
    held = dict(os.environ)
    try:
        os.environ[name] = secret
        cleaned = scrub(f"{before}{secret}{after}")
    finally:
        os.environ.clear()
        os.environ.update(held)
    # It may stand in our own words, as "[token]" does in its own place.
    assert secret not in cleaned or secret in f"[{name}][token][address][name]…/"


@settings(max_examples=50)
@given(
    parts=st.lists(names.filter(lambda n: n.strip(".")), min_size=2, max_size=5, unique=True),
    before=st.sampled_from(["", "File ", "'", '"', "(", "PYTHONPATH=", "x: ", "a:"]),
    after=st.sampled_from(["", "'", ", line 3", ": no", ")"]),
)
def test_of_a_path_only_the_last_part_is_left(parts: list[str], before: str, after: str) -> None:
    cleaned = scrub(f"{before}/{'/'.join(parts)}{after}")
    assert not any(f"{part}/" in cleaned for part in parts[:-1])
    assert not cleaned.startswith(f"{before}/")
