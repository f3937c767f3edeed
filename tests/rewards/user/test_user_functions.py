"""Rewards from elsewhere: TRL's own, in YAML and by name, and models with a score."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from groupwise.rewards import (
    Completion,
    Example,
    RewardError,
    RewardModel,
    UserError,
    build_rubric,
)

CONFIG = """
think: {use: "trl.rewards:think_format_reward", weight: 0.5}
accuracy: {use: "trl.rewards:accuracy_reward"}
reasoning: {use: "trl.rewards:reasoning_accuracy_reward"}
overlong:
  use: trl.rewards:get_soft_overlong_punishment
  params: {max_completion_len: 8, soft_punish_cache: 4}
cosine:
  use: trl.rewards:get_cosine_scaled_reward
  params: {max_len: 10}
repetition:
  use: trl.rewards:get_repetition_penalty_reward
  params: {ngram_size: 2}
"""
EXAMPLE = Example("e", "What is one third of one?", "$\\frac{1}{3}$")


@pytest.mark.stack
def test_trl_s_own_rewards_work_from_yaml():
    rubric = build_rubric(yaml.safe_load(CONFIG))
    completions = [
        Completion("<think>a</think> \\boxed{\\frac{1}{3}}", 6, token_ids=(1, 2, 3, 4, 5, 6)),
        Completion("\\boxed{\\frac{1}{2}}", 8, token_ids=(1, 1, 1, 1, 1, 1, 1, 1)),
    ]
    right, wrong = rubric.score_batch([EXAMPLE] * 2, completions)
    assert right.parts["think"] == 1.0
    assert right.parts["accuracy"] == right.parts["reasoning"] == 1.0
    assert wrong.parts["think"] == wrong.parts["accuracy"] == wrong.parts["reasoning"] == 0.0
    assert (right.parts["overlong"], wrong.parts["overlong"]) == (-0.5, -1.0)
    assert wrong.parts["repetition"] == pytest.approx(-6 / 7)
    assert right.parts["cosine"] > 0 > wrong.parts["cosine"]


@pytest.mark.stack
def test_a_reward_on_tokens_needs_tokens():
    parts = {"r": {"use": "trl.rewards:get_repetition_penalty_reward", "params": {}}}
    with pytest.raises(RewardError, match="token_ids"):
        build_rubric(parts).score_batch([EXAMPLE], [Completion("text", 3)])


def test_prompts_and_completions_have_trl_s_form(tmp_path: Path):
    (tmp_path / "mine.py").write_text(
        "seen = []\n"
        "def look(prompts, completions, answer, level, **columns):\n"
        "    seen.append((prompts, completions, answer, level, sorted(columns)))\n"
        "    return [0.0] * len(completions)\n"
        "async def later(completions, **columns):\n"
        "    return [2.0 for _ in completions]\n"
    )
    parts = {"look": {"use": "mine.py:look"}, "later": {"use": "mine.py:later"}}
    rubric = build_rubric(parts, base_dir=tmp_path)
    turn = {"role": "user", "content": "hi"}
    chat = Example("c", "hi", "x", messages=(turn,), prompt="<u>hi", metadata={"level": 1})
    plain = Example("p", "hi", "x", metadata={"level": 2})
    assert rubric.score_batch([chat], [Completion("yo")])[0].parts["later"] == 2.0
    rubric.score_batch([plain], [Completion("yo")])
    import sys

    file = str(tmp_path / "mine.py")
    module = next(m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == file)
    (first, second) = module.seen
    assert first[:4] == (
        [[turn]],
        [[{"role": "assistant", "content": "yo"}]],
        ["x"],
        [1],
    )
    assert second[:4] == (["hi"], ["yo"], ["x"], [2])
    assert {"id", "question", "solution"} <= set(first[4])


class ByLength(RewardModel):
    """The documented way to bring a model of one's own."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def compute_reward(self, questions, answers, references):
        assert len(questions) == len(answers) == len(references)
        return [self.scale * len(answer) for answer in answers]


