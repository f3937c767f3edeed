"""An answerer in a process of its own: a toy of one, what comes over, what a death says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from groupwise.evaluation.sampler import Prompt, SampledCompletion, SamplingParams
from groupwise.framework.export.answerer import Question, Reply
from groupwise.framework.export.process import DoesNotLoadError, Loaded

# Counts: no model is needed to see what the protocol carries. What it prints belongs to the log.
PROGRAM = """
import sys
from groupwise.evaluation.sampler import SampledCompletion
from groupwise.framework.export.answerer import Reply
from groupwise.framework.export.process import serve

class Counting:
    name, loader, end_ids = "counting", "a toy 1.0", [7]

    def render(self, messages, variables):
        print("rendering")
        return [len(messages), variables["n"]]

    def answer(self, prompt_ids, answer_ids, candidates, max_tokens):
        if max_tokens == 0:
            raise ValueError("no token to \\x1b[31manswer\\x1b[0m with")
        return Reply((*prompt_ids, 7), tuple(tuple(-0.5 for _ in row) for row in candidates), (3,))

    def sample(self, prompts, num_samples, params):
        for index, prompt in enumerate(prompts):
            for sample in range(num_samples):
                if sample not in prompt.done:
                    self.name = "another"
                    yield SampledCompletion(
                        index, sample, prompt.text + str(params.stop), prompt.token_ids, "stop")

serve(lambda options: Counting(**options))
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    return Loaded([sys.executable, "-c", PROGRAM, "{}"], tmp_path / "log")


def test_what_comes_over(loaded: Loaded, tmp_path: Path) -> None:
    with loaded:
        assert (loaded.name, loaded.loader, loaded.end_ids) == ("counting", "a toy 1.0", {7})
        assert loaded.render([{"role": "user", "content": "1+1"}], {"n": 5}) == (1, 5)
        question = Question((), (1, 2), (3,), ((3, 4),))
        assert loaded.answer(question, 8) == Reply((1, 2, 7), ((-0.5, -0.5),), (3,))
        prompts = [Prompt("a", "é\ud800", frozenset({0}), (1,)), Prompt("b", "x", token_ids=(2,))]
        assert list(loaded.sample(prompts, 2, SamplingParams(stop=("#",)))) == [
            SampledCompletion(0, 1, "é\ud800('#',)", (1,), "stop"),
            SampledCompletion(1, 0, "x('#',)", (2,), "stop"),
            SampledCompletion(1, 1, "x('#',)", (2,), "stop"),
        ]
        assert loaded.name == "another", "an engine that has given way is named"
    assert (tmp_path / "log").read_text() == "rendering\n"


def test_a_sampler_may_be_left_early(loaded: Loaded) -> None:
    """As an evaluation does at Ctrl-C: the process ends, and answers nothing by what is left."""
    with loaded:
        prompts = [Prompt("a", "x", token_ids=(1,))]
        samples = loaded.sample(prompts, 5, SamplingParams())
        next(samples)
        samples.close()
        with pytest.raises(DoesNotLoadError):
            loaded.render([], {"n": 2})


def test_a_death_says_why(loaded: Loaded) -> None:
    question = Question((), (1,), (3,), ((3,),))
    with loaded, pytest.raises(DoesNotLoadError, match=r"ValueError: no token to"):
        loaded.answer(question, 0)
    with loaded, pytest.raises(DoesNotLoadError):
        loaded.answer(question, 1)


DEATHS = {
    "raises": ("raise OSError('weights are missing')", "OSError: weights are missing"),
    "exits": ("raise SystemExit(3)", "it ended with 3 and said nothing"),
    "is killed": ("import os; os.kill(os.getpid(), 9)", "it ended with -9 and said nothing"),
}


@pytest.mark.parametrize("name", DEATHS)
def test_what_does_not_load(name: str, tmp_path: Path) -> None:
    program, message = DEATHS[name]
    (tmp_path / "log").write_text("of an earlier program\n")
    with pytest.raises(DoesNotLoadError) as caught:
        Loaded([sys.executable, "-c", program], tmp_path / "log")
    assert str(caught.value) == message
