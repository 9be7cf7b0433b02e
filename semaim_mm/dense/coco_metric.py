"""COCO's own metric at full precision, its detections kept so that intervals can be recomputed."""

import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.evaluation import CocoMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS

from semaim_mm.errors import InputError

KINDS = ("bbox", "segm")
# COCO's own; with mmdet's (100, 300, 1000), AP50 and the sizes would count 1000 detections
MAX_DETECTIONS = (1, 10, 100)
STATS = {
    "mAP": 0,
    "mAP_50": 1,
    "mAP_75": 2,
    "mAP_s": 3,
    "mAP_m": 4,
    "mAP_l": 5,
    "AR@100": 8,
}  # name -> index in COCOeval.stats
NEEDED = ("bbox", "area", "iscrowd")


@METRICS.register_module()
class SampleCoco(CocoMetric):
    """AP and AR in percent, named bbox_mAP, ..., segm_AR@100; a size without objects has no AP.

    Scored are the images that the data set gave, which need not be all of ``ann_file``; a detector
    that finds nothing scores 0.

    Args:
        ann_file: COCO-format JSON with the ground truth, that of the test set.
        metric: 'bbox', 'segm' or both.
        dump_dir: folder that keeps predictions.bbox.json and predictions.segm.json in COCO's result
            format; it may be set after building. None keeps no file.

    Attributes:
        n_evaluated: images scored.
        predictions: the files in ``dump_dir`` by kind, after an evaluation; on the main process.
        outcomes: 'image_id' of the images scored, where these are not all of ``ann_file``.
        per_class: AP in percent by kind and category; a category without objects is left out.

    Raises:
        InputError: a ground truth that COCO's code can't read, or would score wrongly without
            saying so; classes that are not its categories; an unknown, a repeated or no image;
            no object at all; a detector without masks asked for 'segm'.
    """

    default_prefix = None

    def __init__(
        self,
        ann_file: str,
        metric: str | Sequence[str] = "bbox",
        dump_dir: str | Path | None = None,
        backend_args: dict | None = None,
    ):
        kinds = [metric] if isinstance(metric, str) else list(metric)
        if not kinds or not set(kinds) <= set(KINDS):
            raise InputError(
                f"SampleCoco: metric={metric!r} is not made of {' and '.join(KINDS)}; mend "
                "test_evaluator.metric."
            )
        try:
            with redirect_stdout(io.StringIO()):
                super().__init__(
                    ann_file,
                    metric=kinds,
                    proposal_nums=MAX_DETECTIONS,
                    backend_args=backend_args,
                    collect_device="cpu",
                )
        except (OSError, ValueError, AssertionError, KeyError, TypeError) as error:
            raise InputError(
                f"The ground truth {ann_file} is no readable COCO file "
                f"({type(error).__name__}: {error}); mend test_evaluator.ann_file or the file."
            ) from error
        self.ann_file = str(ann_file)
        self.dump_dir = dump_dir
        self.n_evaluated: int | None = None
        self.predictions: dict[str, Path] = {}
        self.per_class: dict[str, dict[str, float]] = {}
        self.outcomes: dict[str, np.ndarray] = {}
        _check_annotations(self._coco_api, kinds, self.ann_file)

    @CocoMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        """Compare classes and categories here: before the test runs, not when it has run."""
        self._dataset_meta = dataset_meta
        self.cat_ids = _category_ids(self._coco_api, dataset_meta["classes"], self.ann_file)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            if sample["img_id"] not in self._coco_api.imgs:
                raise InputError(
                    f"{self.ann_file} has no image with the id {sample['img_id']} "
                    f"({sample.get('img_path', 'path unknown')}); give test_evaluator the "
                    "annotation file of the test set."
                )
            if "segm" in self.metrics and "masks" not in sample["pred_instances"]:
                raise InputError(
                    "The detector gives boxes without masks, but test_evaluator.metric has 'segm'; "
                    "leave it out, or take a model with a mask head."
                )
        super().process(data_batch, data_samples)

    def compute_metrics(self, results: list[tuple[dict, dict]]) -> dict[str, float]:
        found = [prediction for _, prediction in results]
        self.img_ids = _once([prediction["img_id"] for prediction in found])
        self.n_evaluated = len(found)
        self.predictions, self.per_class = {}, {}
        part = len(self.img_ids) < len(self._coco_api.imgs)
        self.outcomes = {"image_id": np.array(sorted(self.img_ids))} if part else {}
        if self.dump_dir is not None:
            Path(self.dump_dir).mkdir(parents=True, exist_ok=True)
        metrics: dict[str, float] = {}
        with TemporaryDirectory(dir=self.dump_dir) as folder:
            files = self.results2json(found, os.path.join(folder, "predictions"))
            for kind in self.metrics:
                detections = json.loads(Path(files[kind]).read_text())
                if kind == "segm":
                    # with a box at hand COCO sorts a mask into small, medium, large by its area
                    for detection in detections:
                        del detection["bbox"]
                    Path(files[kind]).write_text(json.dumps(detections))
                evaluation = self._evaluate(kind, detections)
                # COCO's mark for no object of that size is -1
                metrics |= {
                    f"{kind}_{name}": 100 * float(evaluation.stats[index])
                    for name, index in STATS.items()
                    if evaluation.stats[index] > -1
                }
                self.per_class[kind] = self._by_category(evaluation)
                if self.dump_dir is not None:
                    kept = Path(self.dump_dir) / Path(files[kind]).name
                    os.replace(files[kind], kept)
                    self.predictions[kind] = kept
        return metrics

    def _evaluate(self, kind: str, detections: list[dict]) -> COCOeval:
        printed = io.StringIO()
        with redirect_stdout(printed):
            found = self._coco_api.loadRes(detections) if detections else _empty(self._coco_api)
            evaluation = COCOeval(self._coco_api, found, kind)
            evaluation.params.imgIds = self.img_ids
            evaluation.params.catIds = self.cat_ids
            evaluation.params.maxDets = list(MAX_DETECTIONS)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        print_log(f"{kind}, {len(detections)} detections\n{printed.getvalue()}", "current")
        if evaluation.stats[0] < 0:
            raise InputError(
                f"The {self.n_evaluated} images evaluated have no object in {self.ann_file} but "
                "crowds, so there is no AP; check the test set."
            )
        return evaluation

    def _by_category(self, evaluation: COCOeval) -> dict[str, float]:
        # (T, R, K, A, M) thresholds, recalls, categories, sizes (0 is all), most detections
        precision = evaluation.eval["precision"][:, :, :, 0, -1]
        by_id = {}
        for index, category in enumerate(evaluation.params.catIds):
            values = precision[:, :, index]
            if (values > -1).any():
                by_id[category] = 100 * float(np.mean(values[values > -1]))
        cats = self._coco_api.cats
        return {cats[key]["name"]: by_id[key] for key in self.cat_ids if key in by_id}


