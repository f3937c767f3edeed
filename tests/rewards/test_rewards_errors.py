"""as_user_error: which errors become a message to the user, and which pass as they are."""

from __future__ import annotations

import pytest

from groupwise.rewards.errors import UserError, as_user_error


def test_an_error_of_a_named_type_becomes_the_message() -> None:
    with (
        pytest.raises(UserError, match="the file is gone") as caught,
        as_user_error("the file is gone", FileNotFoundError, ValueError),
    ):
        raise FileNotFoundError("x")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_the_message_may_be_made_from_the_error() -> None:
    with (
        pytest.raises(UserError, match=r"^read: E2$"),
        as_user_error(lambda error: f"read: {error}", ValueError),
    ):
        raise ValueError("E2")


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), as_user_error("no", ValueError, OSError):
        raise KeyError("k")
    with (
        pytest.raises(ValueError, match="two"),
        as_user_error("no", ValueError, when=lambda error: "one" in str(error)),
    ):
        raise ValueError("two")
    with as_user_error("no", ValueError):
        pass
