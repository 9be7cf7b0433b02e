"""The analytic FLOP count equals what torch's counter sees of a real step."""

from __future__ import annotations

import pytest
import torch
from mmpretrain.structures import DataSample

from semaim_mm.bench.flops import attention_calls, block_flops, data_sheet_flops, step_flops
from semaim_mm.bench.step_facts import check_fused, step_facts
from semaim_mm.runtime.budget import step_flops as counted_flops

CASES = {
    "the recipe": dict(),
    "query depth 1": dict(neck=dict(query_depth=1)),
    "shared decoder weights": dict(neck=dict(share_weights=True)),
    "linear head": dict(head=dict(projection="linear")),
    "no blur": dict(target_generator=dict(blur_kernel=None)),
    "no similarity pass": dict(order="raster"),
    "the map of CLS attention": dict(order=dict(type="SemanticOrder", similarity="self")),
}


@pytest.mark.parametrize("case", CASES)
def test_it_equals_torchs_counter(case, tiny_model):
    model = tiny_model(data_preprocessor=dict(type="SelfSupDataPreprocessor"), **CASES[case])
    batch = dict(inputs=torch.randn(2, 3, 12, 20), data_samples=[DataSample(), DataSample()])
    assert step_flops(model, (3, 5)).total == counted_flops(model, batch)


@pytest.mark.parametrize("case", CASES)
def test_the_blocks_of_all_passes_are_the_fused_calls_of_a_step(case, tiny_model):
    model = tiny_model(**CASES[case])
    facts = step_facts(lambda: model.loss(torch.randn(2, 3, 12, 20)), "cpu")
    check_fused(facts, attention_calls(model))


def test_a_block_of_vit_b_worked_by_hand():
    linear = 2 * 196 * (4 * 768 * 768 + 2 * 768 * 3072)
    attention = 2 * (2 * 196 * 196 * 768)  # scores, and their product with the values
    assert block_flops(196, 768, 3072) == linear + attention


def test_only_listed_devices_have_a_data_sheet():
    assert data_sheet_flops("NVIDIA H100 80GB HBM3", "bf16") == 989e12
    assert data_sheet_flops("NVIDIA H100 80GB HBM3", "fp32") is None
    assert data_sheet_flops("NVIDIA H100 PCIe", "bf16") == 756e12
    assert data_sheet_flops("NVIDIA H100 NVL", "fp16") == 835e12
    assert data_sheet_flops("NVIDIA H200", "bf16") == 989e12
    assert data_sheet_flops("generic", "bf16") is None
