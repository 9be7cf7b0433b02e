"""CLIP's image tower as the teacher: every token in the space shared with text.

Source: the authors' CLIP feature: last layer, final norm on all tokens, then the projection; 512
wide for ViT-B/16, 768 for ViT-L/14.
"""

from typing import Any

from mmpretrain.registry import MODELS
from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.pretrain.targets.timm_teacher import TimmTeacher


@MODELS.register_module()
class CLIPTeacher(TimmTeacher):
    """TimmTeacher with the tower's projection on all tokens, CLS included.

    OpenAI's weights need a name with ``quickgelu``: the others compute another activation.
    The authors feed their student's images unchanged, which is ``normalize='imagenet'``.
    """

    def __init__(self, model: str = "vit_base_patch16_clip_quickgelu_224.openai", **kwargs: Any):
        super().__init__(model, **kwargs)

    def _head_args(self) -> dict[str, Any]:
        return {}

    def _width(self, teacher: nn.Module) -> int:
        if not isinstance(teacher.head, nn.Linear):
            raise InputError(
                f"{self.model_name} has no projection, so it is no CLIP tower; name one such as "
                "vit_base_patch16_clip_quickgelu_224.openai, or take TimmTeacher."
            )
        return teacher.head.out_features

    def tokens(self, teacher: nn.Module, imgs: Tensor) -> Tensor:
        """(B, 3, H', W') normalised for the teacher -> (B, 1 + L', D) in the shared space."""
        return teacher.head(super().tokens(teacher, imgs))