def test_a_model_of_one_s_own(tmp_path: Path):
    (tmp_path / "judge.py").write_text(
        "from groupwise.rewards import RewardModel\n"
        "class Judge(RewardModel):\n"
        "    def __init__(self, scale=1.0):\n"
        "        self.scale = scale\n"
        "    def compute_reward(self, questions, answers, references):\n"
        "        return [self.scale * len(a) for a in answers]\n"
    )
    parts = {"judge": {"use": "judge.py:Judge", "params": {"scale": 0.5}}}
    [score] = build_rubric(parts, base_dir=tmp_path).score_batch([EXAMPLE], [Completion("four")])
    assert score.parts == {"judge": 2.0}
    assert ByLength().score_batch([EXAMPLE], [Completion("abc")]) == [3.0]


UNMADE = [
    (
        "class made:\n    def __init__(self):\n        open('no/judge.txt')\n",
        "rewards.parts.part: made(...) failed: FileNotFoundError: [Errno 2] No such file or "
        "directory: 'no/judge.txt' ({file}, line 3, in __init__)",
    ),
    (
        "def get_judge():\n    raise KeyError('API_KEY')\nmade = get_judge\n",
        "rewards.parts.part: get_judge(...) failed: KeyError: 'API_KEY' ({file}, line 2, in "
        "get_judge)",
    ),
    (
        "class made:\n    def score(self, completions):\n        return 1.0\n",
        "rewards.parts.part: made has neither __call__ nor score_batch",
    ),
    (
        "def get_judge():\n    def judge(completions): ...\nmade = get_judge\n",
        "rewards.parts.part: get_judge returned None, where a function is expected (get_judge: "
        "{file}, line 1)",
    ),
    (
        "def get_score(prompt, response):\n    return 1.0\nmade = get_score\n",
        "rewards.parts.part.params: get_score() missing 2 required positional arguments: 'prompt' "
        "and 'response' (get_score: {file}, line 1); if it makes no reward but is one: the known "
        "forms are (completions, **columns)",
    ),
]


@pytest.mark.parametrize(("source", "message"), UNMADE)
def test_classes_and_factories_that_make_no_reward(
    source: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(source)
    with pytest.raises(UserError) as caught:
        build_rubric({"part": {"use": "mine.py:made"}}, base_dir=tmp_path)
    assert str(caught.value).startswith(message.format(file=file))


@pytest.fixture
def classifier(tmp_path: Path):
    """A sequence classifier of a few thousand parameters, saved with its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    def make(num_labels: int) -> Path:
        words = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "good", "bad", "what"])}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        path = tmp_path / f"labels{num_labels}"
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
        ).save_pretrained(path)
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=5, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=8, max_position_embeddings=64, num_labels=num_labels,
        )  # fmt: skip
        BertForSequenceClassification(config).save_pretrained(path)
        return path

    return make


@pytest.mark.stack
def test_a_sequence_classifier_is_a_reward(classifier):
    example = Example("e", "what", "good")
    texts = [Completion("good"), Completion("bad bad bad")]
    params = {"model": str(classifier(1)), "max_length": 32, "device": "cpu"}
    rubric = build_rubric({"reward_model": {"params": params}})
    values = [score.total for score in rubric.score_batch([example] * 2, texts)]
    assert values[0] != values[1]
    # Padding and batches change nothing
    alone = [rubric.score_batch([example], [text])[0].total for text in texts]
    assert values == pytest.approx(alone, abs=1e-5)

    params = {**params, "squash": "sigmoid"}
    squashed = build_rubric({"reward_model": {"params": params}})
    assert 0 < squashed.score_batch([example], texts[:1])[0].total < 1

    two = {"model": str(classifier(2)), "max_length": 32, "label": "LABEL_1", "device": "cpu"}
    labelled = build_rubric({"reward_model": {"params": two}})
    assert 0 < labelled.score_batch([example], texts[:1])[0].total < 1
    missing = build_rubric({"reward_model": {"params": {**two, "label": "GOOD"}}})
    with pytest.raises(RewardError, match=r"LABEL_0, LABEL_1"):
        missing.score_batch([example], texts[:1])
