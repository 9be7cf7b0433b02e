"""Comparing a model with tensors that the authors' implementation wrote.

A reference file is an ``.npz`` of a tiny model's weights, inputs and everything it computed; see
``tests/fixtures/README.md`` for its keys.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.interop.authors import authors_name, from_authors
from semaim_mm.pretrain.draws import Draws
from semaim_mm.pretrain.order import SnakeOrder, peak, squared_distance
from semaim_mm.pretrain.similarity import SOURCES

TOLERANCE, CURVE_TOLERANCE = 1e-5, 1e-4
REQUIRED = ("config", "imgs", "order_keys", "loss")


class Row(NamedTuple):
    """One compared quantity: its largest error relative to the reference's own largest value."""

    name: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        # written so that a NaN fails
        return self.error <= self.tolerance


class Reference:
    """One reference file, and the model built from it."""

    def __init__(self, path: str | Path):
        if not Path(path).is_file():
            raise InputError(f"There is no reference file at {path}; check the path.")
        try:
            with np.load(path, allow_pickle=False) as file:
                self.arrays = {key: file[key] for key in file.files}
        except (ValueError, OSError, EOFError) as error:
            raise InputError(f"{path} is not a readable .npz file ({error}).") from error
        missing = [key for key in REQUIRED if key not in self.arrays]
        if missing:
            raise InputError(f"{path} is no reference file: it lacks {', '.join(missing)}.")
        self.config = ast.literal_eval(str(self.arrays["config"]))
        self.model = self.build_model()

    def build_model(self):
        """-> a fresh SemAIM with the file's weights, in training mode."""
        prefix = "state."
        state = {k.removeprefix(prefix): v for k, v in self.arrays.items() if k.startswith(prefix)}
        return from_authors(state, **self.config).train()

    def tensor(self, key: str) -> Tensor:
        return torch.from_numpy(np.asarray(self.arrays[key]))

    @property
    def teacher_tokens(self) -> Tensor | None:
        featureless = self.config.get("predict_feature", "none") == "none"
        return None if featureless else self.tensor("teacher_tokens")

    def rows(self) -> Iterator[Row]:
        """Compare everything that the file holds, a row a quantity."""
        yield from self._forward_rows()
        yield from self._gradient_rows()
        if "adamw_losses" in self.arrays:
            losses = torch.tensor(self.adamw_losses(), dtype=torch.float64)
            yield Row("adamw_losses", self._error("adamw_losses", losses), CURVE_TOLERANCE)

    def _error(self, key: str, ours: Tensor, scale: float | None = None) -> float:
        theirs = self.tensor(key).double()
        if ours.shape != theirs.shape:
            raise InputError(
                f"{key} has shape {tuple(theirs.shape)} in the file, {tuple(ours.shape)} here."
            )
        scale = float(theirs.abs().max()) if scale is None else scale
        return float((ours.detach().double() - theirs).abs().max() / max(scale, 1e-30))

    def _forward_rows(self) -> Iterator[Row]:
        model, imgs, keys = self.model, self.tensor("imgs"), self.tensor("order_keys")
        grid = tuple(side // model.backbone.patch_size for side in imgs.shape[2:])
        maps = {source: model.similarity(imgs, source) for source in SOURCES}
        source = model.order.similarity
        with torch.no_grad():
            loss, per_patch = model.pretrain_loss(imgs, keys, self.teacher_tokens)
            computed = {
                "encoder_tokens": model.encode(imgs),
                **{f"similarity_{name}": value for name, value in maps.items()},
                "center_distance": squared_distance(peak(maps[source]), grid).sqrt(),
                "raster_keys": SnakeOrder().ranks(grid, Draws.unkeyed(1, imgs.device))[0],
                "prediction": model.predict(imgs, keys),
                "loss": loss,
                "loss_per_patch": per_patch,
            }
            if "state.gaussian_blur.weight" in self.arrays:
                computed["blurred_imgs"] = model.target_generator.blur(imgs)
        for name, value in computed.items():
            if name in self.arrays:
                yield Row(name, self._error(name, value), TOLERANCE)

    def _gradient_rows(self) -> Iterator[Row]:
        model = self.model
        model.zero_grad()
        loss, _ = model.pretrain_loss(
            self.tensor("imgs"), self.tensor("order_keys"), self.teacher_tokens
        )
        loss.backward()
        largest = max(
            (float(abs(v).max()) for k, v in self.arrays.items() if k.startswith("grad.")),
            default=0.0,
        )
        seen = set()
        for name, parameter in model.named_parameters():
            key = f"grad.{authors_name(name)}"
            if key in self.arrays and parameter.grad is not None:
                seen.add(key)
                # key biases hold rounding noise alone, so the file's largest gradient bounds below
                scale = max(float(abs(self.arrays[key]).max()), 1e-3 * largest)
                yield Row(key, self._error(key, parameter.grad, scale), TOLERANCE)
        for key in sorted(k for k in self.arrays if k.startswith("grad.") and k not in seen):
            yield Row(f"{key} (no gradient here)", float("nan"), TOLERANCE)

    def adamw_losses(self) -> list[float]:
        """Losses of the file's optimisation by our model: AdamW on one batch with fixed keys."""
        model, imgs, keys = self.build_model(), self.tensor("imgs"), self.tensor("order_keys")

        def loss() -> Tensor:
            return model.pretrain_loss(imgs, keys, self.teacher_tokens)[0]

        return adamw_losses(model, loss, len(self.arrays["adamw_losses"]))


def adamw_losses(model: nn.Module, loss: Callable[[], Tensor], steps: int) -> list[float]:
    """Train a model as the files' ``adamw_losses`` were made -> ``loss`` () before every step."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        dict(params=[p for p in parameters if p.ndim > 1], weight_decay=0.05),
        dict(params=[p for p in parameters if p.ndim <= 1], weight_decay=0.0),
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))
    losses = []
    for _ in range(steps):
        value = loss()
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 3.0)
        optimizer.step()
        losses.append(value.item())
    return losses
