"""How many answers at once are fastest here with a config's model, for `doctor --rows`.

    tune_rows(config, Terminal())["evaluation.max_rows"].best.rows

This loads model and problems; the measurement itself is in `sampling/tune_rows.py`. It suggests a
value for the config and changes nothing: a run that chose by its own timings would not give the
same answers twice.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.config import ExperimentConfig
from groupwise.framework.data.examples import Split
from groupwise.framework.experiment.data import RunData
from groupwise.framework.experiment.toy import make_toy_in
from groupwise.framework.policy import load
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from groupwise.framework.sampling.tune_rows import RowsMeasured


def tune_rows(config: ExperimentConfig, terminal: Terminal) -> dict[str, RowsMeasured]:
    """Loads the model, reads the problems, and measures; a result for each key of the config.

    Raises UserError if model or data cannot be read, or if neither training nor evaluation
    samples with the engine `slots`.
    """
    from groupwise.framework.sampling import make_sampler  # torch: not at start-up
    from groupwise.framework.sampling.tune_rows import measure_rows

    found: dict[str, RowsMeasured] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with terminal.libraries_to():
            config = make_toy_in(folder / "toy", config, terminal)
            data = RunData(config)
            with terminal.stage("Load the model"):
                policy = load(replace(config.model, adapter_mode="continue"), config.seed)
            for use in _uses(config):
                engine = make_sampler(policy.model, policy.tokenizer, use.section.sampler)
                if engine.name != "slots":
                    terminal.notice(f"{use.setting}: not measured, the engine is {engine.name}")
                    continue
                examples = data.prompts(use.split, policy.tokenizer).examples
                with terminal.stage(f"Measure {use.setting}"):
                    found[use.setting] = measure_rows(
                        policy.model,
                        policy.tokenizer,
                        [Prompt(e.id, e.prompt, token_ids=e.prompt_ids) for e in examples],
                        use.params,
                        at_once=use.at_once or len(examples) * config.evaluation.num_samples,
                        max_rows=use.section.max_rows,
                    )
    if not found:
        raise UserError(
            f"doctor --rows: {config.name} samples nothing with the engine slots; "
            "set evaluation.sampler or training.sampler to auto or slots"
        )
    return found


@dataclass(frozen=True, slots=True)
class _Use:
    """One place where a run samples: the key that sets its rows, and what the engine is asked."""

    setting: str
    section: Any  # of the config; has `sampler` and `max_rows`
    split: Split
    params: SamplingParams
    at_once: int | None  # samples in one call; None: those of all problems


def _uses(config: ExperimentConfig) -> list[_Use]:
    training, evaluation = config.training, config.evaluation
    uses = [_Use("evaluation.max_rows", evaluation, "eval", config.eval_sampling_params, None)]
    if training.method == "grpo":
        at_once = training.prompts_per_step * training.num_generations
        params = training.sampling_params(config.seed)
        uses.insert(0, _Use("training.max_rows", training, "train", params, at_once))
    return uses
