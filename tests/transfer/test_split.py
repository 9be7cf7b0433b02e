"""Class-balanced parts of a training set."""

import pytest
import torch

from semaim_mm.errors import InputError
from semaim_mm.transfer.split import balanced_share, holdout_split


def test_the_split_is_balanced_disjoint_and_a_function_of_the_seed():
    labels = torch.tensor([0] * 50 + [1] * 20)
    fit, held = holdout_split(labels, 0.2, seed=3)
    assert sorted([*fit.tolist(), *held.tolist()]) == list(range(70))
    assert (labels[held] == 0).sum() == 10 and (labels[held] == 1).sum() == 4
    assert held.tolist() == holdout_split(labels, 0.2, seed=3)[1].tolist()
    assert held.tolist() != holdout_split(labels, 0.2, seed=4)[1].tolist()


def test_a_class_with_one_image_cannot_be_split():
    with pytest.raises(InputError, match=r"1 of 2 classes .* too few images .*class 7: 1"):
        holdout_split(torch.tensor([7, 3, 3]), 0.5, seed=0)


def test_a_share_takes_its_part_of_each_class_but_at_least_two():
    labels = torch.tensor([0, 1] * 50 + [2] * 4 + [3])
    images = balanced_share(labels, 0.1, seed=0)
    assert labels[images].bincount().tolist() == [5, 5, 2, 1]
    assert images.tolist() == sorted(set(images.tolist()))
    assert images.tolist() == balanced_share(labels, 0.1, seed=0).tolist()
    assert images.tolist() != balanced_share(labels, 0.1, seed=1).tolist()
