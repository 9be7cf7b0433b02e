"""Boxes are read from the pyramid level of their size, whatever the features' precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import semaim_mm.dense  # noqa: F401  (registration)

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "det"
SIDES = (60, 111, 113, 200, 230, 250, 260, 300, 400, 440, 460, 900)
LEVELS = [0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3]
LEAF = "mask-rcnn_semaim-vitb_benchmarking-100ep_coco.py"


def extractor(name: str = "bbox_roi_extractor", **changes):
    init_default_scope("mmdet")
    return MODELS.build(Config.fromfile(CONFIGS / LEAF).model.roi_head[name] | changes)


def boxes() -> torch.Tensor:
    return torch.tensor([[0, 30.3, 20.7, 30.3 + side, 20.7 + side] for side in SIDES])


def levels_read(layer, dtype: torch.dtype) -> list[int]:
    """-> the level that each box is read from: each level is filled with its number."""
    maps = (torch.full((1, 256, 1024 // s, 1024 // s), n) for n, s in enumerate((4, 8, 16, 32)))
    found = layer(tuple(m.to(dtype) for m in maps), boxes())
    assert found.dtype == dtype
    return found.amax((1, 2, 3)).float().round().int().tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["bbox_roi_extractor", "mask_roi_extractor"])
def test_levels_are_those_of_fp32(name, dtype):
    assert levels_read(extractor(name), dtype) == LEVELS


def test_mmdets_own_takes_large_boxes_in_fp16_for_huge_ones():
    """What the subclass is for; once mmdet has mended it, the subclass may go."""
    plain = extractor(type="SingleRoIExtractor")
    assert plain.map_roi_levels(boxes(), 4).tolist() == LEVELS
    assert plain.map_roi_levels(boxes().half(), 4).tolist() != LEVELS


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_coordinates_stay_in_fp32_and_gradients_arrive(dtype):
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand(1, 256, 1024 // s, 1024 // s, generator=generator) for s in (4, 8, 16, 32)]
    half = [m.to(dtype).requires_grad_() for m in maps]
    found = extractor()(tuple(half), boxes())
    exact = extractor(type="SingleRoIExtractor")(tuple(m.detach().float() for m in half), boxes())
    assert torch.equal(found, exact.to(dtype))
    found.float().sum().backward()
    assert all(m.grad.dtype == dtype and m.grad.isfinite().all() for m in half)
    assert half[3].grad.abs().sum() > 0
    assert extractor()(tuple(half), boxes()[:0]).shape == (0, 256, 7, 7)
