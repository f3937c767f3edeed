"""A trained model as a reward: any sequence classifier, or the user's own model.

    LearnedReward("path/or/hub-name", squash="sigmoid").score_batch(examples, completions)

torch and transformers are imported, and the model is loaded, when the first completion is scored.
What it leaves out: training one (`groupwise train-reward`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from groupwise.rewards.types import Completion, Example
from groupwise.rewards.user.returned import listed


class RewardModel(ABC):
    """Override `compute_reward` for a model of your own, and name the class in the config.

    class Judge(RewardModel):
        def compute_reward(self, questions, answers, references):
            return [my_model(q, a) for q, a in zip(questions, answers)]
    """

    @abstractmethod
    def compute_reward(
        self, questions: list[str], answers: list[str], references: list[str]
    ) -> list[float]:
        """One finite number for each answer; the three lists have the same length.

        `references` are the examples' answers, "" where there is none. A number that is NaN or
        infinite stops the run, or counts as a failure, as `rewards.on_error` says.
        """

    def score_batch(
        self, examples: Sequence[Example], completions: Sequence[Completion]
    ) -> list[float | None]:
        questions = [example.question for example in examples]
        answers = [completion.text for completion in completions]
        references = [example.answer for example in examples]
        return listed(self.compute_reward(questions, answers, references), len(completions))


@dataclass(frozen=True, config={"extra": "forbid"})
class LearnedReward(RewardModel):
    """The score of a sequence-classification model, by path or hub name.

    A model with one label gives its logit (`squash: sigmoid` maps it to 0..1); of a model with
    several, `label` picks one, whose probability counts. Question and answer go through the
    tokenizer's chat template where it has one. Texts of more than `max_length` tokens lose the
    beginning of the question. `batch_size` completions are scored in one forward pass.

    Raises:
        ValueError: when the first completion is scored: `label` names no label of the model.
    """

    model: str
    label: int | str | None = None
    squash: Literal["none", "sigmoid"] = "none"
    batch_size: int = Field(default=8, ge=1)
    max_length: int = Field(default=2048, ge=8)
    device: str = "auto"

    def compute_reward(
        self,
        questions: list[str],
        answers: list[str],
        references: list[str],  # noqa: ARG002
    ) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(answers), self.batch_size):
            end = start + self.batch_size
            scores += self._score(questions[start:end], answers[start:end])
        return scores

    def _score(self, questions: list[str], answers: list[str]) -> list[float]:
        import torch  # slow: not at start-up

        model, tokenizer = self._loaded
        texts = [render(tokenizer, q, a) for q, a in zip(questions, answers, strict=True)]
        inputs = tokenizer(
            texts,
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=self.max_length,
            add_special_tokens=not has_template(tokenizer),
        ).to(model.device)
        with torch.inference_mode():
            logits = model(**inputs).logits.float()  # (B, labels)
        if logits.shape[-1] == 1:
            values = logits[:, 0]
            return list((values.sigmoid() if self.squash == "sigmoid" else values).tolist())
        return list(logits.softmax(-1)[:, self._label_index(model)].tolist())

    def _label_index(self, model: Any) -> int:
        labels = {str(name): int(index) for name, index in model.config.label2id.items()}
        if isinstance(self.label, int) and 0 <= self.label < len(labels):
            return self.label
        if isinstance(self.label, str) and self.label in labels:
            return labels[self.label]
        raise ValueError(
            f"the model {self.model!r} has {len(labels)} labels; params.label must be one of "
            f"{', '.join(labels)}, not {self.label!r}"
        )

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch  # slow, as transformers is: not at start-up
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        tokenizer = AutoTokenizer.from_pretrained(self.model)
        tokenizer.truncation_side = "left"
        model = AutoModelForSequenceClassification.from_pretrained(self.model)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if model.config.pad_token_id is None:
            model.config.pad_token_id = tokenizer.pad_token_id
        return model.to(device).eval(), tokenizer


def has_template(tokenizer: Any) -> bool:
    """Whether there is a chat template, which writes the special tokens itself."""
    return getattr(tokenizer, "chat_template", None) is not None


def render(tokenizer: Any, question: str, answer: str) -> str:
    """The text that a reward model scores; `groupwise train-reward` trains on the same."""
    if not has_template(tokenizer):
        return f"{question}\n{answer}"
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False))
