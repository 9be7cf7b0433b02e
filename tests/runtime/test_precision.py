"""Precision by one key: what each choice does on a CPU, seen in a layer's own output."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import OPTIM_WRAPPERS

from semaim_mm.errors import InputError
from semaim_mm.runtime.precision import CHOICES, resolve_precision, wrapper_options


@pytest.mark.parametrize(
    ("choice", "device", "resolved"),
    [
        ("auto", "cpu", "fp32"),
        ("auto", "cuda", "bf16"),
        ("auto", "npu", "bf16"),
        ("fp32", "cpu", "fp32"),
        ("fp32", "cuda", "fp32"),
        ("bf16", "cpu", "bf16"),
        ("bf16", "cuda", "bf16"),
        ("fp16", "cuda", "fp16"),
    ],
)
def test_a_choice_resolves_by_device(choice, device, resolved):
    assert resolve_precision(choice, device) == resolved


def test_half_precision_on_the_cpu_is_refused():
    with pytest.raises(InputError, match="precision='fp16' needs an accelerator"):
        resolve_precision("fp16", "cpu")


@pytest.mark.parametrize("choice", ["half", "FP32", "", None, True])
def test_any_other_choice_is_refused_with_the_choices(choice):
    with pytest.raises(InputError, match=f"is none of {', '.join(CHOICES)}"):
        resolve_precision(choice, "cpu")


def run_step(precision: str, model, imgs) -> tuple[torch.dtype, float]:
    """-> the output dtype of a block's fused projection inside a step, and the step's loss."""
    seen = []
    projection = model.backbone.layers[1].attn.qkv
    handle = projection.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = OPTIM_WRAPPERS.build(dict(wrapper_options(precision), optimizer=optimizer))
    log = model.train_step(dict(inputs=imgs, data_samples=None), wrapper)
    handle.remove()
    assert len(set(seen)) == 1
    return seen[0], log["loss"].item()


def test_on_the_cpu_bf16_computes_in_bfloat16_and_fp32_does_not(tiny_model, monkeypatch):
    monkeypatch.setattr("semaim_mm.runtime.precision.get_device", lambda: "cpu")
    imgs = torch.randn(2, 3, 12, 20)
    found = {}
    for precision in ("fp32", "bf16"):
        model = tiny_model(order="raster")
        found[precision] = run_step(precision, model, imgs)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert all(p.isfinite().all() for p in model.parameters())
    assert found["fp32"][0] == torch.float32
    assert found["bf16"][0] == torch.bfloat16
    assert found["bf16"][1] == pytest.approx(found["fp32"][1], rel=0.02)
    assert found["bf16"][1] != found["fp32"][1]


def test_bf16_has_no_loss_scaler_and_fp16_has_a_dynamic_one():
    assert wrapper_options("bf16") == dict(type="BFloat16OptimWrapper")
    assert wrapper_options("fp16")["loss_scale"] == "dynamic"
    wrapper = OPTIM_WRAPPERS.get("BFloat16OptimWrapper")
    assert not hasattr(wrapper, "loss_scaler")
