"""Attentive pooling for the fast probe: a learned query pools the patch tokens, then a classifier.

R of them are trained together at R learning rates, as LinearGrid does for pooled features.
Idea: the attentive probe of AIM (arXiv 2401.08541), without its key and value projections, which a
query and a classifier of full width make up for. Legend: B images, L patches, D width, H heads.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from semaim_mm.transfer.moments import Moments


class AttentiveGrid:
    """R attentive classifiers on (B, L, D) tokens, trained by SGD with momentum.

    Tokens are standardised by the mean and deviation of all training tokens (``moments``), so the
    set-up reads no table and holds nothing but parameters. Head h scores whole tokens by its own
    query and pools its own D / H channels.
    """

    heads = 4

    def __init__(self, moments: Moments, num_classes: int, rates: Tensor, momentum: float = 0.9):
        width, device = len(moments.mean), moments.mean.device
        self.heads = self.heads if width % self.heads == 0 else 1
        self.mean, self.scale = moments.mean, (moments.variance + 1e-6).rsqrt()
        self.rates, self.momentum = rates.to(device)[:, None, None], momentum
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(width, num_classes, generator=generator) * 0.01
        query = torch.randn(self.heads, width, generator=generator) * 0.02
        shape = (len(rates), 1, 1)
        self.parameters = [
            query.to(device).repeat(shape),
            weight.to(device).repeat(shape),
            torch.zeros(len(rates), 1, num_classes, device=device),
        ]
        self.velocity = [torch.zeros_like(value) for value in self.parameters]

    @classmethod
    def memory(cls, shape: Sequence[int], num_classes: int, rates: int, batch: int) -> tuple:
        """One image's (L, D) -> bytes (held, more during a step of ``batch`` images)."""
        length, width = shape
        values = rates * 4 * (cls.heads * width + width * num_classes + num_classes)
        # a batch as stored, in float32, and twice more while it is standardised
        tokens = batch * length * width * 4 * 4
        scores = rates * batch * 4 * (3 * cls.heads * length + 2 * width + 4 * num_classes)
        return 2 * values, 2 * values + tokens + scores

    def logits(self, tokens: Tensor) -> Tensor:
        """(B, L, D) -> (R, B, C)."""
        return self._logits(tokens, *self.parameters)

    def _logits(self, tokens: Tensor, query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x = (tokens.float() - self.mean) * self.scale
        scores = torch.einsum("bld,rhd->rbhl", x, query) * x.shape[-1] ** -0.5
        channels = x.unflatten(-1, (self.heads, -1))
        pooled = torch.einsum("rbhl,blhc->rbhc", scores.softmax(dim=-1), channels).flatten(2)
        return pooled @ weight + bias

    def step(self, tokens: Tensor, labels: Tensor, factor: float) -> None:
        """One update of every classifier at its own rate x ``factor``."""
        with torch.enable_grad():
            leaves = [value.detach().requires_grad_() for value in self.parameters]
            logits = self._logits(tokens, *leaves)
            classes = labels.expand(len(logits), -1).flatten()
            # the mean over images and the sum over rates: no classifier sees another's loss
            loss = F.cross_entropy(logits.flatten(0, 1), classes) * len(logits)
            gradients = torch.autograd.grad(loss, leaves)
        for value, velocity, gradient in zip(
            self.parameters, self.velocity, gradients, strict=True
        ):
            velocity.mul_(self.momentum).add_(gradient)
            value.sub_(self.rates * factor * velocity)
