"""Half precision loses no gradient, though the map's pass reads the same weights without one first.

Some versions of torch keep that pass's casts of the weights, and their gradients are gone.
"""

from __future__ import annotations

import pytest
import torch
from mmpretrain.structures import DataSample


@pytest.mark.parametrize("similarity_from", ["online", "target"])
def test_in_bfloat16_every_gradient_is_there_and_near_that_of_float32(similarity_from, tiny_model):
    options = dict(target_generator=dict(type="OnlineTarget"), head=dict(loss="unit_l2"))
    model = tiny_model(
        similarity_from=similarity_from, **(options if similarity_from == "target" else {})
    )
    imgs = torch.randn(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    seen, ranks = [], model.order.ranks
    model.order.ranks = lambda *args: seen.append(ranks(*args)) or seen[-1]
    samples = [DataSample(metainfo=dict(sample_key=(0, 0, number))) for number in range(2)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = model(imgs, samples, mode="loss")["loss"]
        target = model.target(imgs)
    near = gradients(model, step)
    exact = gradients(model, model.loss_in_order(imgs, seen[0], target)[0].mean())
    assert len(seen) == 1 and near.keys() == exact.keys()
    noise = 1e-3 * max(grad.norm() for grad in exact.values())  # a key's bias changes no attention
    for name, expected in exact.items():
        assert near[name] is not None, f"the gradient of {name} is lost"
        assert (near[name] - expected).norm() < 0.1 * expected.norm() + noise, name


def gradients(model, loss: torch.Tensor) -> dict[str, torch.Tensor | None]:
    """-> the gradient of every trained weight."""
    model.zero_grad()
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
