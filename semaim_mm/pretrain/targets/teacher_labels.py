"""Did class labels teach a teacher? What timm's tag tells: the data, the method, a classifier."""

import re
from collections.abc import Mapping
from typing import Any

# towers that texts taught: what they end in is a projection, where no label came after
_BY_TEXT = ("clip", "_pe_core_", "siglip")
# methods that see images alone, wherever those are from, and no method at all
_BY_ITSELF = ("dino", "ijepa", "mae", "mim", "seer", "untrained")
_FINETUNED = "ft_in"  # on ImageNet, of any size
# labelled data: timm has no classifier of some weights that were trained with one
_LABELLED = re.compile(r"(^|_)in(1k|12k|w?21k|22k)|bamboo")


def taught_by_labels(cfg: Mapping[str, Any]) -> bool:
    """timm's ``pretrained_cfg`` of a model -> whether labels taught the weights of its tag."""
    tag = str(cfg.get("tag") or "")
    name = f"{cfg.get('architecture', '')}.{tag}"
    if _FINETUNED in tag:
        return True
    if any(part in name for part in _BY_TEXT + _BY_ITSELF):
        return False
    return bool(cfg.get("num_classes")) or _LABELLED.search(tag) is not None
