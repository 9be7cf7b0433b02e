"""Semantic segmentation data whose label maps are checked before training."""

import os

from mmengine.registry import DATASETS
from mmseg.datasets import ADE20KDataset, BaseSegDataset

from semaim_mm.data.held_out import take_part
from semaim_mm.dense.faults import (
    Faults,
    check_choice,
    counts,
    log_lines,
    split_kinds,
    stop,
    tell,
)
from semaim_mm.dense.label_map_scan import (
    KINDS,
    PASSED_OVER,
    VERSION,
    Labels,
    Layout,
    labels_of,
    list_files,
    most_classes,
    samples_of,
    scan_label_maps,
    state_of,
)
from semaim_mm.dense.own_classes import checked_metainfo
from semaim_mm.dense.pipeline import find_transforms
from semaim_mm.dense.scan_cache import cached_scan, on_first_rank
from semaim_mm.errors import InputError


class CheckedMaps:
    """Mixed into one of mmseg's data sets: its files are scanned when it is loaded.

    Every image must have a label map and the reverse, of the image's size, with one channel, whose
    values are classes: 0 to N - 1, or with ``reduce_zero_label`` 1 to N and the 0 that is
    ignored; 255 is ignored by either. A map without any class is logged and kept (ADE20K's
    training set has some); the number stands in ``passed_over``.

    Args:
        metainfo: dict(classes=(...)) for own classes; a palette is made where none is given.
        faults: 'stop' raises; 'drop' trains without the faulty pairs, logs how many, and keeps
            the numbers in ``dropped``. With ``test_mode`` faults always stop.
        part: dict(share=0.1, held_out=False) leaves that share out, True takes nothing else.
        **kwargs: those of the mmseg data set; all by keyword.

    Raises:
        InputError: no folder or list where the config says, no classes or more than a byte can
            number, a pipeline that treats label 0 in another way than the data set, faults of any
            kind, all in one sentence, or nothing left after dropping.
    """

    def __init__(
        self,
        *,
        metainfo: dict | None = None,
        faults: str = "stop",
        part: dict | None = None,
        lazy_init: bool = False,
        **kwargs,
    ):
        check_choice(faults)
        self.faults, self.part = faults, part
        self.dropped: dict[str, int] = {}
        self.passed_over: dict[str, int] = {}
        own = tuple(self.METAINFO.get("classes", ()))
        metainfo = checked_metainfo(metainfo, self.METAINFO)
        classes = (metainfo or {}).get("classes", own)
        if not classes:
            raise InputError(
                f"{type(self).__name__} does not know its classes; set classes=('...', ...) in "
                "the config."
            )
        strangers = [name for name in classes if own and name not in own]
        if strangers:
            raise InputError(
                f"{type(self).__name__} has no class {strangers[0]!r}; choose among its own "
                f"{len(own)}, or use CheckedLabelMaps for data of your own."
            )
        super().__init__(metainfo=metainfo, lazy_init=True, **kwargs)
        most = most_classes(self.reduce_zero_label)
        if len(own or classes) > most:
            raise InputError(
                f"{type(self).__name__} has {len(own or classes)} classes, but mmseg reads label "
                f"maps as bytes and 255 counts for nothing, which leaves {most} with "
                f"reduce_zero_label={bool(self.reduce_zero_label)}; merge classes."
            )
        self._check_pipeline()
        if not lazy_init:
            self.full_init()

    def load_data_list(self) -> list[dict]:
        """-> the samples, without the faulty ones if so asked."""
        layout = self._check_places()
        labels = self._labels()
        found = on_first_rank(lambda: self._scan(layout, labels))
        bad = self._judge(layout, found["faults"], found["values"])
        samples = super().load_data_list()
        kept = [info for info in samples if _name(info["img_path"], layout) not in bad]
        if not kept:
            place = f"{layout.images} (*{layout.image_suffix})"
            raise InputError(
                f"No image of {place} is left to use; check the folder, and the data set's "
                "img_suffix and data_prefix in the config."
            )
        return take_part(kept, lambda info: info["img_path"], self.part, str(layout.images))

    def _scan(self, layout: Layout, labels: Labels) -> dict:
        names = None
        if self.ann_file and not os.path.isdir(self.ann_file):
            names = list(samples_of(self.ann_file))
        images = list_files(layout.images, layout.image_suffix)
        maps = None if layout.maps is None else list_files(layout.maps, layout.map_suffix)
        subject = dict(
            scan="label maps",
            version=VERSION,
            folders=[os.path.abspath(path) for path in layout[:2] if path is not None],
            suffixes=layout[2:],
            state=state_of(images, maps or {}),
            names=names,
            labels=labels,
        )
        return cached_scan(subject, lambda: scan_label_maps(layout, images, maps, labels, names))

    def _check_pipeline(self) -> None:
        for transform in find_transforms(self.pipeline):
            reduces = getattr(transform, "reduce_zero_label", None)
            if reduces is not None and bool(reduces) != bool(self.reduce_zero_label):
                raise InputError(
                    f"The pipeline's {type(transform).__name__} has reduce_zero_label={reduces}, "
                    f"but its data set {type(self).__name__} has {self.reduce_zero_label}; set it "
                    "in the data set alone, and leave it out of the pipeline."
                )

    def _check_places(self) -> Layout:
        listed = self.ann_file and not os.path.isdir(self.ann_file)
        if listed and not os.path.isfile(self.ann_file):
            raise InputError(
                f"There is no list of samples at {self.ann_file}; put it there, or set the data "
                "set's data_root and ann_file in the config."
            )
        places = [self.data_prefix.get(key) for key in ("img_path", "seg_map_path")]
        for key, kind, path in zip(
            ("img_path", "seg_map_path"), ("image", "label map"), places, strict=True
        ):
            needed = path is not None or key == "img_path"
            if needed and not os.path.isdir(path or ""):
                raise InputError(
                    f"There is no {kind} folder at {path or 'an empty path'}; put the {kind}s "
                    f"there, or set the data set's data_root and data_prefix=dict({key}=...) in "
                    "the config."
                )
        return Layout(*places, self.img_suffix, self.seg_map_suffix)

    def _labels(self) -> Labels:
        # a choice among the set's own classes is made after loading: all of them may be stored
        own = self.METAINFO.get("classes") if self.label_map else self._metainfo["classes"]
        return labels_of(len(own), self.reduce_zero_label, self.ignore_index)

    def _judge(self, layout: Layout, found: Faults, values: list[int]) -> set[str]:
        """Raise, or -> the names of the samples to leave out."""
        passed, found = split_kinds(found, PASSED_OVER)
        place = f"{layout.images}, with label maps in {layout.maps},"
        lines = tell(found, KINDS)
        if found and (self.test_mode or self.faults == "stop"):
            labels = self._labels()
            if labels.void is None and labels.highest + 1 in values:
                lines.append(
                    f"the value {labels.highest + 1} occurs, one above the last of the "
                    f"{labels.highest + 1} classes: if 0 is no class here, set "
                    "reduce_zero_label=True in the data set's config"
                )
            stop(place, lines, self.test_mode, may_drop=True)
        self.passed_over, self.dropped = counts(passed), counts(found)
        log_lines(f"kept, though of no use, in {place[:-1]}", tell(passed, PASSED_OVER))
        log_lines(f"faults='drop': training goes without these of {place[:-1]}", lines)
        return {name for entry in found.values() for name in entry["where"]}


