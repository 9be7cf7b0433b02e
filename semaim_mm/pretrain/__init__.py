"""Pretraining: order, content and query stream, target, loss. Start reading at semaim.py."""

from semaim_mm.pretrain.decoder import SemAIMDecoder
from semaim_mm.pretrain.ema import BackboneEMA, EMAUpdateHook
from semaim_mm.pretrain.head import SemAIMHead
from semaim_mm.pretrain.heldout import HeldoutLossLoop
from semaim_mm.pretrain.multi_head import MultiHead
from semaim_mm.pretrain.order import ORDERS, build_order
from semaim_mm.pretrain.preprocessor import KeyedPreprocessor
from semaim_mm.pretrain.semaim import SemAIM
from semaim_mm.pretrain.simmim import PlainSimMIM
from semaim_mm.pretrain.targets import (
    CLIPTeacher,
    ConvTeacher,
    EMATarget,
    GivenTokens,
    MultiTarget,
    OnlineTarget,
    PixelTarget,
    TimmTeacher,
)

__all__ = [
    "ORDERS",
    "BackboneEMA",
    "CLIPTeacher",
    "ConvTeacher",
    "EMATarget",
    "EMAUpdateHook",
    "GivenTokens",
    "HeldoutLossLoop",
    "KeyedPreprocessor",
    "MultiHead",
    "MultiTarget",
    "OnlineTarget",
    "PixelTarget",
    "PlainSimMIM",
    "SemAIM",
    "SemAIMDecoder",
    "SemAIMHead",
    "TimmTeacher",
    "build_order",
]
