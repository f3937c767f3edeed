"""Draws the rooms of the code from its real imports, into docs/architecture.md.

    python docs/rooms.py            # rewrite the picture and the table
    python docs/rooms.py --check    # exit code 1 if they are out of date

An arrow says that files of the upper room import files of the lower one. Arrows that follow from
others are left out (the transitive reduction); what may import what is the contract in
pyproject.toml, which `make lint` holds.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: written by docs/rooms.py -->\n", "<!-- end of rooms -->\n"


def main(arguments: list[str]) -> int:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    drawn = f"{before}{BEGIN}{rooms_markdown()}{END}{after}"
    if arguments == ["--check"]:
        if drawn != page:
            print(f"{PAGE} is out of date: run python docs/rooms.py", file=sys.stderr)
        return int(drawn != page)
    PAGE.write_text(drawn, encoding="utf-8")
    return 0


def rooms_markdown() -> str:
    graph = grimp.build_graph("groupwise", cache_dir=None)
    framework = sorted(graph.find_children("groupwise.framework"))
    rooms = [*framework, "groupwise.evaluation", "groupwise.rewards"]
    arrows = {(a, b) for a in rooms for b in rooms if a != b and imports(graph, a, b)}
    lines = ["```mermaid", "flowchart TD"]
    for package in ("framework", "evaluation", "rewards"):
        inside = [room for room in rooms if room.split(".")[1] == package]
        if len(inside) == 1:
            lines.append(f'    {label(inside[0])}["{label(inside[0])}/"]')
            continue
        lines.append(f'    subgraph {package}["{package}/"]')
        lines += [f'        {label(room)}["{label(room)}"]' for room in inside]
        lines.append("    end")
    lines += [f"    {label(a)} --> {label(b)}" for a, b in sorted(reduced(arrows))]
    lines += ["```", "", "| room | files | what is in it |", "|---|---|---|"]
    lines += [f"| `{path(room)}` | {len(files(graph, room))} | {summary(room)} |" for room in rooms]
    return "\n".join(lines) + "\n"


def files(graph: grimp.ImportGraph, room: str) -> set[str]:
    return {room, *graph.find_descendants(room)}


def imports(graph: grimp.ImportGraph, upper: str, lower: str) -> bool:
    below = files(graph, lower)
    return any(graph.find_modules_directly_imported_by(f) & below for f in files(graph, upper))


def reduced(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Without an arrow a -> c where a leads to c through other rooms, too."""
    below: dict[str, set[str]] = {}
    for a, b in arrows:
        below.setdefault(a, set()).add(b)

    def reach(a: str) -> set[str]:
        return {b for c in below.get(a, ()) for b in ({c} | reach(c))}

    return {(a, c) for a, c in arrows if not any(c in reach(b) for b in below[a] - {c})}


def label(room: str) -> str:
    return room.split(".")[-1]


def path(room: str) -> str:
    folder = room.removeprefix("groupwise.").replace(".", "/")
    return f"{folder}/" if (ROOT / folder).is_dir() else f"{folder}.py"


def summary(room: str) -> str:
    return (import_module(room).__doc__ or "").strip().split("\n")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
