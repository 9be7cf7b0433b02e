"""Peaks that half precision moves: which precision is which, and what counts as moved."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from conftest import build_tiny
from torch.testing import assert_close

from semaim_mm.analysis import map_precision
from semaim_mm.analysis.map_precision import ALL, BLOCKS, check_reads_map, moved_peaks, peaks
from semaim_mm.analysis.scenes import Scene
from semaim_mm.errors import InputError
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


@pytest.mark.parametrize("kind", ["EMATarget", "OnlineTarget"])
@pytest.mark.parametrize("fp32", [False, True], ids=["half", "similarity_fp32"])
def test_the_peaks_of_a_targets_map_are_those_that_its_order_reads(kind, fp32, imgs):
    model = build_tiny(
        target_generator=dict(type=kind), head=dict(loss="unit_l2"), similarity_from="target",
        ema=dict(), similarity_fp32=fp32,
    )  # fmt: skip
    torch.nn.init.normal_(model.backbone.layers[0].ffn.layers[1].weight)  # away from its copy
    found = peaks(model, imgs)
    by_order = model.similarity_for_order(imgs, model.target(imgs), "cls").argmax(1)
    online = model.similarity(imgs, "cls").argmax(1)
    assert torch.equal(found["fp32"], by_order) and set(found) == {"fp32", BLOCKS, ALL}
    assert torch.equal(by_order, online) == (kind == "OnlineTarget")
    assert model.similarity_fp32 == fp32
    model.similarity_fp32 = False
    with torch.autocast("cpu", torch.bfloat16):
        half = model.target(imgs).tokens
    assert torch.equal(found[BLOCKS], token_similarity(half, "cls").argmax(1))


def test_a_teachers_map_is_computed_in_each_precision(imgs, tmp_path):
    name, size = "vit_base_patch16_224.dino", dict(embed_dim=32, depth=2, num_heads=2, img_size=64)
    weights = tmp_path / "w.pth"
    torch.save(timm.create_model(name, num_classes=0, **size).state_dict(), weights)
    teacher = dict(type="TimmTeacher", model=name, weights=weights, model_args=size)
    model = build_tiny(
        target_generator=teacher, head=dict(loss="unit_l2"), similarity_from="target"
    )
    found = peaks(model, imgs)
    assert model.target_generator.precision == "auto"
    for key, precision in (("fp32", "fp32"), (BLOCKS, "bf16")):
        model.target_generator.precision = precision
        tokens = model.target(imgs).tokens
        assert torch.equal(found[key], token_similarity(tokens, "cls").argmax(1))


def test_an_order_without_a_map_has_no_peak():
    with pytest.raises(InputError, match="RasterOrder reads no similarity map"):
        check_reads_map(build_tiny(order="raster"))


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
