"""The `groupwise` command as a user meets it: help, mistakes, a whole run, what comes after."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import (
    ENVIRONMENT,
    HANG_S,
    ROOT,
    FinishedRun,
    RunCli,
    Toy,
    assert_golden,
    lines,
    processor_seconds,
    run_cli,
    run_python,
    write_yaml,
)

from groupwise.evaluation.log.records import read_samples
from groupwise.evaluation.text import folded
from groupwise.framework.cli.common import print_json
from groupwise.framework.cli.main import COMMANDS, main
from groupwise.framework.run.terminal import Terminal

stack = pytest.mark.stack


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_help(cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    texts = [cli("--help").out, *(cli(command, "--help").out for command in COMMANDS)]
    assert_golden("cli_help.txt", "\n".join(texts))


@pytest.mark.parametrize("columns", [80, 100])
def test_help_stands_beside_what_it_is_about(
    cli: RunCli, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in ("--help", *COMMANDS):
        text = cli(*dict.fromkeys((command, "--help"))).out
        listed = text.partition("\n\n")[2].splitlines()  # without the usage
        alone = re.compile(r" {2,4}(--?[\w-]+|[a-z-]+)( [A-Z.=,_1-9]+)?")
        assert [line for line in listed if alone.fullmatch(line)] == []
        assert max(map(len, text.splitlines())) <= columns


class Screen(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [60, 80, 100, 120])
def test_what_a_person_sees_fits_the_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    terminal = Terminal(screen)
    numbers = "reward 0.75  right 41 %  KL 0.001  length 12"
    with terminal.stage("Train (GRPO)") as stage:
        stage.update(12, 400, numbers)
        terminal.notice("stopping after this step, with a checkpoint; Ctrl-C again stops at once")
        assert "\x1b[2K  note: stopping" in screen.getvalue(), "the bar makes way for it"
        assert stage._progress is not None
        stage._progress.refresh()
    terminal.notice(f"look into {'/very/long' * 12}: " + "word " * 30)
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    lines = [line for line in re.split(r"[\r\n]+", drawn) if "/very/long" not in line]
    assert max(map(len, lines)) <= columns
    assert "12/400" in drawn
    if columns >= 80:
        assert re.search(rf"12/400 .*{re.escape(numbers)}", drawn), "cut off"


def test_pipes_get_long_lines_whole() -> None:
    text = "groupwise: " + "word " * 60
    assert folded(text, io.StringIO()) == text


def test_nothing_asked_and_nonsense_asked(cli: RunCli) -> None:
    for arguments in ([], ["teach"], ["evaluate"], ["train", "quickstart", "--fast"]):
        ended = cli(*arguments)
        assert ended.code == 2
        assert ended.out == ""
        assert "usage: groupwise" in ended.err


# Runs a command and prints, as its last line: seconds of processor time, exit code, heavy modules.
TIMED = """
import sys, time
from groupwise.framework.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as stopped:
    code = stopped.code or 0
