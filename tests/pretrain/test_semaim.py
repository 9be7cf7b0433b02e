"""The algorithm: what a query sees, when the similarity pass runs, and whose weights it reads."""

from __future__ import annotations

import pytest
import torch
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch.testing import assert_close

from semaim_mm.pretrain import order as orders
from semaim_mm.pretrain.similarity import token_similarity
from semaim_mm.pretrain.targets import Student, Target, build_target

LENGTH = 15  # 3 x 5 patches of 4 pixels
WITHOUT_MAP = ["center_out", "stochastic_center", "stochastic", "raster", "snake"]


class RecordingOrder(orders.Order):
    """Raster order that keeps the map it was given."""

    def __init__(self, similarity: str | None = "cls"):
        self.similarity = similarity
        self.seen = []

    def ranks(self, grid, draws, similarity=None):
        self.seen.append(similarity)
        return torch.arange(grid[0] * grid[1]).expand(len(draws.state), -1)


class RandomTeacher(BaseModule):
    """A teacher whose tokens are fixed random numbers, 7 wide."""

    out_dims = 7

    def __init__(self, patch_size: int):
        super().__init__()
        self.patch_size = patch_size
        generator = torch.Generator().manual_seed(1)
        self.tokens = torch.randn(2, 1 + LENGTH, 7, generator=generator)

    def forward(self, imgs):
        return Target(self.tokens[:, 1:], self.tokens)


@pytest.fixture
def imgs() -> torch.Tensor:
    return torch.randn(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))


def samples(*ids: int, epoch: int = 0, seed: int = 0) -> list[DataSample]:
    return [DataSample(metainfo=dict(sample_key=(seed, epoch, number))) for number in ids]


def count_passes(model) -> dict[bool, int]:
    """Count runs of the first block from here on, by its ``causal`` argument."""
    counts = {False: 0, True: 0}

    def count(module, args, kwargs):
        counts[kwargs.get("causal", False)] += 1
        assert kwargs.get("causal", False) or not (module.training or torch.is_grad_enabled())

    model.backbone.layers[0].register_forward_pre_hook(count, with_kwargs=True)
    return counts


@pytest.mark.parametrize("share", [False, True])
def test_a_query_sees_neither_its_own_patch_nor_later_ones(share, tiny_model, imgs):
    model = tiny_model(neck=dict(share_weights=share))
    keys = torch.rand(2, LENGTH, generator=torch.Generator().manual_seed(3))
    ranks = keys.argsort(dim=1).argsort(dim=1)
    with torch.no_grad():
        before = model.predict(imgs, keys)
        for rank in range(LENGTH):
            hidden = (ranks >= rank).view(2, 1, 3, 5)
            pixels = hidden.repeat_interleave(4, 2).repeat_interleave(4, 3)
            noise = torch.randn(imgs.shape, generator=torch.Generator().manual_seed(9 + rank))
            after = model.predict(torch.where(pixels, noise, imgs), keys)
            same = (before == after).all(dim=2)
            assert same[ranks <= rank].all(), f"a query of rank {rank} or below saw a later patch"
            assert not same[ranks > rank].any(), "later queries should have noticed the change"


def test_the_first_query_depends_on_its_place_but_not_on_the_image(tiny_model, imgs):
    model, keys = tiny_model(), torch.arange(LENGTH).expand(2, -1)
    with torch.no_grad():
        first = model.predict(imgs, keys)[:, 0]
        moved = model.predict(imgs, keys.flip(1))[:, -1]
    assert_close(first[0], first[1])
    assert (first[0] - moved[0]).abs().max() > 0.01


def test_the_similarity_pass_ignores_drop_path_and_restores_every_modules_mode(tiny_model, imgs):
    model = tiny_model(backbone=dict(drop_path_rate=0.9)).train()
    model.backbone.layers[2].eval()
    modes = [module.training for module in model.modules()]
    maps = [model.similarity(imgs, "cls") for _ in range(3)]
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(maps[0], maps[1])
    assert torch.equal(maps[0], maps[2])
    assert torch.equal(model.eval().similarity(imgs, "cls"), maps[0])
    assert not maps[0].requires_grad


def test_the_mode_is_restored_when_the_pass_fails(tiny_model):
    model = tiny_model().train()
    with pytest.raises(RuntimeError):
        model.similarity(torch.zeros(1, 5, 12, 20))
    assert all(module.training for module in model.modules())


