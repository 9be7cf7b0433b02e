"""How many peaks of the similarity map half precision moves: the first patch of semantic orders.

Legend: B pictures, L patches.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor

from semaim_mm.analysis.object_share import BATCH, mean
from semaim_mm.analysis.scenes import Scene, as_batch
from semaim_mm.leaderboard.intervals import Interval
from semaim_mm.pretrain import SemAIM
from semaim_mm.pretrain.frozen import frozen_eval

BLOCKS, ALL = "bf16 blocks", "bf16 throughout"


@torch.no_grad()
def peaks(model: SemAIM, imgs: Tensor) -> dict[str, Tensor]:
    """(B, 3, H, W) -> (B,) peaks in float32 and by what is computed in bfloat16.

    ``bf16 blocks`` is what training does on accelerators: final norm and cosine in float32.
    ``bf16 throughout`` has them in bfloat16 too; it is left out of the map ``self``, which has no
    cosine.
    """
    source, averaged = model.order.similarity or "cls", model.similarity_from == "ema"
    found = dict(fp32=model.similarity(imgs, source, averaged).argmax(dim=1))
    backbone = model.ema.module if averaged else model.backbone
    with frozen_eval(backbone), torch.autocast(imgs.device.type, torch.bfloat16):
        found[BLOCKS] = model.similarity_map(backbone, imgs, source).argmax(dim=1)
        if source == "self":
            return found
        tokens = backbone.encode(imgs, blocks=len(backbone.layers))
    norm = deepcopy(backbone.ln1).bfloat16()
    tokens = norm(backbone.without_registers(tokens).bfloat16())
    patches = tokens[:, 1:]
    anchor = tokens[:, :1] if source == "cls" else patches.mean(dim=1, keepdim=True)
    cosine = torch.nn.functional.cosine_similarity(anchor, patches, dim=-1)
    found[ALL] = cosine.softmax(dim=-1).argmax(dim=1)
    return found


def moved_peaks(model: SemAIM, scenes: Sequence[Scene]) -> dict[str, Interval]:
    """-> the share of pictures whose peak is another than in float32, by what is in bfloat16."""
    found: dict[str, list[Tensor]] = {}
    for start in range(0, len(scenes), BATCH):
        batch = peaks(model, as_batch(model, list(scenes[start : start + BATCH])))
        exact = batch.pop("fp32")
        for name, places in batch.items():
            found.setdefault(name, []).append(places != exact)
    return {name: mean(torch.cat(moved).double().numpy()) for name, moved in found.items()}
