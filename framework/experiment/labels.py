"""The label of an evaluation that a user starts: which model, which data file.

    label = f"{model_label(target)}-{data_label(config.data)}"        # tuned-exam, Qwen3-4B-gsm8k
    made = free_evaluation(run_dir, label, examples, settings, terminal)

A label is the name of a folder, so it is one that every file system takes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from groupwise.evaluation.log.evaluations import EVALUATIONS
from groupwise.evaluation.log.settings import load_settings
from groupwise.framework.config import DataConfig
from groupwise.framework.config.paths import FORMATS
from groupwise.framework.run.directory import RunDir
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Example

if TYPE_CHECKING:
    from groupwise.evaluation import EvaluationSettings

_MOST = 60  # characters: run and label together stay short enough to read
# Names of folders that say nothing of the model in them: the folder above says it.
_OF_NO_MODEL = re.compile(
    r"(final_|best_)?(model|adapter|checkpoint|weights)|merged_base|checkpoints|warm_start"
    r"|checkpoint-\d+|snapshots|[0-9a-f]{40}"
)
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows


def model_label(target: str) -> str:
    """The model's name: of a folder `r/final_model` "r-final_model", of a hub name its last part.

    >>> model_label("Qwen/Qwen3-4B"), model_label("/a/toy/model")
    ('Qwen3-4B', 'toy-model')
    """
    path = Path(target)
    path = path.resolve() if path.exists() else path
    *above, last = [part for part in path.parts if part != path.anchor] or [""]
    told = [last]
    for part in reversed(above):
        if not _OF_NO_MODEL.fullmatch(told[0]):
            break
        told.insert(0, part)
    return folder_name("-".join(told))


def data_label(data: DataConfig) -> str:
    """The file's name without its ending; of a hub data set its last part and the split."""
    source, split = (data.eval, data.eval_split) if data.eval else (data.train, data.train_split)
    path = Path(source)
    is_file = path.is_file() or path.suffix in FORMATS or "/" not in source
    name = path.stem if is_file else f"{path.name}-{split}"
    return folder_name(name if data.eval else f"{name}-held-out", fallback="data")


def folder_name(text: str, fallback: str = "model") -> str:
    """A text as the name of a folder on every file system: ASCII letters, digits, `.`, `-`, `_`."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("._-")[:_MOST].rstrip("._-")
    if not name or _RESERVED.fullmatch(name):
        name = f"{fallback}-{name}".rstrip("-")
    return name


def free_evaluation(
    run_dir: RunDir,
    label: str,
    examples: Sequence[Example],
    settings: EvaluationSettings,
    terminal: Terminal,
    *,
    is_given: bool,
) -> str:
    """The label under which this evaluation goes, new or continued, before a model is loaded.

    One that is not the user's (`is_given`) gets a number where it is taken by an evaluation of
    another model or other problems.

    Raises:
        UserError: an evaluation of this label was made with other settings.
    """
    from groupwise.evaluation.runner import check_log, log_settings  # NumPy: not at start-up

    now = log_settings(examples, "", settings)
    name, number = label, 1

    def is_of_another() -> bool:
        before = load_settings(run_dir.evaluation(name))
        return before is not None and any(before.get(k) != now[k] for k in ("model", "problems"))

    while not is_given and is_of_another():
        number += 1
        name = f"{label}-{number}"
    if name != label:
        terminal.notice(
            f"{EVALUATIONS}/{label} is of another model or other problems; this one is {name}"
        )
    there = run_dir.evaluation(name)
    try:
        check_log(examples, settings, there)
    except UserError as error:
        while run_dir.evaluation(name).exists():
            number += 1
            name = f"{label}-{number}"
        raise UserError(
            f"{error}\nTo keep both: --label {name}. A table of what is there: "
            f"groupwise table {there}"
        ) from None
    return name
