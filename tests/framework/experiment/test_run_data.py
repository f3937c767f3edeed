"""The data of a run: each file parsed once, each prompt tokenised once, by whoever asks first."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import Toy, lines, run_python, write_yaml

from groupwise.framework.experiment.data import RunData

# `groupwise ARGUMENTS...`, with every opening and reading of a data file and every text that is
# tokenised before the training counted. Nothing is replaced: the calls are only watched.
WATCHED = """
import json, sys
from collections import Counter
opened, parsed, tokenised = Counter(), Counter(), Counter()
names = set(sys.argv[1].split(","))

def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[0] in names:
        opened[arguments[0]] += 1

sys.addaudithook(hook)
from groupwise.framework.policy.unsloth import load_unsloth
load_unsloth()
from transformers import PreTrainedTokenizerBase
from groupwise.framework.cli.main import main
from groupwise.framework.data import files

call = PreTrainedTokenizerBase.__call__

def counted(self, text=None, *arguments, **options):
    tokenised.update([text] if isinstance(text, str) else text)
    return call(self, text, *arguments, **options)

PreTrainedTokenizerBase.__call__ = counted
read_file = files._read_file

def counted_file(path, suffix):
    parsed[str(path)] += 1
    return read_file(path, suffix)

files._read_file = counted_file
code = main(sys.argv[2:])
counts = {"opened": opened, "parsed": parsed, "tokenised": tokenised}
print("\\n" + json.dumps({"code": code, **counts}))
"""


def watched(folder: Path, names: list[Path], *arguments: str | Path) -> dict[str, Any]:
    printed = run_python(WATCHED, ",".join(map(str, names)), *arguments, cwd=folder)
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    assert found["code"] == 0
    return found


def prompt_of(question: str) -> str:
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.stack
@pytest.mark.parametrize("held_out", ["a part of the training data", "a file of its own"])
def test_a_whole_run_reads_and_tokenises_once(toy: Toy, tmp_path: Path, held_out: str) -> None:
    settings = toy.settings()
    settings["training"]["max_steps"] = 1
    files = [toy.train]
    if held_out == "a file of its own":
        files.append(toy.eval)
    else:
        settings["data"]["eval"] = None
    config = write_yaml(tmp_path / "tiny.yaml", settings)
    found = watched(tmp_path, files, "train", config, "--quiet")
    assert found["parsed"] == {str(file): 1 for file in files}
    # Once more as bytes, for the hash that the run's manifest keeps.
    assert found["opened"] == {str(file): 2 for file in files}
    prompts = {prompt_of(row["question"]) for file in files for row in lines(file)}
    counts = {text: n for text, n in found["tokenised"].items() if text in prompts}
    assert len(counts) >= 1000, "the demonstrations are of most problems"
    assert set(counts.values()) == {1}


@pytest.mark.stack
@pytest.mark.parametrize("command", ["check", "train --dry-run"])
def test_a_preflight_reads_and_tokenises_once(toy: Toy, tmp_path: Path, command: str) -> None:
    settings = toy.settings()
    settings["data"]["eval"] = None
    config = write_yaml(tmp_path / "tiny.yaml", settings)
    found = watched(tmp_path, [toy.train], *command.split(), config, "--json")
    assert found["parsed"] == found["opened"] == {str(toy.train): 1}
    prompts = {prompt_of(row["question"]) for row in lines(toy.train)}
    counts = Counter(n for text, n in found["tokenised"].items() if text in prompts)
    assert set(counts) == {1}


def test_data_of_another_config_are_read_anew(toy: Toy) -> None:
    config = toy.config()
    data = RunData(config)
    assert data.of(config.with_values({"model.max_seq_length": 128})) is data
    other = config.with_values({"data.max_train_examples": 5})
    assert len(data.of(other).examples("train")) == 5
    assert len(data.examples("train")) == 64


def test_rows_are_forgotten_and_what_was_made_of_them_is_not(toy: Toy) -> None:
    data = RunData(toy.config())
    examples = data.examples("train")
    data.forget_rows()
    assert data.examples("train") is examples
    assert len(data.demonstrations) == 1400


def test_another_process_reads_its_own(toy: Toy) -> None:
    data = RunData(toy.config())
    data.examples("train")
    sent = pickle.dumps(data)
    assert len(sent) < 20_000, "no examples"
    assert pickle.loads(sent).examples("train") == data.examples("train")