@DATASETS.register_module()
class CheckedLabelMaps(CheckedMaps, BaseSegDataset):
    """Images and label maps of one's own; see CheckedMaps for what is checked.

    The value of a pixel is its class's number. Where 0 stands for what has no class and 1 for the
    first, say ``reduce_zero_label=True``.

    Raises:
        InputError: also without ``reduce_zero_label``: maps in which the last class does not occur
            look alike under both.
    """

    def __init__(self, *, reduce_zero_label: bool | None = None, **kwargs):
        if reduce_zero_label is None:
            raise InputError(
                "CheckedLabelMaps does not know what 0 is in its label maps; set "
                "reduce_zero_label=False in the data set's config where 0 is the first class, True "
                "where it is no class and 1 the first."
            )
        super().__init__(reduce_zero_label=reduce_zero_label, **kwargs)


@DATASETS.register_module()
class CheckedADE20K(CheckedMaps, ADE20KDataset):
    """ADE20K as the scene parsing challenge published it; see CheckedMaps for what is checked.

    Raises:
        InputError: also with ``reduce_zero_label=False``, under which every class would be taken
            for its neighbour and 'other' for a class.
    """

    def __init__(self, *, reduce_zero_label: bool = True, **kwargs):
        if not reduce_zero_label:
            raise InputError(
                "ADE20K's label 0 is no class and 1 to 150 are, so CheckedADE20K needs "
                "reduce_zero_label=True; take reduce_zero_label=False out of the config."
            )
        super().__init__(reduce_zero_label=True, **kwargs)


def _name(path: str, layout: Layout) -> str:
    return os.path.relpath(path, layout.images).removesuffix(layout.image_suffix)
