"""The fast SemAIM equals the slow, obvious one with dense masks, forward and backward."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import DenseSemAIM, additive_masks, patch_loss
from torch.testing import assert_close

from semaim_mm.interop import from_authors
from semaim_mm.pretrain.draws import Draws

ORDERS = ["semantic", "similarity", "multi_center", "center_out", "guided_center"]
ORDERS += ["stochastic_center", "stochastic", "raster", "snake"]
PATCH = 4


@st.composite
def experiments(draw) -> SimpleNamespace:
    """A model's shape, an order, and whether pixels or features are predicted."""
    depth = draw(st.sampled_from([1, 2, 3, 4]))
    return SimpleNamespace(
        grid=(draw(st.integers(1, 4)), draw(st.integers(2, 5))),
        depth=depth,
        query_depth=draw(st.sampled_from([n for n in range(1, depth + 1) if depth % n == 0])),
        heads=draw(st.sampled_from([1, 2, 3])),
        order=draw(st.sampled_from(ORDERS)),
        share=draw(st.booleans()),
        projection=draw(st.sampled_from(["mlp", "linear"])),
        loss=draw(st.sampled_from(["l2", "l1", "unit_l2"])),
        seed=draw(st.integers(0, 2**20)),
    )


def build(case: SimpleNamespace, tiny_model, dtype: torch.dtype):
    """-> model, images, keys of the case's order, teacher tokens (or None), target (B, L, P)."""
    features = case.loss == "unit_l2"
    arch = dict(num_layers=case.depth, num_heads=case.heads)
    model = tiny_model(
        seed=case.seed,
        backbone=dict(arch=arch, img_size=(case.grid[0] * PATCH, case.grid[1] * PATCH)),
        neck=dict(query_depth=case.query_depth, share_weights=case.share),
        head=dict(projection=case.projection, loss=case.loss),
        target_generator=dict(type="GivenTokens", out_dims=10) if features else dict(),
        order=case.order,
    ).to(dtype)
    random = torch.Generator().manual_seed(case.seed)
    shape = (2, 3, case.grid[0] * PATCH, case.grid[1] * PATCH)
    imgs = torch.randn(shape, generator=random, dtype=dtype)
    tokens = None
    if features:
        length = case.grid[0] * case.grid[1]
        tokens = torch.randn(2, 1 + length, 10, generator=random, dtype=dtype)
    target = model.target_generator(imgs, tokens) if features else model.target_generator(imgs)
    draws = Draws(torch.tensor([[case.seed, 0, 5], [case.seed, 0, 9]]))
    keys = model.generation_ranks(imgs, target, draws)
    return model, imgs, keys, tokens, target.values


def gradients(loss: torch.Tensor, model) -> dict[str, torch.Tensor | None]:
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True)
    return dict(zip([name for name, _ in named], found, strict=True))


def assert_equal_runs(case: SimpleNamespace, tiny_model, dtype: torch.dtype, tolerance: float):
    model, imgs, keys, tokens, target = build(case, tiny_model, dtype)
    dense = DenseSemAIM(model)
    close = dict(rtol=tolerance, atol=tolerance)
    assert_close(model.predict(imgs, keys), dense.predict(imgs, keys), **close)
    loss, per_patch = model.pretrain_loss(imgs, keys, tokens)
    expected = dense(imgs, keys, target)
    assert_close(per_patch, expected, **close)
    assert_close(loss, expected.mean(), **close)
    ours, theirs = gradients(loss, model), gradients(expected.mean(), model)
    for name, gradient in theirs.items():
        assert (gradient is None) == (ours[name] is None), name
        if gradient is not None:
            assert_close(ours[name], gradient, **close, msg=lambda text, n=name: f"{n}: {text}")


@given(case=experiments())
@settings(max_examples=15, deadline=None)
def test_in_double_precision_prediction_loss_and_gradients_equal_the_dense_masks(case, tiny_model):
    assert_equal_runs(case, tiny_model, torch.float64, 1e-10)


@given(case=experiments())
@settings(max_examples=15, deadline=None)
def test_in_single_precision_they_agree_to_rounding(case, tiny_model):
    assert_equal_runs(case, tiny_model, torch.float32, 2e-5)


@given(case=experiments())
@settings(max_examples=10, deadline=None)
def test_the_unmasked_encoder_equals_the_oracles(case, tiny_model):
    model, imgs, *_ = build(case, tiny_model, torch.float64)
    assert_close(model.encode(imgs), DenseSemAIM(model).encode(imgs), rtol=1e-10, atol=1e-10)


def test_keys_need_not_be_ranks_only_their_order_matters(tiny_model):
    model = tiny_model().double()
    imgs = torch.randn(2, 3, 12, 20, dtype=torch.float64)
    keys = torch.rand(2, 15, dtype=torch.float64) * 50 - 20
    ranks = keys.argsort(dim=1).argsort(dim=1)
    assert torch.equal(model.predict(imgs, keys), model.predict(imgs, ranks))
    assert_close(model.predict(imgs, keys), DenseSemAIM(model).predict(imgs, keys))


def test_the_oracle_itself_equals_the_authors_numbers(reference):
    model = from_authors(reference.state, **reference.config)
    dense, arrays = DenseSemAIM(model), reference.arrays
    with torch.no_grad():
        prediction = dense.predict(arrays["imgs"], arrays["order_keys"])
        tokens = dense.encode(arrays["imgs"])
    assert_close(prediction, arrays["prediction"], rtol=0, atol=1e-5)
    assert_close(tokens, arrays["encoder_tokens"], rtol=0, atol=1e-5)


def test_the_masks_of_three_patches_are_these():
    content, query = additive_masks(torch.tensor([[1.0, 0.0, 2.0]]), torch.float32)
    sees_as_content = [[1, 0, 0, 0], [1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1]]
    sees_as_query = [[1, 0, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 1, 0]]
    assert (content[0, 0] == 0).int().tolist() == sees_as_content
    assert (query[0, 0] == 0).int().tolist() == sees_as_query


@pytest.mark.parametrize(
    ("name", "target", "expected"),
    [
        ("l2", [2.0, 6.0], (1 + 4) / 2),
        ("l1", [2.0, 6.0], (1 + 2) / 2),
        ("unit_l2", [7.0, 0.0], 2 - 2 * 0.6),
    ],
)
def test_the_losses_of_a_patch_worked_by_hand(name, target, expected, tiny_model):
    prediction, target = torch.tensor([[[3.0, 4.0]]]), torch.tensor([[target]])
    head = tiny_model(head=dict(loss=name)).head
    assert head.loss(prediction, target).item() == pytest.approx(expected)
    assert patch_loss(prediction, target, name).item() == pytest.approx(expected)
