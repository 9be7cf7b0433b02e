"""Does an order begin on the object? Ranks and centres against ground-truth masks.

Legend: B pictures, L = rows x columns patches, K centres; distances in patches.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial.distance import cdist
from scipy.stats import kendalltau

from semaim_mm.analysis.scenes import BATCH, COVERED, Scene, as_batch
from semaim_mm.leaderboard.intervals import OVER_IMAGES, Interval, over_seeds
from semaim_mm.pretrain import SemAIM
from semaim_mm.report.order_data import all_orders, picture_draws

PARTS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)


def first_count(part: float, length: int) -> int:
    """-> how many patches are the first ``part`` of ``length``: rounded, at least one."""
    return max(1, round(part * length))


def share_on_object(ranks: np.ndarray, on_object: np.ndarray, part: float) -> np.ndarray:
    """(B, L) ranks, (B, L) bool -> (B,): share of the first patches that lie on an object."""
    count = first_count(part, ranks.shape[1])
    return (on_object & (ranks < count)).sum(axis=1) / count


def covered_objects(ranks: np.ndarray, scenes: Sequence[Scene], part: float) -> np.ndarray:
    """(B, L) ranks -> (B,): share of a picture's objects on which a first patch lies."""
    first = ranks < first_count(part, ranks.shape[1])
    pairs = zip(scenes, first, strict=True)
    return np.array([(scene.objects[:, early] >= COVERED).any(1).mean() for scene, early in pairs])


def center_distance(
    centers: np.ndarray, on_object: np.ndarray, grid: tuple[int, int]
) -> np.ndarray:
    """(B, K) patch indices, (B, L) bool -> (B,): how far the farthest centre is from an object.

    0 where every centre lies on an object, otherwise in patches to the nearest object patch.
    """
    places = np.indices(grid).reshape(2, -1).T
    pairs = zip(centers, on_object, strict=True)
    return np.array([cdist(places[c], places[on]).min(axis=1).max() for c, on in pairs])


def stability(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(B, L) ranks twice -> (B,): Kendall's tau of a picture's two orders."""
    return np.array([kendalltau(*pair).statistic for pair in zip(first, second, strict=True)])


@torch.no_grad()
def all_ranks(
    model: SemAIM, scenes: Sequence[Scene], seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """-> (B, L) ranks and (B, K) centres by order, the model's own first.

    Every order reads the model's own map. Ties are broken by the same draws for every checkpoint,
    so that they make no difference between epochs.
    """
    grid, source = model.backbone.patch_resolution, model.order.similarity or "cls"
    ranks: dict[str, list] = {}
    centers: dict[str, list] = {}
    for start in range(0, len(scenes), BATCH):
        imgs = as_batch(model, list(scenes[start : start + BATCH]))
        if model.similarity_from == "target" and model.order.similarity is not None:
            similarity = model.similarity_for_order(imgs, model.target(imgs), source)
        else:
            similarity = model.similarity(imgs, source, model.similarity_from == "ema")
        for name, order in all_orders(model.order, source).items():
            draws = [picture_draws(seed + start + place) for place in range(len(imgs))]
            rows = [
                order.ranks(grid, draw, similarity[place : place + 1])
                for place, draw in enumerate(draws)
            ]
            ranks.setdefault(name, []).append(torch.cat(rows).numpy())
            peaks = order.centers(grid, similarity)
            if peaks is not None:
                centers.setdefault(name, []).append(peaks.numpy())
    joined = ({name: np.concatenate(v) for name, v in part.items()} for part in (ranks, centers))
    return tuple(joined)


def mean(values: np.ndarray) -> Interval:
    """A value a picture -> its mean with Student's t interval over the pictures."""
    return over_seeds(values, OVER_IMAGES, "pictures")


def paired(
    ranks: dict[str, np.ndarray], on_object: np.ndarray, by_chance: np.ndarray
) -> dict[str, dict[str, Interval]]:
    """Ranks by order -> differences of shares picture by picture, by pair and part.

    Of the same pictures a difference has a narrower interval than its two sides, which share what
    makes a picture easy.
    """

    def share(order: str, part: float) -> np.ndarray:
        return share_on_object(ranks[order], on_object, part)

    return {
        "semantic minus by chance": {str(p): mean(share("semantic", p) - by_chance) for p in PARTS},
        "semantic minus center_out": {
            str(p): mean(share("semantic", p) - share("center_out", p)) for p in PARTS
        },
    }


def examine_objects(models: dict[str, SemAIM], scenes: Sequence[Scene], seed: int = 0) -> dict:
    """Checkpoints of one run by name, oldest first -> shares, coverages, distances, stability.

    All are Intervals over pictures: ``share[checkpoint][order][part]``, ``covered[checkpoint]
    [objects][order][part]`` with objects '1', '2' or '3+', ``distance[checkpoint][order]``,
    ``tau['a to b'][order]``; ``by_chance`` is the share of all patches that lies on an object.
    Picture by picture: ``paired[checkpoint][pair][part]`` of shares, and of coverages
    ``covered_paired[checkpoint][objects]['multi_center minus semantic'][part]``.
    """
    on_object = np.stack([scene.on_object for scene in scenes])
    numbers = np.array([min(3, len(scene.objects)) for scene in scenes])
    grid = next(iter(models.values())).backbone.patch_resolution
    found: dict = dict(
        pictures=len(scenes),
        by_chance=mean(on_object.mean(axis=1)),
        share={},
        covered={},
        distance={},
        tau={},
        paired={},
        covered_paired={},
    )
    before: tuple[str, dict] | None = None
    for name, model in models.items():
        ranks, centers = all_ranks(model, scenes, seed)
        found["share"][name] = {
            order: {str(p): mean(share_on_object(r, on_object, p)) for p in PARTS}
            for order, r in ranks.items()
        }
        found["paired"][name] = paired(ranks, on_object, on_object.mean(axis=1))
        groups = {"3+" if n == 3 else str(n): numbers == n for n in np.unique(numbers)}
        covered = {
            order: {str(p): covered_objects(r, scenes, p) for p in PARTS}
            for order, r in ranks.items()
        }
        found["covered"][name] = {
            group: {
                order: {p: mean(values[chosen]) for p, values in parts.items()}
                for order, parts in covered.items()
            }
            for group, chosen in groups.items()
        }
        more, one = covered["multi_center"], covered["semantic"]
        found["covered_paired"][name] = {
            group: {
                "multi_center minus semantic": {p: mean((more[p] - one[p])[chosen]) for p in more}
            }
            for group, chosen in groups.items()
        }
        found["distance"][name] = {
            order: mean(center_distance(c, on_object, grid)) for order, c in centers.items()
        }
        if before is not None:
            found["tau"][f"{before[0]} to {name}"] = {
                order: mean(stability(before[1][order], r)) for order, r in ranks.items()
            }
        before = name, ranks
    return found
