"""The dense-mask baseline computes what the authors' code does, and what ours does."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from semaim_mm.bench.dense_semaim import DenseSemAIM, masks_of
from semaim_mm.errors import InputError
from semaim_mm.interop import from_authors


@pytest.fixture
def baseline(reference) -> DenseSemAIM:
    return DenseSemAIM(from_authors(reference.state, **reference.config))


def test_it_holds_the_authors_weights_under_their_names(baseline, reference):
    assert set(baseline.state_dict()) == set(reference.state)
    for name, value in baseline.state_dict().items():
        assert_close(value, reference.state[name], rtol=1e-6, atol=1e-7, msg=name)


def test_it_reproduces_the_reference_prediction_map_and_loss(baseline, reference):
    arrays = reference.arrays
    with torch.no_grad():
        prediction = baseline.predict(arrays["imgs"], arrays["order_keys"])
        loss = baseline(arrays["imgs"], arrays["order_keys"])
        similarity = baseline.similarity(arrays["imgs"])
    assert_close(prediction, arrays["prediction"], rtol=0, atol=1e-5)
    assert_close(loss, arrays["loss"].to(loss), rtol=1e-5, atol=0)
    assert_close(similarity, arrays["similarity_cls"], rtol=0, atol=1e-6)


def test_its_keys_are_the_reference_distances_with_noise_below_a_thousandth(baseline, reference):
    keys = baseline.keys(reference.arrays["imgs"])
    above = keys - reference.arrays["center_distance"]
    assert above.min() >= -1e-6 and above.max() <= 1e-3 + 1e-6
    assert above.std() > 1e-4


def test_it_reproduces_the_reference_gradients(baseline, reference):
    baseline(reference.arrays["imgs"], reference.arrays["order_keys"]).backward()
    theirs = {k.removeprefix("grad."): v for k, v in reference.arrays.items() if "grad." in k}
    largest = max(float(value.abs().max()) for value in theirs.values())
    for name, parameter in baseline.named_parameters():
        if parameter.grad is not None:
            assert_close(parameter.grad, theirs.pop(name), rtol=0, atol=1e-5 * largest, msg=name)
    assert not theirs


def test_it_reproduces_the_reference_losses_of_eight_updates(baseline, reference):
    parameters = [p for p in baseline.parameters() if p.requires_grad]
    groups = [
        dict(params=[p for p in parameters if p.ndim > 1], weight_decay=0.05),
        dict(params=[p for p in parameters if p.ndim <= 1], weight_decay=0.0),
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))
    losses = []
    for _ in reference.arrays["adamw_losses"]:
        loss = baseline(reference.arrays["imgs"], reference.arrays["order_keys"])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 3.0)
        optimizer.step()
        losses.append(loss.item())
    expected = reference.arrays["adamw_losses"].double()
    assert_close(torch.tensor(losses).double(), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("query_depth", [1, 2, 4])
def test_it_equals_ours_at_every_query_depth(query_depth, tiny_model):
    model = tiny_model(neck=dict(query_depth=query_depth)).double()
    imgs = torch.randn(3, 3, 12, 20, dtype=torch.float64)
    keys = torch.rand(3, 15)
    dense = DenseSemAIM(model).double()
    assert_close(dense.predict(imgs, keys), model.predict(imgs, keys), rtol=1e-9, atol=1e-9)
    # both blur kernels were rounded to float32, apart and as their product
    assert_close(dense(imgs, keys), model.pretrain_loss(imgs, keys)[0], rtol=1e-5, atol=0)


def test_the_masks_of_two_patches_are_these():
    content, query = ((mask[0, 0] == 0).int().tolist() for mask in masks_of(torch.tensor([[1, 0]])))
    assert content == [[1, 0, 0], [1, 1, 1], [1, 0, 1]]
    assert query == [[1, 0, 0], [1, 0, 1], [1, 0, 0]]


def test_another_recipe_is_refused(tiny_model):
    with pytest.raises(InputError, match="has the recipe of configs/pretrain/semaim_vitb.py alone"):
        DenseSemAIM(tiny_model(head=dict(loss="l1")))
