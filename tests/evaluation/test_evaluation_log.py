"""The log: torn lines, hostile text, other readers, export."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, run_python
from hypothesis import given
from hypothesis import strategies as st

from groupwise.evaluation.export import export
from groupwise.evaluation.log.files import replacing, write_json
from groupwise.evaluation.log.jsonl import clean, dumps_line
from groupwise.evaluation.log.record_log import RecordLog
from groupwise.evaluation.log.records import (
    RolloutRecord,
    SampleRecord,
    from_line,
    read_rollouts,
    read_samples,
    to_line,
)
from groupwise.evaluation.log.settings import SETTINGS, setting_differences
from groupwise.rewards.errors import UserError

# What models and data sets have been seen to hold, and what breaks readers.
HOSTILE = {
    "plain": "The answer is 42.",
    "empty": "",
    "newlines": "a\nb\r\nc\rd",
    "null": "a\0b",
    "escape": "\x1b[2J\x1b]0;title\x07",
    "line separators": "a\u2028b\u2029c\x85d\x0bd\x0ce",
    "bidi": "\u202eright to left\u202c \u2066x\u2069",
    "byte order mark": "\ufeffx\ufeff",
    "emoji": "👩‍👩‍👧 \U0001f4a9",
    "noncharacter": "\ufffe\uffff",
    "quotes": '"\'\\\\u0041 \\" </script><!--',
    "csv": '=1+1;"a",b\tc',
    "many": "x" * 100_000,
    "chinese": "答案是四十二",
}


def record(**changes: Any) -> SampleRecord:
    fields: dict[str, Any] = {
        "example_id": "p1",
        "sample_index": 0,
        "prompt": "2 + 2?",
        "completion": "4",
        "num_tokens": 1,
        "finish_reason": "stop",
        "answer": "4",
        "extracted": "4",
        "status": "correct",
        "correct": True,
        "score": 1.0,
        "parts": {"correctness": 1.0, "language": None},
        "metadata": {"level": "easy"},
    }
    return SampleRecord(**(fields | changes))


def write(folder: Path, records: list[SampleRecord]) -> Path:
    with RecordLog(folder / "samples.jsonl", SampleRecord, {"seed": 0}) as log:
        log.append(records)
    return folder / "samples.jsonl"


def hostile_log(folder: Path) -> Path:
    return write(
        folder, [record(example_id=name, completion=text) for name, text in HOSTILE.items()]
    )


def test_hostile_text_comes_back_as_it_was(tmp_path: Path) -> None:
    log = hostile_log(tmp_path)
    assert {r.example_id: r.completion for r in read_samples(log)} == HOSTILE
    # whatever a tool takes for the end of a line
    assert len(log.read_text(encoding="utf-8").splitlines()) == len(HOSTILE)


def test_jq_reads_it(tmp_path: Path) -> None:
    jq = shutil.which("jq")
    if jq is None:
        pytest.skip("jq is not installed")
    out = subprocess.run(
        [jq, "-c", "[.example_id, .completion]", str(hostile_log(tmp_path))],
        capture_output=True,
        check=True,
    ).stdout
    assert dict(json.loads(line) for line in out.decode().strip("\n").split("\n")) == HOSTILE


def test_pandas_reads_it(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.read_json(hostile_log(tmp_path), lines=True, dtype={"example_id": str})
    assert dict(zip(frame.example_id, frame.completion, strict=True)) == HOSTILE


@pytest.mark.filterwarnings("ignore")
def test_datasets_reads_it(tmp_path: Path) -> None:
    import datasets

    path = str(hostile_log(tmp_path))
    rows = datasets.load_dataset(
        "json", data_files=path, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert dict(zip(rows["example_id"], rows["completion"], strict=True)) == HOSTILE
    assert rows[0]["parts"] == {"correctness": 1.0, "language": None}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("\ud800 and \udfff", "\ufffd and \ufffd"),
        (math.nan, None),
        (-math.inf, None),
        (2**63, "9223372036854775808"),
        (-(2**63), -(2**63)),
        (True, True),
        (np.float32(0.5), 0.5),
        (np.array([1, 2]), [1, 2]),
        ((1, "a"), [1, "a"]),
        ({1: Path("a/b"), "x": {"y": math.nan}}, {"1": "a/b", "x": {"y": None}}),
    ],
)
def test_what_json_cannot_say(value: Any, expected: Any) -> None:
    assert clean(value) == expected
    assert json.loads(dumps_line({"v": value})) == {"v": expected}


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False, width=64))
def test_any_text_and_number_round_trips(text: str, score: float) -> None:
    if math.isinf(score):
        return
    one = record(completion=text, score=score, metadata={"text": text})
    line = to_line(one)
    assert from_line(line, SampleRecord) == one
    assert line.count("\n") == 1
    assert len(line.splitlines()) == 1


def test_whole_scores_are_written_as_floats() -> None:
    line = json.loads(to_line(record(score=1, parts={"a": True})), parse_int=lambda x: f"int {x}")
    assert (line["score"], line["parts"]["a"]) == (1.0, 1.0)


def test_the_order_of_the_fields_is_the_contracts() -> None:
    assert list(json.loads(to_line(record()))) == [
        "schema", "example_id", "sample_index", "prompt", "completion", "num_tokens",
        "finish_reason", "answer", "extracted", "status", "correct", "score", "parts", "seed",
        "seconds", "metadata",
    ]  # fmt: skip


def test_rollouts_have_the_same_shape_and_more(tmp_path: Path) -> None:
    sample = record()
    rollout = RolloutRecord(
        **{name: getattr(sample, name) for name in SampleRecord.__slots__}, step=3, advantage=-0.5
    )
    with RecordLog(tmp_path / "rollouts.jsonl", RolloutRecord, {}) as log:
        log.append([rollout])
    assert list(read_rollouts(tmp_path)) == [rollout]
    assert list(read_samples(tmp_path / "rollouts.jsonl")) == [sample]


def test_a_log_cut_at_any_byte_is_mended(tmp_path: Path) -> None:
    records = [record(sample_index=i, completion="é\n" * i) for i in range(3)]
    whole = write(tmp_path, records).read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(ends[0], len(whole)):
        path = tmp_path / "samples.jsonl"
        path.write_bytes(whole[:cut])
        # a last line that lacks only its newline is a finished sample
        finished = sum(end - 1 <= cut for end in ends)
        assert len(list(read_samples(path))) == finished
        write(tmp_path, records[finished:])
        assert path.read_bytes() == whole


def test_zeros_after_a_power_cut_are_cut_off(tmp_path: Path) -> None:
    path = write(tmp_path, [record()])
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 70_000)
    assert len(list(read_samples(path))) == 1
    write(tmp_path, [])
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"nonsense\n", "line 2: not a record"),
        (b"[]\n", "not a JSON object"),
        (b'{"example_id": "x"}\n', "fields are missing: answer, completion"),
        (b'{"schema": 2}\n', "schema 2 is newer"),
        (b"\xff\xfe\n", "line 2: not a record"),
        (b"[" * 100_000 + b"\n", "line 2: not a record"),
        (to_line(record(sample_index=10**9)).encode(), "sample_index is 1000000000"),
        (to_line(record(completion=3)).encode(), "completion is 3"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = write(tmp_path, [record()])
    path.write_bytes(path.read_bytes() + line + path.read_bytes())
    with pytest.raises(UserError, match=message):
        list(read_samples(path))


def test_missing_and_foreign_logs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such log"):
        list(read_samples(tmp_path / "nowhere.jsonl"))
    path = write(tmp_path, [record()])
    (tmp_path / SETTINGS).unlink()
    with pytest.raises(UserError, match=r"no settings\.json that says how it was made"):
        write(tmp_path, [record()])
    assert len(list(read_samples(path))) == 1


def test_unknown_fields_are_passed_over() -> None:
    line = json.dumps({**json.loads(to_line(record())), "new": 1})
    assert from_line(line, SampleRecord) == record()


def test_setting_differences_are_said_by_path() -> None:
    a = {"params": {"seed": 0, "stop": []}, "model": "m", "identity": {}}
    b = {"params": {"seed": 1, "stop": []}, "identity": {"lora": "é"}}
    assert setting_differences(a, b, "before", "now") == [
        "identity: {} before, nothing now",
        'identity.lora: nothing before, "é" now',
        'model: "m" before, nothing now',
        "params.seed: 0 before, 1 now",
    ]


def test_a_failed_replacement_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, {"a": math.nan})

    def fails() -> None:
        with replacing(path) as beside:
            beside.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_full_disk_is_one_clear_message(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    log = RecordLog(tmp_path / "samples.jsonl", SampleRecord, {})
    writer = log._log
    real, writer._file = writer._file, os.open(full, 1)
    try:
        with pytest.raises(UserError, match="the disk is full"):
            log.append([record()])
    finally:
        os.close(writer._file)
        writer._file = real
        log.close()


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_export(tmp_path: Path, kind: str) -> None:
    import pandas as pd

    log = hostile_log(tmp_path)
    assert export(log.parent, tmp_path / f"out.{kind}") == len(HOSTILE)
    if kind == "parquet":
        frame = pd.read_parquet(tmp_path / "out.parquet")
        expected = HOSTILE
    else:
        frame = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
        expected = {k: v.replace("\0", "\ufffd") for k, v in HOSTILE.items()}
        expected["csv"] = "'" + expected["csv"]  # no formula
    assert dict(zip(frame.example_id, frame.completion, strict=True)) == expected
    assert frame["parts.correctness"].tolist() == [1.0] * len(HOSTILE)
    assert json.loads(frame["metadata"][0]) == {"level": "easy"}


FORMULAS = {
    "=1+1": "'=1+1",
    "@SUM(A1)": "'@SUM(A1)",
    "+cmd|' /C calc'!A0": "'+cmd|' /C calc'!A0",
    "-2+3": "'-2+3",
    "- first\n- second": "'- first\n- second",
    "\t=1": "'\t=1",
    " \n=1": "' \n=1",
    "\uff1d1": "'\uff1d1",
    # numbers are no formulas, and answers
    "-5": "-5",
    "+0.5": "+0.5",
    "-1e-5": "-1e-5",
    "-.5": "-.5",
    "5-3": "5-3",
    "'=1": "'=1",
    "\nThe answer": "\nThe answer",
}


def test_no_cell_of_a_csv_is_a_formula(tmp_path: Path) -> None:
    samples = [
        record(
            example_id=text, completion=text, prompt=text, answer=text, extracted=text,
            sample_index=i, parts={"=part": 1.0}, metadata={"=key": text},
        )
        for i, text in enumerate(FORMULAS)
    ]  # fmt: skip
    write(tmp_path, samples)
    export(tmp_path, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for column in ("example_id", "completion", "prompt", "answer", "extracted"):
        assert [row[column] for row in rows] == list(FORMULAS.values())
    assert not [cell for row in rows for cell in (*row, *row.values()) if cell.startswith("=")]


def test_export_of_a_run(tmp_path: Path) -> None:
    """All its evaluations in their order, each sample once, whatever parts each of them has."""
    import pandas as pd

    evaluations = tmp_path / "run" / "evaluations"
    write(evaluations / "tuned", [record(), record(), record(sample_index=1, parts={"b": 2.0})])
    write(evaluations / "base", [record(parts={"a": 1.0})])
    (evaluations / "empty").mkdir()
    assert export(tmp_path / "run", tmp_path / "out.parquet") == 3
    frame = pd.read_parquet(tmp_path / "out.parquet")
    assert frame["evaluation"].tolist() == ["base", "tuned", "tuned"]
    assert frame["sample_index"].tolist() == [0, 0, 1]
    assert frame["parts.b"].fillna(0).tolist() == [0.0, 0.0, 2.0]
    assert frame["parts.a"].notna().tolist() == [True, False, False]
    with pytest.raises(UserError, match="there is no evaluation in it"):
        export(evaluations / "empty", tmp_path / "out.csv")
    with pytest.raises(UserError, match="no such run"):
        export(tmp_path / "nothing", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_export_by_its_earlier_name(tmp_path: Path) -> None:
    write(tmp_path / "run" / "evaluations" / "base", [record()])
    code = "import sys; from evaluation.export import export; print(export(*sys.argv[1:]))"
    printed = run_python(code, tmp_path / "run", tmp_path / "out.csv", cwd=ROOT)
    assert printed == "1\n"


def test_export_of_rollouts_and_of_other_kinds(tmp_path: Path) -> None:
    import pyarrow.parquet

    sample = record()
    fields = {name: getattr(sample, name) for name in SampleRecord.__slots__}
    with RecordLog(tmp_path / "rollouts.jsonl", RolloutRecord, {}) as log:
        log.append([RolloutRecord(**fields, step=i, advantage=0.5) for i in range(2500)])
    out = tmp_path / "out.parquet"
    assert export(tmp_path / "rollouts.jsonl", out) == 2500
    assert pyarrow.parquet.read_table(out)["step"].to_pylist() == list(range(2500))
    with pytest.raises(UserError, match="parquet or csv"):
        export(tmp_path / "rollouts.jsonl", tmp_path / "out.xlsx")
