"""How many peaks of the similarity map half precision moves: the first patch of semantic orders.

Legend: B pictures, L patches.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor

from semaim_mm.analysis.object_share import mean
from semaim_mm.analysis.scenes import BATCH, Scene, as_batch
from semaim_mm.errors import InputError
from semaim_mm.leaderboard.intervals import Interval
from semaim_mm.pretrain import SemAIM
from semaim_mm.pretrain.frozen import frozen_eval
from semaim_mm.pretrain.similarity import token_similarity
from semaim_mm.pretrain.targets.inside import check_at_hand, giver

BLOCKS, ALL = "bf16 blocks", "bf16 throughout"


def check_reads_map(model: SemAIM) -> None:
    """Raise InputError unless the order reads a map that can be computed here."""
    if model.order.similarity is None:
        raise InputError(
            f"{type(model.order).__name__} reads no similarity map, so no precision moves a peak "
            "of it; give a model whose order reads one, or name another analysis with --only."
        )
    if model.similarity_from == "target":
        check_at_hand(model.target_generator)


@torch.no_grad()
def peaks(model: SemAIM, imgs: Tensor) -> dict[str, Tensor]:
    """(B, 3, H, W) -> (B,) peaks in float32 and by what is computed in bfloat16.

    The map is the model's own, by whose tokens ``similarity_from`` says. ``bf16 blocks`` is what
    training does on accelerators: final norm and cosine in float32. ``bf16 throughout`` has them in
    bfloat16 too; it is left out of the map ``self``, which has no cosine. Of a target's map
    ``bf16 blocks`` has the whole pass of its tokens in bfloat16, and the cosine in float32.
    """
    source, averaged = model.order.similarity or "cls", model.similarity_from == "ema"
    if model.similarity_from == "target":
        return _target_peaks(model, imgs, source)
    found = dict(fp32=model.similarity(imgs, source, averaged).argmax(dim=1))
    backbone = model.ema.module if averaged else model.backbone
    with frozen_eval(backbone), torch.autocast(imgs.device.type, torch.bfloat16):
        found[BLOCKS] = model.similarity_map(backbone, imgs, source).argmax(dim=1)
        if source == "self":
            return found
        tokens = backbone.encode(imgs, blocks=len(backbone.layers))
    norm = deepcopy(backbone.ln1).bfloat16()
    tokens = norm(backbone.without_registers(tokens).bfloat16())
    found[ALL] = _half_peak(tokens, source)
    return found


def _half_peak(tokens: Tensor, source: str) -> Tensor:
    """(B, 1 + L, D) in bfloat16 -> (B,) peaks of the cosine in bfloat16."""
    patches = tokens[:, 1:]
    anchor = tokens[:, :1] if source == "cls" else patches.mean(dim=1, keepdim=True)
    return F.cosine_similarity(anchor, patches, dim=-1).softmax(dim=-1).argmax(dim=1)


def _target_peaks(model: SemAIM, imgs: Tensor, source: str) -> dict[str, Tensor]:
    exact, half = (_target_tokens(model, imgs, name) for name in ("fp32", "bf16"))
    return {
        "fp32": token_similarity(exact, source).argmax(dim=1),
        BLOCKS: token_similarity(half, source).argmax(dim=1),
        ALL: _half_peak(half.bfloat16(), source),
    }


def _target_tokens(model: SemAIM, imgs: Tensor, precision: str) -> Tensor:
    """-> (B, 1 + L, D) of whom the map is; a teacher sets its own precision, others are told."""
    teacher = giver(model.target_generator)
    kept, whole = getattr(teacher, "precision", None), model.similarity_fp32
    try:
        model.similarity_fp32 = False  # or own tokens would be float32 in both
        if kept is not None:
            teacher.precision = precision
        with torch.autocast(imgs.device.type, torch.bfloat16, enabled=precision == "bf16"):
            return model.target(imgs).tokens
    finally:
        model.similarity_fp32 = whole
        if kept is not None:
            teacher.precision = kept


def moved_peaks(model: SemAIM, scenes: Sequence[Scene]) -> dict[str, Interval]:
    """-> the share of pictures whose peak is another than in float32, by what is in bfloat16."""
    found: dict[str, list[Tensor]] = {}
    for start in range(0, len(scenes), BATCH):
        batch = peaks(model, as_batch(model, list(scenes[start : start + BATCH])))
        exact = batch.pop("fp32")
        for name, places in batch.items():
            found.setdefault(name, []).append(places != exact)
    return {name: mean(torch.cat(moved).double().numpy()) for name, moved in found.items()}
