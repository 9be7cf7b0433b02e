"""What is done to a batch of uint8 images on the device before the model sees them."""

from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.models import SelfSupDataPreprocessor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.pretrain.draws import Draws

FLIP = 1  # tells these draws from those of the order, which have the samples' keys too


@MODELS.register_module()
class KeyedPreprocessor(SelfSupDataPreprocessor):
    """mmpretrain's preprocessor, which also flips, by (seed, epoch, sample id).

    mmpretrain's swaps the channels by a list of indices, for which a GPU's host waits in every
    step; this one doesn't.

    Args:
        flip_prob: how many of the training images are flipped from left to right, from 0 to 1.
        **kwargs: those of mmpretrain's SelfSupDataPreprocessor.
    """

    def __init__(self, flip_prob: float = 0.0, **kwargs: Any):
        if not 0 <= flip_prob <= 1:
            raise InputError(
                f"data_preprocessor has flip_prob={flip_prob}; choose a share from 0 to 1."
            )
        super().__init__(**kwargs)
        self.flip_prob = flip_prob

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """``inputs`` (B, 3, H, W), or a list of such views, as ``default_collate`` gives them.

        -> the same normalised, float32, on the model's device; flipped only in training.
        """
        data = self.cast_data(data)
        inputs, samples = data["inputs"], data.get("data_samples")
        flips = self.flip_prob if training else 0.0
        if isinstance(inputs, Tensor):
            return dict(inputs=self.prepare(inputs, samples, flips), data_samples=samples)
        views = [self.prepare(view, samples, flips, n) for n, view in enumerate(inputs)]
        return dict(inputs=views, data_samples=samples)

    def prepare(
        self, imgs: Tensor, samples: Sequence[DataSample] | None, flips: float, view: int = 0
    ) -> Tensor:
        """(B, 3, H, W) uint8 -> normalised; a share ``flips`` of the images flipped."""
        if self._channel_conversion:
            imgs = imgs.flip(1)
        if flips:
            draws = Draws.of_samples(imgs, samples, purpose=FLIP + view)
            chosen = draws.below(1 << 24) < flips * (1 << 24)
            imgs = torch.where(chosen[:, None, None, None], imgs.flip(-1), imgs)
        imgs = imgs.float()
        return (imgs - self.mean) / self.std if self._enable_normalize else imgs
