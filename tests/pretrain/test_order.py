"""Every generation order against a plain Python reference, on any grid."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semaim_mm.errors import InputError
from semaim_mm.pretrain.draws import Draws
from semaim_mm.pretrain.order import ORDERS, Order, build_order, nested_squares

NAMES = ["semantic", "similarity", "multi_center", "center_out", "guided_center"]
NAMES += ["stochastic_center", "stochastic", "raster", "snake"]
FIXED = ("raster", "snake")

GRIDS = st.tuples(st.integers(1, 16), st.integers(1, 16)).filter(lambda grid: math.prod(grid) > 1)
SEEDS = st.integers(0, 2**31)


def sample_keys(seed: int, count: int = 3, epoch: int = 0) -> torch.Tensor:
    """-> (count, 3): seed, epoch, sample id."""
    return torch.tensor([[seed, epoch, sample] for sample in range(count)])


def random_maps(seed: int, grid: tuple[int, int], count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, math.prod(grid), generator=generator)


def squares_around(center: int, grid: tuple[int, int]) -> list[int]:
    """How many of the three nested squares each patch lies outside of, by loops; half rounds up."""
    outside = [0] * math.prod(grid)
    for part in (1, 3, 5):
        spans = []
        for n, middle in zip(grid, divmod(center, grid[1]), strict=True):
            half = max(1, math.floor(n * part / 14 + 0.5))
            start = max(0, min(middle - half, n - 2 * half))
            spans.append(range(start, start + 2 * half))
        for patch in range(math.prod(grid)):
            row, column = divmod(patch, grid[1])
            outside[patch] += not (row in spans[0] and column in spans[1])
    return outside


def distance_to(center: int, grid: tuple[int, int]) -> list[int]:
    row, column = divmod(center, grid[1])
    return [(p // grid[1] - row) ** 2 + (p % grid[1] - column) ** 2 for p in range(math.prod(grid))]


def expected_key(name: str, grid: tuple[int, int], similarity: list[float], point: int) -> list:
    """What a patch is sorted by, smallest first; ``point`` is the order's random patch."""
    length = math.prod(grid)
    top = max(range(length), key=lambda patch: (similarity[patch], -patch))
    rows = [divmod(patch, grid[1]) for patch in range(length)]
    return {
        "semantic": lambda: distance_to(top, grid),
        "similarity": lambda: [-value for value in similarity],
        "center_out": lambda: squares_around(grid[0] // 2 * grid[1] + grid[1] // 2, grid),
        "guided_center": lambda: squares_around(top, grid),
        "stochastic_center": lambda: squares_around(point, grid),
        "stochastic": lambda: [0] * length,
        "raster": lambda: list(range(length)),
        "snake": lambda: [(r, -c if r % 2 else c) for r, c in rows],
    }[name]()


@pytest.mark.parametrize("name", [n for n in NAMES if n != "multi_center"])
@given(grid=GRIDS, seed=SEEDS)
@settings(max_examples=12, deadline=None)
def test_an_order_equals_its_reference_by_loops(name, grid, seed):
    length, maps, keys = math.prod(grid), random_maps(seed, grid), sample_keys(seed)
    ranks = build_order(name).ranks(grid, Draws(keys), maps)
    again = Draws(keys)
    points = again.below(length).tolist() if name == "stochastic_center" else [0, 0, 0]
    ties = again.integers(length).tolist()
    for image in range(3):
        key = expected_key(name, grid, maps[image].tolist(), points[image])
        order = sorted(range(length), key=lambda patch: (key[patch], ties[image][patch]))
        assert ranks[image].argsort().tolist() == order


@pytest.mark.parametrize("name", NAMES)
@given(grid=GRIDS, seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_ranks_are_a_permutation_also_where_the_map_is_constant_or_nan(name, grid, seed):
    length = math.prod(grid)
    flat = torch.full((3, length), 0.5)
    for maps in (random_maps(seed, grid), flat, flat * float("nan")):
        ranks = build_order(name).ranks(grid, Draws(sample_keys(seed)), maps)
        assert ranks.dtype == torch.int64
        assert ranks.sort(dim=1).values.tolist() == [list(range(length))] * 3


@pytest.mark.parametrize("name", NAMES)
def test_an_images_order_is_the_same_alone_and_anywhere_in_a_batch(name):
    grid, keys = (5, 7), sample_keys(3, count=6)
    maps = random_maps(0, grid, count=6)
    together = build_order(name).ranks(grid, Draws(keys), maps)
    shuffled = [4, 0, 5, 2, 1, 3]
    other = build_order(name).ranks(grid, Draws(keys[shuffled]), maps[shuffled])
    assert torch.equal(other, together[shuffled])
    for image in range(6):
        one = slice(image, image + 1)
        alone = build_order(name).ranks(grid, Draws(keys[one]), maps[one])
        assert torch.equal(alone, together[one])


@pytest.mark.parametrize("name", [n for n in NAMES if n not in FIXED and n != "similarity"])
def test_another_epoch_seed_or_sample_draws_another_order(name):
    grid, maps = (14, 14), random_maps(1, (14, 14), count=1)
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1)]
    found = {
        tuple(build_order(name).ranks(grid, Draws(torch.tensor([key])), maps)[0].tolist())
        for key in keys
    }
    assert len(found) == len(keys)


