"""The fast probe against plain autograd, and where it makes its choice."""

import pytest
import torch
from torch import nn

from semaim_mm.errors import InputError
from semaim_mm.transfer.features import Features
from semaim_mm.transfer.linear_probe import LinearGrid, LinearProbe
from semaim_mm.transfer.logistic_regression import LogisticRegression
from semaim_mm.transfer.moments import table_moments

CPU = torch.device("cpu")


def blobs(n: int, classes: int, spread: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, 8) points around one centre a class -> points, labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centers = torch.randn(classes, 8, generator=torch.Generator().manual_seed(0)) * 2
    return centers[labels] + spread * torch.randn(n, 8, generator=generator), labels


def test_each_classifier_of_the_grid_steps_as_torch_sgd_would():
    x, labels = blobs(64, 4, 1.0, 0)
    rates = torch.tensor([0.01, 0.3])
    moments = table_moments({"x": x}, torch.arange(64), CPU)["x"]
    grid = LinearGrid(moments, 4, rates)
    start = grid.weight.clone()
    for _ in range(5):
        grid.step(x, labels, factor=0.5)
    norm = nn.BatchNorm1d(8, affine=False, eps=1e-6, momentum=None)
    for index, rate in enumerate(rates.tolist()):
        weight = start[index].clone().requires_grad_()
        bias = torch.zeros(4, requires_grad=True)
        optimizer = torch.optim.SGD([weight, bias], lr=rate * 0.5, momentum=0.9)
        for _ in range(5):
            optimizer.zero_grad()
            nn.functional.cross_entropy(norm(x) @ weight + bias, labels).backward()
            optimizer.step()
        torch.testing.assert_close(grid.weight[index], weight.detach(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(grid.bias[index, 0], bias.detach(), rtol=1e-4, atol=1e-6)


def test_the_probe_separates_blobs_and_is_at_chance_on_noise():
    x, labels = blobs(400, 4, 0.3, 1)
    noise = torch.randn(400, 8, generator=torch.Generator().manual_seed(2))
    test_x, test_labels = blobs(200, 4, 0.3, 3)
    bank = Features({"blobs": x, "noise": noise}, labels)
    test = Features({"blobs": test_x, "noise": torch.randn(200, 8)}, test_labels)
    outcome = LinearProbe(epochs=20, batch_size=64).evaluate(bank, test, 4, CPU)
    assert outcome.metrics["blobs/top1"] > 98
    assert outcome.metrics["noise/top1"] < 45
    assert outcome.chosen["feature"] == "blobs"


def test_the_choice_never_looks_at_the_test_set():
    x, labels = blobs(400, 4, 2.0, 1)
    bank = Features({"a": x, "b": x[:, :5]}, labels)
    chosen = []
    for seed in (1, 2):  # test sets with labels that have nothing to do with the images
        generator = torch.Generator().manual_seed(seed)
        values = {
            name: torch.randn(50, v.shape[1], generator=generator)
            for name, v in bank.values.items()
        }
        test = Features(values, torch.randint(4, (50,), generator=generator))
        chosen.append(LinearProbe(epochs=3).evaluate(bank, test, 4, CPU).chosen)
    assert chosen[0] == chosen[1]
    assert chosen[0]["chosen_on"] == "held-out train"


def test_logistic_regression_learns_from_few_labels_and_says_what_it_chose():
    x, labels = blobs(40, 4, 0.5, 1)
    test_x, test_labels = blobs(200, 4, 0.5, 3)
    outcome = LogisticRegression().evaluate(
        Features({"f": x}, labels), Features({"f": test_x}, test_labels), 4, CPU
    )
    assert outcome.metrics["top1"] > 95
    assert outcome.chosen["chosen_on"] == "held-out train" and outcome.chosen["n_train"] == 40


def test_one_label_a_class_chooses_nothing():
    x, labels = blobs(4, 4, 0.1, 1)
    outcome = LogisticRegression().evaluate(
        Features({"f": x}, labels), Features({"f": x}, labels), 4, CPU
    )
    assert outcome.metrics["top1"] == 100
    assert outcome.chosen["chosen_on"].startswith("nothing")


@pytest.mark.parametrize("protocol", [LinearProbe(holdout=0.2), LogisticRegression(holdout=0.9)])
def test_classes_that_cannot_be_held_out_from_are_named_from_labels_alone(protocol):
    labels = torch.tensor([0] * 30 + [1] * 30)
    protocol.check_labels(labels)
    few = torch.tensor([0] * 30 + [1] * (1 if isinstance(protocol, LinearProbe) else 2))
    with pytest.raises(InputError, match=r"1 of 2 classes .* \(class 1: [12]\)"):
        protocol.check_labels(few)


def test_logistic_regression_accepts_one_label_a_class_but_not_one_class():
    LogisticRegression().check_labels(torch.arange(4))
    with pytest.raises(InputError, match="two classes or more"):
        LogisticRegression().check_labels(torch.zeros(9, dtype=torch.long))
