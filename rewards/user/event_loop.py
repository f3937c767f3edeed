"""The event loop of a process for async rewards: one, in a thread of its own, for all batches.

    results = gather([judge(...), other(...)])

Semaphores, locks and HTTP clients that a reward keeps between batches belong to the loop in which
they were first used, so it has to be the same one; as in TRL, which starts such a thread too. A
thread of its own works within a notebook, whose own loop is running. A forked process gets a new
loop: its parent's thread is not there.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Sequence
from typing import Any

from groupwise.rewards.user.returned import as_exception

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def gather(awaitables: Sequence[Awaitable[Any]]) -> list[Any]:
    """Awaits all at the same time: for each, its result, or the Exception that it raised.

    An interrupt (Ctrl-C) cancels them.
    """
    future = asyncio.run_coroutine_threadsafe(_all(awaitables), _running())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def _all(awaitables: Sequence[Awaitable[Any]]) -> list[Any]:
    return await asyncio.gather(*map(_outcome, awaitables))


async def _outcome(awaitable: Awaitable[Any]) -> Any:
    try:
        return await awaitable
    except BaseException as error:  # SystemExit would end the loop, and everyone would wait for it
        return as_exception(error)


def _running() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="async rewards", daemon=True).start()
        return _loop


def _forget() -> None:
    global _lock, _loop
    _lock, _loop = threading.Lock(), None  # the lock may have been held when the process forked


os.register_at_fork(after_in_child=_forget)
