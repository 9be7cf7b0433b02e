"""Counting a run's FLOPs touches neither the model's weights nor its gradients."""

from __future__ import annotations

import pytest
import torch
from mmpretrain.structures import DataSample

from semaim_mm.pretrain.compiled import uncompiled_copy
from semaim_mm.runtime.budget import step_flops

BATCH = dict(
    inputs=torch.randn(2, 3, 12, 20),
    data_samples=[DataSample(metainfo=dict(sample_key=(0, 0, n))) for n in range(2)],
)


@pytest.mark.parametrize("order", ["semantic", "raster"])
def test_a_compiled_model_counts_as_a_plain_one_and_gets_no_gradient(order, tiny_model):
    plain, compiled = tiny_model(order=order), tiny_model(order=order, compiled="aot_eager")
    assert step_flops(compiled, BATCH) == step_flops(plain, BATCH) > 0
    assert all(parameter.grad is None for parameter in compiled.parameters())


def test_an_uncompiled_copy_calls_its_own_weights_and_leaves_the_original_compiled(tiny_model):
    model = tiny_model(compiled="aot_eager")
    copied = uncompiled_copy(model)
    assert copied.predict_in_order.__self__ is copied
    assert copied.head.loss.__self__ is copied.head
    for holder, name in ((model, "similarity_map"), (model, "predict_in_order")):
        assert hasattr(getattr(holder, name), "_torchdynamo_orig_callable")
        assert not hasattr(getattr(copied, name), "_torchdynamo_orig_callable")
