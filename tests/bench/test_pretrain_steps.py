"""A step cut into parts is the model's own: its loss, all weights moved, no gradient left."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import ConfigDict
from torch.testing import assert_close

from semaim_mm.bench.dense_semaim import DenseSemAIM
from semaim_mm.bench.pretrain_steps import PARTS, DenseStep, OurStep

WRAPPER = ConfigDict(
    optimizer=dict(type="AdamW", betas=(0.9, 0.95), weight_decay=0.05),
    clip_grad=dict(max_norm=3.0),
)


@pytest.fixture
def imgs() -> torch.Tensor:
    return torch.randn(3, 3, 12, 20, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_our_parts_give_the_models_own_loss(precision, tiny_model, imgs):
    model = tiny_model()
    step = OurStep(model, imgs, WRAPPER, precision)
    torch.manual_seed(1)
    for part in PARTS[:3]:
        step.parts[part]()
    torch.manual_seed(1)
    with step.wrapper.optim_context(model):
        expected = model.loss(imgs)["loss"]
    assert_close(step.loss, expected, rtol=0, atol=0)


@pytest.mark.parametrize("source", ["online", "target"])
def test_parts_of_a_feature_target_give_the_models_own_loss(source, tiny_model, imgs, monkeypatch):
    model = tiny_model(
        target_generator=dict(type="EMATarget"),
        head=dict(loss="unit_l2"),
        ema=dict(),
        similarity_from=source,
    )
    step, calls = OurStep(model, imgs, WRAPPER, "fp32"), []
    make = model.target_generator.forward
    monkeypatch.setattr(model.target_generator, "forward", lambda *x: calls.append(1) or make(*x))
    torch.manual_seed(1)
    for part in PARTS[:3]:
        step.parts[part]()
    assert len(calls) == 1
    torch.manual_seed(1)
    assert_close(step.loss, model.loss(imgs)["loss"], rtol=0, atol=0)


def test_the_baselines_parts_give_its_own_loss(tiny_model, imgs):
    dense = DenseSemAIM(tiny_model())
    step = DenseStep(dense, imgs, "fp32")
    for part in PARTS[:3]:
        step.parts[part]()
    assert step.value == dense(imgs, step.keys).item()


@pytest.mark.parametrize("kind", ["ours", "baseline"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_moves_the_weights_and_leaves_no_gradient(kind, precision, tiny_model, imgs):
    model = tiny_model()
    ours = kind == "ours"
    model = model if ours else DenseSemAIM(model)
    step = OurStep(model, imgs, WRAPPER, precision) if ours else DenseStep(model, imgs, precision)
    before = [p.detach().clone() for p in model.parameters() if p.requires_grad]
    step()
    after = [p for p in model.parameters() if p.requires_grad]
    moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert all(moved)
    assert all(p.grad is None for p in after)


@pytest.mark.slow
def test_compiled_parts_give_the_same_loss(tiny_model, imgs, compiled_without_kernels):
    losses = []
    for compiled in (False, True):
        step = OurStep(tiny_model(), imgs, WRAPPER, "fp32", compiled)
        torch.manual_seed(1)
        for part in PARTS[:3]:
            step.parts[part]()
        losses.append(step.loss)
        step.backward()
        step.update()
    assert_close(losses[1], losses[0], rtol=1e-5, atol=0)
