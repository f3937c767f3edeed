"""Problems out of files: what is read, what is refused and how, what becomes a demonstration."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groupwise.framework.config import DataConfig, WarmStartConfig
from groupwise.framework.data.demonstrations import load_demonstrations, render_demonstrations
from groupwise.framework.data.examples import check_data_size, load_examples, overlap
from groupwise.framework.data.prompts import PromptCache, render_prompts
from groupwise.framework.data.rows import read_examples
from groupwise.rewards.errors import UserError
from groupwise.rewards.options import options_of
from groupwise.rewards.types import Example

ROWS = [
    {"question": "1+1?", "answer": "2", "level": "easy"},
    {"question": "2+2?", "answer": 4, "level": "easy"},
    {"question": 'say "a, b"\nand stop', "answer": "0.5", "level": "hard"},
]
ANSWERS = ["2", "4", "0.5"]

GSM8K = [
    {
        "question": f"Ann has {n} apples and buys {n} more. How many?",
        "answer": f"She has {n}+{n} = <<{n}+{n}={2 * n}>>{2 * n}.\nThat is all.\n#### {2 * n}",
    }
    for n in range(1, 21)
]


def jsonl(path: Path, rows: list[dict[str, Any]], newline: str = "\n") -> str:
    path.write_bytes(b"".join((json.dumps(row) + newline).encode() for row in rows))
    return str(path)


def config(train: str, **values: Any) -> DataConfig:
    return DataConfig(train=train, **{"eval": train, **values})


def write(folder: Path, suffix: str) -> str:
    path = folder / f"rows{suffix}"
    if suffix == ".jsonl":
        return jsonl(path, ROWS)
    if suffix == ".json":
        path.write_text(json.dumps(ROWS))
    elif suffix == ".csv":
        path.write_text(
            'question,answer,level\n1+1?,2,easy\n2+2?,4,easy\n"say ""a, b""\nand stop",0.5,hard\n'
        )
    else:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        pq.write_table(
            pa.table({k: [str(row[k]) for row in ROWS] for k in ("question", "answer", "level")}),
            path,
        )
    return str(path)


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
def test_every_format_gives_the_same_examples(tmp_path: Path, suffix: str) -> None:
    source = write(tmp_path, suffix)
    found = load_examples(config(source), "train")
    assert [e.question for e in found] == [row["question"] for row in ROWS]
    assert [e.answer for e in found] == ANSWERS
    assert [e.metadata for e in found] == [
        {"level": "easy"},
        {"level": "easy"},
        {"level": "hard"},
    ]
    reference = load_examples(config(jsonl(tmp_path / "other.jsonl", ROWS)), "train")
    assert found == reference


def test_byte_order_mark_windows_lines_and_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_bytes(b"\xef\xbb\xbfquestion,answer\r\na,1\r\n\r\nb,2\r\n")
    (tmp_path / "w.jsonl").write_bytes(
        b'\xef\xbb\xbf{"question": "a", "answer": 1}\r\n\r\n{"question": "b", "answer": 2}'
    )
    for name in ("w.csv", "w.jsonl"):
        found = load_examples(config(str(tmp_path / name)), "train")
        assert [(e.question, e.answer) for e in found] == [("a", "1"), ("b", "2")]


def test_a_line_separator_inside_a_text_is_no_new_line(tmp_path: Path) -> None:
    path = tmp_path / "u.jsonl"
    path.write_text('{"question": "a\u2028b\x85c", "answer": "1"}\n', encoding="utf-8")
    assert load_examples(config(str(path)), "train")[0].question == "a\u2028b\x85c"


def test_messages_hold_the_system_prompt_and_the_template(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "r.jsonl", [{"question": "Is {x} > $1?", "answer": "yes"}])
    data = config(source, system_prompt="Be brief.", prompt_template="Problem: {question} { end }")
    example = load_examples(data, "train")[0]
    assert example.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Problem: Is {x} > $1? { end }"},
    )
    assert example.prompt == ""


def test_ids_are_stable_and_differ(tmp_path: Path) -> None:
    rows = [*ROWS, ROWS[0]]
    ids = [e.id for e in load_examples(config(jsonl(tmp_path / "a.jsonl", rows)), "train")]
    assert len(set(ids)) == 4
    assert ids[3] == f"{ids[0]}-2"
    turned = load_examples(config(jsonl(tmp_path / "b.jsonl", ROWS[::-1])), "train")
    assert [e.id for e in turned] == ids[2::-1]
    assert ids[0] == "cfe29f43bcc2"  # part of the logs that people keep: it must never change


def test_named_ids_and_metadata(tmp_path: Path) -> None:
    rows = [{"n": 7, **ROWS[0], "notes": "long"}]
    data = config(jsonl(tmp_path / "a.jsonl", rows), id_field="n", metadata_fields=["level"])
    example = load_examples(data, "train")[0]
    assert (example.id, example.metadata) == ("7", {"level": "easy"})


OPTIONS = ["Oslo", "Lima", "Cairo", "Quito"]
LABELLED = {"text": OPTIONS, "label": ["1", "2", "3", "4"]}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    """Rows with nested values, as each format has them; CSV has their JSON."""
    if path.suffix == ".jsonl":
        return jsonl(path, rows)
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".csv":
        flat = [
            {k: v if isinstance(v, str | int) else json.dumps(v) for k, v in row.items()}
            for row in rows
        ]
        with path.open("w", newline="") as lines:
            writer = csv.DictWriter(lines, list(rows[0]))
            writer.writeheader()
            writer.writerows(flat)
    else:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize(
    ("field", "value", "answers", "letters"),
    [
        ("choices", OPTIONS, [0, 3, 2], ["A", "D", "C"]),
        ("options", OPTIONS, ["B", "Lima", "D"], ["B", "Lima", "D"]),
        ("choices", LABELLED, ["1", "4", "2"], ["A", "D", "B"]),
        ("options", [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}], [1, 0], ["B", "A"]),
    ],
    ids=["positions", "letters and texts", "labels", "one by one"],
)
def test_options_reach_the_example_and_answers_become_letters(
    tmp_path: Path, suffix: str, field: str, value: Any, answers: list[Any], letters: list[str]
) -> None:
    rows = [
        {"question": f"Which is number {i}?", "answer": answer, field: value, "level": "easy"}
        for i, answer in enumerate(answers)
    ]
    source = write_rows(tmp_path / f"rows{suffix}", rows)
    found = load_examples(config(source, metadata_fields=["level"]), "train")
    assert [example.answer for example in found] == letters
    expected = json.dumps(value) if suffix == ".csv" else value
    assert [e.metadata for e in found] == [{"level": "easy", field: expected}] * len(rows)
    texts = OPTIONS if len(value) != 2 or value is LABELLED else ["x", "y"]
    assert {options_of(example.metadata) for example in found} == {tuple(texts)}


def test_positions_that_leave_open_where_they_count_from_are_said(tmp_path: Path) -> None:
    rows = [{"question": f"{i}?", "choices": ["a", "b", "c"], "answer": i} for i in (1, 2)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said: list[str] = []
    made = read_examples(config(train=str(path)), str(path), "train", said.append)
    assert [one.example.answer for one in made] == ["B", "C"]
    assert [text.partition(", of")[0] for text in said] == [
        f"{path}: 'answer' has positions of options"
    ]
    assert "read from 0" in said[0]


def test_options_in_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question,A,B,C,D,E,answer\nWhich?,Oslo,Lima,Cairo,Quito,,C\n")
    (example,) = load_examples(config(str(path), metadata_fields=[]), "train")
    assert options_of(example.metadata) == tuple(OPTIONS)


def test_numbers_without_options_stay(tmp_path: Path) -> None:
    rows = [{"question": f"{n}+0?", "answer": n, "A": n, "B": 1, "C": 2} for n in range(3)]
    found = load_examples(config(jsonl(tmp_path / "a.jsonl", rows)), "train")
    assert [example.answer for example in found] == ["0", "1", "2"]


def test_gsm8k(tmp_path: Path) -> None:
    data = config(jsonl(tmp_path / "g.jsonl", GSM8K), answer_after="####")
    found = load_examples(data, "train")
    assert [e.answer for e in found[:3]] == ["2", "4", "6"]


def test_the_held_out_part(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "g.jsonl", [*GSM8K, GSM8K[0]])
    data = config(source, eval=None, eval_fraction=0.25)
    train, held_out = (load_examples(data, split) for split in ("train", "eval"))
    questions = {e.question for e in held_out}
    assert len(questions) == 5
    assert questions.isdisjoint(e.question for e in train)
    assert len(train) + len(held_out) == 21

    turned = config(jsonl(tmp_path / "t.jsonl", GSM8K[::-1]), eval=None, eval_fraction=0.25)
    assert {e.question for e in load_examples(turned, "eval")} == questions


def test_limits(tmp_path: Path) -> None:
    data = config(jsonl(tmp_path / "g.jsonl", GSM8K), max_train_examples=3, max_eval_examples=2)
    assert len(load_examples(data, "train")) == 3
    assert len(load_examples(data, "eval")) == 2


def test_overlap() -> None:
    train = [Example("a", "What is  2+2?", "4")]
    evaluation = [Example("b", "what is 2+2?", "4"), Example("c", "3+3?", "6")]
    assert overlap(train, evaluation) == ["b"]


# The file's name, its content, further keys, and the message (the folder cut off).
BROKEN: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "missing": ("", "", {"train": "none.jsonl"}, "none.jsonl: there is no such file"),
    "misspelt file": (
        "train.jsonl",
        "{}",
        {"train": "tain.jsonl"},
        "tain.jsonl: there is no such file (did you mean train.jsonl?)",
    ),
    "empty": ("a.jsonl", "\n\n", {}, "a.jsonl: has no rows"),
    "empty json": ("a.json", "", {}, "a.json: has no rows"),
    "only a header": ("a.csv", "question,answer\n", {}, "a.csv: has no rows"),
    "unknown format": (
        "a.txt",
        "x",
        {},
        "a.txt: unknown format '.txt'; name it .json, .jsonl, .csv, .tsv, .xlsx, .parquet",
    ),
    "broken line": (
        "a.jsonl",
        '{"question": "a", "answer": "1"}\n{"question": "b", \n',
        {},
        "a.jsonl:2: is not JSON: Expecting property name enclosed in double quotes: "
        '{"question": "b",',
    ),
    "a list in a line": (
        "a.jsonl",
        "[1]\n",
        {},
        "a.jsonl: line 1 holds a list, where an object is expected; one list of all objects is "
        "JSON: name it .json",
    ),
    "a list over several lines of a .jsonl": (
        "a.jsonl",
        '[\n{"question": "a"}\n]',
        {},
        "a.jsonl:1: is not JSON: Expecting value: [; one list of all objects is JSON: name it "
        ".json",
    ),
    "a number of 5000 digits": (
        "a.jsonl",
        '{"question": "a", "answer": ' + "9" * 5000 + "}",
        {},
        "a.jsonl:1: is not JSON: a number has more than 4300 digits; write it as text: "
        '{"question": "a", "answer": 99999999999999999999999999999...',
    ),
    "the same in a .json": (
        "a.json",
        '[{"question": "a", "answer": ' + "9" * 5000 + "}]",
        {},
        "a.json: is not JSON that can be read: a number has more than 4300 digits; write it as "
        "text",
    ),
    "packed": ("a.jsonl.gz", "x", {}, "a.jsonl.gz: unpack it first; .gz is not read"),
    "a list inside an object": (
        "a.json",
        '{"version": 1, "data": [{"question": "a"}]}',
        {},
        "a.json: holds an object, where a list of objects is expected; the rows seem to be under "
        "'data': take them out, as by jq '.[\"data\"]' a.json > rows.json",
    ),
    "an object, not a list": (
        "a.json",
        '{"question": "a"}',
        {},
        "a.json: holds an object, where a list of objects is expected",
    ),
    "lines in a .json": (
        "a.json",
        '{"question": "a"}\n{"question": "b"}\n',
        {},
        "a.json:2: is not JSON: Extra data; with one object a line it is JSONL: name it .jsonl",
    ),
    "ragged csv": (
        "a.csv",
        "question,answer\na,1\nb,2,3\n",
        {},
        "a.csv: row 3 has 3 values, the header 2; quote values that hold a comma",
    ),
    "a column twice": (
        "a.csv",
        "question,answer,answer\na,1,2\n",
        {},
        "a.csv: the column 'answer' appears twice in the header",
    ),
    "not parquet": ("a.parquet", "hello", {}, None),
    "no such field": (
        "a.jsonl",
        '{"question": "a", "anwser": "1"}\n',
        {},
        "a.jsonl: no row has a field 'answer'; did you mean 'anwser'? The fields are question, "
        "anwser; set data.answer_field",
    ),
    "no field like it": (
        "a.jsonl",
        '{"question": "a", "b": "1"}\n',
        {},
        "a.jsonl: no row has a field 'answer'; the fields are question, b; set data.answer_field",
    ),
    "rows without answer": (
        "a.jsonl",
        '{"question": "a", "answer": "1"}\n'
        + '{"question": "b"}\n{"question": "c", "answer": " "}\n' * 4,
        {},
        "a.jsonl: 8 of 9 rows have no text in 'answer' (line 2, line 3, line 4, line 5, line 6 and "
        "3 more); fix or remove them, or set data.answer_field",
    ),
    "an answer that pandas lost": (
        "a.jsonl",
        '{"question": "a", "answer": NaN}\n',
        {},
        "a.jsonl: 1 of 1 rows has no text in 'answer' (line 1); fix or remove them, or set "
        "data.answer_field",
    ),
    "a question that is a list": (
        "a.jsonl",
        '{"question": [1], "answer": "1"}\n',
        {},
        "a.jsonl: 1 of 1 rows has a list instead of text in 'question' (line 1); fix or remove "
        "them, or set data.question_field",
    ),
    "no mark": (
        "a.jsonl",
        '{"question": "a", "answer": "#### 1"}\n{"question": "b", "answer": "1"}\n',
        {"answer_after": "####"},
        "a.jsonl: 1 of 2 rows has nothing after '####' in 'answer' (line 2); fix or remove them, "
        "or set data.answer_after",
    ),
    "an id twice": (
        "a.jsonl",
        '{"question": "a", "answer": 1, "id": 3}\n{"question": "b", "answer": 1, "id": "3"}\n',
        {"id_field": "id"},
        "a.jsonl: the id '3' appears twice (line 1 and line 2); ids in data.id_field 'id' must "
        "differ",
    ),
    "no such metadata": (
        "a.jsonl",
        '{"question": "a", "answer": 1, "level": 3}\n',
        {"metadata_fields": ["levle"]},
        "a.jsonl: no row has data.metadata_fields 'levle'; did you mean 'level'?",
    ),
    "too few different ones to hold out": (
        "a.jsonl",
        '{"question": "a", "answer": 1}\n' * 20,
        {"eval": None},
        "a.jsonl: 20 rows with 1 different problem are too few to hold data.eval_fraction 0.1 of "
        "them out for evaluation; name a file under data.eval",
    ),
    "too few to hold out": (
        "a.jsonl",
        '{"question": "a", "answer": 1}\n',
        {"eval": None},
        "a.jsonl: 1 row is too few to hold data.eval_fraction 0.1 of them out for evaluation; "
        "name a file under data.eval",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_refused(tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, content, values, expected = BROKEN[case]
    monkeypatch.chdir(tmp_path)
    if name:
        Path(name).write_text(content)
    data = config(**{"train": name, **values})
    with pytest.raises(UserError) as caught:
        load_examples(data, "train")
    if expected is None:
        assert str(caught.value).startswith(f"{name}: is not Parquet: ")
    else:
        assert str(caught.value) == expected


def test_half_characters_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "a\\ud800b\\ud83d\\ude00", "answer": "1"}\n')
    assert load_examples(config(str(path)), "train")[0].question == "a\ufffdb\U0001f600"


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes('{"question": "caf\xe9", "answer": 1}\n'.encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8 text"):
        load_examples(config(str(path)), "train")


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").touch()
    with pytest.raises(UserError, match=r"is a folder; name a file .*; it holds train.jsonl"):
        load_examples(config(str(tmp_path)), "train")


def test_demonstrations_of_gsm8k(tmp_path: Path) -> None:
    data = config(jsonl(tmp_path / "g.jsonl", GSM8K), answer_after="####")
    found = load_demonstrations(data, WarmStartConfig(enabled=True, max_examples=2))
    assert len(found) == 2
    assert found[0][0].answer == "2"
    assert found[0][1] == "<think>She has 1+1 = 2.\nThat is all.</think><answer>2</answer>"


# Keys of warm_start, the row, the completion.
DEMONSTRATIONS = [
    ({"completion_field": "s"}, {"s": "2+2=4"}, "<think>2+2=4</think><answer>4</answer>"),
    # The solution's own result is imitated, right or wrong.
    ({"completion_field": "s"}, {"s": "2+2=5 #### 5"}, "<think>2+2=5</think><answer>5</answer>"),
    (
        {"completion_field": "s", "completion_template": "{solution}"},
        {"s": "<think>{answer}</think>4"},
        "<think>{answer}</think>4",
    ),
]


@pytest.mark.parametrize(("keys", "row", "expected"), DEMONSTRATIONS)
def test_demonstrations(
    tmp_path: Path, keys: dict[str, Any], row: dict[str, Any], expected: str
) -> None:
    data = config(jsonl(tmp_path / "d.jsonl", [{"question": "2+2?", "answer": "4", **row}]))
    found = load_demonstrations(data, WarmStartConfig(enabled=True, **keys))
    assert [text for _, text in found] == [expected]


def test_demonstrations_leave_the_held_out_part_alone(tmp_path: Path) -> None:
    data = config(jsonl(tmp_path / "g.jsonl", GSM8K), eval=None, answer_after="####")
    held_out = {e.id for e in load_examples(data, "eval")}
    shown = {e.id for e, _ in load_demonstrations(data, WarmStartConfig(enabled=True))}
    assert len(shown) == 18
    assert shown.isdisjoint(held_out)


def test_tags_are_not_written_twice(tmp_path: Path) -> None:
    row = {"question": "2+2?", "answer": "4", "s": "<think>2+2</think><answer>4</answer>"}
    data = config(jsonl(tmp_path / "d.jsonl", [row]))
    with pytest.raises(UserError, match=r"1 of 1 rows has '<think>' already \(line 1\), and "):
        load_demonstrations(data, WarmStartConfig(enabled=True, completion_field="s"))


def test_demonstrations_without_a_solution(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "d.jsonl", [{"question": "2+2?", "answer": "4", "s": None}])
    with pytest.raises(UserError, match=r"1 of 1 rows has no solution in 's' \(line 1\)"):
        load_demonstrations(config(source), WarmStartConfig(enabled=True, completion_field="s"))


TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tokenizer(template: str | None = TEMPLATE) -> Any:
    """One token a word, and a start token that must not be added to a rendered prompt."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"[UNK]": 0, "[BOS]": 1}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="[BOS] $A", special_tokens=[("[BOS]", 1)]
    )
    made = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", bos_token="[BOS]")
    made.chat_template = template
    return made


