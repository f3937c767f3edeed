"""Batch sizes: given in the user's terms, passed to TRL in its own.

The user says how many different problems an optimiser step sees (`prompts_per_step`), how many
completions each gets (`num_generations`), and how many of those go through the model at once
(`completions_per_forward`). TRL 1.15 counts differently:

- `per_device_train_batch_size` counts completions: completions_per_forward;
- `gradient_accumulation_steps` is the number of such passes in an optimiser step;
- `steps_per_generation` is the number of such passes that one batch of completions feeds. If it
  equals the accumulation, one generation batch is one optimiser step. It must be passed explicitly:
  if it is None, Unsloth's trainer may replace the batch size by num_generations.

`num_iterations` > 1 changes none of them: TRL then goes over the same generation batch that many
times, one optimiser step each, and computes the old log-probabilities because the accumulation is
not a multiple of steps_per_generation x num_iterations.

With several processes, the user's numbers are still those of the whole step, and TRL is given each
process's share. All processes then make a pass of completions_per_forward at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from groupwise.rewards.errors import UserError


@dataclass(frozen=True)
class BatchShape:
    """The user's three numbers, and the three that TRL wants in each of `num_processes`."""

    prompts_per_step: int
    num_generations: int
    completions_per_forward: int
    num_iterations: int = 1
    num_processes: int = 1

    @property
    def completions_per_step(self) -> int:
        return self.prompts_per_step * self.num_generations

    @property
    def per_device_train_batch_size(self) -> int:
        return self.completions_per_forward

    @property
    def gradient_accumulation_steps(self) -> int:
        return self.completions_per_step // (self.completions_per_forward * self.num_processes)

    @property
    def steps_per_generation(self) -> int:
        return self.gradient_accumulation_steps

    def shared_by(self, num_processes: int) -> BatchShape:
        """The same step, shared equally by `num_processes`.

        Raises:
            UserError: the step's completions, or the passes over them, cannot be shared equally.
        """
        total, forward = self.completions_per_step, self.completions_per_forward
        if total % num_processes:
            unit = num_processes // math.gcd(num_processes, self.num_generations)
            works = nearest_multiples(unit, self.prompts_per_step)
            raise UserError(
                f"training.prompts_per_step: {self.prompts_per_step} x num_generations "
                f"{self.num_generations} = {total} completions cannot be shared equally by "
                f"{num_processes} processes; {either(*works)}"
            )
        share = total // num_processes
        if share % forward:
            raise UserError(
                f"training.completions_per_forward: {forward} does not divide the {share} "
                f"completions that each of {num_processes} processes has of a step; "
                f"{either(*nearest_divisors(share, forward))}"
            )
        return replace(self, num_processes=num_processes)

    def trl_arguments(self) -> dict[str, int]:
        """The arguments of TRL's GRPOConfig."""
        return {
            "per_device_train_batch_size": self.per_device_train_batch_size,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
            "steps_per_generation": self.steps_per_generation,
            "num_generations": self.num_generations,
            "num_iterations": self.num_iterations,
        }

    def __str__(self) -> str:
        passes = self.gradient_accumulation_steps
        noun = "prompt" if self.prompts_per_step == 1 else "prompts"
        text = (
            f"a step is {self.prompts_per_step} {noun} x {self.num_generations} completions = "
            f"{self.completions_per_step}, in {passes} "
            f"{'pass' if passes == 1 else 'passes'} of {self.completions_per_forward}"
        )
        if self.num_processes > 1:
            text += f" on each of {self.num_processes} processes"
        if self.num_iterations > 1:
            text += f"; each batch of completions serves {self.num_iterations} steps"
        return text + (
            f" (per_device_train_batch_size={self.per_device_train_batch_size}, "
            f"gradient_accumulation_steps={passes}, "
            f"steps_per_generation={self.steps_per_generation})"
        )


def either(*values: int) -> str:
    """The values that would work, as text: "4 or 8 work"; a 0 is left out."""
    known = [str(value) for value in values if value]
    return f"{' or '.join(known)} {'work' if len(known) > 1 else 'works'}"


def nearest_multiples(unit: int, wanted: int) -> tuple[int, int]:
    """The multiples of `unit` next to `wanted`, itself not one: below (it may be 0) and above.

    >>> nearest_multiples(4, 6)
    (4, 8)
    """
    below = wanted // unit * unit
    return below, below + unit


def nearest_divisors(total: int, wanted: int) -> list[int]:
    """The divisors of `total` next to `wanted`, below and above: at most two, in order.

    >>> nearest_divisors(32, 6)
    [4, 8]
    """
    divisors = [d for d in range(1, total + 1) if total % d == 0]
    below = [d for d in divisors if d <= wanted][-1:]
    above = [d for d in divisors if d > wanted][:1]
    return below + above
