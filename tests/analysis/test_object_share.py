"""Orders against masks: every measure beside one that counts patch by patch."""

import numpy as np
import pytest
from conftest import build_tiny
from square_scenes import write_squares

from semaim_mm.analysis.object_share import (
    all_ranks,
    center_distance,
    covered_objects,
    examine_objects,
    first_count,
    share_on_object,
    stability,
)
from semaim_mm.analysis.scenes import Scene, fit, patch_share, read_scenes
from semaim_mm.errors import InputError


@pytest.fixture
def drawn():
    random = np.random.default_rng(0)
    ranks = np.stack([random.permutation(15) for _ in range(6)])
    scenes = []
    for number in range(6):
        objects = np.zeros((1 + number % 3, 15), np.float32)
        for row in objects:
            row[random.choice(15, 3, replace=False)] = 0.75
        scenes.append(Scene(str(number), np.zeros((12, 20, 3), np.uint8), objects))
    return ranks, scenes


@pytest.mark.parametrize("part", [0.01, 0.2, 0.5, 1.0])
def test_the_share_is_what_counting_patch_by_patch_gives(drawn, part):
    ranks, scenes = drawn
    on = np.stack([scene.on_object for scene in scenes])
    found, covered = share_on_object(ranks, on, part), covered_objects(ranks, scenes, part)
    for number, scene in enumerate(scenes):
        order = sorted(range(15), key=lambda patch: ranks[number, patch])
        first = order[: max(1, round(15 * part))]
        assert found[number] == sum(bool(on[number, p]) for p in first) / len(first)
        touched = [any(row[p] >= 0.5 for p in first) for row in scene.objects]
        assert covered[number] == pytest.approx(sum(touched) / len(touched))


def test_at_least_one_patch_is_first():
    assert [first_count(part, 15) for part in (0.01, 0.5, 1.0)] == [1, 8, 15]


def test_the_distance_of_a_centre_is_the_smallest_to_any_object_patch(drawn):
    _, scenes = drawn
    on = np.stack([scene.on_object for scene in scenes])
    centers = np.array([[n, 14 - n] for n in range(6)])
    found = center_distance(centers, on, (3, 5))
    for number in range(6):
        slow = max(
            min(np.hypot(c // 5 - p // 5, c % 5 - p % 5) for p in range(15) if on[number, p])
            for c in centers[number]
        )
        assert found[number] == pytest.approx(slow)


def test_stability_counts_pairs_in_the_same_and_in_the_other_order(drawn):
    first, second = drawn[0], drawn[0][::-1]
    found = stability(first, second)
    for a, b, tau in zip(first, second, found, strict=True):
        pairs = [(i, j) for i in range(15) for j in range(i)]
        agree = sum(np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) for i, j in pairs)
        assert tau == pytest.approx(agree / len(pairs))
    assert stability(first, first) == pytest.approx(np.ones(6))


def test_a_mask_is_cropped_as_the_picture_is_and_cut_into_patches():
    mask = np.zeros((24, 60), np.uint8)
    mask[:, 30:] = 1
    fitted = fit(mask, (12, 20))
    assert fitted.shape == (12, 20)
    share = patch_share(fitted, 4).reshape(3, 5)
    assert (share[:, :2] == 0).all() and (share[:, 3:] == 1).all()
    assert share[:, 2] == pytest.approx(0.5)


def test_scenes_have_their_objects_where_the_masks_are_and_crowds_are_none(tmp_path):
    scenes = read_scenes(write_squares(tmp_path), (12, 20), 4)
    assert [scene.name for scene in scenes] == [f"{n}.png" for n in (0, 1, 3, 4, 5)]
    assert [np.flatnonzero(s.on_object).tolist() for s in scenes] == [[5], [6], [8], [9], [5]]


def test_a_missing_annotation_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no annotation file .*gone.json"):
        read_scenes(tmp_path / "gone.json", (12, 20), 4)


def test_checkpoints_are_compared_order_by_order(tmp_path):
    scenes = read_scenes(write_squares(tmp_path), (12, 20), 4)
    models = {name: build_tiny(seed).eval() for name, seed in (("a", 0), ("b", 1))}
    found = examine_objects(models, scenes)
    ranks, centers = all_ranks(models["a"], scenes)
    assert next(iter(ranks)) == "semantic" and "multi_center" in centers
    assert all((np.sort(r, axis=1) == np.arange(15)).all() for r in ranks.values())
    assert found["share"]["a"]["semantic"]["1.0"].value == pytest.approx(1 / 15)
    assert found["by_chance"].value == pytest.approx(1 / 15)
    assert found["tau"]["a to b"]["raster"].value == pytest.approx(1)
    assert found["tau"]["a to b"]["stochastic"].value == pytest.approx(1)  # the same draws
    assert found["tau"]["a to b"]["similarity"].value < 0.9
    assert list(found["covered"]["a"]) == ["1"]


def test_orders_are_compared_picture_by_picture(tmp_path):
    scenes = read_scenes(write_squares(tmp_path), (12, 20), 4)
    found = examine_objects({"a": build_tiny().eval()}, scenes)
    ranks, _ = all_ranks(build_tiny().eval(), scenes)
    differences = {"semantic minus by chance": [], "semantic minus center_out": []}
    covered = []
    for number, scene in enumerate(scenes):
        (on,) = np.flatnonzero(scene.on_object)
        first = {order: ranks[order][number, on] < 8 for order in ranks}  # half of 15, rounded
        differences["semantic minus by chance"].append(first["semantic"] / 8 - 1 / 15)
        differences["semantic minus center_out"].append(
            (int(first["semantic"]) - int(first["center_out"])) / 8
        )
        covered.append(int(first["multi_center"]) - int(first["semantic"]))
    for pair, values in differences.items():
        item = found["paired"]["a"][pair]["0.5"]
        assert (item.value, item.sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    item = found["covered_paired"]["a"]["1"]["multi_center minus semantic"]["0.5"]
    assert item.value == pytest.approx(np.mean(covered)) and item.n == len(scenes)
    everything = found["paired"]["a"]["semantic minus center_out"]["1.0"]
    assert everything.note == f"all {len(scenes)} pictures have the same score, " + (
        "so no spread is known"
    )
