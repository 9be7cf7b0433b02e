"""Attention, neighbours, colours: against the model's own numbers and plain loops."""

import numpy as np
import pytest
import torch
from conftest import build_tiny

from semaim_mm.analysis.looks import class_attention, neighbours, patch_colours


@pytest.fixture
def case():
    torch.manual_seed(0)
    return build_tiny().eval(), torch.randn(5, 3, 12, 20)


def test_attention_by_head_averages_to_the_map_that_an_order_reads(case):
    model, imgs = case
    found = class_attention(model, imgs)
    assert found.shape == (5, 2, 15)
    assert found.mean(axis=1) == pytest.approx(model.similarity(imgs, "self").numpy(), abs=1e-6)


def test_neighbours_are_the_largest_cosines_and_never_the_picture_itself(case):
    model, imgs = case
    features = model.encode(imgs)[:, 1:].mean(dim=1).detach().numpy().astype(float)
    for own, row in enumerate(neighbours(model, imgs.split(2), k=3)):
        cosines = {
            n: features[own] @ f / np.linalg.norm(features[own]) / np.linalg.norm(f)
            for n, f in enumerate(features)
            if n != own
        }
        assert row.tolist() == sorted(cosines, key=lambda n: -cosines[n])[:3]


def test_colours_are_principal_components_by_eigenvectors(case):
    model, imgs = case
    found = patch_colours(model, imgs)
    assert found.shape == (5, 3, 5, 3) and found.min() == 0 and found.max() == 1
    flat = model.encode(imgs)[:, 1:].detach().double().flatten(0, 1).numpy()
    vectors = np.linalg.eigh(np.cov(flat.T))[1][:, ::-1]
    for part in range(3):
        scores = (flat - flat.mean(axis=0)) @ vectors[:, part]
        inside = (found.reshape(-1, 3)[:, part] > 0) & (found.reshape(-1, 3)[:, part] < 1)
        like = np.corrcoef(scores[inside], found.reshape(-1, 3)[inside, part])[0, 1]
        assert abs(like) == pytest.approx(1)