heavy = [name for name in ("torch", "transformers", "datasets", "numpy") if name in sys.modules]
print(f"\\n{time.process_time()} {code} {','.join(heavy)}")
"""

# what is asked, its exit code, and the processor time it may take at most, in seconds
QUICK: dict[str, tuple[list[str], int, float]] = {
    "help": (["--help"], 0, 0.15),
    "version": (["--version"], 0, 0.3),
    "help of a command": (["train", "--help"], 0, 0.45),
    "wrong config": (["train", "wrong.yaml"], 2, 0.45),
    "wrong override": (["train", "quickstart", "--set", "training.max_step=1"], 2, 0.45),
    "no such preset": (["train", "quikstart"], 2, 0.45),
}


@pytest.mark.timing
@pytest.mark.parametrize("case", QUICK)
def test_it_answers_at_once(tmp_path: Path, case: str) -> None:
    arguments, expected, limit = QUICK[case]
    (tmp_path / "wrong.yaml").write_text("model: {name: toy}\ndata: {trian: toy}\n")
    seconds, (code, heavy) = processor_seconds(TIMED, *arguments, cwd=tmp_path, limit=limit)
    assert (int(code), heavy) == (expected, "")
    assert seconds < limit
    assert sorted(p.name for p in tmp_path.iterdir()) == ["wrong.yaml"]


# Every mistake that issue trackers are full of. Each is one command in a folder with the files
# below; what the user reads is in tests/golden/cli_bad_input.txt. `{...}` is the YAML of a config.
GOOD: dict[str, Any] = {
    "model": {"name": "model"},
    "data": {"train": "rows.jsonl", "eval": "rows.jsonl"},
    "training": {
        "prompts_per_step": 2,
        "num_generations": 2,
        "completions_per_forward": 4,
        "max_completion_length": 100,
    },
}
ROWS = [{"question": f"{n}+1=?", "answer": str(n + 1)} for n in range(8)]

# title -> the config's text, changed from GOOD; or the whole command
BAD: dict[str, dict[str, Any] | str | list[str]] = {
    "misspelt keys, all at once": {
        "model": {"name": "model", "load_in_4bits": True},
        "trainig": {"max_steps": 3},
        "training.num_generation": 4,
        "training.learing_rate": 1e-6,
    },
    "names from other tools": {
        "training.lr": 1e-6,
        "training.per_device_train_batch_size": 8,
        "model.lora_rank": 8,
    },
    "lr: 1e-6, as YAML's text": "model: {name: model}\ndata: {train: rows.jsonl}\n"
    "training:\n  lr: 1e-6\n",
    "wrong types": {
        "training.max_steps": "many",
        "training.beta": "a little",
        "model.load_in_4bit": "perhaps",
        "evaluation.k": "one",
        "training.loss_type": "drgrpo",
    },
    "nothing where something is needed": {
        "model.name": "",
        "evaluation.k": [],
        "rewards": {"parts": {}},
    },
    "a metric of no such name": {"evaluation.best_metric": "accuracy"},
    "out of range": {"training.num_generations": 1, "training.learning_rate": -1},
    "a duplicate key": "model: {name: model}\ndata:\n  train: rows.jsonl\n  train: other.jsonl\n",
    "not YAML": "model: {name: model\ndata: [",
    "a tab": "model:\n\tname: model\n",
    "nothing in it": "",
    "a list": "- model\n- data\n",
    "no model, no data": "training: {max_steps: 3}\n",
    "indivisible batch": {"training.completions_per_forward": 3},
    "no room for prompt and completion": {"training.max_completion_length": 2000},
    "k above the number of samples": {"evaluation": {"num_samples": 4, "k": [1, 8]}},
    "an override of nothing": ["train", "good.yaml", "--set", "training.max_step=3"],
    "an override without a value": ["train", "good.yaml", "--set", "training.max_steps"],
    "no such config": ["train", "missing.yaml"],
    "a folder for a config": ["train", "model"],
    "no such preset": ["train", "quickstrat"],
    "no such preset to print": ["configs", "nothing"],
    "a model with no owner's name": {"model.name": "gpt2"},
    "no such model folder": {"model.name": "./models/none"},
    "a folder that is no model": {"model.name": "no_model"},
    "a model without a tokenizer": {"model.name": "no_tokenizer"},
    "no such data": {"data.train": "row.jsonl"},
    "no such data to evaluate on": {"data.eval": "rows_eval.jsonl"},
    "data without rows": {"data.train": "empty.jsonl"},
    "data that is not JSON": {"data.train": "broken.jsonl"},
    "a warm start from no such data": [
        *("train", "good.yaml", "--set", "data.answer_after=#"),
        *("--set", "training.warm_start={enabled: true, data: worked.jsonl}"),
    ],
    "quickstart with no such data": ["quickstart", "--set", "data.train=rows.json"],
    "check with no such data": ["check", "good.yaml", "--set", "data.train=rows.json"],
    "data of an unknown kind": {"data.train": "notes.txt"},
    "no such field": {"data.answer_field": "anwser"},
    "rows without the answer": {"data.train": "holes.jsonl"},
    "rows without the mark": {"data.answer_after": "####"},
    "no such reward": {"rewards": {"parts": {"corectness": 1.0}}},
    "a reward in a missing file": {"rewards": {"parts": {"mine": {"use": "mine.py:score"}}}},
    "a reward that cannot be imported": {
        "rewards": {"parts": {"mine": {"use": "broken.py:score"}}}
    },
    "a reward that its module has not": {"rewards": {"parts": {"mine": {"use": "os:nope"}}}},
    "a reward of another name": {"rewards": {"parts": {"mine": {"use": "mine_too.py:briefly"}}}},
    "a reward in a file without functions": {
        "rewards": {"parts": {"mine": {"use": "nothing.py:brevity"}}}
    },
    "a dry run where no run can be made": [
        *("train", "good.yaml", "--dry-run"),
        *("--output-dir", "rows.jsonl"),
    ],
    "no solutions to imitate": {
        "training.warm_start": {"enabled": True, "completion_field": "worked"},
    },
    "a run that is there already": ["train", "good.yaml", "--name", "taken"],
    "no config": ["train"],
    "a run for a config": ["train", "runs/taken"],
    "a run and its config": ["train", "good.yaml", "--resume", "runs/taken"],
    "a run by two names": ["train", "runs/taken", "--resume", "--name", "taken"],
    "no run to resume": ["train", "--resume", "runs/take"],
    "no run to resume, by a config": ["train", "--resume", "good.yaml"],
    "a run that has been renamed": ["train", "good.yaml", "--name", "began", "--resume"],
    "a run whose data have moved": ["train", "--resume", "runs/moved"],
    "a file in the run's place": ["train", "good.yaml", "--name", "in_the_way"],
    "evaluate: no problems named": ["evaluate", "model"],
    "evaluate: no such model": ["evaluate", "./none", "--config", "good.yaml"],
    "evaluate: a run that did not finish": ["evaluate", "runs/taken"],
    "evaluate: k that is no number": [
        *("evaluate", "model", "--config", "good.yaml"),
        *("--k", "1,two"),
    ],
    "evaluate: k above the number of samples": [
        *("evaluate", "model", "--config", "good.yaml"),
        *("--k", "16"),
    ],
    "evaluate: nothing held out": [
        *("evaluate", "model", "--config", "good.yaml", "--set", "data.eval=null"),
        *("--set", "data.eval_fraction=0"),
    ],
    "compare: nothing to compare": ["compare", "runs/taken"],
    "compare: no such run": ["compare", "runs/one", "runs/two"],
}


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(json.dumps(GOOD))
    for path, value in changes.items():
        *parents, last = path.split(".")
        section = settings
        for key in parents:
            section = section.setdefault(key, {})
        section[last] = value
    return settings


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with a config that is in order, and much that is not."""
    rows = "".join(json.dumps(row) + "\n" for row in ROWS)
    holes = [r if n % 3 else {**r, "answer": None} for n, r in enumerate(ROWS)]
    texts = {
        "good.yaml": yaml.safe_dump(GOOD, sort_keys=False),
        "rows.jsonl": rows,
        "empty.jsonl": "\n",
        "broken.jsonl": rows + '{"question": "1+1=?", "answer": \n',
        "holes.jsonl": "".join(json.dumps(row) + "\n" for row in holes),
        "notes.txt": "1+1=2\n",
        "broken.py": "import nothing_of_that_name\n",
        "mine_too.py": "import math\n\ndef brevity(example, completion): return 1.0\n",
        "nothing.py": "LONGEST = 200\n",
        "model/config.json": "{}",
        "model/tokenizer.json": "{}",
        "no_tokenizer/config.json": "{}",
        "no_model/notes.txt": "",
        "runs/taken/config.resolved.json": json.dumps(changed({"name": "taken"})),
        "runs/in_the_way": "a file",
        "runs/renamed/config.resolved.json": json.dumps(changed({"name": "began"})),
        "runs/renamed/manifest.json": json.dumps({"name": "began"}),
        "runs/moved/config.resolved.json": json.dumps(changed({"data.train": "/gone/rows.jsonl"})),
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_view_where_nothing_has_run(cli: RunCli, tmp_path: Path) -> None:
    ended = cli("view", "--no-browser")
    assert ended.code == 2
    assert "there is no folder runs here" in ended.err
    assert not list(tmp_path.iterdir())


def test_bad_input_gets_one_clear_message(workplace: Path, cli: RunCli) -> None:
    told = []
    for title, case in BAD.items():
        command = case if isinstance(case, list) else ["train", "my.yaml"]
        (workplace / "my.yaml").unlink(missing_ok=True)
        if not isinstance(case, list):
            text = case if isinstance(case, str) else yaml.safe_dump(changed(case), sort_keys=False)
            (workplace / "my.yaml").write_text(text)
        before = files_in(workplace)
        ended = cli(*command)
        assert ended.code == 2, f"{title}: {ended}"
        assert ended.out == "", title
        assert files_in(workplace) == before, f"{title}: something was written"
        told.append(f"# {title}\n$ groupwise {' '.join(command)}\n{ended.err}")
    assert_golden("cli_bad_input.txt", "\n".join(told), [(str(workplace), "HERE")])


# what ends in an error, and what the error says
FAILING = {
    "train good.yaml --set training.max_step=3": "there is no such key",
    "train missing.yaml": "there is no such file",
    "train --json --frobnicate": "there is no option --frobnicate",
    "train": "train needs a config",
    "train good.yaml --name taken": "holds a run already",
    "train runs/away --resume": "runs/away: there is no such run",
    "train model --resume": "model: holds no run",
    "check runs/taken": "is the folder of a run; its config is runs/taken/config.resolved.json",
    "quickstart --set data.train=rows.json": "there is no file rows.json",
    "check good.yaml --set data.train=row.jsonl": "there is no file row.jsonl",
    "check": "required: CONFIG",
    "evaluate model": "is not a run directory",
    "evaluate runs/taken": "it did not finish",
    "compare runs/one runs/two": "there is no such run",
    "rewards --log runs/none --config good.yaml": "runs/none",
    "train-reward rows.jsonl --model model --output model": "exists and is not empty",
    "doctor --rows missing.yaml": "there is no such file",
}


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("line", FAILING)
def test_with_json_an_error_is_an_object_too(cli: RunCli, line: str) -> None:
    ended = cli(*line.split(), "--json")
    assert ended.code == 2
    assert set(ended.json) == {"error", "exit_code"}
    assert ended.json["exit_code"] == 2
    assert FAILING[line] in ended.json["error"]
    assert ended.json["error"].splitlines()[-1].split()[-1] in ended.err, "said on the screen too"


# A command with a bug, as somebody may add one.
BROKEN = """
import sys, types
from groupwise.framework.cli import options
from groupwise.framework.cli.main import COMMANDS, main
def run(arguments):
    return 1 + "1"
COMMANDS["broken"] = "does not work"
sys.modules["groupwise.framework.cli.broken"] = types.SimpleNamespace(
    add_options=options.add_json, run=run
)
sys.exit(main(["broken", "--json"]))
"""


def test_with_json_an_unexpected_error_is_an_object_too(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BROKEN], cwd=tmp_path, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["exit_code"] == 1
    assert found["error"].startswith("TypeError: unsupported operand")
    assert "Traceback" in done.stderr


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--lr", "-1"), "--lr -1.0: training.learning_rate: -1.0 must be greater than 0"),
        (("--name", "a/b"), '--name a/b: name: "a/b" must be letters'),
        (("--set", "seed=x", "--no-lora"), '--set seed=x: seed: "x" is not a whole number'),
        (("--no-lora", "--set", "model.lora_r=0"), "--set model.lora_r=0: model.lora_r: 0 must be"),
    ],
)
def test_a_wrong_option_is_named_as_it_was_typed(
    cli: RunCli, options: tuple[str, ...], told: str
) -> None:
    ended = cli("train", "good.yaml", *options)
    assert ended.code == 2
    assert ended.err.startswith(f"groupwise: good.yaml: {told}")


