"""Where the loss lies: by rank in the order, and by distance to the chosen centre.

Legend: B pictures, L patches; distances in patches.
"""

from collections.abc import Sequence

import numpy as np
import torch

from semaim_mm.analysis.object_share import mean
from semaim_mm.analysis.scenes import BATCH, Scene, as_batch
from semaim_mm.leaderboard.intervals import Interval
from semaim_mm.pretrain import SemAIM
from semaim_mm.pretrain.draws import Draws
from semaim_mm.pretrain.order import squared_distance
from semaim_mm.pretrain.targets.inside import check_at_hand


def by_bin(loss: np.ndarray, bins: np.ndarray) -> dict[int, Interval]:
    """(B, L) loss, (B, L) int bins -> each bin's mean with its interval over pictures.

    A picture counts once in a bin, by the mean of its patches there; one without any is left out.
    """
    found = {}
    for number in np.unique(bins):
        inside = bins == number
        has = inside.any(axis=1)
        sums = np.where(inside, loss, 0).sum(axis=1)
        found[int(number)] = mean(sums[has] / inside.sum(axis=1)[has])
    return found


@torch.no_grad()
def loss_profile(model: SemAIM, scenes: Sequence[Scene], seed: int = 0) -> dict:
    """-> ``by_rank`` and, where the order has a centre, ``by_distance``: Intervals by bin.

    The distance is to the nearest centre, rounded to whole patches. These pictures have no sample
    id, so a target that is read by it runs its live teacher, as validation does; InputError where
    the teacher is not at hand.
    """
    check_at_hand(model.target_generator)
    losses, ranks, distances = [], [], []
    grid = model.backbone.patch_resolution
    for start in range(0, len(scenes), BATCH):
        imgs = as_batch(model, list(scenes[start : start + BATCH]))
        target = model.target(imgs)
        keys = torch.tensor([[seed + start + place] for place in range(len(imgs))])
        own = model.generation_ranks(imgs, target, Draws(keys))
        loss, order = model.loss_in_order(imgs, own, target)
        losses.append(loss.gather(1, order.argsort(dim=1)).numpy())
        ranks.append(own.numpy())
        source = model.order.similarity
        if source is not None:
            peaks = model.order.centers(grid, model.similarity_for_order(imgs, target, source))
            if peaks is not None:
                near = torch.stack([squared_distance(peak, grid) for peak in peaks.unbind(1)])
                distances.append(near.amin(dim=0).sqrt().round().long().numpy())
    loss = np.concatenate(losses)
    found = dict(by_rank=by_bin(loss, np.concatenate(ranks)))
    if distances:
        found["by_distance"] = by_bin(loss, np.concatenate(distances))
    return found
