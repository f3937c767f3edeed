"""An export from a run to a folder that was checked: load, ask, write, load again, ask, sample.

    outcome = export(source, FORMATS["merged"], to, terminal)

A folder gets its name `to` when its check has passed. Until then it is `<to>-unchecked`, and
`<to>-failed` if it did not: nothing that answers otherwise than the run did is taken for its
export.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from groupwise.evaluation.log.files import replacing_folder, write_json
from groupwise.framework.experiment.data import RunData, load_held_out
from groupwise.framework.experiment.evaluate import evaluation_sampler
from groupwise.framework.export.check import Findings, Reference, compare_with, refer
from groupwise.framework.export.formats import Format, Tuned
from groupwise.framework.export.precision import precision_of
from groupwise.framework.export.process import Loaded
from groupwise.framework.export.source import Source
from groupwise.framework.policy import load
from groupwise.framework.run.memory import free_memory
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.types import Example


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where the export is, and what its check has found."""

    folder: Path
    findings: Findings

    def to_json(self) -> dict[str, Any]:
        return {"export": str(self.folder), "check": asdict(self.findings)}


def export(source: Source, format: Format, to: Path, terminal: Terminal) -> Outcome:
    """Writes one form of a tuned model to `to` and checks it."""
    with terminal.libraries_to(source.run_dir.log):
        tuned, reference, _ = ask_the_policy(source, terminal)
        unchecked = to.with_name(f"{to.name}-unchecked")
        with (
            terminal.stage(f"Write the export: {format.name}"),
            replacing_folder(unchecked) as new,
        ):
            notices = format.write(tuned, new)
        for notice in notices:
            terminal.notice(notice)
        findings = check(tuned, format, unchecked, reference, terminal)
        write_json(unchecked / "export.json", asdict(findings))
        place = to if findings.passed else to.with_name(f"{to.name}-failed")
        shutil.rmtree(place, ignore_errors=True)
        unchecked.rename(place)
    return Outcome(place, findings)


def ask_the_policy(
    source: Source, terminal: Terminal
) -> tuple[Tuned, Reference, tuple[Example, ...]]:
    """The tuned policy's answers, by which the export is measured."""
    config = source.config
    with terminal.stage("Load the model"):
        policy = load(config.model, config.seed, for_training=False)
    held_out = load_held_out(RunData(config), policy.tokenizer, terminal)
    with terminal.stage("Ask the tuned model") as stage:
        sampler = evaluation_sampler(config, policy)
        base = None if policy.is_adapter else load(source.base, config.seed, for_training=False)
        reference = refer(policy, base, held_out, config, sampler, stage.update)
    tuned = Tuned(source, precision_of(policy), policy.tokenizer, policy.model.generation_config)
    del policy, base, sampler
    free_memory()
    return tuned, reference, held_out


def check(
    tuned: Tuned, format: Format, folder: Path, reference: Reference, terminal: Terminal
) -> Findings:
    """Loads the export in a fresh process, and compares its answers with the policy's."""
    config = tuned.source.config
    log = tuned.source.run_dir.log
    with (
        terminal.stage("Load it again, and ask") as stage,
        Loaded(format.command(tuned, folder), log) as loaded,
    ):
        return compare_with(reference, loaded, config, format.rounding(tuned), stage.update)