def test_quickstart_beside_a_folder_of_that_name(cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "quickstart").mkdir()
    for command in (["quickstart"], ["train", "quickstart"]):
        ended = cli(*command, "--set", "training.max_step=1")
        assert "training.max_step: there is no such key" in ended.err


def test_only_the_module_of_the_command_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from contextlib import suppress\n"
        "from groupwise.framework.cli import main\n"
        "with suppress(SystemExit):\n"
        "    main(sys.argv[1:])\n"
        "ours = {name.rpartition('.')[2] for name in sys.modules if '.framework.cli.' in name}\n"
        "print('\\n' + ' '.join(sorted(ours)))"
    )
    for arguments, expected in (
        (["--help"], "main parser"),
        (["train-reward", "--help"], "common main options parser train_reward"),
        (["view", "--help"], "main parser view"),
    ):
        found = run_python(code, *arguments, cwd=tmp_path).splitlines()[-1]
        assert set(found.split()) - {"aliases"} == set(expected.split())


def test_configs(cli: RunCli) -> None:
    assert_golden("cli_configs.txt", cli("configs").out)
    shown = cli("configs", "quickstart")
    assert shown.code == 0
    assert shown.out == (ROOT / "configs" / "quickstart.yaml").read_text()


def test_a_terminal_that_lacks_a_character_gets_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="ascii"))
    monkeypatch.setattr("groupwise.framework.cli.configs.run", lambda _: print("≈ 5") or 0)
    assert main(["configs"]) == 0
    assert out.getvalue().split() == [b"\\u2248", b"5"]


