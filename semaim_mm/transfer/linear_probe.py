"""The fast linear probe: features extracted once, a grid of linear classifiers trained together.

Every (layer, pooling) with every learning rate is one classifier; all see the same batches. The
best is chosen on a held-out part of the training set, never on the test set.
Legend: N training images, D feature width, C classes, R learning rates.
"""

from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.transfer.attentive import AttentiveGrid
from semaim_mm.transfer.features import Features
from semaim_mm.transfer.protocol import PROTOCOLS, Outcome


def holdout_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """(N,) labels -> indices of (fit, held out), class-balanced, by seed."""
    generator = torch.Generator().manual_seed(seed)
    fit, held = [], []
    for label in labels.unique().tolist():
        index = (labels == label).nonzero()[:, 0]
        index = index[torch.randperm(len(index), generator=generator)]
        cut = max(1, round(len(index) * fraction))
        held.append(index[:cut])
        fit.append(index[cut:])
    fit, held = torch.cat(fit), torch.cat(held)
    if not len(fit):
        raise InputError(
            "The training set has too few images a class to hold some out for choosing the "
            "learning rate; add images, or lower LinearProbe's holdout."
        )
    return fit, held


class LinearGrid:
    """R linear classifiers on one feature, trained by SGD with momentum at R learning rates.

    Features are standardised by the training set's mean and deviation: BatchNorm without affine,
    over the whole set instead of a batch.
    """

    def __init__(self, fit: Tensor, num_classes: int, rates: Tensor, momentum: float = 0.9):
        self.mean = fit.mean(dim=0)
        self.scale = (fit.var(dim=0, unbiased=False) + 1e-6).rsqrt()
        self.rates, self.momentum = rates.to(fit.device)[:, None, None], momentum
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(fit.shape[1], num_classes, generator=generator) * 0.01
        self.weight = weight.to(fit.device).repeat(len(rates), 1, 1)
        self.bias = torch.zeros(len(rates), 1, num_classes, device=fit.device)
        self.velocity = [torch.zeros_like(self.weight), torch.zeros_like(self.bias)]

    def logits(self, x: Tensor) -> Tensor:
        """(B, D) -> (R, B, C)."""
        return ((x - self.mean) * self.scale) @ self.weight + self.bias

    def step(self, x: Tensor, labels: Tensor, factor: float) -> None:
        """One update of softmax regression, its gradient written out: (p - y) x."""
        x = (x - self.mean) * self.scale
        error = (x @ self.weight + self.bias).softmax(dim=-1)
        error[:, torch.arange(len(x), device=x.device), labels] -= 1
        error /= len(x)
        gradients = (x.T @ error, error.sum(dim=1, keepdim=True))
        for value, velocity, gradient in zip(
            (self.weight, self.bias), self.velocity, gradients, strict=True
        ):
            velocity.mul_(self.momentum).add_(gradient)
            value.sub_(self.rates * factor * velocity)


@PROTOCOLS.register_module()
class LinearProbe:
    """Train the grid, choose on held-out training images, report the test set once.

    Args:
        base_rates: learning rates for 256 images; the step uses base x batch_size / 256.
        epochs, batch_size: of the training on features; cosine decay to 0, no warm-up.
        holdout: share of the training images held out for the choice.
    """

    def __init__(
        self,
        base_rates: Sequence[float] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
        epochs: int = 90,
        batch_size: int = 256,
        holdout: float = 0.1,
        seed: int = 0,
    ):
        if not base_rates or min(base_rates) <= 0 or epochs < 1 or not 0 < holdout < 1:
            raise InputError(
                f"LinearProbe: base_rates={base_rates} must be positive, epochs={epochs} at least "
                f"1 and holdout={holdout} between 0 and 1; mend the config."
            )
        self.base_rates, self.epochs, self.batch_size = tuple(base_rates), epochs, batch_size
        self.holdout, self.seed = holdout, seed

    def check(self, bank_size: int) -> None:
        """Nothing can be known to fail before the labels are seen."""

    @torch.no_grad()
    def evaluate(
        self, bank: Features, test: Features, num_classes: int, device: torch.device
    ) -> Outcome:
        fit, held = holdout_split(bank.labels, self.holdout, self.seed)
        tables = {name: value.to(device) for name, value in bank.values.items()}
        labels = bank.labels.to(device)
        rates = torch.tensor(self.base_rates) * self.batch_size / 256
        grids = {
            name: (LinearGrid if x.ndim == 2 else AttentiveGrid)(x[fit], num_classes, rates)
            for name, x in tables.items()
        }
        self._train(grids, tables, labels, fit)

        held_top1, test_hits = {}, {}
        for name, grid in grids.items():
            hits = self._predict(grid, tables[name][held]) == labels[held]
            held_top1[name] = 100 * hits.double().mean(dim=1)
            test_hits[name] = self._predict(grid, test.values[name].to(device)).cpu() == test.labels
        return self._report(held_top1, test_hits)

    def _predict(self, grid: "LinearGrid | AttentiveGrid", table: Tensor) -> Tensor:
        """(N, ...) features -> (R, N) classes, a batch at a time."""
        parts = [grid.logits(part).argmax(dim=-1) for part in table.split(self.batch_size)]
        return torch.cat(parts, dim=1)

    def _train(self, grids: dict, tables: dict, labels: Tensor, fit: Tensor) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        steps = -(-len(fit) // self.batch_size) * self.epochs
        done = 0
        for _ in range(self.epochs):
            order = fit[torch.randperm(len(fit), generator=generator)].to(labels.device)
            for batch in order.split(self.batch_size):
                factor = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * done / steps)).item())
                for name, grid in grids.items():
                    grid.step(tables[name][batch], labels[batch], factor)
                done += 1

    def _report(self, held_top1: dict[str, Tensor], test_hits: dict[str, Tensor]) -> Outcome:
        """Per feature the rate that the held-out images choose; then the best feature so."""
        metrics, best = {}, None
        for name, held in held_top1.items():
            # a rate that diverged can win by nothing: NaN logits count as class 0
            rate = int(held.argmax())
            top1 = 100 * test_hits[name][rate].double().mean().item()
            metrics[f"{name}/top1"] = top1
            metrics[f"{name}/heldout_top1"] = held[rate].item()
            print_log(
                f"linear probe {name}: base lr {self.base_rates[rate]:g} chosen on held-out "
                f"training images ({held[rate]:.1f} %), test {top1:.1f} %",
                logger="current",
            )
            if best is None or held[rate] > held_top1[best[0]][best[1]]:
                best = (name, rate)
        name, rate = best
        correct = test_hits[name][rate]
        chosen = dict(feature=name, base_lr=self.base_rates[rate], chosen_on="held-out train")
        return Outcome({"top1": 100 * correct.double().mean().item(), **metrics}, correct, chosen)
