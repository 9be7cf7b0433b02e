"""Features that the caller computed: what comparisons with reference tensors hand in."""

from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.pretrain.targets.base import Target


@MODELS.register_module()
class GivenTokens(BaseModule):
    """Teacher tokens handed in by the caller: for comparisons and tests.

    Args:
        out_dims: width of the tokens.
        patch_size: of the student, in pixels; the tokens must lie on its grid.
    """

    gives_tokens = True

    def __init__(self, out_dims: int, patch_size: int = 16):
        super().__init__()
        self.out_dims, self.patch_size = out_dims, patch_size

    def forward(self, imgs: Tensor, tokens: Tensor | None = None) -> Target:
        """(B, 3, H, W), (B, 1 + L, P) tokens, CLS first -> values (B, L, P)."""
        if tokens is None:
            raise InputError(
                "This model predicts teacher features, but no teacher tokens were given: pass "
                "teacher_tokens of shape (B, 1 + L, P), or configure a target generator that "
                "computes them."
            )
        return Target(tokens[:, 1:], tokens)
