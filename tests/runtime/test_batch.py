"""Total batch, accumulation and learning rate: the arithmetic, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semaim_mm.errors import InputError
from semaim_mm.runtime import plan_batch

COUNTS = st.integers(1, 64)


@given(accumulation=COUNTS, world_size=COUNTS, per_device=COUNTS, base_lr=st.floats(1e-6, 1.0))
def test_a_whole_accumulation_gives_the_plan(accumulation, world_size, per_device, base_lr):
    total = accumulation * world_size * per_device
    plan = plan_batch(total, world_size, per_device, base_lr)
    assert plan.accumulation == accumulation
    assert plan.accumulation * plan.world_size * plan.per_device == plan.total == total
    assert plan.lr == base_lr * total / 256


@given(total=st.integers(1, 5000), world_size=COUNTS, per_device=COUNTS)
def test_anything_else_is_refused_and_the_advice_works(total, world_size, per_device):
    step = world_size * per_device
    if total % step == 0:
        assert plan_batch(total, world_size, per_device).accumulation == total // step
        return
    with pytest.raises(InputError) as error:
        plan_batch(total, world_size, per_device)
    sentence = str(error.value)
    assert f"total_batch={total} can't be made of steps of {step} images" in sentence
    advised = [int(number) for number in re.findall(r"\d+", sentence.split("total_batch to ")[1])]
    neighbours = [n for n in (total // step * step, (total // step + 1) * step) if n > 0]
    assert advised == neighbours, "the nearest totals that would do, each once"
    for other in advised:
        assert plan_batch(other, world_size, per_device).total == other


@given(total=st.integers(2, 5000), world_size=st.integers(1, 16))
def test_the_batch_size_that_is_advised_works(total, world_size):
    with pytest.raises(InputError) as error:
        plan_batch(total, world_size, total + 1)
    advised = re.search(r"batch_size to a divisor of (\d+)", str(error.value))
    if total % world_size:
        assert advised is None, "no batch size makes this total on so many processes"
    else:
        for divisor in (n for n in range(1, int(advised[1]) + 1) if int(advised[1]) % n == 0):
            assert plan_batch(total, world_size, divisor).total == total


def test_the_papers_batch_on_eight_and_on_thirty_two_devices():
    assert plan_batch(2048, 32, 64, 2e-4).accumulation == 1
    plan = plan_batch(2048, 8, 64, 2e-4)
    assert plan.accumulation == 4
    assert plan.lr == pytest.approx(1.6e-3)
    assert str(plan) == (
        "total batch 2048 = 8 process(es) x 64 images x 4 accumulated step(s); "
        "lr 0.0016 = base_lr 0.0002 x 2048 / 256"
    )


def test_without_a_base_lr_the_config_keeps_its_own():
    plan = plan_batch(64, 1, 64)
    assert plan.lr is None
    assert "lr" not in str(plan)


@pytest.mark.parametrize(("total", "per_device"), [(0, 4), (-8, 4), (8, 0), (8, -4)])
def test_numbers_below_one_are_refused(total, per_device):
    with pytest.raises(
        InputError, match=f"total_batch={total} and .*={per_device} must be positive"
    ):
        plan_batch(total, 1, per_device)
