"""Has the pretraining learnt? Its loss on images it has not seen, beside a predictor that can't.

The yardstick predicts, at every grid position, the training set's mean target of that position:
of the kept features where they are the target and of the same images, so that no teacher runs over
the training set again.
Legend: B images, L patches, P target width.
"""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.registry import LOOPS
from mmengine.runner import BaseLoop, Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from semaim_mm.data.held_out import innermost
from semaim_mm.data.prepare.manifest import data_record
from semaim_mm.errors import InputError
from semaim_mm.pretrain.draws import Draws
from semaim_mm.pretrain.targets import CachedTarget, make_target
from semaim_mm.pretrain.targets.inside import absent
from semaim_mm.runtime.hooks import unwrap


@LOOPS.register_module()
class HeldoutLossLoop(BaseLoop):
    """Validation loop: ``loss`` on held-out images, ``mean_predictor_loss`` for comparison.

    Args:
        dataloader: held-out images; their order ties are drawn from their index alone.
        evaluator: not used, mmengine asks for one.
        mean_dataloader: training images from which the per-position mean target is taken: once,
            or every time of the part of the target that is the model's own tokens, which move.

    Raises:
        InputError: features are kept, but the weights of their teacher, whose features of held-out
            images nobody kept, are not there.
    """

    def __init__(self, runner: Runner, dataloader: dict, evaluator, mean_dataloader: dict):
        super().__init__(runner, dataloader)
        # which images the mean is of, to be compared with those of kept features
        self._mean_data = data_record(innermost(mean_dataloader["dataset"]))
        self.mean_dataloader = runner.build_dataloader(mean_dataloader, seed=runner.seed)
        self._baseline: float | None = None
        self._means: dict[nn.Module, Tensor] = {}
        check_teachers(unwrap(runner.model).target_generator)

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        self.runner.call_hook("before_val")
        self.runner.call_hook("before_val_epoch")
        model = unwrap(self.runner.model)
        training = model.training
        model.eval()
        if self._baseline is None or getattr(model.target_generator, "reads", None):
            self._baseline = self._mean_predictor_loss(model)
        total = seen = 0
        for imgs in images(model, self.dataloader):
            keys = torch.arange(seen, seen + len(imgs), device=imgs.device)[:, None]
            target = model.target(imgs)
            ranks = model.generation_ranks(imgs, target, Draws(keys))
            total += model.loss_in_order(imgs, ranks, target)[0].mean(dim=1).sum().item()
            seen += len(imgs)
        model.train(training)
        metrics = dict(loss=total / seen, mean_predictor_loss=self._baseline)
        self.runner.call_hook("after_val_epoch", metrics=metrics)
        self.runner.call_hook("after_val")
        return metrics

    def _mean_predictor_loss(self, model) -> float:
        mean = mean_target(model, self.mean_dataloader, self._means, self._mean_data)
        total = seen = 0
        for imgs in images(model, self.dataloader):
            target = model.target(imgs).values
            total += model.head.loss(mean.expand_as(target), target).mean(dim=1).sum().item()
            seen += len(imgs)
        return total / seen


def images(model, loader: DataLoader):
    """The preprocessed images of a loader, (B, 3, H, W) at a time."""
    for batch in loader:
        yield model.data_preprocessor(batch, False)["inputs"]


def check_teachers(generator: nn.Module) -> None:
    """Raise InputError where a CachedTarget's live teacher, for held-out images, can't run."""
    for part in generator.modules():
        why = absent(part) if isinstance(part, CachedTarget) else None
        if why is not None:
            raise InputError(
                f"The loss on held-out images, which are not in {part.folder}, needs the live "
                f"teacher, and {why}. Get them there, or train without that loss: val_cfg=None "
                "val_dataloader=None val_evaluator=None."
            )


def mean_target(
    model,
    loader: DataLoader,
    known: dict[nn.Module, Tensor] | None = None,
    data: Mapping[str, Any] | None = None,
) -> Tensor:
    """-> (1, L, P): the mean target of every position over a loader's images.

    Of kept features it is the mean that was kept with them, where they are of as many images and
    of no other data than ``data``, the loader's record. ``known``: the means of generators whose
    targets don't change; those that are found are added.
    """
    known = {} if known is None else known
    return _mean(model.target_generator, model, loader, known, data)


def _mean(
    generator: nn.Module,
    model,
    loader: DataLoader,
    known: dict[nn.Module, Tensor],
    data: Mapping[str, Any] | None,
) -> Tensor:
    if generator in known:
        return known[generator]
    is_mixed = any(getattr(generator, name, None) for name in ("keyed", "reads"))
    if is_mixed and hasattr(generator, "generators"):  # each part is kept, read or taken anew
        parts = [_mean(part, model, loader, known, data) for part in generator.generators]
        found = torch.cat(parts, dim=-1)
    elif isinstance(generator, CachedTarget) and _are_kept(generator, loader, data):
        found = generator.mean().to(next(model.parameters()).device)
    else:
        found = _mean_of_images(generator, model, loader)
    if getattr(generator, "reads", None) is None:
        known[generator] = found
    return found


def _are_kept(target: CachedTarget, loader: DataLoader, data: Mapping[str, Any] | None) -> bool:
    """Whether the features are of the loader's images: of as many, and of no other data."""
    index = target.open().index
    kept, named = index["count"], len(loader.dataset)
    if kept != named:
        differ = f"of {kept} images, and val_cfg.mean_dataloader names {named}"
    elif _are_other_data(index.get("data"), data):
        differ = f"of {_told(index['data'])}, and val_cfg.mean_dataloader names {_told(data)}"
    else:
        return True
    print_log(
        f"The features in {target.folder} are {differ}, which their teacher now sees once for "
        "mean_predictor_loss. To take the mean of the kept features, let that loader's dataset "
        "name the same images, and its indices as many.",
        "current",
        logging.WARNING,
    )
    return False


def _are_other_data(kept: Mapping[str, Any] | None, named: Mapping[str, Any] | None) -> bool:
    """Whether two records of data, where both are there, are not of one part of one set."""
    if not kept or not named:
        return False
    manifests = [record.get("manifest_sha256") for record in (kept, named)]
    if manifests.count(None) == 1:  # prepared since; a folder is told from the manifest's then
        return False
    return manifests[0] != manifests[1] or kept.get("folder") != named.get("folder")


def _told(record: Mapping[str, Any]) -> str:
    manifest = record.get("manifest_sha256")
    place = "/".join(filter(None, (record.get("name"), record.get("folder"))))
    return f"{place} ({f'manifest {manifest[:8]}' if manifest else 'no manifest'})"


def _mean_of_images(generator: nn.Module, model, loader: DataLoader) -> Tensor:
    total, seen = 0, 0
    for imgs in images(model, loader):
        values = make_target(generator, imgs, model).values
        total, seen = total + values.sum(dim=0, keepdim=True), seen + len(values)
    return total / seen
