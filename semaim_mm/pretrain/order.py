"""Generation orders (arXiv 2312.10457, sec. 3.2): which patch is predicted first.

Legend: B images, L = rows x columns patches in raster order; ``ranks`` (B, L) int64, each row a
permutation of 0..L-1, smaller is generated first. Works for any grid and device, all images at
once. How to add one: CONTRIBUTING.md.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from mmengine.registry import Registry
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.pretrain.draws import Draws
from semaim_mm.pretrain.similarity import SOURCES

ORDERS = Registry("order", scope="mmpretrain")
Grid = tuple[int, int]


def build_order(cfg: "str | dict | Order") -> "Order":
    """A name such as 'semantic', or a config dict -> the order. Raises InputError if unknown."""
    if isinstance(cfg, Order):
        return cfg
    cfg = dict(type=cfg) if isinstance(cfg, str) else cfg
    kind = cfg.get("type") if isinstance(cfg, dict) else cfg
    # not by ORDERS.get, which imports what it does not know
    if not isinstance(kind, type) and str(kind).split(".")[-1] not in ORDERS.module_dict:
        raise InputError(
            f"There is no generation order {kind!r}; choose one of "
            f"{', '.join(sorted(ORDERS.module_dict))}, or register your own in ORDERS."
        )
    return ORDERS.build(cfg)


def sort_ranks(draws: Draws, *keys: Tensor) -> Tensor:
    """(B, L) keys, the most significant first -> (B, L) ranks; equal keys fall at random.

    Ties are broken by a second sort key, not by noise added to the first: no two ranks tie.
    """
    length = keys[0].shape[1]
    order = draws.integers(length).argsort(dim=1)
    for key in reversed(keys):
        order = order.gather(1, key.gather(1, order).argsort(dim=1, stable=True))
    return order.argsort(dim=1)


def coordinates(grid: Grid, device: torch.device) -> tuple[Tensor, Tensor]:
    """-> row and column of every patch, (L,) int64 each."""
    index = torch.arange(grid[0] * grid[1], device=device)
    return index // grid[1], index % grid[1]


def squared_distance(centers: Tensor, grid: Grid) -> Tensor:
    """(B,) patch indices -> (B, L) int64 squared grid distance to them, in patches: exact."""
    row, column = coordinates(grid, centers.device)
    return (row - (centers // grid[1])[:, None]) ** 2 + (column - (centers % grid[1])[:, None]) ** 2


def peak(similarity: Tensor) -> Tensor:
    """(B, L) -> (B,) index of the largest value, the first of equals on every device."""
    length = similarity.shape[1]
    index = torch.arange(length, device=similarity.device)
    best = similarity == similarity.amax(dim=1, keepdim=True)
    # a map of NaNs has no largest value: clamp keeps the index valid, the loss will show the NaN
    return torch.where(best, index, length).amin(dim=1).clamp(max=length - 1)


class Order(ABC):
    """Base of all orders. ``similarity`` names the map that the order needs, or is None."""

    similarity: str | None = None

    @abstractmethod
    def ranks(self, grid: Grid, draws: Draws, similarity: Tensor | None) -> Tensor:
        """-> (B, L) ranks for the images of ``draws``; ``similarity`` (B, L) where it is needed."""

    def centers(self, grid: Grid, similarity: Tensor) -> Tensor | None:
        """-> (B, K) patch indices that the order grows from, or None: for pictures and analyses."""
        return None


class SimilarityBased(Order):
    """An order that reads a similarity map: ``cls``, ``gap`` or ``self``."""

    def __init__(self, similarity: str = "cls"):
        if similarity not in SOURCES:
            raise InputError(
                f"{type(self).__name__} knows no similarity {similarity!r}; choose one of "
                f"{', '.join(SOURCES)}."
            )
        self.similarity = similarity

    def centers(self, grid: Grid, similarity: Tensor) -> Tensor | None:
        return peak(similarity)[:, None]


@ORDERS.register_module(name=["SemanticOrder", "semantic"])
class SemanticOrder(SimilarityBased):
    """Distance to the peak of the similarity map, outward: the paper's order."""

    def ranks(self, grid: Grid, draws: Draws, similarity: Tensor) -> Tensor:
        return sort_ranks(draws, squared_distance(peak(similarity), grid))


@ORDERS.register_module(name=["SimilarityOrder", "similarity"])
class SimilarityOrder(SimilarityBased):
    """The map itself, most similar first (the authors' ``attention``)."""

    def ranks(self, grid: Grid, draws: Draws, similarity: Tensor) -> Tensor:
        return sort_ranks(draws, -similarity)

    def centers(self, grid: Grid, similarity: Tensor) -> None:
        return None


