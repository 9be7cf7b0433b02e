"""Recomputing blocks of either stream changes no loss and no gradient, and holds fewer bytes."""

from __future__ import annotations

import pytest
import torch
from mmpretrain.structures import DataSample

from semaim_mm.bench.step_facts import step_facts

SAMPLES = [DataSample(metainfo=dict(sample_key=(0, 0, n))) for n in range(8)]


def backward(model) -> torch.Tensor:
    torch.manual_seed(0)  # drop path
    imgs = torch.randn(8, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    loss = model.loss(imgs, SAMPLES)["loss"]
    loss.backward()
    return loss.detach()


def peak(model) -> int:
    def step() -> None:
        backward(model)
        model.zero_grad(set_to_none=True)

    step()
    return step_facts(step, "cpu").peak


def build(tiny_model, content: bool, query: bool, share: bool):
    backbone = dict(with_cp=content, drop_path_rate=0.3)
    neck = dict(with_cp=query, share_weights=share, query_depth=4, drop_path_rate=0.3)
    if share:
        del neck["drop_path_rate"]
    return tiny_model(backbone=backbone, neck=neck).train()


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize(("content", "query"), [(True, False), (False, True), (True, True)])
def test_recomputation_saves_memory_and_changes_no_gradient(tiny_model, content, query, share):
    plain, saving = (
        build(tiny_model, *which, share) for which in ((False, False), (content, query))
    )
    assert torch.equal(backward(plain), backward(saving))
    gradients = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    assert gradients
    for name, parameter in saving.named_parameters():
        if name in gradients:
            assert torch.equal(parameter.grad, gradients[name]), name
    plain.zero_grad(set_to_none=True)
    saving.zero_grad(set_to_none=True)
    assert peak(saving) < 0.9 * peak(plain)
