"""COCO-format data whose faults are named before training."""

import os
from collections.abc import Sequence
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.registry import DATASETS

from semaim_mm.data.held_out import take_part
from semaim_mm.dense.coco_scan import (
    ANNOTATION_KINDS,
    IMAGE_KINDS,
    PASSED_OVER,
    TOLERABLE,
    VERSION,
    class_faults,
    no_collecting,
    read_annotations,
    scan_annotations,
    scan_folder,
)
from semaim_mm.dense.faults import (
    Faults,
    check_choice,
    counts,
    log_lines,
    split_kinds,
    stop,
    tell,
)
from semaim_mm.dense.own_classes import checked_metainfo
from semaim_mm.dense.pipeline import find_transforms
from semaim_mm.dense.scan_cache import cached_scan, file_state, on_first_rank
from semaim_mm.errors import InputError


@DATASETS.register_module()
class CheckedCoco(CocoDataset):
    """mmdet's COCO data set, scanned when it is loaded; local files only.

    What is a fault: everything of ``coco_scan.IMAGE_KINDS`` and ``ANNOTATION_KINDS``. A missing
    mask is one only where the pipeline loads masks, a missing ``iscrowd`` only in evaluation, an
    area of zero only in training, since COCO's metric counts such an object as small. Crowds are
    no fault. What mmdet leaves out by itself as every detector does (boxes under 1 px, masks too
    thin for an area, 'ignore') is logged and kept in ``passed_over``, and evaluation bears it, for
    COCO's metric reads the file itself. So are the two boxes of zero height that the published
    train2017 holds, known by id and box: the published files are meant to pass, but were not at
    hand to be scanned; should train2017 hold another fault, ``faults='drop'`` trains without it.

    Args:
        ann_file: the annotation file, below ``data_root``.
        metainfo: dict(classes=(...)) for own classes, as tuple, list or path of a text file, in
            the order of the file's categories; a palette is made where none is given.
        faults: 'stop' raises; 'drop' trains without the faulty images and annotations, logs how
            many, and keeps the numbers in ``dropped``. With ``test_mode`` faults always stop.
        tolerated: kinds of ``coco_scan.TOLERABLE`` that are declared to be no faults, in training
            and evaluation: 'unlisted_categories' makes ``classes`` a choice among the file's
            categories, whose other objects count for nothing. How many there are is logged and
            kept in ``passed_over``.
        part: dict(share=0.1, held_out=False) leaves that share of the images out, True takes
            nothing else.
        **kwargs: those of mmdet's CocoDataset.

    Raises:
        InputError: no file or folder where the config says, a file that is no COCO format, faults
            of any kind, all in one sentence, or nothing left after dropping.
    """

    def __init__(
        self,
        ann_file: str = "",
        metainfo: dict | None = None,
        *,
        faults: str = "stop",
        tolerated: Sequence[str] = (),
        part: dict | None = None,
        lazy_init: bool = False,
        **kwargs,
    ):
        check_choice(faults)
        if isinstance(tolerated, str) or not set(tolerated) <= set(TOLERABLE):
            raise InputError(
                f"tolerated={tolerated!r} is no list of {' and '.join(TOLERABLE)}; other faults "
                "would change a score or stop a run. Mend tolerated_annotations in the config."
            )
        self.faults, self.tolerated, self.part = faults, tuple(tolerated), part
        self.dropped: dict[str, int] = {}
        self.passed_over: dict[str, int] = {}
        self._content: dict | None = None
        metainfo = checked_metainfo(metainfo, self.METAINFO)
        super().__init__(ann_file=ann_file, metainfo=metainfo, lazy_init=lazy_init, **kwargs)

    @no_collecting()
    def load_data_list(self) -> list[dict]:
        """-> the samples, once the file has been scanned and, if so asked, cut."""
        folder = self._check_places()
        classes, default = self._metainfo["classes"], self.METAINFO["classes"]

        def scan() -> dict:
            # the time of change is read first: a file changed meanwhile is scanned again
            subject = dict(
                scan="coco", version=VERSION, file=file_state(self.ann_file), classes=classes
            )
            self._content = read_annotations(self.ann_file)
            categories = self._content["categories"]
            found = cached_scan(
                subject,
                lambda: dict(
                    faults=scan_annotations(self._content, classes),
                    classes=class_faults(categories, classes, tuple(classes) == tuple(default)),
                ),
            )
            # a listing is cheap, and the folder may have changed
            scan_folder(self._content, folder, found["faults"])
            return found

        found = on_first_rank(scan)
        if self._content is None:
            self._content = read_annotations(self.ann_file)
        try:
            self._judge(found["faults"], found["classes"])
            samples = super().load_data_list()
            return take_part(samples, lambda s: s["img_path"], self.part, self.ann_file)
        finally:
            self._content = None

    def filter_data(self) -> list[dict]:
        """mmdet's filter (``filter_cfg``), which says how many images it left out."""
        before = len(self.data_list)
        kept = super().filter_data()
        if not kept:
            raise InputError(
                f"No image of {self.ann_file} is left: its {before} have no object of the "
                f"config's classes, or are smaller than filter_cfg={self.filter_cfg} allows."
            )
        if len(kept) < before:
            left_out = f"images without objects, or too small: {before - len(kept)}"
            log_lines(f"filter_cfg leaves out of {self.ann_file}", [left_out])
        return kept

    def COCOAPI(self, path: str) -> COCO:
        """mmdet's hook that reads the annotation file: here it has been read already."""
        api = COCO()
        api.dataset = self._content
        api.createIndex()
        api.img_ann_map, api.cat_img_map = api.imgToAnns, api.catToImgs
        return api

    def _check_places(self) -> str:
        folder = self.data_prefix.get("img")
        if folder is None:
            raise InputError(
                "CheckedCoco needs its image folder; set data_prefix=dict(img='...') in the data "
                "set's config."
            )
        if not os.path.isfile(self.ann_file):
            raise InputError(
                f"There is no annotation file at {self.ann_file or 'an empty path'}; put it "
                "there, or set the data set's data_root and ann_file in the config."
            )
        if not os.path.isdir(folder):
            raise InputError(
                f"There is no image folder at {folder or 'an empty path'}; put the images there, "
                "or set the data set's data_root and data_prefix=dict(img=...) in the config."
            )
        return folder

    def _judge(self, found: Faults, classes: list[str]) -> None:
        """Raise, or cut ``_content``; and tell what mmdet itself will leave out."""
        passed, found = split_kinds(found, PASSED_OVER)
        borne, found = split_kinds(found, self.tolerated)
        _, found = split_kinds(found, self._harmless())
        if found or classes:
            if classes or self.test_mode or self.faults == "stop":
                lines = [*classes, *tell(found, IMAGE_KINDS | ANNOTATION_KINDS)]
                place = f"{self.ann_file} (images in {self.data_prefix['img']})"
                kinds = ", ".join(f"'{kind}'" for kind in TOLERABLE if kind in found)
                also = f", but tolerated_annotations=[{kinds}] bears with that" * bool(kinds)
                stop(place, lines, self.test_mode, may_drop=not classes, also=also)
            self._drop(found)
        self.passed_over = counts(borne)
        log_lines(f"tolerated in {self.ann_file}", tell(borne, ANNOTATION_KINDS))
        if not self.test_mode:
            self.passed_over |= counts(passed)
            log_lines(f"mmdet leaves out of {self.ann_file}", tell(passed, PASSED_OVER))

    def _harmless(self) -> set[str]:
        """-> the kinds that do no harm to this use of the file."""
        loads_masks = any(getattr(t, "with_mask", False) for t in find_transforms(self.pipeline))
        return {"zero_areas" if self.test_mode else "crowdless"} | (
            set() if loads_masks else {"maskless"}
        )

    def _drop(self, found: Faults) -> None:
        by_image, by_annotation = split_kinds(found, IMAGE_KINDS)
        content: dict[str, Any] = dict(self._content)
        images = {index for entry in by_image.values() for index in entry["where"]}
        faulty = {index for entry in by_annotation.values() for index in entry["where"]}
        content["images"] = [v for i, v in enumerate(content["images"]) if i not in images]
        kept = {image["id"] for image in content["images"]}
        good = [v for i, v in enumerate(content["annotations"]) if i not in faulty]
        content["annotations"] = [v for v in good if v["image_id"] in kept]
        self._content, self.dropped = content, counts(found)
        along = len(good) - len(content["annotations"])
        if along:
            self.dropped["annotations_of_dropped_images"] = along
        if not content["images"] or not content["annotations"]:
            lines = tell(found, IMAGE_KINDS | ANNOTATION_KINDS)
            stop(f"{self.ann_file}, of which nothing would be left,", lines, False, may_drop=False)
        gone = f"altogether {len(images)} images and {len(faulty) + along} annotations"
        lines = [*tell(found, IMAGE_KINDS | ANNOTATION_KINDS), gone]
        log_lines(f"faults='drop': training goes without these of {self.ann_file}", lines)
