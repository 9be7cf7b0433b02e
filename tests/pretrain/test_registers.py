"""Registers before all patches, CLS first or last: every query reads them, and no patch more."""

from __future__ import annotations

import pytest
import torch
from conftest import TINY
from torch.testing import assert_close

from semaim_mm.layers import gather_tokens
from semaim_mm.vit import SemAIMViT

VARIANTS = {
    "CLS first": dict(backbone=dict(num_registers=1)),
    "CLS first, 3": dict(backbone=dict(num_registers=3)),
    "CLS first, shared": dict(backbone=dict(num_registers=2), neck=dict(share_weights=True)),
    "CLS last": dict(cls_last=True, backbone=dict(num_registers=1)),
    "CLS last, 3": dict(cls_last=True, backbone=dict(num_registers=3)),
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def model(request, tiny_model):
    return tiny_model(**request.param).eval()


@pytest.fixture
def imgs() -> torch.Tensor:
    return torch.randn(3, 3, 12, 20, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def order() -> torch.Tensor:
    return torch.rand(3, 15, generator=torch.Generator().manual_seed(1)).argsort(dim=1)


def attend(q, k, v, allowed, heads):
    """(B, Q, D), (B, K, D) twice, (Q, K) bool -> (B, Q, D), written out."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def by_mask(model, imgs, order):
    """Predictions by a mask over the whole content, in which a query sees just what it may."""
    backbone, neck = model.backbone, model.neck
    extra, front = backbone.num_extra_tokens, backbone.num_extra_tokens - model.cls_last
    patches, positions, _ = backbone.embed(imgs)
    registers = (backbone.register_tokens + positions[:, 1:extra]).expand(3, -1, -1)
    cls, patches = backbone.class_token(3, positions), gather_tokens(patches, order)
    parts = [registers, patches, cls] if model.cls_last else [cls, registers, patches]
    tokens, length = torch.cat(parts, dim=1), extra + 15
    causal = torch.ones(length, length).tril().bool()
    rank, place = torch.arange(15)[:, None], torch.arange(length)[None]
    seen = place < front + rank
    queries = gather_tokens(positions[:, extra:].expand(3, -1, -1), order)
    blocks = iter(neck.layers)
    for number, layer in enumerate(backbone.layers, start=1):
        heads = layer.attn.num_heads
        q, k, v = (x.transpose(1, 2).flatten(2) for x in layer.attn.split_heads(layer.ln1(tokens)))
        tokens = tokens + layer.attn.project(attend(q, k, v, causal, heads))
        tokens = layer.ffn(layer.ln2(tokens), identity=tokens)
        if number % neck.stride:
            continue
        if neck.share_weights:
            q = layer.attn.split_heads(layer.ln1(queries))[0]
            _, k, v = layer.attn.split_heads(layer.ln1(tokens))
            q, k, v = (x.transpose(1, 2).flatten(2) for x in (q, k, v))
            queries = queries + layer.attn.project(attend(q, k, v, seen, heads))
            queries = layer.ffn(layer.ln2(queries), identity=queries)
        else:
            block = next(blocks)
            at, content = block.attn, block.ln1(tokens)
            q, k, v = at.q(block.ln1(queries)), at.k(content), at.v(content)
            queries = queries + at.proj(attend(q, k, v, seen, at.num_heads))
            queries = block.ffn(block.ln2(queries), identity=queries)
    return model.head(backbone.ln1(queries))


@torch.no_grad()
def test_predictions_are_those_of_a_mask_written_out(model, imgs, order):
    assert_close(
        model.predict_in_order(imgs, order), by_mask(model, imgs, order), rtol=1e-5, atol=1e-5
    )


@torch.no_grad()
def test_the_first_query_reads_every_register(model, imgs, order):
    before = model.predict_in_order(imgs, order)
    for number in range(model.backbone.register_tokens.shape[1]):
        kept = model.backbone.register_tokens.clone()
        model.backbone.register_tokens[:, number, ::2] += 1  # a norm takes out a shift of all
        after = model.predict_in_order(imgs, order)
        model.backbone.register_tokens.copy_(kept)
        assert (before[:, 0] - after[:, 0]).abs().max() > 1e-4


@torch.no_grad()
def test_a_query_sees_no_patch_from_its_own_on(model, imgs, order):
    before = model.predict_in_order(imgs, order)
    for rank in (0, 7, 14):
        hidden = torch.zeros(3, 15).scatter(1, order[:, rank:], 1).view(3, 1, 3, 5).bool()
        pixels = hidden.repeat_interleave(4, 2).repeat_interleave(4, 3)
        after = model.predict_in_order(torch.where(pixels, torch.zeros(()), imgs), order)
        assert torch.equal(before[:, : rank + 1], after[:, : rank + 1])
        assert rank == 14 or not torch.equal(before[:, rank + 1], after[:, rank + 1])


def test_every_weight_that_trains_has_a_gradient_the_registers_too(model, imgs):
    model.train().loss(imgs)["loss"].backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert (model.backbone.register_tokens.grad.abs().amax(dim=-1) > 0).all()


@torch.no_grad()
def test_the_backbone_reads_the_same_downstream(model, imgs):
    backbone = SemAIMViT(
        **{key: TINY["backbone"][key] for key in ("arch", "img_size", "patch_size")},
        num_registers=model.backbone.register_tokens.shape[1],
        out_type="raw",
    ).eval()
    state = model.backbone.state_dict()
    backbone.load_state_dict(state, strict=True)
    kept = backbone.without_registers(backbone(imgs)[0])
    assert_close(kept, model.encode(imgs))
    assert kept.shape == (3, 16, 24)