def _check_annotations(coco: COCO, kinds: Iterable[str], path: str) -> None:
    """Refuse what COCOeval stumbles over in the middle, or scores wrongly in silence."""
    annotations = coco.dataset.get("annotations", [])
    needed = NEEDED + (("segmentation",) if "segm" in kinds else ())
    for key in needed:
        lacking = [annotation["id"] for annotation in annotations if key not in annotation]
        if lacking:
            raise InputError(
                f"{path}: {len(lacking)} of {len(annotations)} annotations have no {key!r} (the "
                f"first: id {lacking[0]}); COCO's metric needs it."
            )
    repeated = len(annotations) - len(coco.anns)
    # COCOeval reads the id of a matched object as a truth value
    if repeated or 0 in coco.anns:
        wrong = f"{repeated} repeated annotation ids" if repeated else "an annotation with the id 0"
        raise InputError(
            f"{path} has {wrong}, which COCO's metric scores wrongly; number the annotations from "
            "1 on."
        )


def _category_ids(coco: COCO, classes: Sequence[str], path: str) -> list[int]:
    """-> the category id of every label. Labels follow the file's order, so it must be theirs."""
    ids = coco.get_cat_ids(cat_names=list(classes))
    names = [coco.cats[key]["name"] for key in ids]
    if names != list(classes):
        held = [category["name"] for category in coco.cats.values()]
        raise InputError(
            f"The config's {len(classes)} classes ({_some(classes)}) are not among the "
            f"{len(held)} categories of {path} ({_some(held)}) in the same order; set "
            "metainfo.classes of the data set to the file's."
        )
    return ids


def _some(names: Iterable[str], most: int = 6) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "") or "none"


def _once(ids: list) -> list:
    """The ids of the images, which an evaluation must hold once each."""
    repeated = [key for key, count in Counter(ids).items() if count > 1]
    if not ids or repeated:
        raise InputError(
            f"The test set gave {len(repeated)} images more than once (the first: id "
            f"{repeated[0]}); give every image an id of its own."
            if repeated
            else "The test set gave no image to evaluate; check test_dataloader."
        )
    return ids


def _empty(coco: COCO) -> COCO:
    """What ``loadRes`` refuses to make of an empty list: a result without detections."""
    result = COCO()
    result.dataset = dict(
        images=coco.dataset["images"], categories=coco.dataset["categories"], annotations=[]
    )
    result.createIndex()
    return result
