"""The counter of benchmarks/gpu_figures: exact on known modules, and equal to real runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from benchmarks.gpu_figures import model as models
from benchmarks.gpu_figures.cards import CARDS
from benchmarks.gpu_figures.counter import Counter
from benchmarks.gpu_figures.products import is_fused, on_card, packed_bytes
from benchmarks.gpu_figures.schedule import Rollout, batches, slots

pytestmark = pytest.mark.stack

SMALL = {
    "vocab_size": 1024,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
}


def test_a_linear_layer_to_the_byte() -> None:
    layer = torch.nn.Linear(64, 32, bias=False)
    x = torch.ones(8, 64)
    with torch.no_grad(), Counter() as counter:
        layer(x)
    assert counter.tally.launches == 1
    assert counter.tally.moved == 4 * (8 * 64 + 32 * 64 + 8 * 32)
    assert counter.tally.flops == 2 * 8 * 64 * 32


def test_attention_is_one_operation_and_views_are_none() -> None:
    query = torch.ones(2, 5, 4, 16).transpose(1, 2)
    key = torch.ones(2, 2, 7, 16)
    mask = torch.zeros(1, 1, 1, 7).expand(2, 1, 5, 7)
    with torch.no_grad(), Counter() as counter:
        F.scaled_dot_product_attention(query, key, key, attn_mask=mask, enable_gqa=True).reshape(-1)
    assert counter.tally.by_name()["attention"] == 1
    (attention,) = (op for op in counter.tally.operations if op.name == "attention")
    # The mask is 7 numbers: its repetitions are not read. Keys and values: one tensor, read twice.
    assert attention.read == 4 * (2 * 4 * 5 * 16 + 2 * 2 * 2 * 7 * 16 + 7)
    assert attention.written == 4 * 2 * 4 * 5 * 16
    assert attention.flops == 4 * 2 * 4 * 5 * 7 * 16


def test_writes_in_place_lookups_and_host_reads() -> None:
    table, ids = torch.ones(1000, 8), torch.tensor([1, 2, 3])
    target = torch.zeros(100, 8)
    with torch.no_grad(), Counter() as counter:
        rows = F.embedding(ids, table)
        target.index_copy_(0, ids, rows)
        target[:3].copy_(rows)
        rows.add_(1.0)
        assert rows.sum().item() == 48.0
        assert rows[0].tolist() == [2.0] * 8
    by_name = {op.name: (op.read, op.written) for op in counter.tally.operations}
    each = 4 * 3 * 8
    assert by_name["embedding"] == (each, each)
    assert by_name["index_copy_"] == (each, each)
    assert by_name["copy_"] == (each, each)
    assert by_name["add_"] == (each, each)
    assert counter.tally.host_reads == 2


def test_inference_mode_counts_the_same() -> None:
    """There compositions such as `linear` reach a mode whole."""
    tallies = []
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            layer, x = torch.nn.Linear(16, 16), torch.ones(2, 3, 16)
            with Counter() as counter:
                F.silu(layer(x)).reshape(-1)
        tallies.append(counter.tally)
    assert tallies[0].by_name() == tallies[1].by_name() == {"addmm": 1, "silu": 1}
    assert tallies[0].moved == tallies[1].moved


def test_what_lives_is_what_a_real_run_allocates() -> None:
    """The peak of a forward and backward on fake tensors, and torch's own record of a real one."""

    def work() -> None:
        torch.manual_seed(0)
        layers = torch.nn.Sequential(*[torch.nn.Linear(256, 256) for _ in range(4)])
        x = torch.ones(64, 256, requires_grad=True)
        layers(x).square().sum().backward()

    with models.fake_mode(), Counter() as counter:
        work()
    with torch.profiler.profile(profile_memory=True) as profile:
        work()
    live = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    assert counter.tally.peak_bytes == pytest.approx(peak, rel=0.03)


@pytest.fixture(scope="module")
def settings() -> Any:
    return models.config(**SMALL)


def test_fake_weights_have_the_bytes_of_real_ones(settings: Any) -> None:
    with models.fake_mode():
        fake = models.nbytes(models.build(settings))
    assert fake == pytest.approx(models.nbytes(models.build_real(settings)), rel=0.005)


def test_a_fake_step_counts_as_a_real_one(settings: Any) -> None:
    ids = torch.ones(4, 8, dtype=torch.int64)
    with models.fake_mode():
        fake_model = models.build(settings).eval()
        counter = Counter(models.tensors(fake_model))
        fake_ids = torch.ones(4, 8, dtype=torch.int64)
        with torch.no_grad(), counter:
            fake_model(input_ids=fake_ids, use_cache=False)
    real_model = models.build_real(settings).eval()
    real = Counter(models.tensors(real_model))
    with torch.no_grad(), real:
        real_model(input_ids=ids, use_cache=False)
    assert counter.tally.by_name() == real.tally.by_name()
    assert counter.tally.moved == real.tally.moved
    assert counter.tally.peak_bytes == pytest.approx(real.tally.peak_bytes, rel=0.005)


def test_a_packed_weight_and_what_a_card_does_with_it(settings: Any) -> None:
    layer = models.build_real(settings).get_base_model().model.layers[0].mlp.up_proj.base_layer
    state = layer.weight.quant_state
    stored = layer.weight.nbytes + state.absmax.nbytes + state.state2.absmax.nbytes
    assert packed_bytes(512 * 256) == stored
    x = torch.ones(4, 256, dtype=torch.bfloat16)
    with torch.no_grad(), Counter() as counter:
        layer(x)
    ampere, hopper = CARDS[0], CARDS[-1]
    fused = on_card(counter.tally, ampere)
    assert fused.by_name() == {"gemm_4bit": 1}
    assert fused.moved == 2 * 4 * (256 + 512) + stored
    # 128 rows of the model's largest weight: bitsandbytes multiplies it packed on one card only.
    assert is_fused(ampere, 128, (9728, 2560))
    assert not is_fused(hopper, 128, (9728, 2560))


def test_slots_hold_more_rows_in_the_same_room() -> None:
    rollout = Rollout(prompts=16, group=8)
    assert sum(rollout.lengths) / len(rollout.lengths) == pytest.approx(0.35 * 1024, rel=0.01)
    ours, plain = slots(rollout, 16 * (256 + 1024)), batches(rollout, 16)
    assert ours.tokens == plain.tokens == sum(rollout.lengths)
    assert plain.row_steps > plain.tokens  # rows wait for the longest of their batch
    assert ours.row_steps >= ours.tokens  # and only those that were put back run twice
    assert ours.most_rows > 2 * plain.most_rows
    assert ours.steps < plain.steps / 2


def test_a_step_of_the_slot_engine(settings: Any) -> None:
    from benchmarks.gpu_figures.slots import leave_adapters, one_step

    with models.fake_mode():
        model = models.build(settings).eval()
        leave_adapters(model)
        few = one_step(model, 4, 32, 4, ahead=8)[1]
        many = one_step(model, 16, 32, 4, ahead=8)[1]
    assert few[0].by_name()["gemm_4bit"] == 2 * 7
    assert few[0].by_name()["attention"] == 2 * 2  # over own blocks, and over shared ones
    # A step launches the same, whatever the rows, and reads the host once.
    assert few[0].launches == many[0].launches
    assert few[1].host_reads == many[1].host_reads == 1
