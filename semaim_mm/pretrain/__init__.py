"""Pretraining: order, content and query stream, target, loss. Start reading at semaim.py."""

from semaim_mm.pretrain.decoder import SemAIMDecoder
from semaim_mm.pretrain.ema import BackboneEMA, EMAUpdateHook
from semaim_mm.pretrain.head import SemAIMHead
from semaim_mm.pretrain.heldout import HeldoutLossLoop
from semaim_mm.pretrain.order import ORDERS, build_order
from semaim_mm.pretrain.semaim import SemAIM
from semaim_mm.pretrain.simmim import PlainSimMIM
from semaim_mm.pretrain.target import GivenTokens, PixelTarget

__all__ = [
    "ORDERS",
    "BackboneEMA",
    "EMAUpdateHook",
    "GivenTokens",
    "HeldoutLossLoop",
    "PixelTarget",
    "PlainSimMIM",
    "SemAIM",
    "SemAIMDecoder",
    "SemAIMHead",
    "build_order",
]
