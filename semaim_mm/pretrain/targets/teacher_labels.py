"""Did class labels teach a teacher? What timm's tag tells: such weights come with a classifier."""

from collections.abc import Mapping
from typing import Any

# towers that texts taught: what they end in is a projection, where no label came after
_BY_TEXT = ("clip", "_pe_core_", "siglip")
_FINETUNED = "ft_in"  # on ImageNet, of any size


def taught_by_labels(cfg: Mapping[str, Any]) -> bool:
    """timm's ``pretrained_cfg`` of a model -> whether labels taught the weights of its tag."""
    if not cfg.get("num_classes"):
        return False
    tag = str(cfg.get("tag") or "")
    name = f"{cfg.get('architecture', '')}.{tag}"
    return _FINETUNED in tag or not any(part in name for part in _BY_TEXT)
