"""What weights may have been pretrained on, where a protocol names it: ``pretraining_data``.

A config without the key takes any weights, and tables name the data beside them. With it the data
is part of the fingerprint, and other weights are refused.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from semaim_mm.errors import InputError
from semaim_mm.report.history import lineage


def check_pretraining(cfg: Mapping[str, Any], weights: Mapping[str, Any] | None) -> None:
    """Refuse weights of other data than ``cfg.pretraining_data`` names; no weights saw none.

    Args:
        weights: the ``checkpoint_record`` of what the backbone, or the whole model, starts from;
            None untrained.

    Raises:
        InputError: weights, or those that they started from, of another data set; of one that
            neither their record nor ``init_cfg.pretrained_on`` names; taught by a teacher, whose
            own data no record has, without ``pretrained_on``.
    """
    wanted = cfg.get("pretraining_data")
    if wanted is None or weights is None:
        return
    name = weights["file"]
    stated = stated_data(weights) or _stated_here(cfg)
    known = list(_recorded(weights))
    others = sorted({data for data in (*known, stated) if data not in (None, wanted)})
    if others:
        raise InputError(
            f"This protocol is for weights pretrained on {wanted} (pretraining_data), and {name} "
            f"was pretrained on {', '.join(others)}. Use a leaf without pretraining_data, which "
            "is another protocol."
        )
    taught = any(_of(link, "training").get("teachers") for link in lineage(weights))
    if stated is None and (None in known or taught):
        why = "was taught by a teacher, whose data" if taught else "does not record what"
        end = "no checkpoint records" if taught else "it was pretrained on"
        raise InputError(
            f"This protocol is for weights pretrained on {wanted} (pretraining_data), and {name} "
            f"{why} {end}. If it was {wanted} alone, say so: "
            f"model.backbone.init_cfg.pretrained_on={wanted}."
        )


def stated_data(weights: Mapping[str, Any]) -> str | None:
    """A checkpoint's record -> what a config said that it was pretrained on, where one did."""
    return (weights.get("coverage") or {}).get("pretrained_on")


def _stated_here(cfg: Mapping[str, Any]) -> str | None:
    backbone = (cfg.get("model") or {}).get("backbone") or {}
    init = backbone.get("init_cfg")
    return init.get("pretrained_on") if isinstance(init, Mapping) else None


def _recorded(weights: Mapping[str, Any]) -> Iterator[str | None]:
    """-> the data of weights and of all that they started from; None where it is not known."""
    for link in lineage(weights):
        yield _of(link, "data").get("name") or stated_data(link)


def _of(link: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return (link.get("origin") or {}).get(key) or {}