@pytest.mark.parametrize("text", ["≈ ü", "\ud800"])
def test_json_is_ascii(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"prompt": text})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed) == {"prompt": text}


@stack
def test_dry_run(toy: Toy, cli: RunCli, tiny_yaml: Path, tmp_path: Path) -> None:
    ended = cli("train", tiny_yaml, "--dry-run")
    assert ended.code == 0
    shown = re.sub(r"needs up to .+", "needs up to SOME of what there is", ended.out)
    assert_golden("cli_dry_run.txt", shown, [(str(toy.train.parent), "TOY")])
    found = cli("train", tiny_yaml, "--dry-run", "--json", "--set", "data.max_train_examples=20")
    assert found.json["train"] == 20
    assert found.json["held_out"] == 12
    assert found.json["first_prompt"].startswith("<|im_start|>user\n")
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.yaml"], "nothing is made"
    none = ("data.eval=null", "data.eval_fraction=0", "evaluation.before=false",
            "evaluation.after=false")  # fmt: skip
    found = cli("train", tiny_yaml, "--dry-run", "--json", *(f"--set={key}" for key in none))
    assert found.json["held_out"] == 0


@stack
def test_a_dry_run_of_supervised_training_asks_for_no_step_of_grpo(
    cli: RunCli, tiny_yaml: Path
) -> None:
    few = ("data.max_train_examples=3", "training.method=sft")
    ended = cli("train", tiny_yaml, "--dry-run", *(f"--set={key}" for key in few))
    assert ended.code == 0, ended.err


