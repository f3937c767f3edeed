"""The review page's server without a browser: what it answers, what it refuses, what it writes."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import HANG_S, ROOT
from viewer_runs import (
    HOSTILE,
    NUM_PROBLEMS,
    NUM_SAMPLES,
    evaluation_records,
    make_hostile_run,
    make_run,
    sample,
    write_log,
)

from groupwise.evaluation.log.records import read_samples, to_line
from groupwise.evaluation.report import write_report
from groupwise.evaluation.summary import summarise
from groupwise.evaluation.viewer import serving
from groupwise.evaluation.viewer.discover import find_runs
from groupwise.evaluation.viewer.index import Index
from groupwise.evaluation.viewer.overview import Overview
from groupwise.evaluation.viewer.reviews import REVIEWS
from groupwise.evaluation.viewer.server import make_app
from groupwise.rewards.errors import UserError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have a successor of httpx
    from starlette.testclient import TestClient

BASE, TUNED = "run/base", "run/tuned"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def client(run: Path) -> Iterator[TestClient]:
    yield from client_of(run)


def client_of(*paths: Path) -> Iterator[TestClient]:
    index = Index(paths)
    index.read_now()
    client = TestClient(make_app(index), base_url="http://127.0.0.1:8000")
    client.index = index  # type: ignore[attr-defined]
    yield client
    index.close()


def get(client: TestClient, name: str, **query: Any) -> Any:
    answer = client.get(f"/api/{name}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(client: TestClient, **query: Any) -> list[str]:
    return [row["id"] for row in get(client, "problems", limit=200, **query)["rows"]]


# What the numbers are


def test_the_curves_are_those_of_the_summary(client: TestClient, run: Path) -> None:
    (shown,) = get(client, "overview")["runs"]
    for evaluation in shown["evaluations"]:
        summary = summarise(run / "evaluations" / evaluation["label"], ks=(1, 2, 4))
        for point in evaluation["curve"]:
            expected = summary.pass_at_k[point["k"]]
            assert math.isclose(point["value"], expected.value, abs_tol=1e-9)
            assert math.isclose(point["low"], expected.low, abs_tol=1e-9)
            assert math.isclose(point["high"], expected.high, abs_tol=1e-9)
        assert evaluation["samples"] == summary.num_samples
        assert evaluation["truncated"] == summary.truncated
        assert evaluation["statuses"] == {k: v for k, v in summary.status_counts.items() if v}
        assert evaluation["parts"]["correctness"] == pytest.approx(
            summary.parts["correctness"]["mean"]
        )


def test_the_overview_has_comparison_training_and_findings(client: TestClient) -> None:
    (shown,) = get(client, "overview")["runs"]
    (pair,) = shown["comparison"]["pairs"]
    assert pair["newly_solved"] >= 1
    assert pair["no_longer_solved"] >= 1
    assert shown["training"]["columns"]["kl_divergence"][-1] == 0.6
    assert shown["health"][0]["step"] == 3


def test_evaluations_are_of_one_set_if_they_have_the_same_problems(tmp_path: Path) -> None:
    """By the settings; where there are none, by the answers; an unfinished one is of its set."""

    def add(run: str, label: str, ids: Sequence[str], asked: str | None) -> None:
        folder = tmp_path / run / "evaluations" / label
        write_log(folder / "samples.jsonl", [sample(i, 0, "x", True) for i in ids])
        if asked:
            (folder / "settings.json").write_text(json.dumps({"problems": asked}))

    add("a", "base", ["p1", "p2"], "exam")
    add("a", "tuned", ["p1"], "exam")  # has just begun
    add("a", "step-1", ["p1", "p2"], "another exam with these ids")
    add("b", "base", ["p2", "p1"], None)  # a log from elsewhere
    add("b", "tuned", ["p1", "p3"], None)
    (tmp_path / "b" / "evaluations" / "base" / "settings.json").write_text("no JSON")
    index = Index([tmp_path])
    index.read_now()
    overview = Overview(index)
    found = overview.to_json()
    assert overview.to_json() == found, "also from what it keeps"
    index.close()
    sets = {e["key"]: e["set"] for run in found["runs"] for e in run["evaluations"]}
    assert sets["a/base"] == sets["a/tuned"]
    assert len({sets["a/base"], sets["a/step-1"], sets["b/tuned"]}) == 3
    assert sets["b/base"] in (sets["a/base"], sets["a/step-1"])
    assert [found["sets"][sets[key]]["problems"] for key in ("a/tuned", "b/tuned")] == [2, 2]
    assert found["sets"][sets["b/tuned"]]["example"]


def test_flips_come_first(client: TestClient) -> None:
    rows = get(client, "problems")["rows"]
    flips = []
    for row in rows:
        solved = [row["logs"][key]["right"] > 0 for key in (BASE, TUNED)]
        flips.append(solved[0] != solved[1])
    assert flips == sorted(flips, reverse=True)
    assert {"p0", "p1"} <= {row["id"] for row, flip in zip(rows, flips, strict=True) if flip}


# What can be asked for


def test_all_problems_by_pages(client: TestClient) -> None:
    pages = [
        get(client, "problems", sort="id", offset=offset, limit=50) for offset in (0, 50, 100, 150)
    ]
    assert [len(page["rows"]) for page in pages] == [50, 50, NUM_PROBLEMS - 100, 0]
    seen = [row["id"] for page in pages for row in page["rows"]]
    assert len(set(seen)) == NUM_PROBLEMS


FILTERS: dict[str, Any] = {
    "status=unparseable": lambda s: s.status == "unparseable",
    "status=correct": lambda s: s.status == "correct",
    "finish=length": lambda s: s.finish_reason == "length",
    "score_min=1": lambda s: s.score >= 1,
    "score_max=0.5": lambda s: s.score <= 0.5,
    "tokens_min=100&tokens_max=110": lambda s: 100 <= s.num_tokens <= 110,
    "q=BOXED{42}": lambda s: "boxed{42}" in s.completion,
    "q=boxed.(4|5)[3-5]&regex=1": lambda s: re.search(r"boxed.(4|5)[3-5]", s.completion),
    "q=what is p1": lambda s: s.prompt.lower().find("what is p1") >= 0,
    "q=what&scope=answers": lambda s: "what" in s.completion,
    "q=step 3&scope=prompts": lambda s: "step 3" in s.prompt,
    "field=level&value=2": lambda s: s.metadata["level"] == 2,
    "q=boxed{42}&field=level&value=1&tokens_min=60": lambda s: (
        "boxed{42}" in s.completion and s.metadata["level"] == 1 and s.num_tokens >= 60
    ),
}


@pytest.mark.parametrize("query", FILTERS)
def test_filters_find_what_a_loop_over_the_log_finds(
    client: TestClient, run: Path, query: str
) -> None:
    fits = FILTERS[query]
    expected = {
        s.example_id
        for label in ("base", "tuned")
        for s in read_samples(run / "evaluations" / label)
        if fits(s)
    }
    asked = dict(pair.split("=", 1) for pair in query.split("&"))
    assert set(ids(client, **asked)) == expected


CHANGES: dict[str, Any] = {
    "any": lambda a, b: a != b,
    "won": lambda a, b: b > a,
    "lost": lambda a, b: b < a,
    "newly_solved": lambda a, b: a == 0 < b,
    "no_longer_solved": lambda a, b: b == 0 < a,
    "unsolved": lambda a, b: a == b == 0,
    "always": lambda a, b: a == b == NUM_SAMPLES,
    "mixed": lambda a, b: 0 < b < NUM_SAMPLES,  # noqa: ARG005
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes(client: TestClient, run: Path, change: str) -> None:
    right: dict[str, dict[str, int]] = {}
    for label in ("base", "tuned"):
        for s in read_samples(run / "evaluations" / label):
            counts = right.setdefault(s.example_id, {"base": 0, "tuned": 0})
            counts[label] += bool(s.correct)
    expected = {i for i, c in right.items() if CHANGES[change](c["base"], c["tuned"])}
    assert set(ids(client, change=change)) == expected


@pytest.mark.parametrize("sort", ["change", "solved_before", "solved_after", "score", "tokens"])
def test_sorted_both_ways(client: TestClient, sort: str) -> None:
    def value(row: Any) -> float:
        a, b = row["logs"][BASE], row["logs"][TUNED]
        return {
            "change": b["right"] / b["n"] - a["right"] / a["n"],
            "solved_before": a["right"],
            "solved_after": b["right"],
            "score": b["score"],
            "tokens": b["tokens"],
        }[sort]

    for reverse in (0, 1):
        rows = get(client, "problems", sort=sort, reverse=reverse, limit=200)["rows"]
        values = [round(value(row), 9) for row in rows]
        assert values == sorted(values, reverse=not reverse)


BAD = [
    ("problems", "regex=1&q=("),
    ("problems", "status=great"),
    ("problems", "sort=id;DROP TABLE samples"),
    ("problems", "score_min=nan"),
    ("problems", "offset=x"),
    ("problems", "log=other/base"),
    ("problem", "id=unknown"),
    ("problem", ""),
    ("sample", "log=run/base&line=99999"),
    ("sample", "log=../../etc/passwd&line=0"),
    ("steps", "log=nothing"),
]


@pytest.mark.parametrize(("name", "query"), BAD)
def test_bad_questions_get_a_reason(client: TestClient, name: str, query: str) -> None:
    answer = client.get(f"/api/{name}?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_one_problem_has_all_answers_of_each_log(client: TestClient) -> None:
    shown = get(client, "problem", id="p5")
    assert shown["answer"] == "42"
    assert [p["prompt"] for p in shown["prompts"]] == ["<|user|>\nWhat is p5?<|assistant|>\n"]
    for side in shown["logs"]:
        assert [s["sample_index"] for s in side["samples"]] == list(range(NUM_SAMPLES))
        assert all(s["parts"]["format"] == 1.0 for s in side["samples"])


def test_a_long_answer_comes_cut_and_whole_when_asked(tmp_path: Path) -> None:
    write_log(tmp_path / "x" / "samples.jsonl", [sample("p1", 0, "long " * 50_000, False)])
    for client in client_of(tmp_path / "x"):
        (side,) = get(client, "problem", id="p1")["logs"]
        (cut,) = side["samples"]
        assert len(cut["completion"]) + cut["cut"] == 250_000
        whole = get(client, "sample", log=side["key"], line=cut["line"])
        assert whole["completion"] == "long " * 50_000


def test_training_by_step_and_by_prompt(client: TestClient) -> None:
    steps = get(client, "steps", log="run/rollouts")
    assert [row["step"] for row in steps["steps"]] == [1, 2, 3, 4, 5, 6]
    assert steps["problems"][0]["id"] == "t7"
    step = get(client, "step", log="run/rollouts", step=4)
    assert [len(group["samples"]) for group in step["groups"]] == [3, 3]
    through = get(client, "trajectory", log="run/rollouts", id="t7")
    assert [entry["step"] for entry in through["steps"]] == [1, 2, 3, 4, 5, 6]
    assert through["steps"][5]["samples"][0]["advantage"] == 0.5


# Live logs, and logs that are not as they should be


def test_a_growing_log_is_followed_and_a_torn_line_waits(tmp_path: Path) -> None:
    records = evaluation_records(0, 0.5)
    log = write_log(tmp_path / "run" / "evaluations" / "base" / "samples.jsonl", records[:10])
    index = Index([tmp_path])
    index.read_now()
    state = index.logs["run/base"]
    assert (state.samples, state.broken) == (10, 0)
    line = to_line(records[10])
    with log.open("a") as file:
        file.write(line[:50])
        file.flush()
        index.read_now()
        assert (state.samples, state.broken) == (10, 0)
        file.write(line[50:])
    index.read_now()
    assert state.samples == 11
    write_log(tmp_path / "run" / "evaluations" / "tuned" / "samples.jsonl", records[:8])
    index.read_now()
    assert index.logs["run/tuned"].samples == 8
    write_log(log, records[:4])  # made again from the start
    index.read_now()
    assert index.query("SELECT count(*) FROM samples WHERE log = ?", [state.number]) == [(4,)]
    index.close()


def test_broken_lines_are_counted_and_left_out(tmp_path: Path) -> None:
    good = [to_line(r).encode() for r in evaluation_records(0, 0.5)[:3]]
    deep = b'{"example_id":"p9","sample_index":0,"metadata":' + b"[" * 50_000 + b"\n"
    lines = [
        good[0],
        b"{bad\n",
        b"[1]\n",
        b"\n",
        b'{"example_id": 1}\n',
        b'{"example_id": "x", "sample_index": -1}\n',
        b'{"example_id": "x", "sample_index": 99999999999999999999}\n',
        deep,
        good[1],
        b'{"example_id":"odd\xff","sample_index":0,"prompt":"\xfe","completion":"\xff"}\n',
        b'{"example_id":"p8","sample_index":0,"score":"high","parts":[1],"correct":"maybe"}\n',
        good[0],  # a repeated sample counts once
        good[2],
    ]
    log = tmp_path / "e" / "samples.jsonl"
    log.parent.mkdir()
    log.write_bytes(b"".join(lines))
    index = Index([log.parent])
    index.read_now()
    (state,) = index.logs.values()
    found = index.query("SELECT example_id, idx FROM samples JOIN problems USING (pid)")
    assert {("p0", 0), ("p0", 1), ("p0", 2), ("p8", 0), ("odd\ufffd", 0)} == set(found)
    assert len(found) == 5
    assert state.samples == 5
    assert state.broken == 7
    index.close()


def test_fields_of_another_type_than_theirs_are_shown(tmp_path: Path) -> None:
    records = [json.loads(to_line(sample("p", i, "five", False))) for i in range(3)]
    records[0]["example_id"], records[1]["step"] = ["p"], {"a": 1}
    log = tmp_path / "e" / "samples.jsonl"
    log.parent.mkdir()
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    for client in client_of(tmp_path):
        for example_id, count in (('["p"]', 1), ("p", 2)):
            found = client.get("/api/problem", params={"id": example_id})
            assert found.status_code == 200
            answers = [answer["completion"] for answer in found.json()["logs"][0]["samples"]]
            assert answers == ["five"] * count


def test_only_logs_inside_what_was_given(tmp_path: Path) -> None:
    secret = write_log(tmp_path / "secret" / "samples.jsonl", evaluation_records(0, 0.5)[:2])
    run = tmp_path / "given" / "run"
    (run / "evaluations" / "base").mkdir(parents=True)
    (run / "evaluations" / "base" / "samples.jsonl").symlink_to(secret)
    (run / "evaluations" / "linked").symlink_to(secret.parent)
    (run / "metrics.jsonl").symlink_to("/etc/hostname")
    (found,) = find_runs([run])
    assert found.logs == ()
    assert found.file("metrics.jsonl") is None
    with pytest.raises(UserError, match="no such run"):
        find_runs([tmp_path / "missing"])


def test_a_folder_of_runs_and_one_evaluation(tmp_path: Path, run: Path) -> None:
    keys = {log.key for found in find_runs([run.parent]) for log in found.logs}
    assert keys == {"run/base", "run/tuned", "run/rollouts"}
    (alone,) = find_runs([run / "evaluations" / "tuned"])
    assert [log.key for log in alone.logs] == ["tuned/tuned"]
    assert find_runs([tmp_path]) == []


# Reviews


def review_of(client: TestClient, **changes: Any) -> Any:
    shown = get(client, "problem", id="p0", log=TUNED)["logs"][0]["samples"][0]
    review = {name: shown[name] for name in ("key", "line", "example_id", "sample_index")}
    return client.post("/api/review", json=review | {"mark": "wrong", "note": ""} | changes)


def test_a_mark_is_written_beside_the_log_and_makes_the_queue(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    for client in client_of(run):
        assert get(client, "queue")["samples"] == []
        assert review_of(client, note="too <b>short</b>\u202e").status_code == 200
        (disputed,) = get(client, "queue")["samples"]
        assert disputed["review"] == {
            "mark": "wrong", "note": "too <b>short</b>\u202e", "other_answer": False,
        }  # fmt: skip
        assert ids(client, mark="wrong") == ["p0"]
        assert len(ids(client, mark="none")) == NUM_PROBLEMS
        assert review_of(client, mark="right").status_code == 200
        assert get(client, "queue")["samples"] == []
        assert review_of(client, mark=None).status_code == 200
        assert ids(client, mark="any") == []
    after = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    written = run / "evaluations" / "tuned" / REVIEWS
    lines = [json.loads(line) for line in after.pop(written).splitlines()]
    assert [line["mark"] for line in lines] == ["wrong", "right", None]
    assert after == before  # nothing but reviews is ever written


def test_marks_survive_and_say_when_the_answer_is_another(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for client in client_of(run):
        assert review_of(client).status_code == 200
    reviews = run / "evaluations" / "tuned" / REVIEWS
    reviews.write_bytes(reviews.read_bytes() + b'{"torn')
    for client in client_of(run):
        assert len(get(client, "queue")["samples"]) == 1
        assert review_of(client, mark="unsure").status_code == 200
        assert get(client, "queue")["samples"][0]["review"]["mark"] == "unsure"
    log = run / "evaluations" / "tuned" / "samples.jsonl"
    log.write_text(log.read_text().replace("So ", "Therefore ", 1))
    for client in client_of(run):
        shown = get(client, "problem", id="p0", log=TUNED)["logs"][0]["samples"][0]
        assert shown["review"]["other_answer"] is True


BAD_REVIEWS: list[dict[str, Any]] = [
    {"mark": "great"},
    {"example_id": 3},
    {"sample_index": True},
    {"sample_index": 3},
    {"line": 99999},
    {"line": "x"},
    {"key": "run/other"},
    {"key": "../base"},
    {"note": "x" * 5000},
    {"note": ["x"]},
    {"step": "1"},
]


@pytest.mark.parametrize("changes", BAD_REVIEWS, ids=str)
def test_bad_reviews_are_refused(client: TestClient, run: Path, changes: dict[str, Any]) -> None:
    assert review_of(client, **changes).status_code == 400
    assert not list(run.rglob(REVIEWS))


def test_reviews_are_not_written_through_a_link(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    target = tmp_path / "target"
    target.write_text("precious")
    (run / "evaluations" / "tuned" / REVIEWS).symlink_to(target)
    for client in client_of(run):
        assert review_of(client).status_code == 400
    assert target.read_text() == "precious"


def test_two_graders_that_disagree(client: TestClient) -> None:
    found = get(client, "queue", kind="reward", part="format", threshold=0.5, log=BASE)
    assert found["samples"]
    assert all(s["correct"] is False for s in found["samples"])
    assert get(client, "queue", kind="reward", part="correctness")["samples"] == []


# Safety of the server


def test_requests_not_meant_for_us_are_refused(client: TestClient) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:8000", "", "[::1]:8000"):
        assert client.get("/api/status", headers={"Host": host}).status_code == 403
    assert client.get("/api/status", headers={"Host": "localhost:8000"}).status_code == 200
    other = {"Origin": "http://evil.example"}
    assert client.post("/api/review", json={}, headers=other).status_code == 403
    assert client.post("/api/review", json={}, headers={"Origin": "null"}).status_code == 403
    cross = {"Sec-Fetch-Site": "cross-site"}
    assert client.get("/api/problems", headers=cross).status_code == 403
    plain = {"Content-Type": "text/plain"}
    assert client.post("/api/review", content="{}", headers=plain).status_code == 415
    assert client.post("/api/review", json={"note": "x" * 100_000}).status_code == 413
    assert client.get("/api/review").status_code == 405


def test_the_port_is_part_of_the_host(run: Path) -> None:
    index = Index([run])
    app = TestClient(make_app(index, 8123), base_url="http://127.0.0.1:8123")
    assert app.get("/").status_code == 200
    assert app.get("/", headers={"Host": "127.0.0.1:9999"}).status_code == 403
    index.close()


def test_every_answer_carries_a_strict_policy(client: TestClient) -> None:
    for path in ("/", "/api/status", "/static/js/app.js", "/nothing", "/static/../server.py"):
        policy = client.get(path).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy
        assert client.get(path).headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2f..%2freport.py",
     "/static//etc/passwd", "/static/%2fetc/passwd", "/etc/passwd", "/static/js/..%00/x"],
)  # fmt: skip
def test_no_file_but_our_own(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 400)


def test_the_page_loads_nothing_from_elsewhere() -> None:
    static = ROOT / "evaluation" / "viewer" / "static"
    page = (static / "index.html").read_text()
    assert not re.search(r"https?://|//[a-z]", page)
    for file in (static / "js").glob("*.js"):
        text = file.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(", text)
        assert not re.search(r"https?://(?!www\.w3\.org)", text), file
    for used in re.findall(r'(?:href|src)="/static/([^"]+)"', page):
        assert (static / used).is_file()


def test_served_on_this_machine_alone(run: Path) -> None:
    import socket
    import urllib.request

    with serving([run]) as url:
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{url}api/status") as answer:
            assert answer.status == 200
            assert answer.headers.get("Server") is None
        port = int(url.rsplit(":", 1)[1].strip("/"))
        with pytest.raises(UserError, match="--port"), serving([run], port):
            pass
        with socket.socket() as other:
            other.settimeout(2)
            assert other.connect_ex(("127.0.0.2", port)) != 0
    with pytest.raises(UserError, match="no such run"), serving([run / "missing"]):
        pass


# The command and the report


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "groupwise.framework.cli", *arguments],
        capture_output=True, text=True, cwd=ROOT, timeout=HANG_S,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_the_commands_say_what_is_wrong(tmp_path: Path) -> None:
    for name in ("view", "report"):
        done = command(name, str(tmp_path / "missing"))
        assert done.returncode == 2
        assert "no such run" in done.stderr
        assert "Traceback" not in done.stderr
    assert command("report", str(tmp_path)).returncode == 2


def embedded(page: str) -> Any:
    (data,) = re.findall(r'id="groupwise-data">(.*?)</script>', page, re.S)
    return json.loads(data)


def test_a_report_of_a_small_run_holds_every_answer(run: Path, tmp_path: Path) -> None:
    done = command("report", str(run), "--output", str(tmp_path / "page.html"))
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    data = embedded(page)
    assert len(data["problems"]) == NUM_PROBLEMS
    for label in ("base", "tuned"):
        answers = [s for found in data["logs"][f"run/{label}"].values() for s in found]
        kept = {(s["example_id"], s["sample_index"]): s["completion"] for s in answers}
        assert kept == {
            (r.example_id, r.sample_index): r.completion
            for r in read_samples(run / "evaluations" / label)
        }
    assert "all 960 answers" in data["status"]["note"]
    assert not re.search(r"<(?:script|link)[^>]*(?:src|href)=", page)


@pytest.mark.parametrize("where", ["file/page.html", "/proc/page.html"])
def test_a_report_that_cannot_be_written(run: Path, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    done = command("report", str(run), "--output", str(tmp_path / where))
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("groupwise: --output "), "one message, no traceback"


def test_a_report_of_a_large_run_says_what_is_left_out(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groupwise.evaluation.report.FULL_BYTES", 1_000)
    monkeypatch.setattr("groupwise.evaluation.report._OTHER_PROBLEMS", 5)
    first = write_report(run, tmp_path / "a.html").read_text()
    data = embedded(first)
    note = data["status"]["note"]
    found = {row["id"] for row in data["problems"]}
    assert {"p0", "p1"} <= found
    flips = int(re.search(r"all (\d+) flips", note)[1])  # type: ignore[index]
    assert len(found) == flips + 5
    assert f"of the other {NUM_PROBLEMS - flips}" in note
    # The numbers are those of the whole run.
    (shown,) = data["overview"]["runs"]
    assert shown["evaluations"][0]["samples"] == NUM_PROBLEMS * NUM_SAMPLES
    assert embedded(write_report(run, tmp_path / "b.html").read_text()) == data


def test_hostile_text_cannot_leave_its_place_in_a_report(tmp_path: Path) -> None:
    page = write_report(make_hostile_run(tmp_path / "run"), tmp_path / "page.html").read_text()
    assert page.count("</script") == page.count("<script") == 5
    data = embedded(page)
    texts = {s["completion"] for found in data["logs"]["run/base"].values() for s in found}
    assert set(HOSTILE.values()) <= texts
    policy = re.search(r'Policy" content="([^"]+)"', page)
    assert policy is not None
    assert "unsafe" not in policy[1]


def test_no_torch_is_imported() -> None:
    code = (
        "import sys, evaluation.report, evaluation.viewer\n"
        "assert not {'torch', 'duckdb', 'starlette', 'pyarrow'} & set(sys.modules)\n"
        "import groupwise.evaluation.viewer.server, groupwise.evaluation.viewer.bundle\n"
        "assert 'torch' not in sys.modules and 'framework' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
