"""`Example.columns`: the fields of a row as they were read, for rewards."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from groupwise.framework.config import DataConfig
from groupwise.framework.data.examples import load_examples
from groupwise.framework.grpo_trainer.inputs import as_examples

ROWS: list[dict[str, Any]] = [
    {"task": "1+1?", "gold": 2, "no": 7, "level": 1, "tests": {"inputs": [[1, 1]], "x": None}},
    {"task": "2+2?", "gold": 4, "no": 8, "tests": {"inputs": [[2, 2]]}, "share": 0.5},
]
COMPLETE = [{**ROWS[0], "share": None}, {**ROWS[1], "level": None}]


def read(path: Path, **keys: Any) -> list[Any]:
    names = {"question_field": "task", "answer_field": "gold", "id_field": "no", **keys}
    data = DataConfig(train=str(path), eval=str(path), **names)
    return [dict(e.columns) for e in load_examples(data, "train")]


@pytest.mark.parametrize(
    "keys",
    [{}, {"metadata_fields": ()}, {"id_field": None}, {"system_prompt": "Count."}],
    ids=lambda keys: ", ".join(keys) or "defaults",
)
def test_every_field_of_a_file_whatever_the_logs_keep(keys: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert read(path, **keys) == COMPLETE


def test_types_that_only_parquet_has(tmp_path: Path) -> None:
    import pyarrow as pa  # slow: not at collection
    import pyarrow.parquet as pq

    rows = [
        {"task": "What?", "gold": "x", "no": n, "day": date(2024, 3, n), "price": Decimal("2.50")}
        for n in (1, 2)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet") == rows


def test_an_answer_cut_out_of_its_field_leaves_the_field_whole(tmp_path: Path) -> None:
    rows = [{"task": f"{n}?", "gold": f"It is {n}.\n#### {n}", "no": n} for n in (1, 2)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read(path, answer_after="####") == rows


class Template:
    def apply_chat_template(self, turns: Any, **_: Any) -> str:
        return str(turns)


def test_rows_from_python() -> None:
    turns = [{"role": "user", "content": "1+1?"}]
    rows: list[Any] = [{"prompt": turns, "answer": 2, "id": 5}, ("2+2?", "4"), {"question": "?"}]
    columns = [dict(example.columns) for example in as_examples(rows, Template())]  # type: ignore[arg-type]
    none = dict.fromkeys(["prompt", "answer", "id", "question"])
    assert columns == [
        none | rows[0],
        none | {"question": "2+2?", "answer": "4"},
        none | {"question": "?"},
    ]
