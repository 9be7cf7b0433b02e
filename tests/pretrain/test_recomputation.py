"""Recomputing blocks of either stream changes no loss and no gradient, and holds fewer bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from semaim_mm.bench.step_facts import step_facts
from semaim_mm.runtime.launch import load_config

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.mark.parametrize(
    ("leaf", "blocks", "queries"),
    [("semaim_vitl", 24, 12), pytest.param("semaim_vith", 32, 16, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(("content", "query"), [(False, False), (True, False), (True, True)])
def test_large_leaves_recompute_the_blocks_of_the_streams_that_the_keys_name(
    leaf, blocks, queries, content, query, monkeypatch
):
    monkeypatch.chdir(ROOT)
    keys = {"model.backbone.with_cp": content, "model.neck.with_cp": query}
    with torch.device("meta"):  # shapes alone: no memory, no time
        model = MODELS.build(load_config(f"configs/pretrain/{leaf}.py", keys).model).train()
        imgs, order = torch.empty(2, 3, 224, 224), torch.zeros(2, 196, dtype=torch.int64)
    assert len(model.backbone.layers) == blocks and len(model.neck.layers) == queries
    runs = {"content": 0, "query": 0}

    def count(stream: str):
        def hook(layer, inputs) -> None:
            runs[stream] += 1

        return hook

    for stream, layers in (("content", model.backbone.layers), ("query", model.neck.layers)):
        for layer in layers:
            layer.ln2.register_forward_pre_hook(count(stream))
    model.predict_in_order(imgs, order).sum().backward()
    assert runs == {"content": blocks * (1 + content), "query": queries * (1 + query)}
    assert model.backbone.layers[0].attn.qkv.weight.grad.shape[0] == 3 * model.backbone.embed_dims
