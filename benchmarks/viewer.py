"""What the review page costs on a large log: opening, paging, filtering, searching, memory.

    python -m benchmarks.viewer [--samples 200000] > benchmarks/results/viewer.md

Writes a log of 200,000 made-up samples (about 400 MB; words drawn at random, so that it compresses
as poorly as real text does at best) into a temporary folder, and serves it in a process of its own,
as `groupwise view` does. The log is in the page cache, as after writing or copying it. Not
measured: a cold disk, and a browser on a slow machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from groupwise.evaluation.log.records import SampleRecord, to_line

PER_PROBLEM = 8
OPENINGS = 5
REPEATS = 5
ROOT = Path(__file__).parents[1]

LOAD = """Where the load average is above the number of cores, other work held
the page up: then the processor time says more than the seconds by the clock."""

QUERIES: dict[str, list[dict[str, str]]] = {
    "a page of the list (kept order)": [{"offset": str(50 * i)} for i in range(1, REPEATS + 1)],
    "sort": [{"sort": s} for s in ("score", "tokens", "question", "solved_after", "id")],
    "filter by status": [
        {"status": s, "sort": "tokens"}
        for s in ("wrong", "correct", "timeout", "unparseable", "ungraded")
    ],
    "filter by score and length": [
        {"score_min": "0.5", "tokens_max": str(300 + i)} for i in range(REPEATS)
    ],
    "filter by category": [{"field": "level", "value": str(i)} for i in range(REPEATS)],
    "search, a rare text": [{"q": f"boxed{{{i}}}"} for i in range(17, 17 + REPEATS)],
    "search, a frequent text": [{"q": q} for q in ("the", "an", "or", "is", "and")],
    "search, in answers alone": [
        {"q": f"x{i}y", "scope": "answers"} for i in range(17, 17 + REPEATS)
    ],
    "regular expression": [{"q": rf"boxed.\d{i}[02468]", "regex": "1"} for i in range(REPEATS)],
    "search and filters": [
        {"q": f"boxed{{{i}}}", "status": "wrong", "tokens_min": "200"} for i in range(30, 35)
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200_000)
    samples = parser.parse_args().samples
    print("# The review page on a large log\n")
    print("`python -m benchmarks.viewer`; what is measured and how is said in that file.\n")
    print(f"{os.cpu_count()} cores ({platform.machine()}). {LOAD}\n")
    for labels in (("base",), ("base", "tuned")):
        with tempfile.TemporaryDirectory() as folder:
            size = 0
            for number, label in enumerate(labels):
                path = Path(folder) / "run" / "evaluations" / label / "samples.jsonl"
                size += make_log(path, samples, number)
            count = f"{len(labels)} log{'s' * (len(labels) > 1)} of {samples:,} samples"
            print(f"## {count}, {size / 1e6:,.0f} MB together\n", flush=True)
            before = os.getloadavg()[0]
            measure(Path(folder) / "run")
            print(f"Load average before and after: {before:.1f}, {os.getloadavg()[0]:.1f} ", end="")
            print("(the page alone makes about 1; what is above was other work).\n")


def make_log(path: Path, samples: int, seed: int) -> int:
    """Writes a log; returns its size in bytes."""
    draw = random.Random(seed)
    letters = "etaoinshrdlucmfwyp"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(20_000)]
    words += ["the", "and", "is", "$x^2$", "\\frac{1}{2}", "so", "we", "12", "="]
    path.parent.mkdir(parents=True)
    with path.open("w", encoding="utf-8") as log:
        for i in range(samples):
            problem = i // PER_PROBLEM
            answer = str(problem % 97)
            right = draw.random() < (0.2 + 0.1 * seed) + 0.5 * (problem * 7919 % 100) / 100
            given = answer if right else str(draw.randint(100, 999))
            text = " ".join(draw.choices(words, k=draw.randint(180, 300)))
            completion = f"<think>{text}</think>The answer is \\boxed{{{given}}}."
            record = SampleRecord(
                example_id=f"problem-{problem}", sample_index=i % PER_PROBLEM,
                prompt=f"<|user|>\n{' '.join(words[problem % 9000 :][:25])}?<|assistant|>\n",
                completion=completion, num_tokens=len(completion) // 4,
                finish_reason="length" if draw.random() < 0.05 else "stop", answer=answer,
                extracted=given, status="correct" if right else "wrong", correct=right,
                score=right + 0.1, parts={"correctness": float(right), "format": 1.0}, seed=1,
                seconds=0.01, metadata={"level": problem % 5, "topic": words[problem % 7]},
            )  # fmt: skip
            log.write(to_line(record))
    return path.stat().st_size


def measure(run: Path) -> None:
    shown, listed, cpu = [], [], []
    for _ in range(OPENINGS):
        with Server(run) as server:
            shown.append(server.shown_s)
            listed.append(server.wait("ready"))
            cpu.append(server.cpu_s())
    with Server(run) as server:
        server.wait("ready")
        early = server.memory_mb()
        searchable = server.wait("searchable")
        print("| | median | worst | processor, mean |")
        print("|---|---|---|---|")
        for name, values in (
            ("the page answers, from the start of the command", shown),
            ("all samples read, first page of the list answered", listed),
            ("processor time for that, all threads", cpu),
        ):
            print(f"| {name} | {statistics.median(values):.2f} s | {max(values):.2f} s | |")
        print(f"| the texts can be searched | {searchable:.1f} s | | |")
        rows = server.ask("problems")["rows"]
        questions = {
            "overview, curves with intervals (first time)": ("overview", [{}]),
            "overview (again)": ("overview", [{} for _ in range(REPEATS)]),
            **{name: ("problems", queries) for name, queries in QUERIES.items()},
            "one problem, all answers": ("problem", [{"id": r["id"]} for r in rows[:REPEATS]]),
        }
        for name, (kind, queries) in questions.items():
            before = server.cpu_s()
            values = [server.time(kind, query) for query in queries]
            spent = (server.cpu_s() - before) / len(queries)
            middle, worst = statistics.median(values) * 1e3, max(values) * 1e3
            print(f"| {name} | {middle:.0f} ms | {worst:.0f} ms | {spent * 1e3:.0f} ms |")
        peak = server.memory_mb("VmHWM")
        print(f"| memory when listed, and after all of this | {early:.0f} MB ", end="")
        print(f"| {server.memory_mb():.0f} MB (peak {peak:.0f} MB) | |\n", flush=True)


class Server:
    """`groupwise view` in a process of its own. `shown_s`: from its start to the page."""

    def __init__(self, run: Path) -> None:
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "groupwise.framework.cli", "view", str(run), "--no-browser"],
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[2]
        with urllib.request.urlopen(self.url) as answer:
            answer.read()
        self.shown_s = time.perf_counter() - self.began

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)

    def ask(self, name: str, query: dict[str, str] | None = None) -> Any:
        text = urllib.parse.urlencode(query or {})
        with urllib.request.urlopen(f"{self.url}api/{name}?{text}") as answer:
            return json.load(answer)

    def time(self, name: str, query: dict[str, str] | None = None) -> float:
        start = time.perf_counter()
        self.ask(name, query)
        return time.perf_counter() - start

    def wait(self, what: str) -> float:
        """Seconds from the start until this is so, and the first page of the list is there."""
        while not self.ask("status")[what]:
            time.sleep(0.05)  # asking costs the server something, too
        self.ask("problems")
        return time.perf_counter() - self.began

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self, name: str = "VmRSS") -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024 / 1e6
        raise ValueError(name)


if __name__ == "__main__":
    main()
