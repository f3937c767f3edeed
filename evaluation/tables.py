"""Numbers as plain text: the summary of one evaluation, and the table before and after.

    print_table(comparison_table(comparison))

Every label comes from outside and is escaped. The same text goes to a pipe and, with colours, to a
terminal. `aligned` and `print_table` serve other tables of the command line, too.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from groupwise.evaluation.text import folded_line, percent, printable, rounded

if TYPE_CHECKING:  # NumPy and SciPy stay out of start-up: every command prints tables
    from groupwise.evaluation.comparison import Comparison, Difference, Pair, Side
    from groupwise.evaluation.metrics.intervals import Estimate
    from groupwise.evaluation.summary import Group, Summary

OFTEN_TRUNCATED = 0.3
"""The share of answers from which on those cut off at the token limit decide the numbers."""

_LABEL = 24  # characters of a label or category that are shown in a column
_NAME = 160  # characters of a run and label that are shown in a line
_NONE = "-"
_COLUMNS = 80
_GAP = "   "


def summary_table(summary: Summary, title: str = "") -> str:
    """The numbers of one evaluation, several lines, ending in a newline."""
    fewest, most = summary.samples_per_example
    each = str(fewest) if fewest == most else f"{fewest} to {most}"
    head = f"{printable(title, limit=60)}: " if title else ""
    lines = [f"{head}{summary.num_examples} problems x {each} samples", ""]
    rows = [["", "pass@k", "pass^k", "maj@k"]]
    for k in summary.pass_at_k:
        by_k = (summary.pass_at_k, summary.pass_hat_k, summary.maj_at_k)
        rows.append([f"k = {k}", *(_with_interval(estimates[k]) for estimates in by_k)])
    lines += aligned(rows)
    lines.append(f"(% of problems, with {summary.confidence:.0%} intervals)")
    lines += ["", *_counts(summary.status_counts, summary.truncated, summary.num_samples)]
    lines.append(f"mean score {_plain(summary.mean_score)}")
    for name, part in summary.parts.items():
        mean, std = (math.nan if part[x] is None else float(part[x] or 0) for x in ("mean", "std"))
        lines.append(f"  {printable(name, limit=_LABEL)} {_plain(mean)} (deviation {_plain(std)})")
    lines.append(f"tokens a sample {_plain(summary.mean_num_tokens, 1)}")
    for name, groups in summary.by_category.items():
        lines += ["", *_categories(name, groups)]
    return "\n".join(lines) + "\n"


def comparison_table(comparison: Comparison) -> str:
    """Each pair: before, after, difference, p-value; flips; what was cut off or not readable."""
    lines: list[str] = []
    for pair in comparison.pairs:
        if lines:
            lines.append("")
        lines += _pair(pair, comparison.confidence)
    for notice in comparison.notices:
        lines.append(f"Notice: {printable(notice, limit=300)}")
    return "\n".join(lines) + "\n"


def print_table(text: str, file: TextIO | None = None) -> None:
    """Prints a table; on a terminal the header and the verdict stand out."""
    file = file or sys.stdout
    if not file.isatty():
        file.write(text)
        return
    from rich.console import Console  # slow: not at start-up
    from rich.text import Text

    console = Console(file=file, soft_wrap=True)
    text = "\n".join(
        line if _GAP in line.strip() else folded_line(line, console.width)  # rows are not folded
        for line in text.split("\n")
    )
    styled = Text(text)  # never markup: labels may hold square brackets
    styled.highlight_regex(r"(?m)^.*problems.*samples.*$", "bold")
    styled.highlight_regex(r"(?m)\+\d+\.\d\b", "green")
    styled.highlight_regex(r"(?m)(?<![\w.])-\d+\.\d\b", "red")
    styled.highlight_regex(r"(?m)^Verdict:.*$", "bold")
    console.print(styled, end="")


def _pair(pair: Pair, confidence: float) -> list[str]:
    base, other = pair.sides
    names = [printable(label, limit=_NAME) for label in (pair.base, pair.other)]
    before, after = _headings(*names)
    problems = pair.num_examples
    samples = " and ".join(
        dict.fromkeys(f"{side.num_samples / problems:g}" for side in (base, other))
    )
    rows = [["", before, after, "difference", "p"]]
    rows += [[f"pass@{k}", *_cells(row)] for k, row in pair.pass_at_k.items()]
    rows += [
        [f"maj@{k}", *_cells(row)]
        for k, row in pair.maj_at_k.items()
        if not math.isnan(row.p_value)
    ]
    shares = [["", before, after]]
    for name, a, b in (
        ("truncated", base.truncated, other.truncated),
        *((s, base.status_counts[s], other.status_counts[s]) for s in base.status_counts),
    ):
        if (a or b) and name not in ("correct", "wrong"):
            shares.append(
                [name.replace("_", " "), _share(a, base.num_samples), _share(b, other.num_samples)]
            )
    shares.append(
        ["tokens a sample", _plain(base.mean_num_tokens, 1), _plain(other.mean_num_tokens, 1)]
    )
    shares.append(["mean score", _plain(base.mean_score), _plain(other.mean_score)])
    lines = [
        f"{names[0]} -> {names[1]}: {problems} problems x {samples} samples "
        f"(%, with {confidence:.0%} intervals)",
        "",
        *aligned(rows),
        "",
        f"problems answered right more often {len(pair.won)}, less often {len(pair.lost)}, "
        f"as often {pair.unchanged}",
        f"solved at least once on one side only: newly {len(pair.newly_solved)}, "
        f"no longer {len(pair.no_longer_solved)}",
    ]
    if pair.crossing_k is not None:
        ahead = names[base.curve[0] >= other.curve[0]]
        lines.append(f"from k = {pair.crossing_k} on, {ahead} is ahead in pass@k")
    return [
        *lines,
        "",
        *aligned(shares),
        "",
        f"Verdict: {pair.verdict}",
        *_cut_off(names[0], base),
        *_cut_off(names[1], other),
    ]


def _cut_off(label: str, side: Side) -> list[str]:
    """A line in words where so many answers were cut off that a comparison measures that."""
    if side.truncated <= OFTEN_TRUNCATED * side.num_samples:
        return []
    share = percent(side.truncated / side.num_samples)
    return [
        f"Notice: {share} of the answers of {label} were cut off at the token limit, and have no "
        "end to be graded by; raise max_completion_length"
    ]


def _headings(before: str, after: str) -> tuple[str, str]:
    """Two names cut to the width of a column: in the middle, for run and label are at the ends.

    Where that leaves no difference, they stay as they are.
    """
    cut = [
        name if len(name) <= _LABEL else f"{name[: _LABEL // 2 - 1]}…{name[-_LABEL // 2 :]}"
        for name in (before, after)
    ]
    return (cut[0], cut[1]) if cut[0] != cut[1] else (before, after)


def _cells(row: Difference) -> list[str]:
    d = row.difference
    difference = _NONE if math.isnan(d.value) else rounded(d.value * 100, sign="+")
    if not math.isnan(d.low):
        low, high = (rounded(x * 100, sign="+") for x in (d.low, d.high))
        difference += f" [{low}, {high}]"
    return [_with_interval(row.base), _with_interval(row.other), difference, p_text(row.p_value)]


def p_text(p: float) -> str:
    """A p-value with the digits that mean something.

    >>> p_text(0.00001)
    '< 0.0001'
    """
    if math.isnan(p):
        return _NONE
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def _categories(name: str, groups: dict[str, Group]) -> list[str]:
    ks = list(next(iter(groups.values())).pass_at_k)
    rows = [
        [
            f"by {printable(name, limit=_LABEL)}",
            "problems",
            "truncated",
            "unparseable",
            *(f"pass@{k}" for k in ks),
        ]
    ]
    for value, group in groups.items():
        rows.append(
            [
                printable(value, limit=_LABEL),
                str(group.num_examples),
                _share(group.truncated, group.num_samples),
                _share(group.status_counts["unparseable"], group.num_samples),
                *(_with_interval(estimate) for estimate in group.pass_at_k.values()),
            ]
        )
    return _folded(rows)


def _counts(statuses: dict[str, int], truncated: int, samples: int) -> list[str]:
    shown = [(name, count) for name, count in statuses.items() if count]
    rows = [[name.replace("_", " "), str(n), _share(n, samples)] for name, n in shown]
    rows.append(["truncated", str(truncated), _share(truncated, samples)])
    return aligned(rows)


def _with_interval(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return _NONE
    value = rounded(estimate.value * 100)
    if math.isnan(estimate.low):
        return value
    return f"{value} [{rounded(estimate.low * 100)}, {rounded(estimate.high * 100)}]"


def _share(count: int, total: int) -> str:
    return percent(count / total, 1) if total else _NONE


def _plain(x: float, digits: int = 3) -> str:
    return _NONE if math.isnan(x) else rounded(x, digits)


def _folded(rows: list[list[str]]) -> list[str]:
    """As `aligned`; columns that do not fit into the width go into further tables below."""
    first, *columns = zip(*rows, strict=True)
    lines: list[str] = []
    while columns:
        taken = 1
        while taken < len(columns) and _width([first, *columns[: taken + 1]]) <= _COLUMNS:
            taken += 1
        block = [first, *columns[:taken]]
        lines += [
            *([""] if lines else []),
            *aligned(list(zip(*block, strict=True))),
        ]
        columns = columns[taken:]
    return lines


def _width(columns: list[tuple[str, ...]]) -> int:
    return sum(max(map(len, column)) for column in columns) + len(_GAP) * (len(columns) - 1)


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Cells in columns, one line per row; all rows have the same number of cells.

    Columns are aligned to the right, as for numbers; those in `left` (-1: the last) to the left.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    to_left = {i % len(widths) for i in left}
    return [
        _GAP.join(
            cell.ljust(width) if i in to_left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
