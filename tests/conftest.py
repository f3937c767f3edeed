"""What tests share: the toy model, made once a session; a policy from it; the command line.

Tests marked `stack` load torch, Unsloth and TRL, once for all of them. Without them
(`make test-fast`) a test that imports torch fails, so that fast tests stay fast.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpu_emulation
import pytest
import yaml

from groupwise.framework.config import ExperimentConfig, ModelConfig

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"
# After so many seconds a process is taken to hang. No measure of speed: where other work keeps all
# cores busy, one that takes a minute and compiles takes ten.
HANG_S = 1800.0

# Spinning threads of two processes on two cores can slow both a hundredfold; no test looks up a
# hub; and a bar or a banner of a library is no output of ours.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "UNSLOTH_DISABLE_STATISTICS": "1",
}
os.environ.update(ENVIRONMENT)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # inherited: a background job
    signal.signal(signal.SIGINT, signal.default_int_handler)

EMULATES_GPU = bool(os.environ.get(gpu_emulation.VARIABLE))
"""Whether the tests meet Unsloth as it is on a GPU: `make test-emulated`."""


def on_the_cpu_backend(why: str) -> pytest.MarkDecorator:
    """Marks what holds for Unsloth's CPU backend alone, and is skipped in emulation."""
    return pytest.mark.skipif(EMULATES_GPU, reason=f"Unsloth's CPU backend: {why}")


def for_slots(families: Iterable[str]) -> list[Any]:
    """Parameters of a test of the slot engine, by names of model families.

    On a GPU it refuses Gemma 3, whose attention Unsloth replaces, and whose answers may differ with
    the batch then (unsloth_zoo/temporary_patches/gemma.py).
    """
    mark = on_the_cpu_backend("Gemma 3 has transformers' attention")
    return [pytest.param(f, marks=mark if "gemma3" in f else ()) for f in families]


PRETRAINING_STEPS = 60  # far fewer than the real toy's: it writes sums, and gets few of them right


def _is_fast(config: pytest.Config) -> bool:
    return "not stack" in str(config.option.markexpr)


@pytest.fixture(autouse=True)
def _fast_tests_import_no_torch(request: pytest.FixtureRequest) -> Iterator[None]:
    before = "torch" in sys.modules
    yield
    if _is_fast(request.config):
        after = "torch" in sys.modules
        assert before or not after, "this imports torch: mark it `stack`, or fix the import"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files of nothing but stack tests, which import torch at their top, are not even opened."""
    if _is_fast(config) and collection_path.name.startswith("test_"):
        source = collection_path.read_text(encoding="utf-8")
        return bool(re.search(r"^pytestmark = \[?pytest\.mark\.stack", source, re.M)) or None
    return None


def pytest_pycollect_makemodule() -> None:
    """The emulation comes before the first test file, which may import Unsloth at its top."""
    if EMULATES_GPU and "unsloth" not in sys.modules:
        gpu_emulation.install()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Unsloth patches transformers, peft and TRL: it has to come first, whatever test does."""
    if any(item.get_closest_marker("stack") for item in session.items):
        from groupwise.framework.policy.unsloth import load_unsloth

        load_unsloth()


@dataclass(frozen=True)
class Toy:
    """A folder with the toy model, and files of its problems."""

    model: Path
    train: Path
    eval: Path

    def config(self, **changes: Any) -> ExperimentConfig:
        """A small run on it; `changes` by dotted path, with `__` for the dot."""
        base = ExperimentConfig.from_dict(self.settings())
        return base.with_values({key.replace("__", "."): v for key, v in changes.items()})

    def model_config(self, **changes: Any) -> ModelConfig:
        return self.config(**{f"model__{key}": value for key, value in changes.items()}).model

    def settings(self) -> dict[str, Any]:
        """The small run as a config file would say it."""
        return {
            "name": "tiny",
            "model": {
                "name": str(self.model),
                "max_seq_length": 96,
                "dtype": "float32",
                "load_in_4bit": False,
                "use_gradient_checkpointing": False,
                "lora_r": 8,
            },
            "data": {
                "train": str(self.train),
                "eval": str(self.eval),
                "max_prompt_length": 48,
                "max_train_examples": 64,
                "max_eval_examples": 12,
            },
            "training": {
                "warm_start": {
                    "enabled": True,
                    "completion_field": "solution",
                    "completion_template": "{solution}",
                    "max_steps": 12,
                    "batch_size": 16,
                    "learning_rate": 1e-3,
                },
                "max_steps": 3,
                "prompts_per_step": 4,
                "num_generations": 4,
                "completions_per_forward": 8,
                "max_completion_length": 24,
                "learning_rate": 1e-3,
                "max_grad_norm": 1.0,
                "beta": 0.01,
                "save_steps": 2,
            },
            "evaluation": {"num_samples": 4, "k": [1, 2, 4], "category_fields": ["category"]},
        }


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """The toy model and its problems; nobody changes them."""
    from groupwise.framework.data.toy import make_toy

    paths = make_toy(tmp_path_factory.mktemp("toy"), 0, steps=PRETRAINING_STEPS)
    return Toy(paths.model, paths.train, paths.eval)


