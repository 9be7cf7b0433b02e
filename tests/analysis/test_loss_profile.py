"""The loss by rank and by distance, against a loop over pictures and patches."""

import numpy as np
import pytest
import timm
import torch
from conftest import TINY, build_tiny, merge

from semaim_mm.analysis.loss_profile import by_bin, loss_profile
from semaim_mm.analysis.scenes import Scene, as_batch
from semaim_mm.errors import InputError
from semaim_mm.pretrain import SemAIM
from semaim_mm.pretrain.draws import Draws


@pytest.fixture
def scenes():
    random = np.random.default_rng(0)
    objects = np.ones((1, 15), np.float32)
    pictures = random.integers(0, 255, (4, 12, 20, 3), dtype=np.uint8)
    return [Scene(str(n), picture, objects) for n, picture in enumerate(pictures)]


def test_a_picture_counts_once_in_a_bin_and_not_where_it_has_no_patch():
    loss = np.array([[1.0, 3.0, 5.0], [2.0, 4.0, 9.0]])
    found = by_bin(loss, np.array([[0, 0, 1], [0, 1, 1]]))
    assert found[0].value == 2.0 and found[1].value == pytest.approx((5 + 6.5) / 2)
    assert by_bin(loss, np.array([[0, 0, 7], [0, 0, 0]]))[7].n == 1


def test_loss_by_rank_and_distance_is_what_a_loop_over_patches_gives(scenes):
    model = build_tiny().eval()
    found = loss_profile(model, scenes)
    imgs, sums, near = as_batch(model, scenes), {}, {}
    with torch.no_grad():
        for number in range(4):
            image = imgs[number : number + 1]
            similarity = model.similarity(image, "cls")
            ranks = model.order.ranks((3, 5), Draws(torch.tensor([[number]])), similarity)
            _, losses = model.pretrain_loss(image, ranks)
            peak, mine = int(similarity.argmax()), {}
            for patch in range(15):
                sums.setdefault(int(ranks[0, patch]), []).append(float(losses[0, patch]))
                away = np.hypot(patch // 5 - peak // 5, patch % 5 - peak % 5)
                mine.setdefault(round(away), []).append(float(losses[0, patch]))
            for away, values in mine.items():
                near.setdefault(away, []).append(np.mean(values))
    assert {k: v.value for k, v in found["by_rank"].items()} == pytest.approx(
        {k: np.mean(v) for k, v in sums.items()}, rel=1e-4
    )
    assert {k: v.value for k, v in found["by_distance"].items()} == pytest.approx(
        {k: np.mean(v) for k, v in near.items()}, rel=1e-4
    )


def test_an_order_without_a_centre_has_no_distances(scenes):
    assert list(loss_profile(build_tiny(order="raster").eval(), scenes)) == ["by_rank"]


def test_cached_features_have_the_loss_of_their_live_teacher(scenes, tmp_path):
    name, size = "vit_base_patch16_224.dino", dict(embed_dim=32, depth=2, num_heads=2, img_size=64)
    weights = tmp_path / "w.pth"
    torch.save(timm.create_model(name, num_classes=0, **size).state_dict(), weights)
    teacher = dict(type="TimmTeacher", model=name, weights=weights, model_args=size)
    cached = dict(type="CachedTarget", teacher=teacher, folder=tmp_path)  # no cache is read
    changes = dict(head=dict(loss="unit_l2"), similarity_from="target")
    live = build_tiny(target_generator=teacher, **changes).eval()
    kept = SemAIM(**(merge(TINY, changes) | dict(target_generator=cached))).eval()
    kept.load_state_dict(live.state_dict())
    found = loss_profile(kept, scenes)
    assert found == loss_profile(live, scenes) and list(found) == ["by_rank", "by_distance"]
    weights.unlink()
    with pytest.raises(InputError, match=r"the weights of TimmTeacher are not at .*w\.pth"):
        loss_profile(kept, scenes)
