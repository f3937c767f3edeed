"""A merged model as one GGUF file, made by llama.cpp: its converter, then its quantiser.

    require_llama_cpp()                                          # before anything slow
    notices = write_gguf(merged, folder / "model.gguf", "q4_k_m")  # merged: a model in 16 bits

Two parts of llama.cpp are needed. Its library, which quantises, and loads the file for the check,
comes with llama-cpp-python (the extra `gguf`). Its converter is a script of its source tree, which
its authors publish in no package: it is taken from `LLAMA_CPP_DIR`, or else from `share/llama.cpp`
of the environment, where `make gguf` puts it. Left out: types that need an importance matrix, and
models split over several files.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from groupwise.framework.export.precision import Rounding
from groupwise.rewards.errors import UserError
from groupwise.rewards.text import printable

QUANTISATIONS: Mapping[str, float] = {
    "f16": 0.00021,
    "bf16": 0.0017,
    "q8_0": 0.0054,
    "q6_k": 0.018,
    "q5_k_m": 0.036,
    "q5_k_s": 0.036,
    "q4_k_m": 0.071,
    "q4_k_s": 0.071,
    "q3_k_m": 0.15,
    "q2_k": 0.30,
}
"""The types, each with the relative error of a weight that llama.cpp has rounded to it: the root
mean square over normally distributed weights, measured (`tests/framework/export/test_gguf.py`)."""

BY_THE_CONVERTER = ("f16", "bf16", "q8_0")
_CONVERTER = "convert_hf_to_gguf.py"
_HOW = (
    "In a clone of Groupwise: make gguf (it compiles, for about four minutes on two cores). "
    "Elsewhere: pip install 'groupwise[gguf]'; then git clone --depth 1 "
    "https://github.com/ggml-org/llama.cpp, and set LLAMA_CPP_DIR to its folder"
)
_SAID = 300  # characters of an error of llama.cpp


def rounding_of(quantisation: str) -> Rounding:
    """llama.cpp multiplies weights of less than 16 bits by activations rounded to q8_0."""
    weights = QUANTISATIONS[quantisation]
    return Rounding(weights, min(weights, QUANTISATIONS["q8_0"]))


def require_llama_cpp() -> None:
    """Raises UserError where a part of llama.cpp is missing, with what to install."""
    if importlib.util.find_spec("llama_cpp") is None:
        raise UserError(f"--format gguf: llama-cpp-python is not installed. {_HOW}")
    # In a process of its own: a library that was built for another processor ends it.
    command = [sys.executable, "-c", "import llama_cpp"]
    tried = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if tried.returncode != 0:
        said = tried.stderr.strip().splitlines() or [f"it ended with {tried.returncode}"]
        raise UserError(
            f"--format gguf: llama-cpp-python cannot be loaded: {printable(said[-1])[:_SAID]}. "
            f"{_HOW}"
        )
    named = os.environ.get("LLAMA_CPP_DIR")
    if not _converter().is_file():
        missing = "--format gguf: llama.cpp's converter is missing"
        raise UserError(
            f"{f'LLAMA_CPP_DIR: {named} has no {_CONVERTER}' if named else missing}. {_HOW}"
        )


def _converter() -> Path:
    folder = os.environ.get("LLAMA_CPP_DIR") or Path(sys.prefix, "share", "llama.cpp")
    return Path(folder, _CONVERTER)


def write_gguf(merged: Path, file: Path, quantisation: str, name: str) -> list[str]:
    """Converts the model in `merged` to `file`; returns what its users have to know.

    `name`: the model's, in the file. What llama.cpp prints goes to standard error.

    Raises:
        UserError: llama.cpp does not know the architecture or the tokenizer.
    """
    if quantisation in BY_THE_CONVERTER:
        _convert(merged, file, quantisation, name)
        return []
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        whole = Path(scratch, "whole.gguf")
        _convert(merged, whole, "auto", name)  # the 16-bit type that the weights have
        return _quantise(whole, file, quantisation)


def _convert(merged: Path, file: Path, outtype: str, name: str) -> None:
    converter = _converter()
    program = [str(converter)]
    if _merges_nothing(merged):
        # The converter tells tokenizers by what they do to a text, and knows those on the hub; and
        # llama.cpp loads none without a merge. Here, neither makes a difference.
        program = ["-m", "groupwise.framework.export.convert_bytes", str(converter)]
        (merged / "merges.txt").write_text("#version: 0.2\n\u0100 \u0100\n", encoding="utf-8")
    command = [sys.executable, *program, str(merged), "--outfile", str(file)]
    command += ["--outtype", outtype, f"--model-name={name}"]
    done = subprocess.run(command, stdout=2, stderr=subprocess.PIPE, text=True, errors="replace")
    sys.stderr.write(done.stderr)
    if done.returncode != 0 or not file.is_file():
        raise UserError(_why_not(done.stderr))


def _merges_nothing(merged: Path) -> bool:
    """Whether each byte is a token, so that it does not matter into what words a text is cut."""
    tokenizer = merged / "tokenizer.json"
    if not tokenizer.is_file():
        return False
    model = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]
    return bool(model.get("type") == "BPE" and model.get("merges") == [])


def _why_not(said: str) -> str:
    last = (said.strip().splitlines() or ["it said nothing"])[-1]
    reason = printable(last)[-_SAID:]
    if "pre-tokenizer was not recognized" in said:
        reason = "it does not know the model's tokenizer, by which the file would cut texts"
    return (
        f"llama.cpp cannot convert this model: {reason}. A newer llama.cpp may: git clone --depth "
        "1 https://github.com/ggml-org/llama.cpp, and set LLAMA_CPP_DIR to its folder; or take "
        "--format merged"
    )


def _quantise(whole: Path, file: Path, quantisation: str) -> list[str]:
    from groupwise.framework.export.libllama import quantise  # torch: not at start-up

    try:
        warnings = quantise(whole, file, quantisation)
    except RuntimeError as error:
        raise UserError(
            f"llama.cpp cannot quantise to {quantisation}: {printable(str(error))[:_SAID]}"
        ) from error
    return [
        f"{quantisation}: its blocks of 256 weights do not fit into this model's rows everywhere, "
        f"and llama.cpp has taken a larger type there ({found.partition('WARNING: ')[2]})"
        for found in warnings
        if "fallback quantization" in found
    ]
