"""The batch changes no answer: to the bit in float32 on a CPU, within a bound elsewhere.

    pytest -m invariance                                the machine's own instructions
    ATEN_CPU_CAPABILITY=avx2 pytest -m invariance       or default; `make test-invariance` runs all

To the bit holds for tokens and log-probabilities, with any number of rows, in any order of
prompts, after a resume, with any number of threads, in each of the engines `slots` and `generate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from conftest import for_slots
from sampling_toys import FAMILIES, make_model, make_tokenizer
from test_sampling_engines import lora, nf4

from groupwise.evaluation.sampler import Prompt, SampledCompletion, SamplingParams
from groupwise.framework.sampling import attention as kernels
from groupwise.framework.sampling import cpu, make_sampler
from groupwise.framework.sampling.blocks import CHUNK
from groupwise.framework.sampling.cpu import prepacked_linears
from groupwise.framework.sampling.draw import draw
from groupwise.framework.sampling.randomness import sample_key, uniforms

pytestmark = [pytest.mark.stack, pytest.mark.invariance]

ENGINES = ["slots", "generate"]
# Lengths around the units of prompts (16), and windows of one, two and three chunks (126).
LENGTHS = [1, 16, 17, 18, 33, 110, 125, 240]
PROMPTS = [Prompt(f"p{n}", "".join(chr(97 + (n + i * i) % 26) for i in range(n))) for n in LENGTHS]
K = 10
PARAMS = SamplingParams(seed=5, max_tokens=10, logprobs=True)
Answers = dict[tuple[str, int], SampledCompletion]


@dataclass(frozen=True)
class Case:
    """How the same samples are asked for again; all of them with 128 rows and 1 thread before."""

    rows: int
    threads: int = 1
    backwards: bool = False
    left: tuple[int, ...] = tuple(range(K))  # samples of a prompt that are still to be made


CASES = {
    "1 row, few samples left": Case(rows=1, left=(5,)),
    "1 row, 2 threads": Case(rows=1, threads=2, left=(9,)),
    "7 rows, half of the samples left": Case(rows=7, left=(0, 3, 4, 7, 9)),
    "8 rows, 2 threads, backwards": Case(rows=8, threads=2, backwards=True),
    "64 rows, 2 threads": Case(rows=64, threads=2),
}
MORE_THREADS = {"64 rows, 5 threads": Case(rows=64, threads=5)}


@pytest.fixture(autouse=True)
def _threads_as_asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tiny models use the number of threads of a case too."""
    monkeypatch.setattr(cpu, "WORTH_A_THREAD", 0.0)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def answers(
    model: Any,
    engine: Any,
    case: Case,
    prompts: list[Prompt] = PROMPTS,
    params: SamplingParams = PARAMS,
) -> Answers:
    done = frozenset(range(K)) - set(case.left)
    wanted = [replace(p, done=done) for p in prompts]
    if case.backwards:
        wanted.reverse()
    torch.set_num_threads(case.threads)
    made = make_sampler(model, make_tokenizer(), engine, max_rows=case.rows).sample(
        wanted, K, params
    )
    return {(wanted[c.prompt_index].key, c.sample_index): c for c in made}


def drawn(found: Answers) -> dict[tuple[str, int], tuple[Any, ...]]:
    return {at: (c.token_ids, c.logprobs, c.text, c.finish_reason) for at, c in found.items()}


def assert_alike(
    model: Any,
    engine: str,
    prompts: list[Prompt] = PROMPTS,
    params: SamplingParams = PARAMS,
    cases: dict[str, Case] = CASES,
) -> None:
    expected = drawn(answers(model, engine, Case(rows=128), prompts, params))
    assert len(expected) == len(prompts) * K
    assert len(set(expected.values())) > len(expected) / 3
    for name, case in cases.items():
        found = drawn(answers(model, engine, case, prompts, params))
        assert len(found) == len(prompts) * len(case.left)
        different = [at for at, value in found.items() if value != expected[at]]
        assert not different, f"{name}: {len(different)} of {len(found)} differ: {different[:5]}"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("family", for_slots(FAMILIES))
def test_no_answer_depends_on_the_batch(family: str, engine: str) -> None:
    assert_alike(make_model(family), engine)


def smollm() -> Any:
    """The shapes of SmolLM2-135M, of which two layers of thirty are enough."""
    return make_model(
        "llama",
        hidden_size=576,
        intermediate_size=1536,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
        tie_word_embeddings=True,
    )


