"""The report of the GPU benchmark: Markdown from the parts' results, and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Result = dict[str, Any]


def write_report(path: Path, folder: Path, order: Sequence[str]) -> None:
    """Writes the report of the results in `folder`, in the order of the parts."""
    files = [folder / f"{name}.json" for name in order]
    results = [json.loads(file.read_text("utf-8")) for file in files if file.is_file()]
    path.write_text(report(results), encoding="utf-8")


def report(results: Sequence[Result]) -> str:
    commands = dict.fromkeys(f"`{result['command']}`" for result in results)
    devices = dict.fromkeys(result["device"] for result in results if result["device"])
    lines = ["# On a card", "", f"Written by {' and '.join(commands)}; on {' and '.join(devices)}."]
    if any(result["tiny"] for result in results):
        lines += ["", "**Emulated on a CPU, tiny: no time and no byte here is a card's.**"]
    lines += ["", "| part | came to | s |", "|---|---|---|"]
    for result in results:
        why = result["why"].splitlines()
        status = f"{result['status']}: {_cell(why[-1])}" if why else result["status"]
        lines.append(f"| {result['title']} (`{result['name']}`) | {status} | {result['seconds']} |")
    for result in results:
        lines += ["", *_section(result)] if result["rows"] or result["notes"] else []
        if result["status"] == "failed":
            lines += ["", f"`{result['name']}` ended with:", "", "```text", result["why"], "```"]
    return "\n".join([*lines, ""])


def _section(result: Result) -> list[str]:
    lines = [f"## {result['title']}", ""]
    lines += [line for note in result["notes"] for line in (note, "")]
    rows = result["rows"]
    if not rows:
        return lines[:-1]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines += [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(_cell(row.get(name)) for name in columns)} |" for row in rows]
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value).replace("|", "\\|").replace("\n", " ")
