"""CLS after all patches: its content output depends on the image, and nothing else reads it."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from semaim_mm.errors import InputError
from semaim_mm.layers import gather_tokens
from semaim_mm.pretrain.similarity import token_similarity

LAST = dict(cls_last=True, backbone=dict(num_registers=1))


@pytest.fixture
def imgs() -> torch.Tensor:
    return torch.randn(3, 3, 12, 20, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def order() -> torch.Tensor:
    return torch.rand(3, 15, generator=torch.Generator().manual_seed(1)).argsort(dim=1)


@torch.no_grad()
def test_with_cls_first_its_content_output_is_the_same_for_every_image(tiny_model, imgs, order):
    found = tiny_model().content_class(imgs, order)
    assert_close(found, found[:1].expand_as(found))


@torch.no_grad()
def test_with_cls_last_its_content_output_depends_on_the_image(tiny_model, imgs, order):
    model = tiny_model(**LAST)
    found = model.content_class(imgs, order)
    assert (found[0] - found[1]).abs().max() > 0.01
    # on its last patch too, which no query sees
    changed = imgs.clone()
    row, column = divmod(int(order[0, -1]), 5)
    changed[0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1
    again = model.content_class(changed, order)
    assert (found[0] - again[0]).abs().max() > 1e-4
    assert_close(found[1:], again[1:])


@torch.no_grad()
def test_with_cls_last_predictions_are_those_of_a_dense_mask(tiny_model, imgs, order):
    model = tiny_model(**LAST)
    backbone = model.backbone
    patches, positions, _ = backbone.embed(imgs)
    register = (backbone.register_tokens + positions[:, 1:2]).expand(3, -1, -1)
    # the whole sequence, CLS too: nothing before it may change
    tokens = torch.cat(
        [register, gather_tokens(patches, order), backbone.class_token(3, positions)], dim=1
    )
    states = [state[:, :15] for state in backbone.causal_states(tokens, model.neck.stride)]
    queries = gather_tokens(positions[:, 2:].expand(3, -1, -1), order)
    expected = model.head(backbone.ln1(model.neck(queries, states, backbone.layers)))
    assert_close(model.predict_in_order(imgs, order), expected)


@torch.no_grad()
def test_with_cls_last_a_query_sees_no_patch_from_its_own_on(tiny_model, imgs, order):
    model = tiny_model(**LAST)
    before = model.predict_in_order(imgs, order)
    for rank in (0, 7, 14):
        hidden = torch.zeros(3, 15).scatter(1, order[:, rank:], 1).view(3, 1, 3, 5).bool()
        pixels = hidden.repeat_interleave(4, 2).repeat_interleave(4, 3)
        after = model.predict_in_order(torch.where(pixels, torch.zeros(()), imgs), order)
        assert torch.equal(before[:, : rank + 1], after[:, : rank + 1])
        assert rank == 14 or not torch.equal(before[:, rank + 1], after[:, rank + 1])


@torch.no_grad()
def test_the_register_is_no_patch_of_the_map_or_the_targets(tiny_model, imgs):
    model = tiny_model(
        **LAST, target_generator=dict(type="OnlineTarget"), head=dict(loss="unit_l2")
    )
    tokens = model.backbone.eval().encode(imgs)
    assert tokens.shape == (3, 17, 24)
    kept = torch.cat([tokens[:, :1], tokens[:, 2:]], dim=1)
    assert_close(model.encode(imgs), kept)
    assert_close(model.similarity(imgs, "cls"), token_similarity(kept, "cls"))
    assert model.similarity(imgs, "self").shape == (3, 15)
    assert_close(model.target(imgs).values, kept[:, 1:])


def test_with_cls_last_every_weight_that_trains_has_a_gradient(tiny_model, imgs):
    model = tiny_model(**LAST)
    model.loss(imgs)["loss"].backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert not model.backbone.cls_token.requires_grad


def test_cls_last_needs_a_register(tiny_model):
    with pytest.raises(InputError, match="set num_registers=1"):
        tiny_model(cls_last=True)
