"""A stand-in for a checkout of the authors' code: their names around our dense baseline."""

from __future__ import annotations

from pathlib import Path

MODEL = """
import torch
from mmpretrain.registry import MODELS
from semaim_mm.bench.dense_semaim import DenseSemAIM
from semaim_mm.interop.authors import algorithm_config
from util.blocks import FACTOR, position_type


class AimViT(DenseSemAIM):
    def __init__(self, permutation_type, **config):
        torch.zeros(config["img_size"] // config["patch_size"])[13]
        super().__init__(MODELS.build(algorithm_config(config)))
        assert position_type() is float and permutation_type == "attention"

    def forward_encoder(self, imgs):
        return None, self.similarity(imgs), None

    def forward_aim(self, imgs, maps):
        return self.predict(imgs, 1 - maps), 1 - maps

    def forward_pixel_loss(self, imgs, prediction):
        loss = (prediction - self.target(imgs)).square() * FACTOR
        return loss.mean(), loss.mean(dim=-1)

    def forward(self, imgs, tokens=None, attention_maps=None, forward_encoder=False):
        if forward_encoder:
            return self.forward_encoder(imgs)
        prediction, keys = self.forward_aim(imgs, attention_maps)
        loss, of_patches = self.forward_pixel_loss(imgs, prediction)
        return loss, keys, of_patches
"""

BLOCKS = """
import numpy

FACTOR = {factor}


def position_type():
    return numpy.float  # which NumPy dropped
"""


def write_checkout(folder: Path, factor: str = "1.0") -> Path:
    """Write it, with losses ``factor`` times as large as they should be -> its folder."""
    for name, text in (("models/models_semaim", MODEL), ("util/blocks", BLOCKS)):
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True)
        path.write_text(text.replace("{factor}", factor))
    return folder
