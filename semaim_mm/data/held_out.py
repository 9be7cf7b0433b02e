"""A part of a training set that is held out, to choose settings on: by file name, for any task.

Whether a sample is held out is a function of its name alone, so it does not depend on what else is
in the folder, and all methods choose on the same images.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from semaim_mm.errors import InputError

Sample = TypeVar("Sample")
# what says where a data set's samples lie, and which of them it takes
PLACE = ("data_root", "split", "ann_file", "data_prefix", "subset", "img_suffix", "seg_map_suffix")


def is_held_out(name: str, share: float) -> bool:
    """Whether the file of this name (its last part) is one of the ``share`` that is held out."""
    digest = hashlib.sha256(Path(name).name.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def take_part(
    samples: Sequence[Sample], name_of: Callable[[Sample], str], part: dict | None, place: str
) -> list[Sample]:
    """Samples -> those of ``part``, dict(share=0.1, held_out=False or True); all without one.

    Raises:
        InputError: a share outside (0, 1), or nothing left in the part.
    """
    if part is None:
        return list(samples)
    share, held_out = part["share"], part["held_out"]
    if not 0 < share < 1:
        raise InputError(
            f"holdout={share} is no share of the training set; give a number above 0 and below 1."
        )
    kept = [sample for sample in samples if is_held_out(name_of(sample), share) == held_out]
    if not kept:
        what = "held out" if held_out else "left to train on"
        raise InputError(
            f"Of the {len(samples)} images of {place} none is {what} with holdout={share}; "
            "choose another share."
        )
    return kept


def hold_out(cfg: Any) -> None:
    """``cfg.holdout``, a share: train without it, validate and test on it instead of the test set.

    Raises:
        InputError: a config that trains nothing, or names another test set too.
    """
    if not cfg.get("train_dataloader") or not cfg.get("test_dataloader"):
        raise InputError(
            "holdout needs a config that trains and tests; this one has no "
            f"{'train' if not cfg.get('train_dataloader') else 'test'}_dataloader."
        )
    if cfg.get("test_set") is not None:
        raise InputError(
            f"holdout tests on a part of the training set, test_set={cfg['test_set']!r} on "
            "another; leave one of them out."
        )
    train = innermost(cfg.train_dataloader.dataset)
    for split in ("val", "test"):
        loader = cfg.get(f"{split}_dataloader")
        if not loader:
            continue
        tested = innermost(loader.dataset)
        for key in PLACE:
            tested.pop(key, None)
            if key in train:
                tested[key] = train[key]
        tested["part"] = dict(share=cfg["holdout"], held_out=True)
    train["part"] = dict(share=cfg["holdout"], held_out=False)


def innermost(dataset: Any) -> Any:
    """A data set's config -> the one inside all wrappers."""
    while "dataset" in dataset:
        dataset = dataset["dataset"]
    return dataset
