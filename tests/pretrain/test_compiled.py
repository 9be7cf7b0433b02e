"""One key compiles the step: the same losses, no graph break, nothing compiled again."""

from __future__ import annotations

import pytest
import torch
from conftest import TINY, build_tiny
from mmpretrain.structures import DataSample
from torch._dynamo.utils import counters

from semaim_mm.errors import InputError
from semaim_mm.pretrain import SemAIM
from semaim_mm.pretrain.draws import Draws

MODELS = {
    "pixels": {},
    "own attention": dict(order=dict(type="SemanticOrder", similarity="self")),
    "averaged copy": dict(ema={}, similarity_from="ema"),
    "shared weights, shallow": dict(neck=dict(share_weights=True, query_depth=1)),
    "no map": dict(order="raster"),
}


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def losses(model, steps=4, after=lambda step: None):
    """A few AdamW steps on changing images, drop path on -> their losses."""
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=1e-3, foreach=True
    )
    size, (rows, columns) = model.backbone.patch_size, model.backbone.patch_resolution
    found = []
    model.train()
    for step in range(steps):
        torch.manual_seed(step)
        imgs = torch.randn(2, 3, rows * size, columns * size)
        keys = torch.tensor([[0, step, 0], [0, step, 1]])
        target = model.target(imgs)
        ranks = model.generation_ranks(imgs, target, Draws(keys))
        loss = model.loss_in_order(imgs, ranks, target)[0].mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
        after(step)
    return found


def assert_same_losses(changes, backend):
    changes = changes | dict(backbone=dict(drop_path_rate=0.2))
    plain = losses(build_tiny(**changes))
    torch._dynamo.reset()
    counters.clear()
    graphs = []

    def after(step):
        graphs.append(counters["stats"]["unique_graphs"])

    compiled = losses(build_tiny(**changes, compiled=dict(backend=backend)), after=after)
    assert compiled == pytest.approx(plain, rel=1e-5)
    hot = 2 if changes.get("order") == "raster" else 3
    assert graphs == [hot] * len(graphs), "compiled again after the first step"
    assert not counters["graph_break"] and not counters["recompiles"]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_losses_are_the_same_and_nothing_is_compiled_again(name):
    assert_same_losses(MODELS[name], "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pixels", "averaged copy"])
def test_the_same_with_inductor(name):
    # drop path draws as eager mode does, to compare with it
    with torch._inductor.config.patch(fallback_random=True):
        assert_same_losses(MODELS[name], "inductor")


@pytest.mark.slow
def test_the_losses_of_several_targets_are_compiled_with_their_sum():
    targets = [dict(type="PixelTarget"), dict(type="PixelTarget", blur_kernel=None)]
    changes = dict(
        head=dict(type="MultiHead", heads=[dict(loss="l2"), dict(loss="l1")], weights=[1, 2]),
        target_generator=dict(type="MultiTarget", generators=targets),
    )
    imgs = torch.randn(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    samples = [DataSample(metainfo=dict(sample_key=(0, 0, n))) for n in range(2)]
    found = []
    for compiled in (None, "aot_eager"):
        torch.manual_seed(0)
        model = SemAIM(**TINY | changes, compiled=compiled)
        model.init_weights()
        for _ in range(2):
            losses = model.loss(imgs, samples)
            losses["loss"].backward()
        found.append({name: value.item() for name, value in losses.items()})
    assert found[1] == pytest.approx(found[0], rel=1e-5) and len(found[0]) == 3
    assert counters["stats"]["unique_graphs"] == 3, "the loss is one of them"
    assert not counters["graph_break"] and not counters["recompiles"]


@pytest.mark.slow
def test_autocast_is_compiled_too():
    model = build_tiny(compiled="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses(model, steps=2, after=lambda step: None)
    assert counters["stats"]["unique_graphs"] == 3 and not counters["graph_break"]


def test_a_backend_that_torch_lacks_is_refused():
    with pytest.raises(InputError, match="backend='fast', which torch doesn't know; choose one of"):
        build_tiny(compiled=dict(backend="fast"))
    with pytest.raises(InputError, match="is not what torch.compile takes"):
        build_tiny(compiled=dict(speed=11))
