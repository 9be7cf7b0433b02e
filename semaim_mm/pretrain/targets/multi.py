"""Several targets at once, such as pixels beside features; MultiHead weighs their losses."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule, ModuleList
from mmpretrain.registry import MODELS
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.pretrain.targets.base import (
    STUDENT,
    Student,
    Target,
    build_target,
    make_target,
)


@MODELS.register_module()
class MultiTarget(BaseModule):
    """The targets of all ``generators`` side by side, in their order.

    The similarity map, where the order takes it from the target, comes from the first generator
    that gives tokens.

    Args:
        generators: configs of target generators, each run once a step.
        student: what they take from the model; SemAIM says it.
    """

    def __init__(self, generators: Sequence[dict], student: Student = STUDENT):
        super().__init__()
        if not generators:
            raise InputError("MultiTarget has no generators; name at least one.")
        self.generators = ModuleList(build_target(cfg, student) for cfg in generators)
        self.patch_size = student.patch_size
        for generator in self.generators:
            if getattr(generator, "patch_size", self.patch_size) != self.patch_size:
                raise InputError(
                    f"{type(generator).__name__} in MultiTarget cuts patches of "
                    f"{generator.patch_size} pixels, the backbone of {self.patch_size}; leave its "
                    "patch_size out."
                )
        self.widths = tuple(generator.out_dims for generator in self.generators)
        self.out_dims = sum(self.widths)

    @classmethod
    def defaults(cls, student: Student) -> dict[str, Any]:
        return dict(student=student)

    @property
    def gives_tokens(self) -> bool:
        return any(getattr(generator, "gives_tokens", True) for generator in self.generators)

    @property
    def reads(self) -> str | None:
        """Any generator's wish: the model is passed on to those that want it."""
        wishes = [getattr(generator, "reads", None) for generator in self.generators]
        return next((w for w in ("ema", "online") if w in wishes), None)

    @property
    def keyed(self) -> bool:
        """Whether a generator is read by sample id: then ``forward`` takes the ids last."""
        return any(getattr(generator, "keyed", False) for generator in self.generators)

    def forward(self, imgs: Tensor, *given: Any) -> Target:
        """(B, 3, H, W) -> values (B, L, sum of widths), float32 or wider.

        ``given`` is the model where ``reads`` names a backbone, then the samples' ids where there
        are any and ``keyed`` asks for them; each generator gets what it wants of both.
        """
        model, ids = (given[0], given[1:]) if self.reads else (None, given)
        targets = [
            make_target(g, imgs, model, *(ids if getattr(g, "keyed", False) else ()))
            for g in self.generators
        ]
        tokens = next((target.tokens for target in targets if target.tokens is not None), None)
        return Target(torch.cat([target.values for target in targets], dim=-1), tokens)
