"""The error of completed pictures, against a loop over pictures and patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import build_tiny

from semaim_mm.analysis import completion
from semaim_mm.analysis.completion import GIVEN, complete, free_errors
from semaim_mm.analysis.rollout import rollout
from semaim_mm.analysis.scenes import Scene, as_batch
from semaim_mm.errors import InputError
from semaim_mm.report.order_data import picture_draws

RAW = dict(target_generator=dict(blur_kernel=None, normalize=False))


@pytest.fixture
def scenes():
    random = np.random.default_rng(0)
    pictures = random.integers(0, 255, (3, 12, 20, 3), dtype=np.uint8)
    objects = np.ones((1, 15), np.float32)
    return [Scene(str(n), picture, objects) for n, picture in enumerate(pictures)]


def cut(image, index):
    """(3, 12, 20) -> (3, 4, 4): the patch of an index."""
    top, left = 4 * (index // 5), 4 * (index % 5)
    return image[:, top : top + 4, left : left + 4]


@pytest.mark.parametrize("given", [0, 1, 7, 14])
def test_errors_are_those_of_a_loop_over_the_patches_that_were_not_given(given):
    torch.manual_seed(0)
    imgs, completed = torch.randn(2, 3, 12, 20), torch.randn(2, 3, 12, 20)
    order = torch.stack([torch.randperm(15), torch.arange(15)])
    own, plain = free_errors(imgs, completed, order, given, 4)
    for number in range(2):
        image, made, places = imgs[number], completed[number], order[number].tolist()
        kept = [cut(image, place) for place in places[:given]]
        colour = torch.stack(kept).mean(dim=(0, 2, 3)) if kept else torch.zeros(3)
        errors = [
            ((cut(made, place) - cut(image, place)).square().mean().item(),
             (colour[:, None, None] - cut(image, place)).square().mean().item())
            for place in places[given:]
        ]  # fmt: skip
        assert (own[number], plain[number]) == pytest.approx(np.mean(errors, axis=0), rel=1e-5)


@pytest.mark.parametrize("order", ["raster", "stochastic"])
def test_every_picture_is_completed_in_its_own_order_whatever_the_batch(scenes, order, monkeypatch):
    model = build_tiny(order=order, **RAW).eval()
    found, pictures = complete(model, scenes, shown=3)
    assert list(found) == [str(part) for part in GIVEN] and len(pictures) == len(GIVEN)
    imgs = as_batch(model, scenes)
    ranks = torch.cat([model.order.ranks((3, 5), picture_draws(n), None) for n in range(3)])
    _, half = rollout(model, imgs, ranks.argsort(dim=1), 8)
    torch.testing.assert_close(pictures[2], half)
    own, plain = free_errors(imgs, half, ranks.argsort(dim=1), 8, 4)
    told = {name: item.value for name, item in found["0.5"].items()}
    minus = np.mean(own - plain)
    assert list(told.values()) == pytest.approx([own.mean(), plain.mean(), minus], rel=1e-5)
    assert found["0.5"]["completed"].n == 3
    monkeypatch.setattr(completion, "BATCH", 2)
    again, _ = complete(model, scenes, shown=3)
    assert again["0.5"]["completed"].value == pytest.approx(told["completed"], rel=1e-4)


@pytest.mark.parametrize(("batch", "shown"), [(1, 1), (2, 1), (2, 3), (2, 6)])
def test_of_many_scenes_the_first_are_completed_and_fewer_pictures_are_kept(
    batch, shown, scenes, monkeypatch
):
    model = build_tiny(order="raster", **RAW).eval()
    _, every = complete(model, scenes, shown=3)
    monkeypatch.setattr(completion, "BATCH", batch)
    monkeypatch.setattr(completion, "COMPLETED", 2)
    rolled, roll = [], completion.rollout
    monkeypatch.setattr(
        completion,
        "rollout",
        lambda m, imgs, *rest: rolled.append(len(imgs)) or roll(m, imgs, *rest),
    )
    found, pictures = complete(model, scenes, shown)
    assert sum(rolled) == 2 * len(GIVEN), "no step is made for the third"
    assert {item.n for by in found.values() for item in by.values()} == {2}
    for kept, of_all in zip(pictures, every, strict=True):
        torch.testing.assert_close(kept, of_all[: min(shown, 2)])


def test_a_model_that_cannot_generate_is_refused(scenes):
    with pytest.raises(InputError, match="can feed its own predictions back"):
        complete(build_tiny(order="raster").eval(), scenes, shown=3)