def test_an_order_that_reads_a_map_runs_the_backbone_once_without_mask_and_once_causally(
    tiny_model, imgs
):
    model = tiny_model(order="semantic").train()
    counts = count_passes(model)
    model(imgs, samples(0, 1), mode="loss")["loss"].backward()
    assert counts == {False: 1, True: 1}


@pytest.mark.parametrize("order", WITHOUT_MAP)
def test_an_order_that_reads_no_map_runs_no_similarity_pass(order, tiny_model, imgs):
    model = tiny_model(order=order).train()
    counts = count_passes(model)
    model(imgs, samples(0, 1), mode="loss")["loss"].backward()
    assert counts == {False: 0, True: 1}


@pytest.mark.parametrize("source", ["cls", "gap", "self"])
def test_the_order_gets_the_map_that_it_names(source, tiny_model, imgs):
    order = RecordingOrder(source)
    model = tiny_model(order=order)
    model(imgs, samples(0, 1), mode="loss")
    assert len(order.seen) == 1
    assert_close(order.seen[0], model.similarity(imgs, source))


def test_the_step_takes_the_loss_in_the_orders_ranks(tiny_model, imgs):
    model = tiny_model(order="stochastic")
    draws = orders.Draws(torch.tensor([[5, 2, 8], [5, 2, 3]]))
    ranks = model.order.ranks((3, 5), draws, None)
    step = model(imgs, samples(8, 3, epoch=2, seed=5), mode="loss")["loss"]
    assert_close(step, model.pretrain_loss(imgs, ranks)[0])


def test_the_similarity_of_the_ema_is_that_of_the_copy(tiny_model, imgs):
    order = RecordingOrder()
    model = tiny_model(order=order, ema=dict(), similarity_from="ema")
    before = model.similarity(imgs, "cls")
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    model(imgs, samples(0, 1), mode="loss")
    assert torch.equal(order.seen[0], before)
    assert torch.equal(model.similarity(imgs, "cls", averaged=True), before)
    assert not torch.allclose(model.similarity(imgs, "cls"), before, rtol=0.01)


@pytest.mark.parametrize("source", ["cls", "gap"])
def test_the_similarity_of_the_target_is_that_of_the_teachers_tokens(source, tiny_model, imgs):
    order = RecordingOrder(source)
    model = tiny_model(
        target_generator=dict(type=RandomTeacher),
        head=dict(loss="unit_l2"),
        order=order,
        similarity_from="target",
    )
    counts = count_passes(model)
    model(imgs, samples(0, 1), mode="loss")
    tokens = model.target_generator.tokens
    anchor = tokens[:, :1] if source == "cls" else tokens[:, 1:].mean(dim=1, keepdim=True)
    cosine = torch.nn.functional.cosine_similarity(anchor, tokens[:, 1:], dim=-1)
    assert_close(order.seen[0], cosine.exp() / cosine.exp().sum(dim=1, keepdim=True))
    assert_close(order.seen[0], token_similarity(tokens, source))
    assert counts == {False: 0, True: 1}


@pytest.mark.parametrize("source", ["cls", "gap"])
def test_the_cosine_of_half_precision_tokens_is_taken_in_float32(source):
    tokens = torch.randn(2, 1 + LENGTH, 24).bfloat16()
    found = token_similarity(tokens, source)
    assert torch.equal(found, token_similarity(tokens.float(), source))
    assert len(found[0].unique()) == LENGTH


def test_the_feature_loss_is_two_minus_twice_the_cosine(tiny_model, imgs):
    model = tiny_model(
        target_generator=dict(type="GivenTokens", out_dims=10), head=dict(loss="unit_l2")
    )
    keys, tokens = torch.rand(2, LENGTH), torch.randn(2, 1 + LENGTH, 10)
    loss, per_patch = model.pretrain_loss(imgs, keys, tokens)
    prediction = model.predict(imgs, keys)
    cosine = torch.nn.functional.cosine_similarity(prediction, tokens[:, 1:], dim=-1)
    assert_close(per_patch, 2 - 2 * cosine)
    assert_close(loss, per_patch.mean())


