"""GGUF files: what is said where llama.cpp is missing, and what llama.cpp makes of a model."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING, Any

import pytest
from conftest import RunCli, Toy

from groupwise.evaluation.sampler import Prompt, SamplingParams
from groupwise.framework.export.gguf import (
    QUANTISATIONS,
    require_llama_cpp,
    rounding_of,
    write_gguf,
)
from groupwise.rewards.errors import UserError
from groupwise.rewards.types import Message

if TYPE_CHECKING:
    from groupwise.framework.export.llama_cpp import LlamaCppAnswerer

NOW = {"strftime_now": "2026-11-27T12:00:00"}


def test_without_the_library_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"llama-cpp-python is not installed.*make gguf") as raised:
        require_llama_cpp()
    assert "pip install 'groupwise[gguf]'" in str(raised.value)


def test_a_library_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "llama_cpp"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('No module named \\x1b[31mdiskcache')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=r"cannot be loaded: .*No module named .*make gguf") as said:
        require_llama_cpp()
    assert "\x1b" not in str(said.value)


@pytest.mark.parametrize("named", [True, False])
def test_without_the_converter_the_message_says_where_it_was_looked_for(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "llama_cpp.py").write_text("")  # in place of the library, where it is not installed
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    if named:
        monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path / "llama.cpp"))
    with pytest.raises(UserError, match=r"git clone .* LLAMA_CPP_DIR") as raised:
        require_llama_cpp()
    assert (f"LLAMA_CPP_DIR: {tmp_path}/llama.cpp" in str(raised.value)) == named


def test_what_the_converter_cannot_do_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "convert_hf_to_gguf.py").write_text(
        "raise SystemExit('ERROR: Model \\x1b[31mNewForCausalLM is not supported')"
    )
    monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path))
    with pytest.raises(UserError, match="cannot convert this model: ERROR: Model") as raised:
        write_gguf(tmp_path, tmp_path / "model.gguf", "q8_0", "name")
    assert "\x1b" not in str(raised.value)


def test_a_type_is_for_gguf_alone(cli: RunCli, tmp_path: Path) -> None:
    ended = cli("export", tmp_path, "--format", "merged", "--quantization", "q8_0")
    assert ended.code == 2
    assert "--quantization" in ended.err


# ------------------------------------------------------------------------- with llama.cpp

TEMPLATE = """\
{{- bos_token }}
{%- for message in messages -%}
<|start_header_id|>{{ message.role }}<|end_header_id|>

{{ message.content }}<|eot_id|>
{%- endfor -%}
{%- if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif -%}"""
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONVERSATIONS: list[list[Message]] = [
    [{"role": "user", "content": "What is 12345 + 6?"}],
    [
        {"role": "system", "content": "Think.\n\n  Then answer."},
        {"role": "user", "content": "I'LL say: naïve 漢字 \U0001f642 <|eot_id|> {x}\t\n"},
    ],
]


@dataclass(frozen=True)
class Tiny:
    """A small Llama with random weights, and the tokenizer of Llama 3, which writes a BOS token."""

    folder: Path
    model: Any
    tokenizer: Any


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    pytest.importorskip("llama_cpp", reason="make gguf")
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = llama_3_tokenizer()
    end = tokenizer.convert_tokens_to_ids("<|eot_id|>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    model.generation_config = GenerationConfig(eos_token_id=end)
    folder = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Tiny(folder, model.float(), tokenizer)


def llama_3_tokenizer() -> Any:
    """Of the vocabulary that llama.cpp tests its own tokenizer with."""
    from gguf import GGUFReader
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    file = Path(sys.prefix, "share", "llama.cpp", "models", "ggml-vocab-llama-bpe.gguf")
    fields = GGUFReader(file).fields
    tokens, kinds, merges = (
        fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type", "merges")
    )
    vocab = {token: index for index, token in enumerate(tokens)}
    bpe = models.BPE(vocab, [tuple(merge.split(" ")) for merge in merges], ignore_merges=True)
    tokenizer = Tokenizer(bpe)
    split = pre_tokenizers.Split(Regex(LLAMA_3), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == 3]
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in special]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


@pytest.fixture(scope="module")
def answerers(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from groupwise.framework.export.libllama import quantise
    from groupwise.framework.export.llama_cpp import LlamaCppAnswerer

    folder = tmp_path_factory.mktemp("gguf")
    assert write_gguf(tiny.folder, folder / "f16", "f16", "tiny") == []
    assert quantise(folder / "f16", folder / "q8_0", "q8_0") == []
    return {name: LlamaCppAnswerer(str(folder / name), None) for name in ("f16", "q8_0")}


@pytest.mark.stack
@pytest.mark.long
@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_a_prompt_has_the_tokens_of_the_model_s_own_tokenizer(
    tiny: Tiny, answerers: dict[str, LlamaCppAnswerer], messages: list[Message]
) -> None:
    """One token at its beginning, and not two (llama.cpp 7062)."""
    text = tiny.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tiny.tokenizer(text, add_special_tokens=False)["input_ids"]
    answerer = answerers["q8_0"]
    assert answerer.render(messages, NOW) == ids
    assert ids.count(tiny.tokenizer.bos_token_id) == 1
    assert tiny.tokenizer.eos_token_id in answerer.end_ids
    for special in (True, False):
        decoded = answerer.vocabulary.decode(ids, skip_special_tokens=special)
        assert decoded == tiny.tokenizer.decode(ids, skip_special_tokens=special)


@pytest.mark.stack
@pytest.mark.long
def test_the_finer_the_type_the_closer_the_answers(
    tiny: Tiny, answerers: dict[str, LlamaCppAnswerer]
) -> None:
    """And as close as the type's rounding lets expect: the measure of `export/check.py`."""
    import torch

    from groupwise.framework.export.check import expected_error

    ids = answerers["f16"].render(CONVERSATIONS[1], NOW)
    half = len(ids) // 2
    with torch.no_grad():
        logits = tiny.model(torch.tensor([ids])).logits[0, half - 1 : -1].float()
    spread = float(logits.std(-1).mean())
    own = logits.log_softmax(-1)
    best = own.topk(8).indices
    wanted = own.gather(-1, best)
    errors = {}
    for name, answerer in answerers.items():
        reply = answerer.answer(ids[:half], ids[half:], best.tolist(), 4)
        errors[name] = float((torch.tensor(reply.logprobs) - wanted).std())
        expected = expected_error(rounding_of(name), 2, spread)
        assert errors[name] < 4 * max(expected, expected_error(rounding_of("bf16"), 2, spread))
    assert errors["f16"] < errors["q8_0"]


