"""The fast linear probe: features extracted once, a grid of linear classifiers trained together.

Every (layer, pooling) with every learning rate is one classifier; all see the same batches, read
from the feature files as they come. The best is chosen on a held-out part of the training set,
never on the test set.
Legend: N training images, M test images, D feature width, C classes, R learning rates.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from mmengine.logging import print_log
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.transfer.attentive import AttentiveGrid
from semaim_mm.transfer.features import Features, FeatureTable
from semaim_mm.transfer.moments import Moments, moments_memory, table_moments
from semaim_mm.transfer.protocol import PROTOCOLS, Outcome
from semaim_mm.transfer.split import check_holdout, holdout_split

Table = FeatureTable | Tensor


class LinearGrid:
    """R linear classifiers on one feature, trained by SGD with momentum at R learning rates.

    Features are standardised by the training set's mean and deviation: BatchNorm without affine,
    over the whole set instead of a batch.
    """

    def __init__(self, moments: Moments, num_classes: int, rates: Tensor, momentum: float = 0.9):
        width, device = len(moments.mean), moments.mean.device
        self.mean, self.scale = moments.mean, (moments.variance + 1e-6).rsqrt()
        self.rates, self.momentum = rates.to(device)[:, None, None], momentum
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(width, num_classes, generator=generator) * 0.01
        self.weight = weight.to(device).repeat(len(rates), 1, 1)
        self.bias = torch.zeros(len(rates), 1, num_classes, device=device)
        self.velocity = [torch.zeros_like(self.weight), torch.zeros_like(self.bias)]

    @classmethod
    def memory(cls, shape: Sequence[int], num_classes: int, rates: int, batch: int) -> tuple:
        """One image's (D,) -> bytes (held, more during a step of ``batch`` images)."""
        (width,) = shape
        values = rates * 4 * (width * num_classes + num_classes)
        return 2 * values, 2 * values + batch * 4 * (4 * width + 4 * rates * num_classes)

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


class _Group(NamedTuple):
    """Tables of the same images, trained together: their names, what is fitted and held out."""

    names: list[str]
    fit: Tensor
    held: Tensor


@PROTOCOLS.register_module()
class LinearProbe:
    """Train the grid, choose on held-out training images, report the test set once.

    Features stay where they are stored and come to the device a batch at a time: ``memory`` says
    how much that takes, whatever N is. Tables of a share of the images (attentive pooling) are
    trained on batches of their own in the same go; their held-out images are of the share.

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
        """The number of images alone settles nothing; see ``check_labels``."""

    def check_labels(self, labels: Tensor) -> None:
        """(N,) -> refuse, before features are extracted, classes that can't be held out from."""
        check_holdout(labels, self.holdout)

    def memory(self, shapes: Mapping[str, Sequence[int]], num_classes: int) -> int:
        """One image's shape by feature -> bytes that training and testing take beside the model.

        Not counted: what is kept of an image whatever its features are, R bytes a feature of those
        held out or tested, and for labels, order, split and place in the file 40 bytes.
        """
        needs = [
            _grid_type(shape).memory(shape, num_classes, len(self.base_rates), self.batch_size)
            for shape in shapes.values()
        ]
        held, step = (sum(need[0] for need in needs), max(need[1] for need in needs))
        return held + max(step, moments_memory(list(shapes.values())))

    @torch.no_grad()
    def evaluate(
        self, bank: Features, test: Features, num_classes: int, device: torch.device
    ) -> Outcome:
        rates = torch.tensor(self.base_rates) * self.batch_size / 256
        found = {}
        for group in self._groups(bank):
            tables = {name: bank.values[name] for name in group.names}
            moments = table_moments(tables, group.fit, device)
            grids = {
                name: _grid_type(table.shape[1:])(moments[name], num_classes, rates)
                for name, table in tables.items()
            }
            self._train(grids, tables, bank.labels, group.fit, device)
            held = self._hits(grids, tables, bank.labels, group.held, device)
            everything = torch.arange(len(test.labels))
            tested = self._hits(grids, test.values, test.labels, everything, device)
            for name in group.names:
                found[name] = (100 * held[name].double().mean(dim=1), tested[name])
        # in the order in which the model offers them
        held_top1 = {name: found[name][0] for name in bank.values}
        test_hits = {name: found[name][1] for name in bank.values}
        return self._report(held_top1, test_hits)

    def _groups(self, bank: Features) -> list[_Group]:
        """Tables of all images, then those of a share."""
        groups, found = {False: [], True: []}, []
        for name, table in bank.values.items():
            groups[getattr(table, "images", None) is not None].append(name)
        for shared, names in groups.items():
            if not names:
                continue
            if shared:
                images = bank.values[names[0]].images
                fit, held = holdout_split(bank.labels[images], self.holdout, self.seed)
                found.append(_Group(names, images[fit], images[held]))
            else:
                found.append(_Group(names, *holdout_split(bank.labels, self.holdout, self.seed)))
        return found

    def _hits(
        self,
        grids: dict,
        tables: Mapping[str, Table],
        labels: Tensor,
        index: Tensor,
        device: torch.device,
    ) -> dict[str, Tensor]:
        """Images ``index`` (n,) -> {feature: (R, n) whether each classifier is right}, on the CPU.

        One byte a classifier and image is kept; features come a batch at a time.
        """
        hits = {
            name: torch.empty(len(self.base_rates), len(index), dtype=torch.bool) for name in grids
        }
        for start, batch in enumerate(index.split(self.batch_size)):
            truth = labels[batch].to(device)
            place = slice(start * self.batch_size, start * self.batch_size + len(batch))
            for name, grid in grids.items():
                logits = grid.logits(_read(tables[name], batch, device))
                hits[name][:, place] = (logits.argmax(dim=-1) == truth).cpu()
        return hits

    def _train(
        self,
        grids: dict,
        tables: Mapping[str, Table],
        labels: Tensor,
        fit: Tensor,
        device: torch.device,
    ) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        steps = -(-len(fit) // self.batch_size) * self.epochs
        done = 0
        for _ in range(self.epochs):
            order = fit[torch.randperm(len(fit), generator=generator)]
            for batch in order.split(self.batch_size):
                factor = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * done / steps)).item())
                truth = labels[batch].to(device)
                for name, grid in grids.items():
                    grid.step(_read(tables[name], batch, device), truth, factor)
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


def _grid_type(shape: Sequence[int]) -> type[LinearGrid] | type[AttentiveGrid]:
    return LinearGrid if len(shape) == 1 else AttentiveGrid


def _read(table: Table, index: Tensor, device: torch.device) -> Tensor:
    return table[index].to(device).float()