MODELS: dict[str, Callable[[], Any]] = {
    "SmolLM2's shapes": smollm,
    "adapters, merged in slots": lambda: lora(make_model("qwen3")),
    "adapters that are not merged": lambda: lora(make_model("llama"), use_dora=True),
    "widths that are no multiples of anything": lambda: make_model(
        "gemma", hidden_size=60, intermediate_size=100, head_dim=12, vocab_size=1234
    ),
    "inputs wider than one sum": lambda: make_model(
        "qwen2", intermediate_size=2100, hidden_size=96, num_key_value_heads=1
    ),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", MODELS)
def test_nor_in_other_shapes(name: str, engine: str) -> None:
    few = PROMPTS[1::2]
    assert_alike(MODELS[name](), engine, few, cases=CASES | MORE_THREADS)


@pytest.mark.parametrize("engine", ENGINES)
def test_nor_with_every_rule_on(engine: str) -> None:
    rules = SamplingParams(
        seed=7,
        max_tokens=10,
        logprobs=True,
        temperature=0.8,
        top_k=40,
        top_p=0.9,
        min_p=0.01,
        repetition_penalty=1.2,
        stop=("ab",),
    )
    assert_alike(make_model("qwen3"), engine, PROMPTS[::2], rules)


# -- where it cannot be had: the bound


@dataclass(frozen=True)
class Bounded:
    """A model whose rows round by the batch, and by how much a log-probability may differ."""

    make: Callable[[], Any]
    bound: float
    onednn: bool = True


BOUNDED = {
    "float32 without oneDNN": Bounded(lambda: make_model("qwen3"), 1e-4, onednn=False),
    "4 bits": Bounded(lambda: nf4(make_model("llama")), 1e-4),
    "4 bits with adapters": Bounded(lambda: lora(nf4(make_model("qwen2"))), 1e-4),
    "bfloat16": Bounded(lambda: make_model("qwen3").bfloat16(), 0.25),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", BOUNDED)
def test_elsewhere_answers_differ_within_the_bound(
    name: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded = BOUNDED[name]
    if not bounded.onednn:
        monkeypatch.setattr(cpu, "has_onednn", lambda: False)
        monkeypatch.setattr(kernels, "has_onednn", lambda: False)
    model, prompts = bounded.make(), PROMPTS[1::3]
    expected = answers(model, engine, Case(rows=128), prompts)
    for case in (Case(rows=1, left=(5,)), Case(rows=7, threads=2, left=(0, 3, 4))):
        for at, made in answers(model, engine, case, prompts).items():
            prompt = next(p for p in prompts if p.key == at[0])
            assert_within(bounded.bound, model, prompt, made, expected[at])


def assert_within(
    bound: float, model: Any, prompt: Prompt, made: SampledCompletion, other: SampledCompletion
) -> None:
    """Two answers to one sample: log-probabilities within `bound`, tokens equal or at an edge.

    Where the first tokens differ, the sample's uniform number must lie within what the bound makes
    of a probability from an edge of either token's share of the cumulative distribution. What
    follows is another text, and is not compared.
    """
    assert made.logprobs is not None
    assert other.logprobs is not None
    pairs = list(zip(made.token_ids, other.token_ids, strict=False))
    same = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
    for a, b in zip(made.logprobs[:same], other.logprobs[:same], strict=True):
        assert abs(a - b) <= bound
    if same == len(pairs):
        assert len(made.token_ids) == len(other.token_ids)
        return
    ids = [*make_tokenizer()(prompt.text)["input_ids"], *made.token_ids[:same]]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1].double()
    cumulative = logits.softmax(dim=-1).cumsum(dim=-1)
    key = sample_key(PARAMS.seed, prompt.key, made.sample_index)
    uniform = uniforms([key], same + 1)[0, same].item()
    for token in pairs[same]:
        assert edge_distance(cumulative, token, uniform) <= 2 * math.expm1(bound)


def edge_distance(cumulative: torch.Tensor, token: int, uniform: float) -> float:
    """How far `uniform` lies outside of a token's share of the cumulative distribution (V,)."""
    low = cumulative[token - 1].item() if token else 0.0
    return max(low - uniform, uniform - cumulative[token].item(), 0.0)


def test_the_bound_sees_what_is_beyond_it() -> None:
    cumulative = torch.tensor([0.25, 0.5, 1.0])
    assert [edge_distance(cumulative, t, 0.4) for t in range(3)] == pytest.approx([0.15, 0, 0.1])
    model, prompt = make_model("qwen3"), PROMPTS[1]
    made = answers(model, "slots", Case(rows=8, left=(0,)), [prompt])[(prompt.key, 0)]
    wrong = (made.token_ids[0] + 50) % 100  # far from where its uniform number lies
    other = SampledCompletion(0, 0, "", (wrong, *made.token_ids[1:]), "length", made.logprobs)
    with pytest.raises(AssertionError):
        assert_within(1e-4, model, prompt, made, other)


# -- the parts


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [(8, 64), (64, 100), (576, 192), (1024, 1024), (1100, 64), (1536, 576), (4864, 96)],
)
def test_a_rows_product_is_the_same_in_any_batch(inputs: int, outputs: int, count: int) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(inputs, outputs)
    x = torch.randn(500, 1, inputs)
    torch.set_num_threads(1)
    with torch.no_grad(), prepacked_linears(layer, 1 << 30):
        expected = torch.cat([layer(x[i : i + 8]) for i in range(0, 500, 8)])
        torch.set_num_threads(count)
        for rows in (1, 2, 3, 7, 9, 64, 100, 128, 500):
            assert torch.equal(layer(x[:rows]), expected[:rows]), rows
    torch.testing.assert_close(expected, layer(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("capped", [False, True])
@pytest.mark.parametrize("width", [8, 16, 64, 80, 128])
def test_a_rows_attention_is_the_same_in_any_batch_and_window(
    width: int, capped: bool, count: int
) -> None:
    torch.manual_seed(0)
    rows, heads = 40, 2
    lengths = torch.randint(1, 3 * CHUNK, (rows,))
    lengths[0] = 3 * CHUNK - 1
    data = torch.randn(2, rows, 4 * CHUNK, heads, width)  # beyond its length: another row's

    def attention(at: slice, window: int, group: int) -> torch.Tensor:
        torch.manual_seed(group)
        query = torch.randn(rows, heads, group, width)[at]
        seen = (torch.arange(window) <= lengths[at, None])[:, None, None]
        key, value = (d[at, :window].transpose(1, 2) for d in data)
        part = (lambda *a: kernels._weighted(*a, softcap=30.0)) if capped else kernels._flash
        return kernels._in_chunks(part, query, key, value, seen, 0.125)

    for group in (1, 2, 3, 8):
        torch.set_num_threads(1)
        expected = attention(slice(None), 3 * CHUNK, group)
        torch.set_num_threads(count)
        assert torch.equal(attention(slice(None), 4 * CHUNK, group), expected)
        for row in range(0, rows, 3):
            window = kernels.round_up(int(lengths[row]) + 1, CHUNK)
            assert torch.equal(
                attention(slice(row, row + 1), window, group), expected[row : row + 1]
            )
        assert torch.equal(attention(slice(0, 7), 3 * CHUNK, group), expected[:7])


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("vocabulary", [100, 1234, 49152])
def test_a_rows_draw_is_the_same_in_any_batch(vocabulary: int, count: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(33, vocabulary) * 3
    uniform = torch.rand(33, dtype=torch.float64)
    params = SamplingParams(temperature=0.9, top_p=0.95, logprobs=True)
    torch.set_num_threads(1)
    expected = draw(logits, uniform, params)
    torch.set_num_threads(count)
    for rows in (1, 2, 7, 8, 32):
        tokens, logprobs = draw(logits[:rows], uniform[:rows], params)
        assert expected[1] is not None
        assert logprobs is not None
        assert torch.equal(tokens, expected[0][:rows])
        assert torch.equal(logprobs, expected[1][:rows])


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("width", [100, 576, 1536])
@pytest.mark.parametrize("kind", ["silu", "gelu_pytorch_tanh"])
def test_a_rows_activation_is_the_same_in_any_batch(kind: str, width: int, count: int) -> None:
    from transformers.activations import ACT2FN

    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(8, width), ACT2FN[kind])
    x = torch.randn(128, 8)
    torch.set_num_threads(1)
    with torch.no_grad(), prepacked_linears(layers, 1 << 30):
        expected = layers(x)
        torch.set_num_threads(count)
        for rows in (1, 7, 64, 101, 127):
            assert torch.equal(layers(x[:rows]), expected[:rows]), rows