@ORDERS.register_module(name=["MultiCenterOrder", "multi_center"])
class MultiCenterOrder(SimilarityBased):
    """Distance to the nearest of up to ``num_centers`` peaks, for images with several objects.

    Peaks are found by non-maximum suppression: local maxima (3 x 3) of the map, the highest first,
    each at least ``radius`` patches from those before it and at least ``threshold`` high, where 0
    is the map's minimum and 1 its maximum. With one centre this is SemanticOrder exactly.

    Args:
        num_centers: most peaks an image may have, K >= 1.
        radius: smallest distance between two peaks, in patches.
        threshold: lowest height of a further peak, in [0, 1].
    """

    def __init__(
        self,
        similarity: str = "cls",
        num_centers: int = 3,
        radius: float = 3.0,
        threshold: float = 0.7,
    ):
        super().__init__(similarity)
        if not (isinstance(num_centers, int) and num_centers >= 1):
            raise InputError(
                f"MultiCenterOrder: num_centers={num_centers!r}, but an order needs at least one "
                "centre; set a whole number of 1 or more."
            )
        if radius < 0 or not 0 <= threshold <= 1:
            raise InputError(
                f"MultiCenterOrder: radius={radius} must not be negative and threshold={threshold} "
                "must lie in [0, 1]; mend the config."
            )
        self.num_centers, self.radius, self.threshold = num_centers, radius, threshold

    def centers(self, grid: Grid, similarity: Tensor) -> Tensor:
        """-> (B, K); where fewer peaks are accepted, the first is repeated."""
        first = peak(similarity)
        low = similarity.amin(dim=1, keepdim=True)
        height = (similarity - low) / (similarity.amax(dim=1, keepdim=True) - low).clamp(min=1e-12)
        maps = height.view(-1, 1, *grid)
        local = (maps == F.max_pool2d(maps, 3, stride=1, padding=1)).flatten(1)
        candidates = torch.where(local & (height >= self.threshold), height, -1.0)
        found = [first]
        for _ in range(self.num_centers - 1):
            near = squared_distance(found[-1], grid) < max(self.radius, 0.5) ** 2
            candidates = candidates.masked_fill(near, -1.0)
            best = peak(candidates)
            accepted = candidates.gather(1, best[:, None])[:, 0] >= 0
            found.append(torch.where(accepted, best, first))
        return torch.stack(found, dim=1)

    def ranks(self, grid: Grid, draws: Draws, similarity: Tensor) -> Tensor:
        centers = self.centers(grid, similarity)
        distances = [squared_distance(center, grid) for center in centers.unbind(1)]
        return sort_ranks(draws, torch.stack(distances).amin(dim=0))


def nested_squares(centers: Tensor, grid: Grid) -> Tensor:
    """(B,) patch indices -> (B, L) int64: 0 in the innermost of three nested squares, 3 outside.

    Half-widths are n x {1, 3, 5} / 14 of each axis' length n, rounded (half up), at least 1; a
    square that would leave the grid is shifted inside.
    """
    ring = 0
    starts = (centers // grid[1], centers % grid[1])
    axes = coordinates(grid, centers.device)
    for part in (1, 3, 5):
        inside = True
        for n, center, axis in zip(grid, starts, axes, strict=True):
            half = max(1, int(n * part / 14 + 0.5))
            start = (center - half).clamp(min=0).clamp(max=max(0, n - 2 * half))[:, None]
            inside = inside & (axis >= start) & (axis < start + 2 * half)
        ring = ring + (~inside).long()
    return ring


@ORDERS.register_module(name=["GuidedCenterOrder", "guided_center"])
class GuidedCenterOrder(SimilarityBased):
    """Random inside nested squares around the map's peak, the inner squares first."""

    def ranks(self, grid: Grid, draws: Draws, similarity: Tensor) -> Tensor:
        return sort_ranks(draws, nested_squares(peak(similarity), grid))


@ORDERS.register_module(name=["CenterOutOrder", "center_out"])
class CenterOutOrder(Order):
    """Random inside nested squares around the image's centre: 2, 6, 10 patches wide at 14 x 14."""

    def ranks(self, grid: Grid, draws: Draws, similarity: Tensor | None = None) -> Tensor:
        middle = (grid[0] // 2) * grid[1] + grid[1] // 2
        return sort_ranks(draws, nested_squares(torch.full_like(draws.state, middle), grid))


@ORDERS.register_module(name=["StochasticCenterOrder", "stochastic_center"])
class StochasticCenterOrder(Order):
    """Random inside nested squares around a random patch.

    The authors' hand-filled table clips squares at the last row and column; here a square keeps
    its size and is shifted inside the grid instead.
    """

    def ranks(self, grid: Grid, draws: Draws, similarity: Tensor | None = None) -> Tensor:
        return sort_ranks(draws, nested_squares(draws.below(grid[0] * grid[1]), grid))


@ORDERS.register_module(name=["StochasticOrder", "stochastic"])
class StochasticOrder(Order):
    """A new random permutation for every image (SAIM's order)."""

    def ranks(self, grid: Grid, draws: Draws, similarity: Tensor | None = None) -> Tensor:
        return draws.integers(grid[0] * grid[1]).argsort(dim=1).argsort(dim=1)


@ORDERS.register_module(name=["RasterOrder", "raster"])
class RasterOrder(Order):
    """Row by row, left to right (iGPT's order; the authors' ``zigzag``)."""

    def ranks(self, grid: Grid, draws: Draws, similarity: Tensor | None = None) -> Tensor:
        row, column = coordinates(grid, draws.state.device)
        return (row * grid[1] + column).expand(len(draws.state), -1)


@ORDERS.register_module(name=["SnakeOrder", "snake"])
class SnakeOrder(Order):
    """Row by row, every second row reversed (the authors' ``raster``)."""

    def ranks(self, grid: Grid, draws: Draws, similarity: Tensor | None = None) -> Tensor:
        row, column = coordinates(grid, draws.state.device)
        column = torch.where(row % 2 == 1, grid[1] - 1 - column, column)
        return (row * grid[1] + column).expand(len(draws.state), -1)
