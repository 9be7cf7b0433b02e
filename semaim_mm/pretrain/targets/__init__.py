"""What is predicted: one file a target generator; base.py says what they share."""

from semaim_mm.pretrain.targets.base import PixelScale, Student, Target, build_target, make_target
from semaim_mm.pretrain.targets.cached import CachedTarget
from semaim_mm.pretrain.targets.clip import CLIPTeacher
from semaim_mm.pretrain.targets.conv_teacher import ConvTeacher
from semaim_mm.pretrain.targets.given import GivenTokens
from semaim_mm.pretrain.targets.multi import MultiTarget
from semaim_mm.pretrain.targets.own import EMATarget, OnlineTarget
from semaim_mm.pretrain.targets.pixels import PixelTarget, normalize_patches, patchify, unpatchify
from semaim_mm.pretrain.targets.timm_teacher import TimmTeacher

__all__ = [
    "CLIPTeacher",
    "CachedTarget",
    "ConvTeacher",
    "EMATarget",
    "GivenTokens",
    "MultiTarget",
    "OnlineTarget",
    "PixelScale",
    "PixelTarget",
    "Student",
    "Target",
    "TimmTeacher",
    "build_target",
    "make_target",
    "normalize_patches",
    "patchify",
    "unpatchify",
]
