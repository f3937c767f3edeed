"""A probe in a process of its own: what it found, or how it ended, whatever it imports.

    ended = run_child("groupwise.framework.run.doctor.torch_probe", limit_s=120, on_step=print)
    ended.facts, ended.error

The child is this Python with this import path. It calls `report.step("import torch")` before each
step, and `report.fact(...)` for what it found; both come here through a pipe of their own, so that
what libraries print is kept apart. A crash (SIGSEGV at an import), an exception and a time limit
become an `error` that names the step.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import IO, Any

_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from groupwise.framework.run.doctor.children import main; main(sys.argv[2], int(sys.argv[3]))"
)
_TAIL = 20_000  # bytes of what a child printed that are kept


@dataclass(frozen=True, slots=True)
class ChildError:
    """How a child ended before its time. `printed`: the end of what it wrote to its streams."""

    step: str
    message: str
    printed: str = ""


@dataclass(slots=True)
class Ended:
    """`seconds` by step, the facts, and the error, if any."""

    seconds: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    error: ChildError | None = None


def run_child(
    module: str,
    *,
    limit_s: float,
    on_step: Callable[[str], None] = lambda _: None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Runs `module.probe(report)` in a child that lives for at most `limit_s` seconds."""
    reader, writer = os.pipe()
    with os.fdopen(os.memfd_create("printed"), "w+b") as printed:  # the disk may be full
        child = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path), module, str(writer)],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            pass_fds=[writer],
            start_new_session=True,  # its own children end with it
        )
        os.close(writer)
        try:
            ended = _followed(child, reader, limit_s, on_step)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            os.close(reader)
        if ended.error is not None:
            printed.seek(0)
            said = printed.read()
            whole = len(said) <= _TAIL
            text = said[-_TAIL:].decode(errors="replace")
            text = text if whole else text.partition("\n")[2]  # half a secret is not recognised
            ended.error = ChildError(ended.error.step, ended.error.message, text.strip())
    return ended


def _followed(
    child: subprocess.Popen[bytes], reader: int, limit_s: float, on_step: Callable[[str], None]
) -> Ended:
    """Reads what the child reports until it ends, or its time is up."""
    ended = Ended()
    end = time.monotonic() + limit_s
    step, began = "start", time.monotonic()
    rest = b""
    while True:
        if not select.select([reader], [], [], max(0.0, end - time.monotonic()))[0]:
            ended.error = ChildError(step, f"did not end within {limit_s:g} s")
            return ended
        chunk = os.read(reader, 65536)
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            told = json.loads(line)
            if "step" in told:
                ended.seconds[step] = time.monotonic() - began
                step, began = told["step"], time.monotonic()
                on_step(step)
            elif "end" in told:  # not when the pipe closes: a child's own children may hold it
                ended.seconds[step] = time.monotonic() - began
                if told["end"]:
                    ended.error = ChildError(step, told["end"])
                return ended
            else:
                ended.facts.update(told)
    ended.error = ChildError(step, _how(child.wait()))
    return ended


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"crashed ({signal.Signals(-code).name})"
    return f"crashed (signal {-code})"


class Report:
    """The child's side of the pipe."""

    def __init__(self, pipe: IO[str]) -> None:
        self._pipe = pipe

    def step(self, name: str) -> None:
        self._tell({"step": name})

    def fact(self, **facts: Any) -> None:
        self._tell(facts)

    def end(self, error: str = "") -> None:
        self._tell({"end": error})

    def _tell(self, told: Mapping[str, Any]) -> None:
        print(json.dumps(told), file=self._pipe, flush=True)


def main(module: str, writer: int) -> None:
    """The child: runs the probe, and reports an exception as the words that say what is wrong."""
    os.set_inheritable(writer, False)
    report = Report(os.fdopen(writer, "w", encoding="utf-8"))
    try:
        import_module(module).probe(report)
    except BaseException as error:  # libraries raise anything, SystemExit too
        traceback.print_exc()
        report.end(_message(error))
    else:
        report.end()
    os._exit(0)  # a half imported library may hang or crash at exit


def _message(error: BaseException) -> str:
    """Type and text, with those of what it was raised from; libraries bury the cause."""
    texts: list[str] = []
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        texts.append(f"{type(cause).__name__}: {' '.join(str(cause).split())}")
        cause = cause.__cause__ or cause.__context__
    return " <- ".join(texts)


def scratch_environment(folder: Path) -> dict[str, str]:
    """Variables that keep what libraries compile inside `folder`, and off the network."""
    return {
        "UNSLOTH_COMPILE_LOCATION": str(folder / "unsloth_compiled_cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "HF_HUB_OFFLINE": "1",
        "WANDB_MODE": "disabled",
    }
