"""One pretraining update cut into its parts, ours and the dense-mask baseline's.

A step is called to run whole, as training does; its ``parts`` run one after another to be timed
alone. Both end without gradients. Images are random and on the device already: no loader.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from torch import Tensor

from semaim_mm.bench.dense_semaim import DenseSemAIM
from semaim_mm.pretrain.compiled import compile_hot
from semaim_mm.pretrain.draws import Draws
from semaim_mm.pretrain.semaim import SemAIM
from semaim_mm.runtime.precision import wrapper_options

PARTS = ("similarity pass", "streams", "loss", "backward", "optimizer")
LEARNING_RATE = 1e-6  # what is measured should not diverge
CLIP, DECAY, BETAS = 3.0, 0.05, (0.9, 0.95)


class UpdateStep(ABC):
    """A step whose five parts pass their results on as attributes.

    Args:
        imgs: (B, 3, H, W) normalised images on the device of the model.
    """

    def __init__(self, imgs: Tensor):
        self.imgs = imgs
        methods = (self.order, self.streams, self.compare, self.backward, self.update)
        self.parts: dict[str, Callable[[], None]] = dict(zip(PARTS, methods, strict=True))

    def __call__(self) -> None:
        for part in self.parts.values():
            part()

    @abstractmethod
    def order(self) -> None:
        """Images -> the order."""

    @abstractmethod
    def streams(self) -> None:
        """Images and order -> predictions."""

    @abstractmethod
    def compare(self) -> None:
        """Predictions and the target, made here -> ``loss``."""

    @abstractmethod
    def backward(self) -> None:
        """Loss -> gradients."""

    @abstractmethod
    def update(self) -> None:
        """Gradients -> clipped, weights, no gradients."""


class OurStep(UpdateStep):
    """SemAIM under the optimiser wrapper that its config asks for.

    Args:
        optim_wrapper: the config's.
        precision: 'fp32', 'bf16' or 'fp16'.
        compiled: compile the similarity pass, the streams and the loss.
    """

    def __init__(
        self,
        model: SemAIM,
        imgs: Tensor,
        optim_wrapper: ConfigDict,
        precision: str,
        compiled: bool = False,
    ):
        super().__init__(imgs)
        self.model = model
        settings = {**optim_wrapper, **wrapper_options(precision)}
        settings["optimizer"] = {**settings["optimizer"], "lr": LEARNING_RATE}
        self.wrapper = build_optim_wrapper(model, settings)
        if compiled:
            compile_hot(model)

    def _context(self) -> AbstractContextManager:
        return self.wrapper.optim_context(self.model)

    def __call__(self) -> None:
        # one context around the forward parts, so that cast weights are kept as in training
        *forward, backward, update = self.parts.values()
        with self._context():
            for part in forward:
                part()
        backward()
        update()

    def order(self) -> None:
        with self._context():
            # a teacher that also gives the map runs here, once a step
            by_target = self.model.similarity_from == "target"
            self.target = self.model.target(self.imgs) if by_target else None
            self.sort()

    def sort(self) -> None:
        """Images, and the target where it gives the map -> the order, in an open context."""
        draws = Draws.unkeyed(len(self.imgs), self.imgs.device)
        ranks = self.model.generation_ranks(self.imgs, self.target, draws)
        self.sequence = ranks.argsort(dim=1, stable=True)

    def streams(self) -> None:
        with self._context():
            self.prediction = self.model.predict_in_order(self.imgs, self.sequence)

    def compare(self) -> None:
        with self._context():
            values = (self.target or self.model.target(self.imgs)).values
            index = self.sequence[..., None].expand_as(values)
            self.loss = self.model.head.loss(self.prediction, values.gather(1, index)).mean()

    def backward(self) -> None:
        self.wrapper.backward(self.loss)
        del self.prediction, self.loss, self.target

    def update(self) -> None:
        self.wrapper.step()
        self.wrapper.zero_grad()


class DenseStep(UpdateStep):
    """The dense-mask baseline: fp32 similarity pass, fp16 autocast and loss scaling on a GPU.

    Args:
        precision: of the streams; 'fp32', 'bf16' or 'fp16'.
    """

    def __init__(self, model: DenseSemAIM, imgs: Tensor, precision: str):
        super().__init__(imgs)
        self.model = model
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        groups = [
            dict(params=[p for p in self.parameters if p.ndim > 1], weight_decay=DECAY),
            dict(params=[p for p in self.parameters if p.ndim <= 1], weight_decay=0.0),
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS)
        self.dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self.scaler = torch.amp.GradScaler(imgs.device.type, enabled=precision == "fp16")

    def _context(self) -> AbstractContextManager:
        enabled = self.dtype is not None
        return torch.autocast(self.imgs.device.type, dtype=self.dtype, enabled=enabled)

    def order(self) -> None:
        self.keys = self.model.keys(self.imgs)

    def streams(self) -> None:
        with self._context():
            self.prediction = self.model.predict(self.imgs, self.keys)

    def compare(self) -> None:
        with self._context():
            target = self.model.target(self.imgs)
            self.loss = (self.prediction - target).square().mean()
        self.value = self.loss.item()  # the host waits for the device in every step

    def backward(self) -> None:
        self.scaler.scale(self.loss).backward()
        del self.prediction, self.loss

    def update(self) -> None:
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
