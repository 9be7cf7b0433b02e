"""Logistic regression on frozen features, for few labels: scikit-learn's, its strength chosen."""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.transfer.features import Features
from semaim_mm.transfer.protocol import PROTOCOLS, Outcome
from semaim_mm.transfer.split import check_holdout, holdout_split


@PROTOCOLS.register_module()
class LogisticRegression:
    """Fit on the (sub)set's standardised features, inverse L2 strength C by held-out images.

    The chosen C is then fitted on all training images. With a single image a class nothing can be
    held out, and the middle of ``strengths`` is taken. scikit-learn needs all features at once, so
    this is for few images: the table is held up to four times as float32 (10 % of ImageNet's
    images, ViT-B: 1.5 GiB).

    Args:
        strengths: values of C (inverse L2 strength) to choose from.
        holdout: share of the training images held out for the choice.
    """

    def __init__(
        self,
        strengths: Sequence[float] = (1e-3, 1e-2, 1e-1, 1.0, 10.0),
        holdout: float = 0.2,
        max_iter: int = 1000,
        seed: int = 0,
    ):
        if not strengths or min(strengths) <= 0 or not 0 < holdout < 1:
            raise InputError(
                f"LogisticRegression: strengths={strengths} must be positive and holdout="
                f"{holdout} between 0 and 1; mend the config."
            )
        self.strengths, self.holdout = tuple(strengths), holdout
        self.max_iter, self.seed = max_iter, seed

    def check(self, bank_size: int) -> None:
        """The number of images alone settles nothing; see ``check_labels``."""

    def check_labels(self, labels: Tensor) -> None:
        """(N,) -> refuse, before features are extracted, what can't be fitted or held out."""
        counts = labels.unique(return_counts=True)[1]
        if len(counts) < 2:
            raise InputError(
                f"LogisticRegression needs images of two classes or more; the training set has "
                f"{len(counts)}: check its folder and subset."
            )
        if counts.min() >= 2:
            check_holdout(labels, self.holdout)

    def evaluate(
        self, bank: Features, test: Features, num_classes: int, device: torch.device
    ) -> Outcome:
        """Judge the first feature that the model offers."""
        name, table = next(iter(bank.values.items()))
        x, y = table[:].float().numpy(), bank.labels.numpy()
        mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
        x = (x - mean) / scale
        strength, chosen_on = self._choose(x, y)
        seen = (test.values[name][:].float().numpy() - mean) / scale
        prediction = self._fit(x, y, strength).predict(seen)
        correct = torch.from_numpy(prediction) == test.labels
        chosen = dict(feature=name, C=strength, chosen_on=chosen_on, n_train=len(y))
        return Outcome({"top1": 100 * correct.double().mean().item()}, correct, chosen)

    def _choose(self, x: np.ndarray, y: np.ndarray) -> tuple[float, str]:
        labels = torch.from_numpy(y)
        if labels.unique(return_counts=True)[1].min() < 2:
            return self.strengths[len(self.strengths) // 2], "nothing: one image in some class"
        fit, held = (part.numpy() for part in holdout_split(labels, self.holdout, self.seed))
        scores = [self._fit(x[fit], y[fit], c).score(x[held], y[held]) for c in self.strengths]
        return self.strengths[int(np.argmax(scores))], "held-out train"

    def _fit(self, x: np.ndarray, y: np.ndarray, strength: float) -> SklearnLogisticRegression:
        return SklearnLogisticRegression(C=strength, max_iter=self.max_iter).fit(x, y)
