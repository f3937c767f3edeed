"""An export from a run to a folder that was checked: load, ask, write, load again, ask, sample.

    outcome = export(source_of(Path("runs/x")), FORMATS["merged"], to, Asked(), Terminal())

A folder gets its name `to` when its check has passed. Until then it is `<to>-unchecked`, and
`<to>-failed` if it did not: nothing that answers otherwise than the run did is taken for its
export.
"""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.evaluation.log.files import replacing_folder, write_json, write_text
from groupwise.evaluation.text import printable
from groupwise.framework.export.card import card
from groupwise.framework.export.check import (
    Check,
    compare_with,
    failures,
    pass_at_k_failure,
)
from groupwise.framework.export.formats import Format
from groupwise.framework.export.pass_at_k import measure_export
from groupwise.framework.export.place import EXPORT, FAILED, UNCHECKED, beside, check_place
from groupwise.framework.export.process import DoesNotLoadError, Loaded
from groupwise.framework.export.source import Source
from groupwise.framework.export.tuned import Asked, Tuned, load_tuned
from groupwise.framework.run import machine
from groupwise.framework.run.errors import unwritable_as_user_error
from groupwise.framework.run.out_of_memory import is_memory_error, out_of_memory_as_user_error
from groupwise.framework.run.terminal import Terminal


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where an export is, and its check; None if it was not asked for."""

    folder: Path
    check: Check | None

    @property
    def passed(self) -> bool:
        return self.check is None or not self.check.failures

    def to_json(self) -> dict[str, Any]:
        return {"export": str(self.folder), "check": self.check.to_json() if self.check else None}


def export(source: Source, format: Format, to: Path, asked: Asked, terminal: Terminal) -> Outcome:
    """Writes one form of a tuned model to `to`, and checks it.

    Raises:
        UserError: `to` is there, the disk has too little space, the model cannot be loaded or has
            no such form.
    """
    check_place(to, format.bytes_needed(source))
    unchecked, failed = beside(to, UNCHECKED), beside(to, FAILED)
    with terminal.libraries_to(source.run_dir.log), _out_of_memory():
        tuned = load_tuned(source, asked, terminal)
        with (
            terminal.stage(f"Write it: {format.name}"),
            replacing_folder(unchecked) as new,
            unwritable_as_user_error(to, resumes=False),
        ):
            notices = format.write(tuned, new)
            write_json(new / EXPORT, _described(tuned, format, None))
        for notice in notices:
            terminal.notice(notice)
        check = check_export(tuned, format, unchecked, terminal) if asked.answers else None
    has_failed = check is not None and check.failures
    outcome = Outcome(failed if has_failed else to, check)
    shutil.rmtree(failed, ignore_errors=True)  # of an earlier attempt
    write_json(unchecked / EXPORT, _described(tuned, format, check))
    usage = format.usage(tuned)
    write_text(unchecked / "README.md", card(tuned, format.library, usage, check))
    unchecked.rename(outcome.folder)
    return outcome


def check_export(tuned: Tuned, format: Format, folder: Path, terminal: Terminal) -> Check:
    """Loads what was written in a fresh process, asks it, and samples from it for Pass@K."""
    assert tuned.reference is not None
    source = tuned.source
    findings = comparison = None
    try:
        with terminal.stage("Load it again") as stage:
            loaded = Loaded(format.command(tuned, folder), source.run_dir.log)
            stage.summary = loaded.loader
        with loaded:
            with terminal.stage("Ask it") as stage:
                findings = compare_with(
                    tuned.reference, loaded, source.config, format.rounding(tuned), stage.update
                )
                stage.summary = f"{findings.same_answers} of {findings.prompts} answers the same"
            wrong = tuple(failures(findings))
            if not wrong and tuned.evaluation is not None:
                comparison = measure_export(
                    source,
                    format.name,
                    folder,
                    loaded,
                    tuned.tokenizer,
                    tuned.problems,
                    tuned.evaluation,
                    terminal,
                )
                wrong = tuple(pass_at_k_failure(comparison.pairs[0]))
    except DoesNotLoadError as error:
        if is_memory_error(RuntimeError(str(error))):  # says nothing of the export
            raise RuntimeError(str(error)) from error
        wrong = (f"it does not load, or stopped: {printable(str(error))}",)
    return Check(findings, comparison, wrong)


def _described(tuned: Tuned, format: Format, check: Check | None) -> dict[str, Any]:
    """What `export.json` holds."""
    return {
        "schema": 1,
        "groupwise": machine.installed("groupwise"),
        "format": format.name,
        "run": tuned.source.config.name,
        "model": tuned.source.label,
        "trained_in": tuned.precision.to_json(),
        "check": check.to_json() if check else None,
    }


def _out_of_memory() -> AbstractContextManager[None]:
    """Turns "out of memory" in an export into what needs less."""
    return out_of_memory_as_user_error(
        "an export",
        [
            "close what else uses the GPU: the tuned model is loaded first, and then the export",
            "--set evaluation.max_rows=8, the answers sampled at once; the result is the same",
            "CUDA_VISIBLE_DEVICES= before the command: on the CPU, where there is more memory",
        ],
    )