@stack
def test_dry_run_of_quickstart(cli: RunCli, tmp_path: Path) -> None:
    found = cli("quickstart", "--dry-run", "--json")
    assert found.json["train"] == 1400
    assert found.json["held_out"] == 200
    assert not list(tmp_path.iterdir())


# what only the tokenizer tells
TOKENIZER_CASES: dict[str, tuple[dict[str, Any], str]] = {
    "no chat template": (
        {"model.name": "{bare}"},
        "has no chat template",
    ),
    "no prompt short enough": (
        {"data.max_prompt_length": 3},
        "groupwise: data.max_prompt_length: 3 leaves no prompt: the shortest of 64 has",
    ),
    "a chat template without the question": (
        {"model.chat_template": "{bare}/no_question.jinja"},
        "groupwise: the chat template leaves the question out: 64 problems have one and the same",
    ),
    "less data than a step": (
        {"data.max_train_examples": 3},
        "groupwise: training.prompts_per_step: 4 problems per step, but the training data has 3",
    ),
}


@stack
@pytest.mark.parametrize("case", TOKENIZER_CASES)
@pytest.mark.parametrize("command", ["train", "train --dry-run"])
def test_bad_input_that_the_tokenizer_tells(
    toy: Toy, cli: RunCli, tiny_yaml: Path, tmp_path: Path, case: str, command: str
) -> None:
    from transformers import AutoTokenizer

    bare = tmp_path / "bare"
    bare.mkdir()
    for file in toy.model.iterdir():
        if file.name != "chat_template.jinja":
            (bare / file.name).write_bytes(file.read_bytes())
    (bare / "no_question.jinja").write_text("<|im_start|>user\nhello<|im_end|>\n")
    tokenizer = AutoTokenizer.from_pretrained(bare)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(bare)

    changes, message = TOKENIZER_CASES[case]
    overrides = [f"--set={k}={str(v).format(bare=bare)}" for k, v in changes.items()]
    ended = cli(*command.split(), tiny_yaml, *overrides)
    assert ended.code == 2
    assert ended.out == ""
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert "Warm start" not in ended.err, "it is said before anything takes long"
    assert not (tmp_path / "runs" / "tiny").exists(), "the fixed config may use the name again"