@pytest.mark.stack
@pytest.mark.long
def test_answers_are_drawn_as_our_engines_draw_them(toy: Toy, tmp_path: Path) -> None:
    """By the same random numbers; in any order, whatever is there already."""
    pytest.importorskip("llama_cpp", reason="make gguf")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from groupwise.framework.export.llama_cpp import LlamaCppAnswerer
    from groupwise.framework.sampling import make_sampler

    merged = copytree(toy.model, tmp_path / "merged")
    write_gguf(merged, tmp_path / "toy.gguf", "f16", "toy")
    model = AutoModelForCausalLM.from_pretrained(toy.model)
    engines = (
        make_sampler(model, AutoTokenizer.from_pretrained(toy.model)),
        LlamaCppAnswerer(str(tmp_path / "toy.gguf"), 3),
    )
    texts = [f"<|im_start|>user\n{a}+7=?<|im_end|>\n<|im_start|>assistant\n" for a in (5, 28)]
    params = SamplingParams(max_tokens=24, seed=3, logprobs=True, stop=("=1",))

    def drawn(sampler: Any, done: frozenset[int] = frozenset()) -> dict[tuple[int, int], Any]:
        prompts = [Prompt(text, text, done) for text in texts]
        found = sampler.sample(prompts, 8, params)
        return {(sample.prompt_index, sample.sample_index): sample for sample in found}

    ours, theirs = (drawn(engine) for engine in engines)
    assert ours.keys() == theirs.keys()
    same = [key for key in ours if ours[key].token_ids == theirs[key].token_ids]
    assert len(same) >= 14  # of 16: a draw at the edge of two tokens may fall on the other side
    for key in same:
        assert ours[key].text == theirs[key].text
        assert ours[key].finish_reason == theirs[key].finish_reason
        assert theirs[key].logprobs == pytest.approx(ours[key].logprobs, abs=0.05)
    rest = drawn(engines[1], frozenset({0, 1, 2, 3, 4, 6}))
    assert sorted(rest) == [(0, 5), (0, 7), (1, 5), (1, 7)]
    assert rest[1, 7].text == theirs[1, 7].text


@pytest.fixture(scope="module")
def of_bytes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 256-wide rows, which all types fit, with the toy's tokenizer."""
    pytest.importorskip("llama_cpp", reason="make gguf")
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from groupwise.framework.data.toy import make_tokenizer

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(make_tokenizer()) + 1,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=1,
        num_attention_heads=4,
    )
    folder = tmp_path_factory.mktemp("bytes")
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.stack
@pytest.mark.long
def test_rounding_is_what_llama_cpp_does_to_a_weight(of_bytes: Path, tmp_path: Path) -> None:
    """The table of relative errors, for the types that mix none."""
    import numpy as np

    from groupwise.framework.export.libllama import quantise

    whole = tmp_path / "bf16.gguf"
    write_gguf(of_bytes, whole, "bf16", "bytes")
    for name in ("q8_0", "q6_k", "q5_k_s", "q4_k_s", "q2_k"):
        file = tmp_path / f"{name}.gguf"
        assert quantise(whole, file, name) == []
        error = np.sqrt(np.mean((weight(file) - weight(whole)) ** 2) / np.mean(weight(whole) ** 2))
        assert error == pytest.approx(QUANTISATIONS[name], rel=0.1), name


def weight(file: Path) -> Any:
    from gguf import GGUFReader, dequantize

    (found,) = (t for t in GGUFReader(file).tensors if t.name == "blk.0.ffn_gate.weight")
    return dequantize(found.data, found.tensor_type)


@pytest.mark.stack
@pytest.mark.long
def test_a_tokenizer_that_llama_cpp_does_not_know_is_refused(
    of_bytes: Path, tmp_path: Path
) -> None:
    """The toy's own merges nothing, and is no riddle; one merge more, and it is."""
    from groupwise.framework.data.toy import make_tokenizer

    for file in of_bytes.iterdir():
        (tmp_path / file.name).symlink_to(file)
    described = json.loads((of_bytes / "tokenizer.json").read_text(encoding="utf-8"))
    described["model"]["merges"] = [["1", "2"]]
    described["model"]["vocab"]["12"] = len(make_tokenizer())
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(UserError, match="does not know the model's tokenizer"):
        write_gguf(tmp_path, tmp_path / "model.gguf", "q8_0", "bytes")
