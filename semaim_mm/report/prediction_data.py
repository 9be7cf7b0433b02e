"""What a prediction figure shows: a model's output on a picture, and its ground truth if known."""

import copy
import io
import logging
from collections.abc import Mapping
from colorsys import hsv_to_rgb
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from mmdet.datasets.transforms import LoadAnnotations as LoadObjects
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmengine.structures import InstanceData, PixelData
from mmseg.datasets.transforms import LoadAnnotations as LoadLabelMap
from torch import nn

from semaim_mm.data import LoadImage
from semaim_mm.data.held_out import innermost
from semaim_mm.errors import InputError
from semaim_mm.runtime.hooks import unwrap
from semaim_mm.runtime.launch import (
    build_runner,
    default_work_dir,
    draw_untrained,
    load_config,
    set_checkpoint,
)

SETS = dict(test="test", validation="val", training="train")  # in the order they are looked through


@dataclass(frozen=True)
class Picture:
    """One picture and what a model makes of it, in the picture's own pixels.

    Attributes:
        name: the file's name.
        source: config and checkpoint, in words.
        image: (H, W, 3) uint8 RGB.
        classes: names by label; ``palette`` their colours as RGB.
        prediction: InstanceData with ``bboxes`` (N, 4) as x1, y1, x2, y2, ``scores``, ``labels``
            and perhaps ``masks`` (N, H, W) bool, or PixelData with ``data`` (1, H, W).
        truth: the same, without scores; None where the picture is in none of the config's sets.
    """

    name: str
    source: str
    image: np.ndarray
    classes: list[str]
    palette: list[tuple[int, int, int]]
    prediction: InstanceData | PixelData
    truth: InstanceData | PixelData | None


def load_predictor(config: str, checkpoint: str, options: dict | None = None) -> "Predictor":
    """A config and the checkpoint of its whole model, or 'random' -> what predicts pictures.

    Weights are loaded as an evaluation loads them, each must find its value; and the random ones
    are those that an evaluation scores.
    """
    with TemporaryDirectory() as logs:  # a runner's log has no place among pictures
        cfg = load_config(config, options, logs)
        if cfg.get("test_dataloader") is None:
            raise InputError(f"{config} has no test_dataloader, so its pictures are unknown.")
        set_checkpoint(cfg, checkpoint)
        cfg.augmented_test = cfg.get("tta_model") is not None  # as an evaluation does
        cfg.log_level = "WARNING"
        cfg.visualizer = dict(type="Visualizer", vis_backends=[])
        runner = build_runner(cfg)
        runner.load_or_resume()
    random = checkpoint == "random"
    if random:
        draw_untrained(runner)
    folder = default_work_dir(config) if random else Path(checkpoint).parent
    origin = "random weights" if random else "/".join(Path(checkpoint).resolve().parts[-2:])
    model = runner.model.eval()
    return Predictor(runner.cfg, model, f"{Path(config).stem}  ·  {origin}", folder / "predictions")


class Predictor:
    """A detector or segmenter with its test pipeline; call it with a path.

    Args:
        cfg: resolved config; its test set gives class names and colours, and ground truth as its
            validation and training sets do.
        model: in eval mode, on its device.
        source: stands below each figure.
        folder: where figures go by default.
    """

    def __init__(self, cfg: Config, model: nn.Module, source: str, folder: Path):
        self.model, self.source, self.folder = model, source, folder
        meta = _metainfo(cfg.test_dataloader.dataset)
        if not meta.get("classes"):
            raise InputError("The test set names no classes, so nothing can be labelled.")
        self.classes = list(meta["classes"])
        self.known = KnownImages(cfg, self.classes)
        self.palette = _palette(meta.get("palette"), len(self.classes))
        steps = _without_annotations(cfg.test_dataloader.dataset.pipeline)
        self.pipeline = Compose(copy.deepcopy(steps))

    def __call__(self, path: str | Path) -> Picture:
        """An image file -> its picture. Raises InputError where it can't be read."""
        path = Path(path)
        # mmcv's loaders give BGR
        image = LoadImage()(dict(img_path=str(path)))["img"][..., ::-1]
        data = self.pipeline(dict(img_path=str(path), img_id=0, reduce_zero_label=False))
        with torch.no_grad():
            sample = self.model.test_step(pseudo_collate([data]))[0].cpu()
        info = self.known(path)
        if "pred_instances" in sample:
            prediction, load = sample.pred_instances, true_objects
        elif "pred_sem_seg" in sample:
            prediction, load = sample.pred_sem_seg, true_label_map
        else:
            raise InputError(
                f"{type(unwrap(self.model)).__name__} predicts neither boxes nor a label map; give "
                "the config of a detector or a segmenter."
            )
        return Picture(
            name=path.name,
            source=self.source,
            image=np.ascontiguousarray(image),
            classes=self.classes,
            palette=self.palette,
            prediction=prediction,
            truth=None if info is None else load(info, self.classes),
        )


