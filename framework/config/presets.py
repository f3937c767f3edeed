"""The configs of the project, found by name: `groupwise train quickstart`."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from groupwise.rewards.errors import UserError

# configs/ is beside framework/, both in a clone and in an installed package.
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def list_presets() -> dict[str, str]:
    """Each preset's name, with the first comment line of its file as a summary."""
    return {name: _summary(path) for name, path in sorted(_presets().items())}


def preset_text(name: str) -> str:
    """The YAML of a preset. Raises UserError if there is no such preset."""
    return preset_path(name).read_text(encoding="utf-8")


def resolve_config_path(name_or_path: str) -> Path:
    """The file that a user means: an existing file, else the preset of that name.

    A folder does not hide a preset: `train quickstart` works in a directory with a folder
    `quickstart`.

    Raises:
        UserError: it is neither; the message has the nearest names.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if path.is_dir() and _bare(name_or_path) not in _presets():
        config = path / "config.resolved.json"
        if config.is_file():
            raise UserError(f"{name_or_path}: is the folder of a run; its config is {config}")
        raise UserError(f"{name_or_path}: is a folder; name a YAML file, or a preset")
    return preset_path(name_or_path)


def preset_path(name: str) -> Path:
    """The file of a preset. Raises UserError if there is no such preset."""
    presets, bare = _presets(), _bare(name)
    if bare in presets:
        return presets[bare]
    close = get_close_matches(Path(bare).name, presets, 3, 0.5)
    hint = (
        f"did you mean {' or '.join(close)}?" if close else f"presets: {', '.join(sorted(presets))}"
    )
    raise UserError(f"{name}: there is no such file, and no preset of that name; {hint}")


def _presets() -> dict[str, Path]:
    return {path.stem: path for path in CONFIGS.glob("*.yaml")}


def _bare(name: str) -> str:
    return name.removesuffix(".yaml")


def _summary(path: Path) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""