@stack
def test_a_run_without_a_terminal(finished_run: FinishedRun) -> None:
    ended = finished_run.ended
    assert ended.code == 0, ended.err
    assert "\x1b" not in ended.out + ended.err, "no colours"
    assert "\r" not in ended.out + ended.err, "no moving bars"
    told = [
        "Load the model",
        "Read the data",
        "Warm start (SFT)",
        "Evaluate: base",
        "Train (GRPO)",
        "Evaluate: tuned",
    ]
    found = [
        stage for stage in told if re.search(rf"^  {re.escape(stage)} +done in", ended.err, re.M)
    ]
    assert found == told
    assert "Unsloth" not in ended.err + ended.out
    assert "Warning" not in ended.err + ended.out
    assert re.search(r"^ *3/3|reward ", ended.err, re.M)
    for name in ("pass@1", "pass@2", "pass@4", "base", "tuned", str(finished_run.folder)):
        assert name in ended.out
    assert "done in" not in ended.out, "progress goes to the error stream"
    assert "Unsloth" in (finished_run.folder / "libraries.log").read_text()


@stack
def test_the_run_directory_holds_what_the_contract_says(finished_run: FinishedRun) -> None:
    folder = finished_run.folder
    there = {p.name for p in folder.iterdir()}
    assert there >= {
        *("config.yaml", "config.resolved.json", "manifest.json", "metrics.jsonl"),
        *("rollouts.jsonl", "checkpoints", "final_model", "evaluations", "comparison.json"),
    }
    assert (folder / "config.yaml").read_text() == finished_run.config.read_text()
    assert len(lines(folder / "metrics.jsonl")) == 3
    assert len(lines(folder / "rollouts.jsonl")) == 3 * 16
    for label in ("base", "tuned"):
        samples = list(read_samples(folder / "evaluations" / label))
        assert len(samples) == 12 * 4
        summary = json.loads((folder / "evaluations" / label / "summary.json").read_text())
        assert summary["num_samples"] == 4 or summary["num_samples"] == 48
        assert set(summary["pass_at_k"]) == {"1", "2", "4"}
        assert set(summary["by_category"]["category"]) == {"carry", "no carry"}
    comparison = json.loads((folder / "comparison.json").read_text())
    assert {"base", "tuned"} <= set(json.dumps(comparison).replace('"', " ").split())


