"""What the engines promise: the same answers in any batch, exact ends, untouched models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from conftest import for_slots
from sampling_toys import make_model, make_tokenizer

from groupwise.evaluation.sampler import Prompt, SampledCompletion, SamplingParams
from groupwise.framework.sampling import make_sampler, sampling_mode
from groupwise.framework.sampling.memory import Need, Room, Widths, room_within, rows_at_full_length
from groupwise.rewards.errors import UserError

pytestmark = pytest.mark.stack

ENGINES = ["slots", "generate"]
PROMPTS = [Prompt(key=f"p{i}", text=f"{i} + {i * i} =" + " ?" * (i % 5)) for i in range(16)]
Answers = dict[tuple[int, int], SampledCompletion]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


@pytest.fixture(scope="module")
def model() -> Any:
    return make_model("qwen3")


def answers(
    model: Any,
    tokenizer: Any,
    params: SamplingParams,
    *,
    engine: Any = "slots",
    prompts: Sequence[Prompt] = PROMPTS,
    k: int = 16,
    **options: Any,
) -> Answers:
    sampler = make_sampler(model, tokenizer, engine, **options)
    made = list(sampler.sample(prompts, k, params))
    found = {(c.prompt_index, c.sample_index): c for c in made}
    assert len(found) == len(made)
    return found


def tokens(found: Answers) -> dict[tuple[int, int], tuple[int, ...]]:
    return {at: c.token_ids for at, c in found.items()}


def test_256_answers_do_not_depend_on_the_batch(model: Any, tokenizer: Any) -> None:
    """To the bit, log-probabilities too; between the engines, tokens and nearly the bits."""
    params = SamplingParams(seed=5, max_tokens=24, logprobs=True)
    expected = answers(model, tokenizer, params, max_rows=1)
    assert len(expected) == 256
    assert len(set(tokens(expected).values())) > 200
    for rows in (8, 64):
        assert answers(model, tokenizer, params, max_rows=rows) == expected
    other = answers(model, tokenizer, params, engine="generate", max_rows=7)
    assert tokens(other) == tokens(expected)
    for at, made in other.items():
        assert made.logprobs == pytest.approx(expected[at].logprobs, abs=1e-4)
    assert answers(model, tokenizer, params, engine="generate", max_rows=16) == other


def test_order_and_resume_change_nothing(model: Any, tokenizer: Any) -> None:
    params = SamplingParams(seed=5, max_tokens=12)
    expected = tokens(answers(model, tokenizer, params, k=4))
    backwards = tokens(answers(model, tokenizer, params, k=4, prompts=PROMPTS[::-1]))
    assert {(15 - p, s): t for (p, s), t in backwards.items()} == expected
    half_done = [Prompt(p.key, p.text, done=frozenset({0, 2})) for p in PROMPTS]
    rest = tokens(answers(model, tokenizer, params, k=4, prompts=half_done))
    assert rest == {at: t for at, t in expected.items() if at[1] in (1, 3)}
    other = tokens(answers(model, tokenizer, SamplingParams(seed=6, max_tokens=12), k=4))
    assert other != expected


def test_prompts_may_come_as_tokens(model: Any, tokenizer: Any) -> None:
    params = SamplingParams(max_tokens=8)
    as_tokens = [
        Prompt(p.key, "", token_ids=tuple(tokenizer(p.text)["input_ids"])) for p in PROMPTS
    ]
    expected = answers(model, tokenizer, params, k=2)
    assert answers(model, tokenizer, params, k=2, prompts=as_tokens) == expected


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_logprobs_are_those_of_a_full_forward(
    model: Any, tokenizer: Any, engine: str, temperature: float
) -> None:
    params = SamplingParams(temperature=temperature, top_k=30, max_tokens=16, logprobs=True)
    found = answers(model, tokenizer, params, engine=engine, k=2, max_rows=5)
    for (prompt, _), made in found.items():
        ids = tokenizer(PROMPTS[prompt].text)["input_ids"]
        whole = torch.tensor([ids + list(made.token_ids)])
        with torch.no_grad():
            logits = model(whole).logits[0, len(ids) - 1 : -1] / (temperature or 1.0)
        expected = logits.log_softmax(dim=-1).gather(1, whole[0, len(ids) :, None])[:, 0]
        assert made.logprobs is not None
        torch.testing.assert_close(torch.tensor(made.logprobs), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_first_and_second_tokens_follow_the_models_distribution(
    model: Any, tokenizer: Any, engine: str
) -> None:
    """3,000 draws against the exact distribution, by chi square (seed fixed)."""
    params = SamplingParams(seed=1, temperature=0.8, top_p=0.9, max_tokens=2)
    prompt = Prompt("one", "12 + 3 =")
    found = answers(model, tokenizer, params, engine=engine, prompts=[prompt], k=3000, max_rows=500)
    ids = tokenizer(prompt.text)["input_ids"]
    first = distribution(model, ids, 0.8, 0.9)
    check_chi_square([c.token_ids[0] for c in found.values()], first)
    likeliest = int(first.argmax())
    after = [c.token_ids[1] for c in found.values() if c.token_ids[0] == likeliest]
    check_chi_square(after, distribution(model, [*ids, likeliest], 0.8, 0.9))


def distribution(model: Any, ids: list[int], temperature: float, top_p: float) -> torch.Tensor:
    from transformers import TopPLogitsWarper

    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[:, -1] / temperature
    return TopPLogitsWarper(top_p)(None, logits)[0].softmax(dim=-1)


def check_chi_square(drawn: list[int], expected: torch.Tensor) -> None:
    counts = torch.bincount(torch.tensor(drawn), minlength=len(expected)).double()
    assert not counts[expected == 0].any()
    wanted = expected.double() * len(drawn)
    common = wanted >= 5
    pairs = [(counts[common], wanted[common])]
    if (rest := wanted[~common].sum()) > 0:
        pairs.append((counts[~common].sum()[None], rest[None]))
    statistic = sum(((c - w) ** 2 / w.clamp(min=1e-9)).sum().item() for c, w in pairs)
    freedom = sum(len(c) for c, _ in pairs) - 1
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5 + 4  # about p > 1e-4


@pytest.mark.parametrize("engine", ENGINES)
def test_stop_strings_cut_the_text(model: Any, tokenizer: Any, engine: str) -> None:
    free = SamplingParams(seed=2, max_tokens=40)
    whole = answers(model, tokenizer, free, k=4)
    text = whole[(0, 0)].text
    stop = text[10:13]  # three characters: three tokens
    params = SamplingParams(seed=2, max_tokens=40, stop=(stop, "<never>"))
    for at, made in answers(model, tokenizer, params, engine=engine, k=4).items():
        full = whole[at]
        cut = full.text.find(stop)
        if cut < 0:
            assert made == full
            continue
        assert made.text == full.text[:cut]
        assert made.finish_reason == "stop"
        assert made.token_ids == full.token_ids[: cut + len(stop)]  # one token a character


@pytest.mark.parametrize("engine", ENGINES)
def test_each_end_of_text_token_ends(tokenizer: Any, engine: str) -> None:
    """generation_config names one, the tokenizer another, a stop string that is a token a third."""
    model = make_model("llama")
    model.generation_config.eos_token_id = [40]
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<end>"]})  # id 100: no logit
    free = answers(model, make_tokenizer(), SamplingParams(max_tokens=200), k=1)
    assert {c.token_ids[-1] for c in free.values()} == {1, 40}
    for made in free.values():
        assert made.finish_reason == "stop"
        assert not {1, 40} & set(made.token_ids[:-1])
        assert made.text == tokenizer.decode(made.token_ids[:-1], skip_special_tokens=True)
    params = SamplingParams(max_tokens=200, stop=("<end>",))
    assert answers(model, tokenizer, params, engine=engine, k=1) == free
    short = answers(model, tokenizer, SamplingParams(max_tokens=3), engine=engine, k=1)
    for made in short.values():
        assert len(made.token_ids) <= 3
        assert (made.finish_reason == "length") == (made.token_ids[-1] not in (1, 40))


def lora(model: Any, **changes: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(
        r=4, target_modules="all-linear", lora_dropout=0.1, task_type="CAUSAL_LM", **changes
    )
    tuned = get_peft_model(model, config)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2)
    return tuned


def nf4(model: Any) -> Any:
    """The same model with its layers quantised as bitsandbytes does it on loading."""
    import bitsandbytes as bnb

    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, torch.nn.Linear) and name != "lm_head":
                small = bnb.nn.Linear4bit(
                    layer.in_features,
                    layer.out_features,
                    bias=layer.bias is not None,
                    compute_dtype=torch.float32,
                    quant_type="nf4",
                )
                small.load_state_dict(layer.state_dict())
                setattr(parent, name, small.to("cpu"))
    return model


VARIANTS: dict[str, Any] = {
    "lora": lambda: lora(make_model("qwen3")),
    "nf4": lambda: nf4(make_model("llama")),
    "nf4_lora": lambda: lora(nf4(make_model("qwen2"))),
    "gemma3_lora": lambda: lora(make_model("gemma3")),
    "bf16": lambda: make_model("qwen3").bfloat16(),
}


@pytest.mark.parametrize("variant", for_slots(VARIANTS))
def test_variants_answer_as_generate(variant: str, tokenizer: Any) -> None:
    model = VARIANTS[variant]()
    params = SamplingParams(temperature=0, max_tokens=16)
    # In bf16 a row rounds differently in another batch; one row at a time is the same sums.
    rows = 1 if variant == "bf16" else 5
    found = tokens(answers(model, tokenizer, params, k=1, max_rows=rows))
    agree = 0
    for i, prompt in enumerate(PROMPTS):
        inputs = tokenizer(prompt.text, return_tensors="pt", return_token_type_ids=False)
        # In this mode bitsandbytes does not repack, and round, the 4-bit layers.
        with torch.no_grad(), sampling_mode(model):
            out = model.generate(**inputs, do_sample=False, max_new_tokens=16)
        agree += tuple(out[0, inputs["input_ids"].shape[1] :].tolist()) == found[(i, 0)]
    assert agree == len(PROMPTS) if variant != "bf16" else agree >= 0.75 * len(PROMPTS)


def test_adapter_makes_a_difference(tokenizer: Any) -> None:
    model = lora(make_model("qwen3"))
    params = SamplingParams(temperature=0, max_tokens=16)
    tuned = answers(model, tokenizer, params, k=1)
    with model.disable_adapter():
        assert answers(model, tokenizer, params, k=1) != tuned
    assert answers(model, tokenizer, params, k=1) == tuned


@pytest.mark.parametrize("engine", ENGINES)
def test_model_and_random_state_are_as_before(tokenizer: Any, engine: str) -> None:
    model = lora(make_model("qwen3"))
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable()
    model.config.use_cache = False
    model.train()
    list(model.modules())[7].eval()  # a frozen part
    tokenizer.padding_side = "right"
    modes = [m.training for m in model.modules()]
    attention = model.config._attn_implementation
    random_state = torch.get_rng_state()
    threads = torch.get_num_threads()
    answers(model, tokenizer, SamplingParams(max_tokens=6), engine=engine, k=2)
    assert [m.training for m in model.modules()] == modes
    assert model.is_gradient_checkpointing
    assert model.config.use_cache is False
    assert model.config._attn_implementation == attention
    assert tokenizer.padding_side == "right"
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("engine", ENGINES)
def test_training_goes_on_and_the_next_rollout_sees_it(tokenizer: Any, engine: str) -> None:
    model = make_model("qwen3").train()
    sampler = make_sampler(model, tokenizer, engine)
    params = SamplingParams(temperature=0, max_tokens=12)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = [c.token_ids for c in sampler.sample(PROMPTS[:4], 1, params)]
    ids = torch.tensor([tokenizer("2 + 2 = 4")["input_ids"]])
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    after = [c.token_ids for c in sampler.sample(PROMPTS[:4], 1, params)]
    assert after != before
    fresh = make_sampler(model, tokenizer, engine)
    assert [c.token_ids for c in fresh.sample(PROMPTS[:4], 1, params)] == after


def test_quantised_layers_can_still_be_trained_through(tokenizer: Any) -> None:
    model = lora(nf4(make_model("qwen3")))
    ids = torch.tensor([tokenizer("2 + 2 = 4")["input_ids"]])

    def gradients() -> list[torch.Tensor]:
        model.train()
        for module in model.modules():  # dropout would make two passes differ
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    before = gradients()
    answers(model, tokenizer, SamplingParams(max_tokens=4), k=2)
    after = gradients()
    assert len(before) == len(after) > 0
    for was, now in zip(before, after, strict=True):
        torch.testing.assert_close(now, was)


def test_closing_early_keeps_what_was_finished(tokenizer: Any) -> None:
    model = make_model("qwen3").train()
    stream = make_sampler(model, tokenizer, "slots", max_rows=4).sample(
        PROMPTS, 4, SamplingParams(max_tokens=8)
    )
    first = [next(stream) for _ in range(5)]
    assert len(first) == 5
    assert torch.is_grad_enabled()  # between two answers the thread is the consumer's
    stream.close()
    assert model.training
    assert model.config._attn_implementation == "sdpa"


def test_auto_says_what_and_why(model: Any, tokenizer: Any) -> None:
    sampler = make_sampler(model, tokenizer)
    assert sampler.name == "slots"
    assert "qwen3" in sampler.reason
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    gpt2 = GPT2LMHeadModel(
        GPT2Config(vocab_size=100, n_embd=32, n_layer=1, n_head=2, eos_token_id=1, bos_token_id=1)
    ).eval()
    sampler = make_sampler(gpt2, tokenizer)
    assert sampler.name == "generate"
    assert "gpt2" in sampler.reason
    assert len(list(sampler.sample(PROMPTS[:2], 2, SamplingParams(max_tokens=4)))) == 4


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "longrope": (
        "phi3",
        {
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 1e4,
                "short_factor": [1.0] * 8,
                "long_factor": [2.0] * 8,
                "original_max_position_embeddings": 64,
            }
        },
    ),
    "dynamic": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_rows_that_would_change_each_other_are_refused(kind: str, tokenizer: Any) -> None:
    family, changes = REFUSED[kind]
    model = make_model(family, **changes)
    with pytest.raises(UserError, match=kind):
        make_sampler(model, tokenizer, "slots")
    assert make_sampler(model, tokenizer).name == "generate"


def test_unknown_engines_and_missing_vllm(model: Any, tokenizer: Any) -> None:
    with pytest.raises(UserError, match="no engine 'fast'"):
        make_sampler(model, tokenizer, "fast")
    with pytest.raises(UserError, match="fast_inference"):
        make_sampler(model, tokenizer, "vllm")


def test_prompts_that_do_not_fit_are_named(model: Any, tokenizer: Any) -> None:
    sampler = make_sampler(model, tokenizer)
    with pytest.raises(UserError, match=r"'long'.*510 tokens.*512"):
        list(sampler.sample([Prompt("long", "x" * 510)], 1, SamplingParams(max_tokens=3)))
    with pytest.raises(UserError, match="'empty'"):
        list(sampler.sample([Prompt("empty", "")], 1, SamplingParams()))


def test_memory_budget_bounds_the_rows(model: Any, tokenizer: Any) -> None:
    params = SamplingParams(seed=5, max_tokens=24)
    kv = torch.zeros(4, 2, 10, 16)  # two layers
    most = Room(rows=64, prompt_tokens=2048)
    budget = 1_200_000
    need = Need(prompt=17, padded=20, max_tokens=24, block=8, shares_prompts=False)
    room = room_within(budget, Widths.of(kv, model.config), need, most)
    assert 1 <= room.rows < 64
    taken = room.blocks * 8 * 4 * 2 * 16 * 4 + room.rows * 100 * 24
    assert taken + room.prompt_tokens * 4 * 2 * 16 * 4 <= budget
    assert room.blocks >= 2 + 5, "one sample of 40 positions"
    small = answers(model, tokenizer, params, k=2, memory_budget_bytes=budget)
    assert small == answers(model, tokenizer, params, k=2)
    with pytest.raises(UserError, match="Lower max_tokens, or raise the memory budget"):
        answers(model, tokenizer, params, k=2, memory_budget_bytes=1000)


def test_generate_takes_the_rows_that_fit_at_full_length() -> None:
    config = make_model("qwen3").config  # 2 layers, 2 heads of 16 keys, 100 words
    row = 2 * 2 * 2 * 16 * 2 * 40 + 100 * 24
    assert rows_at_full_length(8 * row, 40, config) == 8
    assert rows_at_full_length(8 * row - 1, 40, config) == 7
    assert rows_at_full_length(1, 40, config) == 1
