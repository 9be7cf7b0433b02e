"""Attentive pooling learns which token matters, and its classifiers do not disturb each other."""

import torch

from semaim_mm.transfer.attentive import AttentiveGrid
from semaim_mm.transfer.features import Features
from semaim_mm.transfer.linear_probe import LinearProbe


def needle(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, 12, 8) noise tokens of which one, marked by its last channel, carries the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    tokens = torch.randn(n, 12, 8, generator=generator) * 3
    tokens[:, :, 7] = 0
    where = torch.randint(12, (n,), generator=generator)
    signal = torch.zeros(n, 8)
    signal[torch.arange(n), labels] = 4.0
    signal[:, 7] = 10.0
    tokens[torch.arange(n), where] = signal
    return tokens, labels


def test_it_finds_the_token_that_the_mean_drowns():
    tokens, labels = needle(800, 0)
    test_tokens, test_labels = needle(400, 1)
    bank = Features({"attentive": tokens, "mean": tokens.mean(dim=1)}, labels)
    test = Features({"attentive": test_tokens, "mean": test_tokens.mean(dim=1)}, test_labels)
    outcome = LinearProbe(epochs=40, batch_size=64).evaluate(bank, test, 4, torch.device("cpu"))
    assert outcome.metrics["attentive/top1"] > 95
    assert outcome.metrics["mean/top1"] < 75
    assert outcome.chosen["feature"] == "attentive"


def test_a_classifier_trains_alike_alone_and_beside_others():
    tokens, labels = needle(64, 0)
    alone = AttentiveGrid(tokens, 4, torch.tensor([0.1]))
    beside = AttentiveGrid(tokens, 4, torch.tensor([3.0, 0.1]))
    for _ in range(5):
        alone.step(tokens, labels, 1.0)
        beside.step(tokens, labels, 1.0)
    for one, many in zip(alone.parameters, beside.parameters, strict=True):
        torch.testing.assert_close(many[1], one[0], rtol=1e-4, atol=1e-6)
