"""How near a picture that is completed from its first patches comes to the true one.

Legend: B pictures, L patches; errors are squares of normalised pixels, as a raw L2 loss is.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from semaim_mm.analysis.object_share import mean
from semaim_mm.analysis.rollout import rollout
from semaim_mm.analysis.scenes import BATCH, Scene, as_batch
from semaim_mm.leaderboard.intervals import Interval
from semaim_mm.pretrain import SemAIM
from semaim_mm.pretrain.targets.pixels import patchify
from semaim_mm.report.order_data import picture_draws

GIVEN = (0.0, 0.25, 0.5, 0.75)  # shares of the patches that are given
COMPLETED = 50  # pictures at most: each takes a step a patch, for every share


def free_errors(
    imgs: Tensor, completed: Tensor, order: Tensor, given: int, patch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """-> (B,) mean squared errors of the patches not given: completed, and in the given's colour.

    That is the given patches' mean colour, or the one that pictures are normalised by without any.
    imgs, completed: (B, 3, H, W); order: (B, L) patch indices.
    """
    true, made = (patchify(each, patch_size).unflatten(2, (-1, 3)) for each in (imgs, completed))
    place = torch.arange(len(imgs))[:, None]
    free, kept = order[:, given:], order[:, :given]
    colour = true[place, kept].mean(dim=(1, 2)) if given else imgs.new_zeros(len(imgs), 3)
    guesses = made[place, free], colour[:, None, None]
    own, plain = ((guess - true[place, free]).square().mean(dim=(1, 2, 3)) for guess in guesses)
    return own.double().numpy(), plain.double().numpy()


def complete(
    model: SemAIM, scenes: Sequence[Scene], shown: int
) -> tuple[dict[str, dict[str, Interval]], list[Tensor]]:
    """-> by share given: errors and their difference; the completed (B, 3, H, W) by share too.

    Errors are of the first COMPLETED scenes, completed pictures of the first ``shown`` of them:
    no others stay in memory.

    Raises:
        InputError: a model that can't generate.
    """
    grid, size = model.backbone.patch_resolution, model.backbone.patch_size
    length = grid[0] * grid[1]
    errors: dict[float, list] = {part: [] for part in GIVEN}
    pictures: dict[float, list] = {part: [] for part in GIVEN}
    scenes = scenes[:COMPLETED]
    for start in range(0, len(scenes), BATCH):
        imgs = as_batch(model, list(scenes[start : start + BATCH]))
        draws = [picture_draws(start + place) for place in range(len(imgs))]
        order = torch.cat([model.order.ranks(grid, draw, None) for draw in draws]).argsort(dim=1)
        for part in GIVEN:
            count = round(part * length)
            _, completed = rollout(model, imgs, order, count)
            errors[part].append(free_errors(imgs, completed, order, count, size))
            if start < shown:
                pictures[part].append(completed[: shown - start].clone())
    found = {}
    for part, pieces in errors.items():
        own, plain = np.concatenate(pieces, axis=1)
        minus = {"completed minus mean colour": mean(own - plain)}
        found[str(part)] = {"completed": mean(own), "mean colour": mean(plain)} | minus
    return found, [torch.cat(pieces) for pieces in pictures.values()]
