"""Has the pretraining learnt? Its loss on images it has not seen, beside a predictor that can't.

The yardstick predicts, at every grid position, the training set's mean target of that position.
Legend: B images, L patches, P target width.
"""

import torch
from mmengine.registry import LOOPS
from mmengine.runner import BaseLoop, Runner
from torch import Tensor
from torch.utils.data import DataLoader

from semaim_mm.pretrain.draws import Draws
from semaim_mm.runtime.hooks import unwrap


@LOOPS.register_module()
class HeldoutLossLoop(BaseLoop):
    """Validation loop: ``loss`` on held-out images, ``mean_predictor_loss`` for comparison.

    Args:
        dataloader: held-out images; their order ties are drawn from their index alone.
        evaluator: not used, mmengine asks for one.
        mean_dataloader: training images from which the per-position mean target is taken: once,
            or every time where the target is the model's own tokens, which move.
    """

    def __init__(self, runner: Runner, dataloader: dict, evaluator, mean_dataloader: dict):
        super().__init__(runner, dataloader)
        self.mean_dataloader = runner.build_dataloader(mean_dataloader, seed=runner.seed)
        self._baseline: float | None = None

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
        mean = mean_target(model, self.mean_dataloader)
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


def mean_target(model, loader: DataLoader) -> Tensor:
    """-> (1, L, P): the mean target of every position over a loader's images."""
    total, seen = 0, 0
    for imgs in images(model, loader):
        values = model.target(imgs).values
        total, seen = total + values.sum(dim=0, keepdim=True), seen + len(values)
    return total / seen
