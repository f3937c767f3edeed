"""The forms of an export: what each writes, how it is loaded again, and what rounding it brings.

    FORMATS["merged"].write(tuned, folder)

A new form is a file with these functions and a line in `FORMATS`.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from groupwise.evaluation.log.files import write_text
from groupwise.framework.data.prompts import apply_chat_template, template_variables
from groupwise.framework.export import usage
from groupwise.framework.export.adapter import refuse_without_adapter, write_adapter
from groupwise.framework.export.gguf import (
    BY_THE_CONVERTER,
    require_llama_cpp,
    rounding_of,
    write_gguf,
)
from groupwise.framework.export.merged import write_merged
from groupwise.framework.export.modelfile import modelfile
from groupwise.framework.export.place import size_of
from groupwise.framework.export.precision import Rounding, rounding
from groupwise.framework.export.source import Source
from groupwise.framework.export.tuned import Tuned
from groupwise.framework.memory.architecture import read_architecture
from groupwise.framework.sampling.stopping import end_of_text_ids
from groupwise.framework.sampling.turn_end import turn_end


@dataclass(frozen=True, slots=True)
class Format:
    """One form of an export.

    `bytes_needed` on the disk, known before anything is loaded; raises UserError for a model that
    has no such form. `write(tuned, folder)` gives sentences for the user. `command` is the program
    that loads what was written, and serves an `Answerer`. `rounding`: the errors by which it and
    the policy differ. `library` is the hub's name of what loads it, and `usage` a program that
    does, for the model card.
    """

    name: str
    bytes_needed: Callable[[Source], int]
    write: Callable[[Tuned, Path], list[str]]
    command: Callable[[Tuned, Path], list[str]]
    rounding: Callable[[Tuned], Rounding]
    library: str
    usage: Callable[[Tuned], str]


def _adapter_bytes(source: Source) -> int:
    refuse_without_adapter(source)
    return size_of(source.folder)


def _merged_bytes(source: Source) -> int:
    return 2 * read_architecture(source.base).parameters


def _write_adapter(tuned: Tuned, folder: Path) -> list[str]:
    notices = write_adapter(tuned.source, folder)
    _write_beside(tuned, folder)
    return notices


def _write_merged(tuned: Tuned, folder: Path) -> list[str]:
    share = write_merged(tuned.source, tuned.precision, folder)
    _write_beside(tuned, folder)
    if share > 0.99:
        return []
    return [
        f"{share:.0%} of what the adapter changes is left in the merged weights: the rest is less "
        f"than a step of {tuned.source.dtype_16bit}; the adapter itself has all of it"
    ]


def _write_beside(tuned: Tuned, folder: Path) -> None:
    """Tokenizer, chat template and tokens that end an answer, as the policy had them."""
    tuned.tokenizer.save_pretrained(str(folder))
    tuned.generation_config.save_pretrained(str(folder))


def _load_plainly(tuned: Tuned, folder: Path) -> list[str]:
    """By transformers; an adapter by peft, on its base model as in training."""
    source = tuned.source
    is_adapter = (folder / "adapter_config.json").is_file()
    options = {
        "folder": str(folder),
        "base": source.config.model.name if is_adapter else None,
        "precision": tuned.precision.to_json() if is_adapter else None,
        "max_rows": source.config.evaluation.max_rows,
        "trust_remote_code": source.config.model.trust_remote_code,
    }
    return [sys.executable, "-m", "groupwise.framework.export.plain", json.dumps(options)]


def _of_merged(tuned: Tuned) -> Rounding:
    error = rounding(tuned.source.dtype_16bit)
    return Rounding(error, _with_the_policy(tuned, error))


def _with_the_policy(tuned: Tuned, error: float) -> float:
    """The error of an export's arithmetic and of the policy's together."""
    return math.hypot(rounding(tuned.precision.dtype), error)


def gguf(quantisation: str) -> Format:
    """One GGUF file of this type, with a Modelfile for Ollama where it can be written.

    Raises UserError where llama.cpp is missing.
    """
    require_llama_cpp()
    file = f"model-{quantisation}.gguf"

    def bytes_needed(source: Source) -> int:
        """Merged weights, the same as a file of 16 bits, and the file itself."""
        merged = _merged_bytes(source)
        return 2 * merged if quantisation in BY_THE_CONVERTER else 5 * merged // 2

    def write(tuned: Tuned, folder: Path) -> list[str]:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            notices = _write_merged(tuned, Path(scratch))
            name = tuned.source.config.name
            notices += write_gguf(Path(scratch), folder / file, quantisation, name)
        return notices + _write_modelfile(tuned, folder / file)

    def command(tuned: Tuned, folder: Path) -> list[str]:
        rows = tuned.source.config.evaluation.max_rows
        options = {"file": str(folder / file), "max_rows": rows}
        return [sys.executable, "-m", "groupwise.framework.export.llama_cpp", json.dumps(options)]

    def relative_errors(tuned: Tuned) -> Rounding:
        written = rounding_of(quantisation)
        merged = rounding(tuned.source.dtype_16bit)
        return Rounding(
            math.hypot(merged, written.weights), _with_the_policy(tuned, written.arithmetic)
        )

    return Format(
        f"gguf-{quantisation}",
        bytes_needed,
        write,
        command,
        relative_errors,
        "gguf",
        lambda tuned: usage.of_gguf(tuned, file),
    )


def _write_modelfile(tuned: Tuned, file: Path) -> list[str]:
    from groupwise.framework.export.libllama import Vocabulary, load_model  # torch: not at start-up

    config, tokenizer = tuned.source.config, tuned.tokenizer
    variables = template_variables(config.model)
    words = Vocabulary(load_model(file, vocab_only=True))
    ends = [words.text_of(token) for token in sorted(end_of_text_ids(tuned, tokenizer))]
    end = turn_end(tokenizer)
    if end is not None and end.token_id is None:
        ends.append(end.text)
    text = modelfile(
        file.name,
        lambda messages: apply_chat_template(tokenizer, messages, variables),
        bos_token=words.bos_token if words.adds_bos else "",
        system=config.data.system_prompt,
        stop=[*ends, *config.eval_sampling_params.stop],
        params=config.eval_sampling_params,
        context=config.model.max_seq_length,
    )
    notices = []
    if text is None:
        notices.append(
            "Ollama's own language cannot say this chat template, or a text with three quotation "
            "marks in it, so there is no Modelfile; llama-server and others read the template in "
            "the file itself"
        )
    else:
        write_text(file.with_name("Modelfile"), text)
    if config.model.chat_template_kwargs:
        given = json.dumps(config.model.chat_template_kwargs)
        notices.append(
            "model.chat_template_kwargs are in the Modelfile, but in no GGUF file: llama-server "
            f"takes them as --chat-template-kwargs '{given}'"
        )
    return notices


FORMATS: Mapping[str, Format] = {
    "adapter": Format(
        "adapter",
        _adapter_bytes,
        _write_adapter,
        _load_plainly,
        lambda tuned: Rounding(0.0, _with_the_policy(tuned, rounding(tuned.precision.dtype))),
        "peft",
        usage.of_adapter,
    ),
    "merged": Format(
        "merged",
        _merged_bytes,
        _write_merged,
        _load_plainly,
        _of_merged,
        "transformers",
        usage.of_weights,
    ),
}