@stack
def test_a_run_as_json(cli: RunCli, tiny_yaml: Path, tmp_path: Path) -> None:
    ended = cli(
        *("train", tiny_yaml, "--json", "--quiet", "--name", "as-json"),
        *("--set", "training.max_steps=1", "--set", "training.warm_start.enabled=false"),
        *("--set", "evaluation.before=false", "--set", "model.load_in_4bit=true"),
    )
    assert ended.code == 0
    assert ended.out.count("\n") == 1, "one object"
    assert set(ended.json) >= {"run", "evaluations", "comparison"}
    assert ended.json["run"] == "runs/as-json"
    assert ended.json["comparison"] is None
    assert set(ended.json["evaluations"]) == {"tuned"}
    assert ended.err == "", "quiet"
    assert (tmp_path / "runs" / "as-json" / "final_model" / "adapter_config.json").is_file()

    again = cli("train", tiny_yaml, "--name", "as-json")
    assert again.code == 2
    assert "runs/as-json: holds a run already" in again.err


@stack
def test_evaluate_a_run_and_compare(
    finished_run: FinishedRun, cli: RunCli, toy: Toy, tmp_path: Path
) -> None:
    folder = finished_run.folder
    ended = cli("evaluate", folder, "--num-samples", "2", "--label", "again", "--json",
                "--export", "csv")  # fmt: skip
    assert ended.code == 0, ended.err
    exported = (folder / "evaluations" / "again" / "samples.csv").read_text().splitlines()
    assert exported[0].startswith("schema,example_id,sample_index")
    assert ended.json["evaluation"] == str(folder / "evaluations" / "again")
    assert set(ended.json["summary"]["pass_at_k"]) == {"1", "2"}
    # The seed, the problem and the sample decide: the same first answers as at the end of the run.
    first, again = (
        {(s.example_id, s.sample_index): s.completion for s in read_samples(folder / path)}
        for path in ("evaluations/tuned", "evaluations/again")
    )
    assert again == {key: text for key, text in first.items() if key[1] < 2}

    # Another data file is another evaluation.
    exam = tmp_path / "exam.jsonl"
    exam.write_text("".join(toy.eval.read_text().splitlines(keepends=True)[:3]))
    other = cli("evaluate", folder, "--num-samples", "2", "--data", exam, "--json")
    assert other.code == 0, other.err
    assert other.json["evaluation"] == str(folder / "evaluations" / "tuned-exam")
    assert other.json["summary"]["num_examples"] == 3

    both = cli("compare", folder)
    assert both.code == 0, both.err
    assert "base -> tuned" in both.out
    assert set(cli("compare", folder, "--json").json) >= {"sides", "schema"}
    named = cli("compare", *(folder / "evaluations" / label for label in ("tuned", "again")))
    assert named.code == 2
    assert "num_samples: 4 in tiny/tuned, 2 in tiny/again" in named.err


@stack
def test_evaluate_a_model_folder(
    finished_run: FinishedRun, toy: Toy, cli: RunCli, tiny_yaml: Path, tmp_path: Path
) -> None:
    ended = cli("evaluate", toy.model, "--config", tiny_yaml, "--k", "1,4")
    assert ended.code == 0, ended.err
    assert "pass@4" in ended.out
    (folder,) = (tmp_path / "runs").iterdir()
    made = folder / "evaluations" / f"{folder.name.removeprefix('eval-')}-eval"
    assert folder.name.endswith("-model")
    assert len(lines(made / "samples.jsonl")) == 12 * 4

    # Resumed where nothing else is asked, refused before the model is loaded where something is.
    before = files_in(folder / "evaluations")
    assert cli("evaluate", toy.model, "--config", tiny_yaml, "--k", "1,4").code == 0
    assert files_in(folder / "evaluations") == before
    fewer = cli("evaluate", toy.model, "--config", tiny_yaml, "--num-samples", "2")
    assert fewer.code == 2
    assert "num_samples: 4 in the log, 2 now" in fewer.err
    assert f"To keep both: --label {made.name}-2" in fewer.err
    assert "Load the model" not in fewer.err

    write_yaml(tmp_path / "o.yaml", {"rewards": {"parts": {"correctness": 2.0}}})
    (change,) = cli("rewards", "--log", folder, "--config", "o.yaml", "--json").json["logs"]
    assert (change["samples"], change["unknown_questions"]) == (48, 0)

    adapter = finished_run.folder / "final_model"
    ended = cli("evaluate", adapter, "--data", toy.eval, "--num-samples", "1", "--json", "--set",
                "data.max_eval_examples=5", "--set", "model.load_in_4bit=false",
                "--set", "training.max_completion_length=24", "--label", "adapter")  # fmt: skip
    assert ended.code == 0, ended.err
    assert ended.json["summary"]["num_examples"] == 5