@pytest.fixture
def tiny_yaml(toy: Toy, tmp_path: Path) -> Path:
    """The small run as a config file."""
    return write_yaml(tmp_path / "tiny.yaml", toy.settings())


def write_yaml(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Ended:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


RunCli = Callable[..., Ended]


def run_cli(
    *arguments: str | Path,
    cwd: Path,
    environment: dict[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> Ended:
    """`groupwise` in a process of its own, without a terminal; `before` runs in it first."""
    emulation = [str(Path(__file__).with_name("gpu_emulation.py"))] if EMULATES_GPU else []
    done = subprocess.run(
        [sys.executable, *emulation, "-m", "groupwise.framework.cli", *map(str, arguments)],
        cwd=cwd,
        env={**gpu_emulation.outside(), **ENVIRONMENT, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
        preexec_fn=before,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class FinishedRun:
    """A run made by `groupwise train` in a process of its own, with W&B offline."""

    ended: Ended
    folder: Path
    config: Path


@pytest.fixture(scope="session")
def finished_run(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    folder = tmp_path_factory.mktemp("finished")
    settings = toy.settings() | {"tracking": {"wandb": "offline", "tags": ["test"]}}
    config = write_yaml(folder / "tiny.yaml", settings)
    ended = run_cli("train", config, "--output-dir", folder / "runs", cwd=folder)
    return FinishedRun(ended, folder / "runs" / "tiny", config)


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[RunCli]:
    """`groupwise` in this process, in an empty folder: quick, and no less real."""
    from groupwise.framework.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Ended:
        capfd.readouterr()
        # As in a process of its own: pytest's streams write past descriptors 1 and 2.
        with (
            monkeypatch.context() as patch,
            open(1, "w", closefd=False, buffering=1, encoding="utf-8") as out,
            open(2, "w", closefd=False, buffering=1, encoding="utf-8") as err,
        ):
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            try:
                code = main([str(argument) for argument in arguments])
            except SystemExit as stopped:  # how argparse ends
                code = int(stopped.code or 0)
        return Ended(code, *capfd.readouterr())

    return run


def run_python(code: str, *arguments: str | Path, cwd: Path, **environment: str) -> str:
    """The standard output of a Python program in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        env={**gpu_emulation.outside(), **ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def processor_seconds(
    code: str, *arguments: str, cwd: Path, limit: float
) -> tuple[float, list[str]]:
    """What a program took, and the words of its last line: `seconds of processor time, words…`.

    Of five runs the quickest counts, and the first within the limit is enough: something else may
    run on this machine. Compiled files are kept between the runs, as they are between a user's;
    a shell that forbids them would have every run compile the package again.
    """
    best, words = math.inf, [""]
    for _ in range(5):
        printed = run_python(code, *arguments, cwd=cwd, PYTHONDONTWRITEBYTECODE="")
        seconds, *words = printed.splitlines()[-1].split(" ")
        best = min(best, float(seconds))
        if best < limit:
            break
    return best, words


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def assert_golden(name: str, text: str, replacements: Sequence[tuple[str, str]] = ()) -> None:
    """`text` is what tests/golden/`name` holds; UPDATE_GOLDEN=1 writes it there instead."""
    for old, new in replacements:
        text = text.replace(old, new)
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{path.name}: look, then UPDATE_GOLDEN=1"
