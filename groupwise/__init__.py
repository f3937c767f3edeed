"""Groupwise: teach a language model by reward on one consumer GPU.

The packages are `groupwise.framework` (from a YAML file to a tuned model), `groupwise.rewards`
(what an answer is worth), `groupwise.evaluation` (how good a model is) and `groupwise.configs` (the
presets). In a checkout they are links to the folders of these names at its top
(docs/decisions/import-name.md).
"""

from pathlib import Path as _Path

if not (_Path(__file__).parent / "framework").is_dir():
    raise ImportError(
        f"{_Path(__file__).parent}: framework, rewards, evaluation and configs are symbolic links, "
        "and this checkout was made without them: clone with `git -c core.symlinks=true clone`, on "
        "a file system that has links"
    )
