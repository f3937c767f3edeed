"""An answerer in a process of its own: both ends of a protocol of JSON lines.

    serve(load)                                     # in the loader's process
    with Loaded(command, log) as export:            # in ours
        export.render(messages, variables)

The process says what it is once it has loaded the export. A request is a line with `do`
(a method of `Answerer`) and its arguments; each reply is a line, and `{"end": true}` the last.
What libraries print goes to `log`, so that standard output holds nothing but replies.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from groupwise.evaluation.sampler import Prompt, SampledCompletion, SamplingParams
from groupwise.framework.export.answerer import Answerer, Question, Reply
from groupwise.rewards.types import Message

_SAID = 400  # characters of what a process said before it died


class DoesNotLoadError(Exception):
    """An export cannot be loaded, or its process died; the message is the last thing it said."""


def serve(load: Callable[[dict[str, Any]], Answerer]) -> None:
    """Loads what the first argument describes (JSON), and answers until standard input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what libraries print

    def tell(line: Mapping[str, Any]) -> None:
        print(json.dumps(line), file=replies)

    answerer = load(json.loads(sys.argv[1]))
    tell({"loader": answerer.loader, "name": answerer.name, "end_ids": list(answerer.end_ids)})
    for line in sys.stdin:
        request = json.loads(line)
        match request.pop("do"):
            case "render":
                tell({"ids": answerer.render(**request)})
            case "answer":
                tell(asdict(answerer.answer(**request)))
            case "sample":
                prompts = [_prompt(given) for given in request.pop("prompts")]
                params = request.pop("params")
                params["stop"] = tuple(params["stop"])
                for sample in answerer.sample(prompts, params=SamplingParams(**params), **request):
                    tell({"sample": asdict(sample), "name": answerer.name})
        tell({"end": True})


class Loaded:
    """An export that a process of its own has loaded; also a `Sampler` of it.

    Raises DoesNotLoadError, at the start or whenever the process is gone.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        with log.open("ab") as sink:
            self._from = sink.tell()
            self._log = log
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink
            )
        try:
            ready = self._line()
        except BaseException:
            self.close()
            raise
        self.loader: str = ready["loader"]
        self.name: str = ready["name"]
        self.end_ids = frozenset(ready["end_ids"])

    def render(self, messages: Sequence[Message], variables: Mapping[str, Any]) -> tuple[int, ...]:
        (reply,) = self._ask("render", messages=messages, variables=dict(variables))
        return tuple(reply["ids"])

    def answer(self, question: Question, max_tokens: int) -> Reply:
        (reply,) = self._ask(
            "answer",
            prompt_ids=question.prompt_ids,
            answer_ids=question.answer_ids,
            candidates=question.candidates,
            max_tokens=max_tokens,
        )
        return Reply(
            tuple(reply["greedy_ids"]),
            tuple(tuple(row) for row in reply["logprobs"]),
            tuple(reply["best_ids"]),
        )

    def sample(
        self, prompts: Sequence[Prompt], num_samples: int, params: SamplingParams
    ) -> Iterator[SampledCompletion]:
        given = [{**asdict(prompt), "done": sorted(prompt.done)} for prompt in prompts]
        asked = self._ask(
            "sample",
            prompts=given,
            num_samples=num_samples,
            params=asdict(params),
        )
        for reply in asked:
            self.name = reply["name"]  # an engine may give way to another
            sample = reply["sample"]
            logprobs = sample["logprobs"]
            sample["token_ids"] = tuple(sample["token_ids"])
            sample["logprobs"] = None if logprobs is None else tuple(logprobs)
            yield SampledCompletion(**sample)

    def _ask(self, do: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        assert self._process.stdin is not None
        request = json.dumps({"do": do, **arguments}) + "\n"
        try:
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):  # ValueError: it has been closed
            raise self._died() from None
        try:
            while not (line := self._line()).get("end"):
                yield line
        except GeneratorExit:  # left early, at Ctrl-C: what it goes on saying answers nothing
            self.close()
            raise

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._died()
        found: dict[str, Any] = json.loads(line)
        return found

    def _died(self) -> DoesNotLoadError:
        code = self._process.wait()
        with self._log.open("rb") as log:
            log.seek(self._from)
            said = log.read().decode("utf-8", "replace").strip().splitlines()
        reason = said[-1][:_SAID] if said else f"it ended with {code} and said nothing"
        return DoesNotLoadError(reason)

    def close(self) -> None:
        """Ends the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.terminate()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _prompt(given: dict[str, Any]) -> Prompt:
    ids = given["token_ids"]
    return Prompt(
        given["key"],
        given["text"],
        frozenset(given["done"]),
        None if ids is None else tuple(ids),
    )
