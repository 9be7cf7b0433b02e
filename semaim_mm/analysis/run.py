"""Analyses of checkpoints by name: JSON and PNG files beside the results they explain."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.logging import print_log

from semaim_mm.analysis import figures, looks
from semaim_mm.analysis.completion import GIVEN, complete
from semaim_mm.analysis.loss_profile import loss_profile
from semaim_mm.analysis.map_precision import check_reads_map, moved_peaks
from semaim_mm.analysis.object_share import examine_objects
from semaim_mm.analysis.rollout import check_generates
from semaim_mm.analysis.scenes import Scene, as_batch, batches, read_scenes
from semaim_mm.analysis.write_json import write_json
from semaim_mm.data.sample import default_sample_path
from semaim_mm.errors import InputError
from semaim_mm.pretrain import SemAIM
from semaim_mm.pretrain.targets.base import gives_rgb
from semaim_mm.pretrain.targets.inside import check_at_hand
from semaim_mm.report.order_data import load_model

SHOWN = 6  # pictures of a grid
Found = tuple[Any, dict[str, Figure]]  # what goes into JSON, None for nothing; figures by name


def _objects(models: dict[str, SemAIM], scenes: list[Scene]) -> Found:
    found = examine_objects(models, scenes)
    drawn = dict(objects=figures.objects_figure(found), several=figures.several_figure(found))
    return found, drawn


def _loss(models: dict[str, SemAIM], scenes: list[Scene]) -> Found:
    found = loss_profile(_last(models), scenes)
    return found, dict(loss=figures.loss_figure(found))


def _generation(models: dict[str, SemAIM], scenes: list[Scene]) -> Found:
    model = _last(models)
    found, completed = complete(model, scenes, SHOWN)
    columns = [pixels(model, pictures) for pictures in completed]
    columns.append(np.stack([scene.image[..., ::-1] for scene in scenes[: len(columns[0])]]))
    titles = [f"{part:.0%} given" for part in GIVEN] + ["picture"]
    return found, dict(generation=figures.picture_grid(list(zip(*columns, strict=True)), titles))


def _attention(models: dict[str, SemAIM], scenes: list[Scene]) -> Found:
    model, shown = _last(models), scenes[:SHOWN]
    maps = looks.class_attention(model, as_batch(model, shown))
    maps = maps.reshape(*maps.shape[:2], *model.backbone.patch_resolution)
    rows = [[s.image[..., ::-1], *heads] for s, heads in zip(shown, maps, strict=True)]
    titles = ["picture", *(f"head {number}" for number in range(maps.shape[1]))]
    return None, dict(attention=figures.picture_grid(rows, titles))


def _precision(models: dict[str, SemAIM], scenes: list[Scene]) -> Found:
    found = moved_peaks(_last(models), scenes)
    return found, dict(precision=figures.precision_figure(found))


def _neighbours(models: dict[str, SemAIM], scenes: list[Scene]) -> Found:
    model = _last(models)
    near = looks.neighbours(model, batches(model, scenes))[:SHOWN]
    rows = [[scenes[n].image[..., ::-1] for n in (own, *row)] for own, row in enumerate(near)]
    titles = ["picture", *(f"nearest {number + 1}" for number in range(near.shape[1]))]
    return None, dict(neighbours=figures.picture_grid(rows, titles))


def _colours(models: dict[str, SemAIM], scenes: list[Scene]) -> Found:
    model, shown = _last(models), scenes[:SHOWN]
    colours = looks.patch_colours(model, as_batch(model, shown))
    rows = [[scene.image[..., ::-1] for scene in shown], list(colours)]
    titles = [Path(scene.name).stem for scene in shown]
    return None, dict(colours=figures.picture_grid(rows, titles))


ANALYSES: dict[str, Callable[[dict[str, SemAIM], list[Scene]], Found]] = dict(
    objects=_objects,
    loss=_loss,
    generation=_generation,
    attention=_attention,
    precision=_precision,
    neighbours=_neighbours,
    colours=_colours,
)


def _check_objects(model: SemAIM) -> None:
    if model.order.similarity is not None and model.similarity_from == "target":
        check_at_hand(model.target_generator)


# what raises InputError where a model can't have an analysis
CHECKS: dict[str, Callable[[SemAIM], None]] = dict(
    objects=_check_objects,
    loss=lambda model: check_at_hand(model.target_generator),
    generation=check_generates,
    precision=check_reads_map,
)


def analyze(
    config: str | Path,
    checkpoints: Sequence[str | Path],
    only: Sequence[str] | None = None,
    annotations: str | Path | None = None,
    limit: int = 200,
    out: str | Path | None = None,
) -> list[Path]:
    """Checkpoints of one pretraining, oldest first -> the JSON and PNG files written.

    Args:
        only: names of ANALYSES; None: all that the model can have, the others named with the
            reason in the log and in ``left_out.json``.
        annotations: COCO's instances_X.json; None: those of the sample data.
        out: default: ``analysis`` beside the last checkpoint.

    Raises:
        InputError: files that can't be used, or an analysis that the model can't have.
    """
    models = {Path(path).stem: load_model(path, config) for path in checkpoints}
    if len(models) < len(checkpoints):
        raise InputError("Two checkpoints have one file name; name each after its epoch.")
    model = _last(models)
    if annotations is None:
        annotations = default_sample_path() / "coco" / "annotations" / "instances_val.json"
    scenes = read_scenes(annotations, model.backbone.img_size, model.backbone.patch_size, limit)
    folder = Path(checkpoints[-1]).parent / "analysis" if out is None else Path(out)
    left_out = {} if only else _left_out(model)
    written = [write_json(folder, "left_out", left_out)] if left_out else []
    for name in only or ():
        CHECKS.get(name, lambda model: None)(model)
    for name in only or [name for name in ANALYSES if name not in left_out]:
        found, drawn = ANALYSES[name](models, scenes)
        written += _write(folder, name, found, drawn)
    return written


def _left_out(model: SemAIM) -> dict[str, str]:
    """-> the analyses that the model can't have, each with the reason, which the log has too."""
    found = {}
    for name, check in CHECKS.items():
        try:
            check(model)
        except InputError as error:
            found[name] = str(error)
            print_log(f"Left out: {name}. {error}", "current", logging.WARNING)
    return found


def _write(folder: Path, name: str, found: Any, drawn: dict[str, Figure]) -> list[Path]:
    written = [] if found is None else [write_json(folder, name, found)]
    return written + [figures.save(figure, folder, stem) for stem, figure in drawn.items()]


def _last(models: dict[str, SemAIM]) -> SemAIM:
    return list(models.values())[-1]


def pixels(model: SemAIM, imgs: torch.Tensor) -> np.ndarray:
    """(B, 3, H, W) normalised -> (B, H, W, 3) uint8 RGB."""
    preprocessor = model.data_preprocessor
    if hasattr(preprocessor, "mean"):
        imgs = imgs * preprocessor.std + preprocessor.mean
    imgs = imgs if gives_rgb(preprocessor) else imgs.flip(1)
    return imgs.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
