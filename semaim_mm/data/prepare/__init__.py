"""Data sets as the suite takes them: layout and counts checked, a manifest, subsets, overlap.

Files and folders as they lie there (`listing`) -> what is wrong with them, by kind of data set
(`imagenet`, `coco`, `ade20k`, `imagefolder`, `folder`; told by `findings`) -> their SHA-256
(`hashing`) -> `manifest.json` and `files.sha256` (`manifest`), all put together in `data_set`.
`low_shot` writes lists of labelled subsets. `find_overlap` looks for test images that a pretraining
has seen, by what `pixels` makes of them; `overlap` tells which results that touches.
"""

from semaim_mm.data.prepare.data_set import KINDS, check, prepare
from semaim_mm.data.prepare.find_overlap import find_overlaps
from semaim_mm.data.prepare.low_shot import write_low_shot
from semaim_mm.data.prepare.manifest import data_record, find_manifest, manifest_of
from semaim_mm.data.prepare.overlap import judge, overlaps_at_hand, read_overlaps

__all__ = [
    "KINDS",
    "check",
    "data_record",
    "find_manifest",
    "find_overlaps",
    "judge",
    "manifest_of",
    "overlaps_at_hand",
    "prepare",
    "read_overlaps",
    "write_low_shot",
]
