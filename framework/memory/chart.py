"""A memory plan as bars: for each phase a line, below it its parts, each from where the last ended.

    for line in chart(plan.phases, memory=8_000_000_000): print(plain(line))

A line is a tuple of spans, texts with a style of rich: a terminal has colours, a pipe the same text
without. 80 columns; GB are 1e9 bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from groupwise.evaluation.text import rounded
from groupwise.framework.memory.parts import Part, Phase

GB = 1_000_000_000
_NAME, _NUMBER, _BAR = 22, 6, 46  # columns; two more stand before the bar
COLUMNS = 2 + _NAME + _NUMBER + _BAR
_COLOURS = {
    "context": "bright_black",
    "weights": "blue",
    "lora": "cyan",
    "optimizer": "green",
    "gradients": "bright_green",
    "activations": "yellow",
    "logits": "magenta",
    "kv_cache": "bright_magenta",
}
_OTHER = "white"
_ASCII = str.maketrans("█▏━╍│–×", "#|=-|-x")


class Span(NamedTuple):
    """A text, and how rich shows it on a terminal."""

    text: str
    style: str = ""


Line = tuple[Span, ...]


def plain(line: Line, *, ascii_only: bool = False) -> str:
    """The line without styles, and without spaces at its end."""
    text = "".join(span.text for span in line).rstrip()
    return text.translate(_ASCII) if ascii_only else text


def without_bar(line: Line) -> Line:
    """A row of the chart without its bar, for a screen that is too narrow; any other line as it is.

    Empty where there is nothing but the axis.
    """
    if not line or len(line[0].text) != COLUMNS - _BAR or not line[0].text.startswith("  "):
        return line
    return () if line[0].text.strip() == "GB" else line[:1]


def amount(count: float, digits: int = 1) -> str:
    """Bytes in GB of 1e9 bytes, "4.6 GB"; little in MB."""
    return f"{count / 1e6:.0f} MB" if count < GB / 20 else f"{gigabytes(count, digits)} GB"


def gigabytes(count: float, digits: int = 1) -> str:
    """Without the unit: "4.6"; "73,734.1"."""
    whole, point, rest = rounded(count / GB, digits).partition(".")
    return f"{int(whole):,}{point}{rest}"


def chart(phases: Sequence[Phase], memory: int | None, notes: dict[str, str]) -> Iterator[Line]:
    """The bars of all phases on one scale; `memory` is marked, `notes` stand behind phases' names.

    A phase's own line reaches to the lower end of its interval, and dotted to the upper one.
    """
    scale = _Scale(max(memory or 0, *(phase.high for phase in phases)), memory)
    for phase in phases:
        between = f"{gigabytes(phase.low)} to {amount(phase.high)}"
        note = notes.get(phase.name, "")
        yield (Span(phase.name, "bold"), Span(f"  {between}{', ' if note else ''}{note}"))
        before = 0
        for part in phase.parts:
            yield _part(part, before, scale)
            before += part.bytes
        yield _row("peak", phase.expected, scale.peak(phase), "bold")
        yield ()
    yield (Span(f"{'GB':>{_NAME + _NUMBER}}  "), Span(scale.axis(), "bright_black"))


def _part(part: Part, before: int, scale: _Scale) -> Line:
    colour = _COLOURS.get(part.name, _OTHER)
    return _row(part.name.replace("_", " "), part.bytes, scale.bar(before, part.bytes, colour))


def _row(name: str, count: int, bar: Line, style: str = "") -> Line:
    number = gigabytes(count, 2 if count < 1000 * GB else 0)
    if count and number == "0.00":
        number = "<0.01"
    return (Span(f"  {name:<{_NAME - 2}.{_NAME - 2}}{number:>{_NUMBER}}  ", style), *bar)


class _Scale:
    """Columns for bytes, from 0 to `most`; `limit` bytes are marked."""

    def __init__(self, most: int, limit: int | None) -> None:
        self.most = most
        self.limit = None if limit is None else self.column(limit)

    def column(self, count: int) -> int:
        return round(count / self.most * _BAR)

    def bar(self, before: int, count: int, colour: str) -> Line:
        """A bar from `before` on; red beyond the limit."""
        start, end = self.column(before), self.column(before + count)
        if start == end:
            return self._marked(Span(" " * start), Span("▏" if count else "", colour))
        limit = _BAR if self.limit is None else min(max(self.limit, start), end)
        inside = min(end, limit)
        return self._marked(
            Span(" " * start),
            Span("█" * (inside - start), colour),
            Span("█" * (end - inside), "red"),
        )

    def peak(self, phase: Phase) -> Line:
        low, high = self.column(phase.low), self.column(phase.high)
        beyond = self.limit is not None and high > self.limit
        style = "red" if beyond else ""
        return self._marked(Span("━" * low, style), Span("╍" * (high - low), style))

    def _marked(self, *bar: Span) -> Line:
        """The bar, and the limit where the bar ends before it."""
        length = sum(len(span.text) for span in bar)
        if self.limit is None or length > self.limit:
            return bar
        return (*bar, Span(" " * (self.limit - length) + "│", "bright_black"))

    def axis(self) -> str:
        step = _step(self.most / GB)
        line = ""
        for at in range(int(self.most / GB / step) + 1):
            column = self.column(round(at * step * GB))
            line = f"{line:<{column}}{at * step:g}"
        return line


def _step(most: float) -> float:
    """The distance of at most seven round numbers up to `most`."""
    least = most / 6
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * n for n in (1, 2, 5, 10) if power * n >= least)
