"""What a config's label maps mean by 0, over all of its segmentation data sets.

mmseg's own data sets take any label map as it is: a wrong ``reduce_zero_label`` there makes every
class its neighbour, and nothing stops. Ours look at the values too; see dense/label_maps.py.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.registry import DATASETS

from semaim_mm.errors import InputError
from semaim_mm.runtime.arguments import arguments_of
from semaim_mm.runtime.spread import loaders_of


def check_label_zero(cfg: Mapping[str, Any]) -> None:
    """Raise InputError for ADE20K with label 0 as a class, or loaders that take 0 differently."""
    found: dict[bool, str] = {}
    for split, loader in loaders_of(cfg):
        for place, dataset in _innermost(loader["dataset"], f"{split}_dataloader.dataset"):
            kind = _class_of(dataset, cfg.get("default_scope"))
            lineage = [base.__name__ for base in kind.__mro__] if isinstance(kind, type) else []
            if "BaseSegDataset" not in lineage:
                continue
            default = arguments_of(kind)[1].get("reduce_zero_label")
            reduces = dataset.get("reduce_zero_label", default)
            if not reduces and _is_of_ade20k(dataset, kind, lineage):
                raise InputError(
                    f"{place}.reduce_zero_label is {reduces}, and this {kind.__name__} has the "
                    "classes of ADE20K, whose label 0 is no class and 1 to 150 are: every class "
                    "would be taken for its neighbour. Set reduce_zero_label=True there, or take "
                    "CheckedLabelMaps for maps that were converted to 0 to 149."
                )
            if reduces is not None:
                found.setdefault(bool(reduces), place)
    if len(found) == 2:
        raise InputError(
            f"{found[True]}.reduce_zero_label is True and {found[False]}.reduce_zero_label False, "
            "so what is class 0 to the one is class 1 to the other; set the same in all data sets "
            "of the config."
        )


def _innermost(dataset: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """-> (place, data set) inside all wrappers, every one of a concatenation."""
    if isinstance(dataset.get("dataset"), Mapping):
        yield from _innermost(dataset["dataset"], f"{place}.dataset")
    elif isinstance(dataset.get("datasets"), list | tuple):
        for number, one in enumerate(dataset["datasets"]):
            if isinstance(one, Mapping):
                yield from _innermost(one, f"{place}.datasets.{number}")
    elif "type" in dataset:
        yield place, dataset


def _class_of(dataset: Mapping[str, Any], scope: str | None) -> Any:
    kind = dataset["type"]
    if not isinstance(kind, str):
        return kind
    with DATASETS.switch_scope_and_registry(scope) as here:
        return here.get(kind)


def _is_of_ade20k(dataset: Mapping[str, Any], kind: type, lineage: list[str]) -> bool:
    """ADE20K by its class or, where nothing looks at the label maps' values, by its classes."""
    if "ADE20KDataset" in lineage:
        return True
    from mmseg.datasets import ADE20KDataset  # loaded already, as the data set is mmseg's

    stated = dataset.get("metainfo")
    classes = (stated if isinstance(stated, Mapping) else kind.METAINFO).get("classes")
    listed = tuple(classes) if isinstance(classes, list | tuple) else ()
    return "CheckedMaps" not in lineage and listed == tuple(ADE20KDataset.METAINFO["classes"])
