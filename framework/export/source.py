"""A tuned model of a run, as it is to be exported: which one, where it lies, how it is loaded.

source_of(Path("runs/x"))                       # its final_model
source_of(Path("runs/x/best_model"))            # any other model that the run has kept
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from groupwise.framework.config import ExperimentConfig, ModelConfig, Overrides
from groupwise.framework.experiment.finished import base_config
from groupwise.framework.memory.architecture import find_config
from groupwise.framework.policy.folders import as_saved, check_model_folder
from groupwise.framework.run.checkpoints import is_whole
from groupwise.framework.run.directory import RunDir, is_run, open_run_dir
from groupwise.rewards.errors import UserError

TUNED = "tuned"


@dataclass(frozen=True, slots=True)
class Source:
    """`config.model` loads it; `folder` holds its adapter or weights; `label` names it in the run.

    `base` is the model that the run began with, and `base_name` what others know it by.
    """

    run_dir: RunDir
    config: ExperimentConfig
    folder: Path
    label: str
    base: ModelConfig
    base_name: str | None = None

    @property
    def is_adapter(self) -> bool:
        return (self.folder / "adapter_config.json").is_file()

    @property
    def public_base(self) -> str | None:
        """The hub's name of the base model; None if it is a folder of this machine."""
        return self.base_name or (None if Path(self.base.name).is_dir() else self.base.name)

    @property
    def dtype_16bit(self) -> str:
        """The 16-bit type for its weights: that of the base model's files, or else bfloat16."""
        shape, _ = find_config(self.base.name)
        dtype = shape.get("dtype") or shape.get("torch_dtype")
        return "float16" if dtype == "float16" else "bfloat16"


def source_of(path: Path, overrides: Overrides = ()) -> Source:
    """The model that a path means: of a run its final one.

    Raises:
        UserError: it is no model of a run, the run did not finish, or its base model is gone.
    """
    above = next((folder for folder in path.absolute().parents if is_run(folder)), None)
    if is_run(path) or above is None or not path.is_dir():
        _refuse_other_models(path)
        run_dir = open_run_dir(path)
        folder = run_dir.final_model
        if not folder.is_dir():
            raise UserError(
                f"{path}: the run has no final_model; it did not finish. Continue it: groupwise "
                f"train {path} --resume; or export a model that it has kept, such as one of "
                f"{run_dir.checkpoints}"
            )
    else:
        run_dir, folder = RunDir(above), path
        if folder.parent.resolve() == run_dir.checkpoints.resolve() and not is_whole(folder):
            raise UserError(f"{path}: is no whole checkpoint; it was stopped while it was written")
    began = base_config(run_dir, overrides)
    check_model_folder(began.model)
    config = replace(began, model=as_saved(began.model, folder))
    check_model_folder(config.model)
    return Source(run_dir, config, folder, _label(run_dir, folder), began.model)


def _label(run_dir: RunDir, folder: Path) -> str:
    if folder.resolve() == run_dir.final_model.resolve():
        return TUNED
    return folder.parent.name if folder.name == "model" else folder.name


def _refuse_other_models(path: Path) -> None:
    """A model folder of no run: nothing says on which problems it would be checked."""
    if not is_run(path) and any(
        (path / name).is_file() for name in ("config.json", "adapter_config.json")
    ):
        raise UserError(
            f"{path}: is a model that belongs to no run; an export is checked on the problems of "
            "its run. Name a run, or a model in its folder"
        )