class KnownImages:
    """What a config's sets know of an image file; each set is opened when those before lack one.

    Args:
        cfg: resolved config; its test, validation and training sets are looked through.
        classes: names by label; a set with others has no ground truth for this model.
    """

    def __init__(self, cfg: Mapping, classes: list[str]):
        self._classes = classes
        self._infos: dict[str, dict[Path, dict]] = {}
        self._sets: dict[str, dict] = {}
        for name, key in SETS.items():
            if cfg.get(f"{key}_dataloader"):
                found = _whole(cfg[f"{key}_dataloader"]["dataset"])
                if not any(_alike(found, other) for other in self._sets.values()):
                    self._sets[name] = found

    def __call__(self, path: str | Path) -> dict | None:
        """-> what the first set that has the file knows of it; None, and a line in the log."""
        for name, cfg in self._sets.items():
            if name not in self._infos:
                self._infos[name] = self._open(name, cfg)
            info = self._infos[name].get(Path(path).resolve())
            if info is not None:
                return info
        print_log(
            f"{path} is drawn without ground truth: no image of the {' or '.join(self._sets)} set "
            "that could be read.",
            "current",
            logging.WARNING,
        )
        return None

    def _open(self, name: str, cfg: dict) -> dict[Path, dict]:
        """A set -> what it knows of each image by resolved path; nothing without its files."""
        try:
            with redirect_stdout(io.StringIO()):  # pycocotools tells what it loads
                dataset = DATASETS.build(cfg)
            if list(dataset.metainfo.get("classes") or ()) != self._classes:
                raise InputError("its classes are not those of the test set.")
            infos = (dataset.get_data_info(index) for index in range(len(dataset)))
            return {Path(info["img_path"]).resolve(): info for info in infos}
        except (InputError, OSError, AssertionError) as error:
            said = f"No ground truth is drawn of the {name} set, for it can't be read: {error}"
            print_log(said, "current", logging.WARNING)
            return {}


def _metainfo(cfg: Mapping) -> Mapping:
    """A data set's config -> its classes and colours, also where its files are not there."""
    return DATASETS.build(dict(innermost(cfg), lazy_init=True)).metainfo


def _whole(cfg: Mapping) -> dict:
    """A data set's config -> that of all its images: training leaves out those without objects."""
    return {k: v for k, v in innermost(cfg).items() if k not in ("filter_cfg", "indices")}


def _alike(one: Mapping, other: Mapping) -> bool:
    """Whether two sets know the same of the same images, in whatever way they are augmented."""
    use = ("pipeline", "test_mode")
    return all(one.get(key) == other.get(key) for key in {*one, *other}.difference(use))


def true_objects(info: dict, classes: list[str]) -> InstanceData:
    """What a COCO-format set knows of an image -> its objects, crowds named so."""
    instances = info["instances"]
    with_mask = bool(instances) and all("mask" in instance for instance in instances)
    found = LoadObjects(with_mask=with_mask)(LoadImage()(copy.deepcopy(info)))
    labels = torch.from_numpy(found["gt_bboxes_labels"])
    truth = InstanceData(bboxes=found["gt_bboxes"].tensor, labels=labels)
    truth.label_names = [
        classes[label] + (" (crowd)" if crowd else "")
        for label, crowd in zip(labels.tolist(), found["gt_ignore_flags"], strict=True)
    ]
    if with_mask:
        truth.masks = torch.from_numpy(found["gt_masks"].to_ndarray()).bool()
    return truth


def true_label_map(info: dict, classes: list[str]) -> PixelData:
    """What a segmentation set knows of an image -> its label map, (1, H, W) int64."""
    try:
        found = LoadLabelMap()(LoadImage()(copy.deepcopy(info)))
    except OSError as error:
        raise InputError(
            f"The label map {info['seg_map_path']} can't be read ({error}); replace it, or draw a "
            "copy of the image outside the test set."
        ) from error
    labels, shape = found["gt_seg_map"], found["img_shape"][:2]
    if labels.shape != shape:
        raise InputError(
            f"{info['seg_map_path']} has {labels.shape[0]} x {labels.shape[1]} pixels, its image "
            f"{shape[0]} x {shape[1]}; a label map has its image's size."
        )
    return PixelData(data=torch.from_numpy(labels.astype(np.int64))[None])


def _without_annotations(steps: list) -> list:
    """A pipeline without what loads labels, also inside test-time augmentation."""
    kept = []
    for step in steps:
        if isinstance(step, Mapping):
            if step["type"].split(".")[-1].startswith("Load") and "Annotations" in step["type"]:
                continue
            kept.append({k: _inner(v) if k == "transforms" else v for k, v in step.items()})
        else:
            kept.append(step)
    return kept


def _inner(branches: list) -> list:
    """The branches of TestTimeAug; one that only loaded labels goes."""
    nested = [_without_annotations(b) if isinstance(b, list) else b for b in branches]
    if any(isinstance(branch, list) for branch in branches):
        return [branch for branch in nested if branch]
    return _without_annotations(branches)


def _palette(palette: list | str | None, classes: int) -> list[tuple[int, int, int]]:
    """The data set's colours where it has enough, otherwise distinct ones -> RGB, 0 to 255."""
    if palette is not None and not isinstance(palette, str) and len(palette) >= classes:
        return [tuple(int(value) for value in color) for color in palette]
    # steps of the golden ratio: neighbours differ at any number of classes
    hues = [(number * 0.618034) % 1 for number in range(classes)]
    return [tuple(round(255 * v) for v in hsv_to_rgb(hue, 0.75, 0.95)) for hue in hues]