def examples(*questions: str) -> list[Example]:
    return [
        Example(str(n), text, "0", messages=({"role": "user", "content": text},))
        for n, text in enumerate(questions)
    ]


@pytest.mark.stack
def test_prompts_are_rendered_and_long_ones_counted() -> None:
    found = render_prompts(examples("one two", "a b c d e", "x"), tokenizer(), 3)
    assert [e.prompt for e in found.examples] == ["<user>one two<assistant>", "<user>x<assistant>"]
    assert [(item.id, item.num_tokens) for item in found.left_out] == [("1", 5)]
    assert str(found) == (
        "2 prompts, the longest has 2 tokens; 1 left out with more than data.max_prompt_length 3 "
        "tokens (up to 5)"
    )


@pytest.mark.stack
def test_token_ids_come_with_the_prompt() -> None:
    made = tokenizer()
    for example in render_prompts(examples("one two", "x"), made, 9).examples:
        ids = made(example.prompt, add_special_tokens=False)["input_ids"]
        assert example.prompt_ids == tuple(ids)


class Counting:
    """A tokenizer that counts how often it tokenises a text and applies its template."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.count, self.rendered = inner, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.count += 1
        return self.inner(*arguments, **options)

    def apply_chat_template(self, *arguments: Any, **options: Any) -> Any:
        self.rendered += 1
        return self.inner.apply_chat_template(*arguments, **options)


@pytest.mark.stack
def test_each_distinct_prompt_is_rendered_once() -> None:
    cache, first = PromptCache(), Counting(tokenizer())
    shown = examples("one two", "a b", "one two")
    once = render_prompts(shown, first, 9, cache)
    assert (first.count, first.rendered) == (2, 2)
    # What is of no account for one prompt does not count as a difference.
    same = Counting(tokenizer())
    same.backend_tokenizer.enable_truncation(512)
    assert render_prompts(shown[1:], same, 9, cache).examples == once.examples[1:]
    assert (same.count, same.rendered) == (0, 0)


OTHER_TOKENIZERS: dict[str, Callable[[], Any]] = {
    "another template": lambda: tokenizer(TEMPLATE.replace("<user>", "<u>") + " "),
    "another vocabulary": lambda: _with_token(tokenizer(), "three"),
    "one that does not show what it is made of": lambda: Opaque(tokenizer()),
}


def _with_token(made: Any, token: str) -> Any:
    made.add_tokens([token])
    return made


class Opaque(Counting):
    """As a tokenizer without a Rust backend."""

    backend_tokenizer = None


@pytest.mark.stack
@pytest.mark.parametrize("case", OTHER_TOKENIZERS)
def test_another_tokenizer_renders_anew(case: str) -> None:
    cache = PromptCache()
    shown = examples("one two three", "a b")
    render_prompts(shown, tokenizer(), 9, cache)
    other = OTHER_TOKENIZERS[case]()
    counted = other if isinstance(other, Opaque) else Counting(other)
    found = render_prompts(shown, counted, 9, cache).examples
    assert counted.rendered == 2
    assert [(e.prompt, e.prompt_ids) for e in found] == [
        (e.prompt, e.prompt_ids) for e in render_prompts(shown, other, 9).examples
    ]


@pytest.mark.stack
def test_demonstrations_are_rendered_with_their_texts() -> None:
    shown = examples("one two", "a b c d e", "x")
    found = render_demonstrations([(e, f"answer {e.id}") for e in shown], tokenizer(), 3)
    assert [(e.prompt, text) for e, text in found] == [
        ("<user>one two<assistant>", "answer 0"),
        ("<user>x<assistant>", "answer 2"),
    ]


@pytest.mark.stack
def test_no_prompt_is_short_enough() -> None:
    with pytest.raises(UserError) as caught:
        render_prompts(examples("a b c", "a b c d"), tokenizer(), 2)
    assert str(caught.value) == (
        "data.max_prompt_length: 2 leaves no prompt: the shortest of 2 has 3 tokens"
    )


@pytest.mark.stack
def test_chat_templates_that_are_missing_or_fail() -> None:
    with pytest.raises(UserError, match=r"no chat template.*set model.chat_template"):
        render_prompts(examples("a"), tokenizer(None), 9)
    picky = "{{ raise_exception('System role not supported') }}"
    example = Example("0", "a", "0", messages=({"role": "system", "content": "s"},))
    with pytest.raises(UserError) as caught:
        render_prompts([example], tokenizer(picky), 9)
    assert str(caught.value) == (
        "the chat template fails: System role not supported; if it takes no system message, set "
        "data.system_prompt: null"
    )


def test_less_data_than_a_step_is_refused() -> None:
    check_data_size(4, 4)
    with pytest.raises(UserError, match=r"4 problems per step, but the training data has 3"):
        check_data_size(3, 4)
