"""The averaged copy of the backbone: its start, its decay, and when it moves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch.testing import assert_close

from semaim_mm.pretrain import EMAUpdateHook, SemAIM


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def shift(module: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))


@pytest.fixture
def model(tiny_model) -> SemAIM:
    return tiny_model(ema=dict())


def test_the_copy_starts_from_the_initialised_backbone(tiny_model):
    model = tiny_model(ema=dict(), noise=0)
    assert model.backbone.state_dict().keys() == model.ema.module.state_dict().keys()
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(model.ema.module.state_dict()[name], value), name
    assert (model.ema.module.layers[0].attn.qkv.bias == 0).all(), "not initialised"
    assert not any(p.requires_grad for p in model.ema.parameters())


@pytest.mark.parametrize(
    ("epoch", "decay"), [(0, 0.999), (1, 0.999009), (50, 0.99945), (100, 0.9999), (799, 0.9999)]
)
def test_the_decay_rises_over_a_hundred_epochs(epoch, decay, model):
    assert model.ema.decay(epoch) == pytest.approx(decay, abs=1e-12)


def test_an_update_moves_every_weight_by_one_minus_the_decay(tiny_model):
    model = tiny_model(ema=dict(start=0.9, end=0.98, epochs=4)).double()
    shift(model.backbone)
    before, online = weights(model.ema.module), weights(model.backbone)
    model.ema.update(model.backbone, epoch=2)
    for name, value in model.ema.module.state_dict().items():
        assert_close(value, 0.94 * before[name] + 0.06 * online[name], rtol=1e-12, atol=1e-12)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, online[name])


@pytest.mark.parametrize("stepped", [True, False])
def test_an_update_that_only_the_device_knows_of_moves_as_much_or_nothing(stepped, tiny_model):
    model = tiny_model(ema=dict(start=0.9, end=0.98, epochs=4)).double()
    shift(model.backbone)
    before, online = weights(model.ema.module), weights(model.backbone)
    model.ema.update(model.backbone, 2, torch.tensor(stepped))
    share = 0.06 * stepped
    for name, value in model.ema.module.state_dict().items():
        expected = (1 - share) * before[name] + share * online[name]
        assert_close(value, expected, rtol=1e-12, atol=1e-12)


def test_the_hook_moves_the_copy_once_an_optimiser_step_with_the_runs_epoch(model, monkeypatch):
    optimizer = torch.optim.SGD(model.backbone.parameters(), lr=0.1)
    wrapper = OptimWrapper(optimizer, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 6)
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper, epoch=7)
    calls = []
    monkeypatch.setattr(
        model.ema, "update", lambda backbone, epoch, stepped: calls.append((step, epoch))
    )
    for step in range(6):
        with wrapper.optim_context(model):
            loss = model.backbone.cls_token.square().sum()
        wrapper.update_params(loss)
        EMAUpdateHook().after_train_iter(runner, step)
    assert calls == [(1, 7), (3, 7), (5, 7)]


def test_a_model_without_a_copy_is_left_alone(tiny_model):
    model = tiny_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    runner = SimpleNamespace(model=model, optim_wrapper=None, epoch=0)
    EMAUpdateHook().after_train_iter(runner, 0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_copy_is_not_trained_and_its_weights_are_saved_beside_the_online_ones(model):
    names = model.state_dict().keys()
    assert {f"ema.module.{name}" for name in model.backbone.state_dict()} <= set(names)
    imgs = torch.randn(2, 3, 12, 20)
    model(imgs, None, mode="loss")["loss"].backward()
    assert all(p.grad is None for p in model.ema.parameters())