@given(grid=GRIDS, seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_semantic_never_crosses_a_ring_of_equal_distance(grid, seed):
    maps = random_maps(seed, grid)
    ranks = build_order("semantic").ranks(grid, Draws(sample_keys(seed)), maps)
    for image in range(3):
        distance = distance_to(int(maps[image].argmax()), grid)
        in_order = [distance[patch] for patch in ranks[image].argsort().tolist()]
        assert all(near <= far for near, far in pairwise(in_order))
        assert in_order[0] == 0


def test_semantic_ties_fall_at_random_in_each_image():
    maps = torch.zeros(2000, 25)
    maps[:, 12] = 1  # the middle of 5 x 5: patches 7, 11, 13, 17 lie at distance 1
    ranks = build_order("semantic").ranks((5, 5), Draws(sample_keys(0, count=2000)), maps)
    assert (ranks[:, 12] == 0).all()
    first_neighbour = ranks.argsort(dim=1)[:, 1]
    for patch in (7, 11, 13, 17):
        assert 430 < (first_neighbour == patch).sum() < 570  # 500 expected, spread 19


@given(grid=GRIDS, seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_multi_center_with_one_centre_is_semantic_with_the_same_draws(grid, seed):
    maps, keys = random_maps(seed, grid), sample_keys(seed)
    one = build_order(dict(type="MultiCenterOrder", num_centers=1))
    semantic = build_order("semantic")
    assert torch.equal(one.ranks(grid, Draws(keys), maps), semantic.ranks(grid, Draws(keys), maps))


def peaks_by_loops(
    values: list[float], grid: tuple[int, int], most: int, radius: float, threshold: float
) -> list[int]:
    """Highest first: local maxima, no closer than ``radius``, no lower than ``threshold``."""
    low, high = min(values), max(values)
    heights = [(value - low) / (high - low) for value in values]
    found: list[int] = []
    for patch in sorted(range(len(values)), key=lambda p: (-heights[p], p)):
        around = [q for q, d in enumerate(distance_to(patch, grid)) if d <= 2]
        is_peak = heights[patch] >= threshold and heights[patch] == max(heights[q] for q in around)
        far = all(distance_to(other, grid)[patch] >= radius**2 for other in found)
        if len(found) < most and is_peak and far:
            found.append(patch)
    return found


@given(
    grid=GRIDS,
    seed=SEEDS,
    most=st.integers(1, 5),
    radius=st.sampled_from([1.0, 2.0, 3.0, 4.5]),
    threshold=st.sampled_from([0.0, 0.5, 0.7, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_multi_center_finds_the_peaks_that_loops_find(grid, seed, most, radius, threshold):
    maps, keys = random_maps(seed, grid), sample_keys(seed)
    order = build_order(
        dict(type="multi_center", num_centers=most, radius=radius, threshold=threshold)
    )
    centers, ranks = order.centers(grid, maps), order.ranks(grid, Draws(keys), maps)
    ties = Draws(keys).integers(math.prod(grid)).tolist()
    for image in range(3):
        peaks = peaks_by_loops(maps[image].tolist(), grid, most, radius, threshold)
        assert sorted(set(centers[image].tolist())) == sorted(peaks)
        assert centers[image, 0] == peaks[0]
        nearest = [min(d) for d in zip(*(distance_to(p, grid) for p in peaks), strict=True)]
        key = [(nearest[p], ties[image][p]) for p in range(math.prod(grid))]
        assert ranks[image].argsort().tolist() == sorted(range(len(key)), key=key.__getitem__)


def test_two_objects_are_both_generated_before_what_lies_between():
    row = torch.tensor([[0.9, 0.1, 0.0, 0.0, 0.0, 0.1, 1.0]])
    draws = Draws(sample_keys(0, count=1))
    ranks = build_order("multi_center").ranks((1, 7), draws, row)
    assert set(ranks[0].argsort()[:2].tolist()) == {0, 6}
    assert ranks[0, 3] == 6


def test_the_centre_squares_of_14_by_14_are_2_6_and_10_patches_wide():
    rings = nested_squares(torch.tensor([7 * 14 + 7]), (14, 14))[0].view(14, 14)
    for ring, width in enumerate((2, 6, 10)):
        inside = rings <= ring
        margin = (14 - width) // 2
        assert inside.sum() == width**2
        assert inside[margin : 14 - margin, margin : 14 - margin].all()
    ranks = build_order("center_out").ranks((14, 14), Draws(sample_keys(0)), None)
    assert set(ranks[0].argsort()[:4].tolist()) == {90, 91, 104, 105}


@pytest.mark.parametrize(("center", "corner"), [(0, (0, 0)), (195, (4, 4)), (13, (0, 4))])
def test_a_guided_square_at_the_border_is_shifted_inside_and_keeps_its_size(center, corner):
    rings = nested_squares(torch.tensor([center]), (14, 14))[0].view(14, 14)
    row, column = corner
    assert (rings <= 2)[row : row + 10, column : column + 10].all()
    assert [(rings <= ring).sum().item() for ring in (0, 1, 2)] == [4, 36, 100]


def test_snake_is_the_authors_raster(reference):
    ranks = build_order("snake").ranks((14, 14), Draws(sample_keys(0)), None)
    theirs = reference.arrays["raster_keys"].argsort()
    for image in range(3):
        assert torch.equal(ranks[image].argsort(), theirs)


def test_only_orders_that_read_a_map_ask_for_one():
    asks = {name: build_order(name).similarity for name in NAMES}
    needed = ("semantic", "similarity", "multi_center", "guided_center")
    assert asks == {name: "cls" if name in needed else None for name in NAMES}
    for source in ("cls", "gap", "self"):
        assert build_order(dict(type="SemanticOrder", similarity=source)).similarity == source


def test_a_new_order_is_registered_and_built_by_name():
    class Backwards(Order):
        def ranks(self, grid, draws, similarity=None):
            return torch.arange(math.prod(grid)).flip(0).expand(len(draws.state), -1)

    ORDERS.register_module(name="backwards_test", module=Backwards)
    try:
        ranks = build_order("backwards_test").ranks((1, 3), Draws(sample_keys(0)), None)
        assert ranks.tolist() == [[2, 1, 0]] * 3
    finally:
        ORDERS.module_dict.pop("backwards_test")


@pytest.mark.parametrize("cfg", ["semantics", dict(type="SemanticsOrder")])
def test_an_unknown_order_is_refused_with_the_choices(cfg):
    with pytest.raises(InputError) as error:
        build_order(cfg)
    assert all(name in str(error.value) for name in NAMES)


def test_an_unknown_similarity_is_refused_with_the_choices():
    with pytest.raises(
        InputError, match="SemanticOrder knows no similarity 'clip'.*cls, gap, self"
    ):
        build_order(dict(type="SemanticOrder", similarity="clip"))


@pytest.mark.parametrize("count", [0, -1, 1.5, None])
def test_fewer_than_one_centre_is_refused(count):
    with pytest.raises(InputError, match="num_centers=.*set a whole number of 1 or more"):
        build_order(dict(type="MultiCenterOrder", num_centers=count))


@pytest.mark.parametrize("wrong", [dict(radius=-1), dict(threshold=1.5), dict(threshold=-0.1)])
def test_a_radius_or_threshold_out_of_range_is_refused(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        build_order(dict(type="MultiCenterOrder", **wrong))
