"""The process that runs math-verify, one pair at a time, and may be killed at any moment.

Started by `pool` as `python -c "…worker import main; main()"`. It reads one JSON
object a line from standard input and answers with one. It ends when its input ends; limits on
processor time and memory make sure that it ends even where a computation inside C code holds the
interpreter. What it leaves out: wall-clock time, which the parent keeps.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any


def main() -> None:
    """Serve pairs until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes us
    memory = int(os.environ.get("GROUPWISE_WORKER_MEMORY_MB", "2048")) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever the libraries print must not mix with the replies
    logging.disable(logging.CRITICAL)
    # slow (SymPy): not at start-up, but before the first pair is timed
    import math_verify  # noqa: F401

    sys.set_int_max_str_digits(5_000)
    with Path(os.devnull).open("wb") as nothing:  # whatever the libraries print from now on
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    _reply(replies, {"ready": True})
    for line in _lines():
        request = json.loads(line)
        _limit_processor_time(float(request["timeout_s"]))
        try:
            outcome = judge(request["gold"], request["answer"])
        except Exception:
            # The edge of untrusted text: a parser that fails on an answer has not understood it
            outcome = "unreadable_answer"
        _reply(replies, {"outcome": outcome})


def _reply(replies: Any, message: dict[str, Any]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


def _lines() -> Iterator[str]:
    """Requests; the process ends at once when the parent is gone, even in the middle of one."""
    queue: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in sys.stdin:
                queue.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield queue.get()


def _limit_processor_time(timeout_s: float) -> None:
    # A parent that was killed cannot kill us; the kernel then does, two seconds past the limit
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + timeout_s) + 2, resource.RLIM_INFINITY))


def judge(gold: str, answer: str) -> str:
    """`equal`, `different`, `unreadable_gold` or `unreadable_answer`, for two formulas.

    math-verify's yes is checked once more by numbers (`plausible`), because it says yes to some
    pairs that differ: numbers that both vanish at 15 digits, equations that merely share a root.
    """
    import math_verify  # slow: not at start-up

    golds = math_verify.parse(f"${gold}$", parsing_timeout=None)
    if not any(not isinstance(item, str) for item in golds):
        return "unreadable_gold"
    answers = math_verify.parse(f"${answer}$", parsing_timeout=None)
    if not any(not isinstance(item, str) for item in answers):
        return "unreadable_answer"
    equal = math_verify.verify(golds, answers, timeout_seconds=None, allow_set_relation_comp=True)
    if not equal:
        return "different"
    return "equal" if plausible(golds[0], answers[0]) else "different"


def plausible(gold: Any, answer: Any) -> bool:
    """Whether two SymPy objects that math-verify calls equal agree in numbers.

    Numbers and formulas must agree to ten digits relative to their size, at fixed points for their
    symbols; an interval is no finite set; equations must vanish on the same points. What cannot be
    checked so is believed.
    """
    import sympy  # slow: not at start-up

    kinds = (sympy.Interval, sympy.FiniteSet)
    if all(any(isinstance(item, kind) for item in (gold, answer)) for kind in kinds):
        return False
    if isinstance(gold, sympy.Eq) and isinstance(answer, sympy.Eq):
        return _same_zeros(gold.lhs - gold.rhs, answer.lhs - answer.rhs)
    if not (isinstance(gold, sympy.Expr) and isinstance(answer, sympy.Expr)):
        return True
    if gold.is_Matrix or answer.is_Matrix:
        return True
    percent = {str(item) for item in (gold, answer) if item.has(sympy.UnevaluatedExpr)}
    if percent:
        return True  # `25\%` beside 25 is a choice that was made before
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    if gold.free_symbols != answer.free_symbols:
        return not symbols or str(gold).lower() == str(answer).lower() or _symbolic(gold, answer)
    for shift in (0, 1):
        point = {
            symbol: sympy.Rational(7 * index + 11 + 5 * shift, 13)
            for index, symbol in enumerate(symbols)
        }
        try:
            x = gold.doit().subs(point).evalf(30)
            y = answer.doit().subs(point).evalf(30)
            size = max(abs(x), abs(y))
            if size == 0:
                continue
            rounded = gold.has(sympy.Float) or answer.has(sympy.Float)
            if not abs(x - y) / size < (1e-4 if rounded else 1e-10):
                return False
        except (TypeError, ValueError, ArithmeticError, AttributeError):
            return True
    return True


def _symbolic(gold: Any, answer: Any) -> bool:
    """Different symbols: names that were split (`abc`, `a*b*c`) are the same, the rest is not."""
    import sympy  # slow: not at start-up

    return (
        isinstance(gold, sympy.Symbol)
        or isinstance(answer, sympy.Symbol)
        or (sympy.simplify(gold - answer) == 0)
    )


def _same_zeros(gold: Any, answer: Any) -> bool:
    """Whether two left-hand sides vanish on the same points, tried on two lines through space."""
    import sympy  # slow: not at start-up

    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    if not symbols or gold.free_symbols != answer.free_symbols:
        return bool(sympy.simplify(gold - answer) == 0)
    unknown, *others = reversed(symbols)
    for shift in (0, 1):
        point = {
            symbol: sympy.Rational(7 * index + 11 + 5 * shift, 13)
            for index, symbol in enumerate(others)
        }
        first, second = gold.subs(point), answer.subs(point)
        for one, other in ((first, second), (second, first)):
            for root in sympy.solve(one, unknown)[:6]:
                value = other.subs(unknown, root).evalf(30)
                if not value.is_number or abs(value) > 1e-9:
                    return False
    return True
