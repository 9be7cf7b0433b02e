"""The rollout: equal to the whole causal pass, feeds itself, refuses what can't."""

import pytest
import torch
from conftest import build_tiny

from semaim_mm.analysis.rollout import check_generates, rollout
from semaim_mm.errors import InputError
from semaim_mm.pretrain.targets.pixels import patchify

RAW = dict(target_generator=dict(blur_kernel=None, normalize=False))


def case(**changes):
    model = build_tiny(**{**RAW, "order": "raster", **changes}).eval()
    torch.manual_seed(1)
    imgs = torch.randn(2, 3, 12, 20)
    return model, imgs, torch.stack([torch.randperm(15), torch.arange(15)])


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(order="stochastic"),
        dict(neck=dict(share_weights=True)),
        dict(neck=dict(query_depth=4)),
        dict(cls_last=True, backbone=dict(num_registers=1)),
        dict(cls_last=True, backbone=dict(num_registers=3)),
        dict(backbone=dict(num_registers=2)),
        dict(backbone=dict(num_registers=2), neck=dict(share_weights=True)),
    ],
    ids=["raster", "stochastic", "shared", "deep", "cls_last", "last_3", "first_2", "shared_2"],
)
def test_a_rollout_fed_true_patches_equals_teacher_forcing_at_every_step(changes):
    model, imgs, order = case(**changes)
    predictions, completed = rollout(model, imgs, order, given=15)
    with torch.no_grad():
        expected = model.predict_in_order(imgs, order)
    torch.testing.assert_close(predictions, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(completed, imgs)


@pytest.mark.parametrize("given", [0, 4, 14])
def test_its_own_predictions_are_fed_back_as_a_loop_of_whole_passes_does(given):
    model, imgs, order = case()
    _, completed = rollout(model, imgs, order, given)
    slow = imgs.clone()
    for rank in range(given, 15):
        with torch.no_grad():
            patch = model.predict_in_order(slow, order)[:, rank]
        for image, (index, pixels) in enumerate(zip(order[:, rank].tolist(), patch, strict=True)):
            top, left = 4 * (index // 5), 4 * (index % 5)
            cell = pixels.view(4, 4, 3).permute(2, 0, 1)
            slow[image, :, top : top + 4, left : left + 4] = cell
    torch.testing.assert_close(completed, slow, atol=1e-4, rtol=1e-4)
    kept = patchify(completed, 4)[0, order[0, :given]]
    torch.testing.assert_close(kept, patchify(imgs, 4)[0, order[0, :given]])


@pytest.mark.parametrize(
    "changes",
    [
        dict(order="semantic"),
        dict(target_generator=dict(blur_kernel=None, normalize=True)),
        dict(target_generator=dict(blur_kernel=9, normalize=False)),
    ],
    ids=["whole image", "normalised", "blurred"],
)
def test_a_model_that_cannot_feed_itself_is_refused(changes):
    model, imgs, order = case(**changes)
    with pytest.raises(InputError, match="can feed its own predictions back"):
        rollout(model, imgs, order, given=3)


def test_predictions_without_a_scale_are_refused():
    for loss in ("l1", "l2"):
        check_generates(case(head=dict(loss=loss))[0])
    with pytest.raises(InputError, match="'unit_l2'.* no scale .*model.head.loss='l2'"):
        check_generates(case(head=dict(loss="unit_l2"))[0])


def test_more_given_patches_than_there_are_is_told():
    model, imgs, order = case()
    with pytest.raises(InputError, match="given=16 is not between 0 and the 15"):
        rollout(model, imgs, order, given=16)
