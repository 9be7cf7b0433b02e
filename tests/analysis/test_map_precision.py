"""Peaks that half precision moves: which precision is which, and what counts as moved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import build_tiny
from torch.testing import assert_close

from semaim_mm.analysis import map_precision
from semaim_mm.analysis.map_precision import ALL, BLOCKS, moved_peaks, peaks
from semaim_mm.analysis.scenes import Scene
from semaim_mm.pretrain.similarity import token_similarity


@pytest.fixture
def imgs():
    return torch.randn(40, 3, 12, 20, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("source", ["cls", "gap", "self"])
def test_the_peaks_are_those_of_the_pass_in_each_precision(source, imgs):
    model = build_tiny(order=dict(type="SemanticOrder", similarity=source))
    found = peaks(model, imgs)
    assert torch.equal(found["fp32"], model.similarity(imgs, source).argmax(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(found[BLOCKS], model.similarity(imgs, source).argmax(1))
    assert (ALL in found) == (source != "self")


def test_an_all_half_cosine_is_that_of_rounded_normalised_tokens(imgs):
    model = build_tiny()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        tokens = model.backbone.encode(imgs, blocks=4)
    tokens = model.backbone.ln1(tokens.bfloat16().float()).bfloat16().float()
    cosine = token_similarity(tokens, "cls")
    chosen = cosine.gather(1, peaks(model, imgs)[ALL][:, None])[:, 0]
    # ties of bfloat16 may be broken otherwise, but no worse patch is chosen
    assert_close(chosen, cosine.max(1).values, rtol=0.02, atol=0)


def test_the_share_is_that_of_the_pictures_whose_peak_is_another(monkeypatch):
    scenes = [Scene(str(n), np.zeros((12, 20, 3), np.uint8), np.zeros((1, 15))) for n in range(60)]
    monkeypatch.setattr(map_precision, "as_batch", lambda _, part: torch.zeros(len(part)))

    def fake(model, imgs):
        exact = torch.zeros(len(imgs), dtype=torch.long)
        moved = exact.clone()
        moved[: len(imgs) // 10] = 3
        return dict(fp32=exact, a=moved, b=exact.clone())

    monkeypatch.setattr(map_precision, "peaks", fake)
    found = moved_peaks(None, scenes)
    assert found["a"].value == pytest.approx(6 / 60) and found["b"].value == 0
