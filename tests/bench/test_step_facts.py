"""Peak memory, the largest tensor and the attention kernels of steps that are known."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from semaim_mm.bench.step_facts import StepFacts, check_fused, peak_of, step_facts
from semaim_mm.errors import InputError

MB = 1_000_000


def test_the_peak_is_what_is_held_at_once():
    def step():
        first = torch.empty(MB, dtype=torch.uint8)
        second = torch.empty(2 * MB, dtype=torch.uint8)
        del first
        third = torch.empty(4 * MB, dtype=torch.uint8)
        return second.shape, third.shape

    facts = step_facts(step, "cpu")
    assert (facts.peak, facts.largest, facts.kernels) == (6 * MB, 4 * MB, {})


def test_frees_are_taken_off_in_their_turn():
    assert peak_of([10, 5, -10, 2, 7, -5]) == (15, 10)
    assert peak_of([]) == (0, 0)


@pytest.mark.parametrize(
    ("backend", "expected"),
    [(SDPBackend.FLASH_ATTENTION, "flash (CPU)"), (SDPBackend.MATH, "math")],
)
def test_the_kernel_that_ran_is_named_by_calls(backend, expected):
    q = torch.randn(1, 2, 16, 8)

    def step():
        with sdpa_kernel(backend):
            F.scaled_dot_product_attention(q, q, q, is_causal=True)
            F.scaled_dot_product_attention(q, q, q)

    assert step_facts(step, "cpu").kernels == {expected: 2}


@pytest.mark.parametrize("kernels", [{}, {"math": 3}, {"math": 1, "flash": 2}])
def test_attention_that_is_not_fused_stops_the_benchmark(kernels):
    with pytest.raises(InputError, match="not by a fused one"):
        check_fused(StepFacts(0, None, kernels, ""))


def test_fused_attention_does_not():
    check_fused(StepFacts(0, None, {"flash": 2, "efficient": 1}, ""))


def test_attention_by_hand_in_some_blocks_stops_it_too():
    facts = StepFacts(0, None, {"flash": 2, "efficient": 1}, "")
    check_fused(facts, calls=3)
    with pytest.raises(InputError, match="fused attention 3 times, and its blocks are 4"):
        check_fused(facts, calls=4)