def _limit_files(num_bytes: int) -> Callable[[], None]:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))

    return limit


def test_a_disk_that_is_full_at_once(workplace: Path) -> None:
    """The first file of the run cannot be written: nothing stays."""
    before = files_in(workplace)
    ended = run_cli("train", "good.yaml", cwd=workplace, before=_limit_files(100))
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.splitlines()[-1].startswith("groupwise: runs/good: cannot be made: ")
    assert "--output-dir" in ended.err
    assert files_in(workplace) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_results_that_cannot_be_written() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "groupwise.framework.cli", "configs"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=ROOT,
        )
    assert done.returncode == 2
    assert done.stderr == (
        "groupwise: standard output, or a file of the run: the disk is full; free some space\n"
    )


@stack
def test_ctrl_c(tiny_yaml: Path, tmp_path: Path) -> None:
    """Stopped while it trains: its own exit code, no traceback, and what is finished is kept."""
    process = subprocess.Popen(
        [sys.executable, "-m", "groupwise.framework.cli", "train", tiny_yaml, "--set",
         "training.max_steps=5000", "--set", "evaluation.before=false", "--json"],
        cwd=tmp_path, env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        told += line
        if "Train (GRPO) …" in line:
            break
    metrics = tmp_path / "runs" / "tiny" / "metrics.jsonl"
    while process.poll() is None and not (metrics.is_file() and metrics.stat().st_size):
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, told + err
    assert "groupwise: stopped" in err
    found = json.loads(out)
    assert found["exit_code"] == 130
    assert re.match(r"stopped after step \d+, with a checkpoint", found["error"])
    assert "Traceback" not in err
    assert lines(metrics)


@stack
def test_another_models_answers_are_not_shown_for_this_one(
    finished_run: FinishedRun, cli: RunCli
) -> None:
    ended = cli("evaluate", finished_run.folder, "--label", "base")
    assert ended.code == 2
    assert "was made with other settings" in ended.err
    assert 'model: "base" in the log' in ended.err
    refused = cli("evaluate", finished_run.folder, "--label", "../x")
    assert refused.code == 2
    assert "Load the model" not in refused.err


REWARDS_THAT_CANNOT_WORK = [
    ("raise SystemExit(5)\n\ndef bad(example, completion): return 1.0", "SystemExit"),
    ("def bad(example, completion): raise KeyError('x')", "KeyError"),
    ("def bad(example, completion): return 'much'", "no number"),
    ("def bad(example, completion): return 1.0", "constant"),
]


@stack
@pytest.mark.parametrize(("source", "said"), REWARDS_THAT_CANNOT_WORK)
def test_a_dry_run_finds_rewards_that_cannot_work(
    cli: RunCli, tiny_yaml: Path, source: str, said: str
) -> None:
    Path("bad.py").write_text(source + "\n")
    ended = cli("train", tiny_yaml, "--dry-run", "--set", "rewards.parts.bad={use: bad.py:bad}")
    assert ended.code == 2, ended.out
    assert said in ended.err + ended.out


@stack
def test_a_chat_template_that_is_not_there(cli: RunCli, tiny_yaml: Path) -> None:
    ended = cli("train", tiny_yaml, "--dry-run", "--set", "model.chat_template=nope.jinja")
    assert ended.code == 2
    assert "model.chat_template: there is no file nope.jinja" in ended.err


@stack
def test_a_report_is_not_written_over_a_folder(
    finished_run: FinishedRun, cli: RunCli, tmp_path: Path
) -> None:
    ended = cli("report", finished_run.folder, "--output", tmp_path)
    assert ended.code == 2
    assert f"{tmp_path}: is a folder" in ended.err
