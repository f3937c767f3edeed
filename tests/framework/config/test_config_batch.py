"""The user's batch sizes against TRL's own classes: every combination up to 16 x 16 x 16.

What an optimiser step sees is counted in what TRL's sampler yields, split as TRL splits it; a few
shapes are trained for real, and counted in the log.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Toy, lines, run_python
from grpo_toys import toy_trainer

from groupwise.framework.config import BatchShape, TrainingConfig, check_training, with_values
from groupwise.rewards.errors import UserError

pytestmark = pytest.mark.stack

SIZES = range(1, 17)
PROBLEMS = 48  # three steps of the most prompts


def length(completions: list[str], **_: Any) -> list[float]:
    return [float(len(completion)) for completion in completions]


def make_trainer(toy: Toy, folder: Path, steps: int, **training: Any) -> Any:
    """A GRPOTrainer on the toy's first problems."""
    return toy_trainer(
        toy,
        folder,
        length,
        num_problems=PROBLEMS,
        max_steps=steps,
        max_completion_length=8,
        save_steps=12,  # a multiple of every num_iterations
        skip_zero_advantage=False,
        **training,
    )


@pytest.fixture(scope="module")
def trl_trainer(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """TRL's trainer, whose batch sizes each test sets anew."""
    return make_trainer(toy, tmp_path_factory.mktemp("shapes"), 1).trl_trainer


def trl_config(**sizes: int) -> Any:
    from trl import GRPOConfig

    return GRPOConfig(output_dir="unused", use_cpu=True, report_to=[], bf16=False, **sizes)


def seen_by_trl(trainer: Any, args: Any) -> Iterator[list[int]]:
    """The problems of the rows of each optimiser step, with these `args`.

    As TRL's trainer does it: the sampler is its own, a batch of the loader is a generation batch,
    new completions are made of every `steps_per_generation * num_iterations`th, and the passes in
    between take one slice of them after the other.
    """
    import torch
    from trl.trainer.utils import split_tensor_dict

    trainer.args, trainer.num_generations = args, args.num_generations
    trainer.num_iterations = args.num_iterations
    trainer._train_batch_size = args.per_device_train_batch_size
    loaded = args.per_device_train_batch_size * args.steps_per_generation
    indices = iter(trainer._get_train_sampler())
    slices: list[dict[str, Any]] = []
    seen: list[int] = []
    for number in range(len(trainer._get_train_sampler()) // loaded):
        batch = list(islice(indices, loaded))
        if number % (args.steps_per_generation * args.num_iterations) == 0:
            slices = split_tensor_dict({"problem": torch.tensor(batch)}, args.steps_per_generation)
        seen += slices[number % args.steps_per_generation]["problem"].tolist()
        if (number + 1) % args.gradient_accumulation_steps == 0:
            yield seen
            seen = []


@pytest.mark.parametrize("num_iterations", [1, 2])
def test_a_step_of_trl_is_the_step_that_was_asked_for(
    trl_trainer: Any, num_iterations: int
) -> None:
    served = 0
    for prompts, generations, forward in product(SIZES, SIZES, SIZES):
        case = f"{prompts} x {generations} in passes of {forward}"
        total = prompts * generations
        values = {
            "prompts_per_step": prompts,
            "num_generations": generations,
            "completions_per_forward": forward,
            "num_iterations": num_iterations,
            "save_steps": 6,
        }
        if not trl_could(total, generations, forward):
            with pytest.raises(UserError):
                check_training(with_values(TrainingConfig(), values))
            continue
        training = with_values(TrainingConfig(), values)
        check_training(training)
        shape = training.batch_shape
        assert shape.completions_per_step == total
        args = trl_config(**shape.trl_arguments())
        steps = list(islice(seen_by_trl(trl_trainer, args), num_iterations + 1))
        for step in steps:
            counted = Counter(step)
            assert len(counted) == prompts, case
            assert set(counted.values()) == {generations}, case
        for again in steps[1:num_iterations]:  # the same completions, once more
            assert again == steps[0], case
        assert not set(steps[num_iterations]) & set(steps[0]), case
        served += 1
    assert served == 1354


def trl_could(total: int, generations: int, forward: int) -> bool:
    """Whether any number of passes of `forward` completions makes TRL's step one of `total`."""
    for passes in (total // forward, -(-total // forward)):  # both neighbours: fewer, more are off
        try:
            args = trl_config(
                per_device_train_batch_size=forward,
                gradient_accumulation_steps=passes,
                steps_per_generation=passes,
                num_generations=generations,
            )
        except (ValueError, ZeroDivisionError):
            continue
        if args.generation_batch_size == total:
            return True
    return False


SHARED = """
import json, os
from collections import Counter
from itertools import chain, product

import torch.distributed as dist
from accelerate.data_loader import BatchSamplerShard
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils.data import BatchSampler
from trl import GRPOConfig
from trl.trainer.utils import RepeatSampler

from groupwise.framework.config import BatchShape
from groupwise.rewards.errors import UserError

shared = {}
for world in (2, 3, 4):
    # One of so many processes, as far as torch and what is built on it can tell.
    os.environ |= {"LOCAL_RANK": "0", "RANK": "0"}
    os.environ |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=world)
    shared[world] = 0
    for prompts, generations, forward in product(range(1, 17), range(2, 17), range(1, 17)):
        total = prompts * generations
        try:
            shape = BatchShape(prompts, generations, forward).shared_by(world)
        except UserError:
            assert total % (world * forward), (prompts, generations, forward)
            continue
        args = GRPOConfig("unused", use_cpu=True, report_to=[], bf16=False, **shape.trl_arguments())
        assert args.world_size == world
        assert args.generation_batch_size == total
        shares = []
        for rank in range(world):
            unique = args.generation_batch_size // generations
            sampler = RepeatSampler(
                range(prompts), generations, unique, args.steps_per_generation, seed=0
            )
            loaded = BatchSampler(sampler, forward * args.steps_per_generation, drop_last=False)
            shares.append(next(iter(BatchSamplerShard(loaded, world, rank))))
        assert {len(share) for share in shares} == {total // world}
        assert Counter(chain(*shares)) == dict.fromkeys(range(prompts), generations)
        shared[world] += 1
    dist.destroy_process_group()
print(json.dumps(shared))
"""


def test_processes_share_the_step_that_was_asked_for(tmp_path: Path) -> None:
    """What accelerate deals out of TRL's sampler to each process: together, it is the step."""
    found = run_python(SHARED, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert json.loads(found.splitlines()[-1]) == {"2": 885, "3": 575, "4": 516}


# a shape, the processes, and what the user reads; what is named does work
UNSHARED: dict[str, tuple[BatchShape, int, str]] = {
    "odd": (
        BatchShape(3, 3, 1),
        2,
        "training.prompts_per_step: 3 x num_generations 3 = 9 completions cannot be shared equally "
        "by 2 processes; 2 or 4 work",
    ),
    "fewer than processes": (
        BatchShape(1, 2, 1),
        8,
        "training.prompts_per_step: 1 x num_generations 2 = 2 completions cannot be shared equally "
        "by 8 processes; 4 works",
    ),
    "passes": (
        BatchShape(4, 4, 8),
        4,
        "training.completions_per_forward: 8 does not divide the 4 completions that each of 4 "
        "processes has of a step; 4 works",
    ),
}


@pytest.mark.parametrize("name", UNSHARED)
def test_what_cannot_be_shared_is_said_with_what_can(name: str) -> None:
    shape, num_processes, message = UNSHARED[name]
    with pytest.raises(UserError) as caught:
        shape.shared_by(num_processes)
    assert str(caught.value) == message


def test_a_shared_step_in_words() -> None:
    assert str(BatchShape(4, 8, 8).shared_by(2)) == (
        "a step is 4 prompts x 8 completions = 32, in 2 passes of 8 on each of 2 processes "
        "(per_device_train_batch_size=8, gradient_accumulation_steps=2, steps_per_generation=2)"
    )


TRAINED = [
    BatchShape(1, 2, 1),
    BatchShape(3, 5, 5),
    BatchShape(4, 4, 16),
    BatchShape(5, 3, 1, num_iterations=2),
    BatchShape(2, 16, 8, num_iterations=3),
]


@pytest.mark.parametrize(
    "shape", TRAINED, ids=lambda s: f"{s.prompts_per_step}x{s.num_generations}"
)
def test_a_real_training_makes_the_steps(toy: Toy, tmp_path: Path, shape: BatchShape) -> None:
    """Two batches of completions, in the log, and the passes over them, by the trainer's events."""
    from transformers import TrainerCallback

    passes = Counter[int]()

    class CountPasses(TrainerCallback):
        def on_substep_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            passes[state.global_step + 1] += 1

        def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            passes[state.global_step] += 1  # a step's last pass has no event of its own

    iterations = shape.num_iterations
    trainer = make_trainer(
        toy,
        tmp_path,
        2 * iterations,
        prompts_per_step=shape.prompts_per_step,
        num_generations=shape.num_generations,
        completions_per_forward=shape.completions_per_forward,
        num_iterations=iterations,
    )
    trainer.trl_trainer.add_callback(CountPasses())
    trainer.train()
    expected = shape.completions_per_step // shape.completions_per_forward
    assert passes == dict.fromkeys(range(1, 2 * iterations + 1), expected)
    log = lines(tmp_path / "rollouts.jsonl")
    assert {line["step"] for line in log} == {1, 1 + iterations}
    for step in (1, 1 + iterations):
        counted = Counter(line["example_id"] for line in log if line["step"] == step)
        assert len(counted) == shape.prompts_per_step
        assert set(counted.values()) == {shape.num_generations}