def test_the_same_samples_give_the_same_loss_in_any_batch_order(tiny_model, imgs):
    model = tiny_model(order="stochastic").double()
    imgs = imgs.double()
    torch.manual_seed(1)
    first = model(imgs, samples(3, 9), mode="loss")["loss"]
    torch.manual_seed(2)
    assert torch.equal(model(imgs, samples(3, 9), mode="loss")["loss"], first)
    assert_close(model(imgs.flip(0), samples(9, 3), mode="loss")["loss"], first)
    alone = [model(imgs[i : i + 1], samples(n), mode="loss")["loss"] for i, n in ((0, 3), (1, 9))]
    assert_close(sum(alone) / 2, first)
    for other in (samples(9, 3), samples(3, 9, epoch=1), samples(3, 9, seed=1)):
        assert model(imgs, other, mode="loss")["loss"] != first


def test_without_sample_keys_the_order_is_drawn_from_torchs_generator(tiny_model, imgs):
    model, losses = tiny_model(order="stochastic"), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(model(imgs, None, mode="loss")["loss"].item())
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("source", ["cls", "gap", "self"])
@pytest.mark.parametrize("averaged", [False, True])
def test_one_key_has_the_similarity_pass_in_float32_and_nothing_else(
    source, averaged, tiny_model, imgs
):
    keys = torch.rand(2, LENGTH, generator=torch.Generator().manual_seed(0))
    half, full = tiny_model(ema={}), tiny_model(ema={}, similarity_fp32=True)
    exact = half.similarity(imgs, source, averaged)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(full.similarity(imgs, source, averaged), exact)
        assert not torch.equal(half.similarity(imgs, source, averaged), exact)
        losses = [model.pretrain_loss(imgs, keys)[0] for model in (half, full)]
    assert losses[0] == losses[1] != half.pretrain_loss(imgs, keys)[0]


@pytest.mark.parametrize("kind", ["EMATarget", "OnlineTarget"])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside pixels"])
def test_the_key_holds_for_own_tokens_where_the_map_is_theirs(kind, beside, tiny_model, imgs):
    options = dict(target_generator=dict(type=kind), head=dict(loss="unit_l2"), ema={})
    full = tiny_model(**options, similarity_fp32=True, similarity_from="target")
    half = tiny_model(**options, similarity_from="target")
    unread = tiny_model(**options, similarity_fp32=True)
    if beside:
        several = dict(type="MultiTarget", generators=[dict(type="PixelTarget"), dict(type=kind)])
        full.target_generator = build_target(several, Student(4, 24))
    exact = half.target(imgs).tokens
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(full.target(imgs).tokens, exact)
        for model in (half, unread):
            assert not torch.equal(model.target(imgs).tokens, exact)


def test_the_map_self_runs_every_block_but_the_last_and_of_that_one_query_and_the_keys(
    tiny_model, imgs
):
    model = tiny_model(order=dict(type="SemanticOrder", similarity="self"))
    ran, last = [], model.backbone.layers[-1]
    for number, layer in enumerate(model.backbone.layers):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    parts = dict(norm=last.ln1, attention=last.attn, ffn=last.ffn, end=last.ln2)
    for name, part in parts.items():
        part.register_forward_hook(lambda *_, name=name: ran.append(name))
    last.attn.qkv.register_forward_hook(lambda *_: ran.append("all queries, keys and values"))
    model.similarity(imgs, "self")
    assert ran == [0, 1, 2, "norm"]


@pytest.mark.parametrize("source", ["cls", "gap"])
def test_the_other_maps_run_every_block_once(source, tiny_model, imgs):
    model, ran = tiny_model(), []
    for number, layer in enumerate(model.backbone.layers):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    model.similarity(imgs, source)
    assert ran == [0, 1, 2, 3]


@pytest.mark.parametrize("order", ["semantic", "stochastic"])
def test_in_bfloat16_the_loss_is_near_and_the_map_stays_float32(order, tiny_model, imgs):
    model = tiny_model(order=order)
    keys = torch.rand(2, LENGTH, generator=torch.Generator().manual_seed(0))
    exact = model.pretrain_loss(imgs, keys)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = model.pretrain_loss(imgs, keys)[0]
        step = model(imgs, samples(0, 1), mode="loss")["loss"]
        maps = [model.similarity(imgs, source) for source in ("cls", "gap", "self")]
    assert near.dtype == step.dtype == torch.float32
    assert near != exact, "nothing was computed in bfloat16"
    assert_close(near, exact, rtol=0.02, atol=0)
    step.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    for source, found in zip(("cls", "gap", "self"), maps, strict=True):
        assert found.dtype == torch.float32
        assert_close(found, model.similarity(imgs, source), rtol=0.05, atol=1e-3)
