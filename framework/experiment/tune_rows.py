"""How many answers at once are fastest here with a config's model, for `doctor --rows`.

It says what could be written into the config, and changes nothing itself: a run that chose by the
clock would not give the same answers twice.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.framework.config import ExperimentConfig
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.errors import UserError

if TYPE_CHECKING:
    from groupwise.evaluation.sampler import SamplingParams
    from groupwise.framework.data.examples import Split
    from groupwise.framework.sampling.tune_rows import RowsProbe


def probe(config: ExperimentConfig, terminal: Terminal) -> dict[str, RowsProbe]:
    """Loads the model, reads the problems, and measures; a result for each key of the config.

    Raises UserError where model or data cannot be read, and where neither training nor evaluation
    samples with the engine `slots`.
    """
    from groupwise.evaluation.sampler import Prompt
    from groupwise.framework.experiment import run as experiment
    from groupwise.framework.experiment.data import rendered
    from groupwise.framework.policy import load
    from groupwise.framework.sampling import make_sampler
    from groupwise.framework.sampling.tune_rows import probe_rows

    found: dict[str, RowsProbe] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with terminal.libraries_to(folder / "library.log"):
            config = experiment.make_toy_parts(config, folder / "toy", terminal)
            with terminal.stage("Load the model"):
                policy = load(replace(config.model, adapter_mode="continue"), config.seed)
            for use in _uses(config):
                engine = make_sampler(policy.model, policy.tokenizer, use.section.sampler)
                if engine.name != "slots":
                    terminal.notice(f"{use.setting}: not measured, the engine is {engine.name}")
                    continue
                examples = rendered(config, use.split, policy.tokenizer).examples
                with terminal.stage(f"Measure {use.setting}"):
                    found[use.setting] = probe_rows(
                        policy.model,
                        policy.tokenizer,
                        [Prompt(key=example.id, text=example.prompt) for example in examples],
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
    """Where a run samples: the key that sets its rows, and what it asks the engine for."""

    setting: str
    section: Any  # of the config; has `sampler` and `max_rows`
    split: Split
    params: SamplingParams
    at_once: int | None  # samples in one call; None: of all problems


def _uses(config: ExperimentConfig) -> list[_Use]:
    training, evaluation = config.training, config.evaluation
    uses = [_Use("evaluation.max_rows", evaluation, "eval", config.eval_sampling_params, None)]
    if training.method == "grpo":
        at_once = training.prompts_per_step * training.num_generations
        params = training.sampling_params(config.seed)
        uses.insert(0, _Use("training.max_rows", training, "train", params, at_once))
    return uses
