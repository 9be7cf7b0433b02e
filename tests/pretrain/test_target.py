"""The target: the authors' blur, patches, and their normalisation, number by number."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from semaim_mm.pretrain.targets import PixelTarget, normalize_patches, patchify, unpatchify


def blur_by_loops(image: torch.Tensor, size: int, sigma: float) -> torch.Tensor:
    """(H, W) -> (H, W): the two-dimensional Gaussian, zeros outside, a pixel at a time."""
    half = size // 2
    offsets = range(-half, half + 1)
    weights = {
        (dy, dx): math.exp(-(dy**2 + dx**2) / (2 * sigma**2)) for dy in offsets for dx in offsets
    }
    total = sum(weights.values())
    height, width = image.shape
    blurred = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            for (dy, dx), weight in weights.items():
                if 0 <= y + dy < height and 0 <= x + dx < width:
                    blurred[y, x] += weight / total * image[y + dy, x + dx]
    return blurred


def test_the_blur_is_the_authors(reference):
    blurred = PixelTarget(patch_size=4).blur(reference.arrays["imgs"])
    assert_close(blurred, reference.arrays["blurred_imgs"], rtol=0, atol=2e-6)


@pytest.mark.parametrize(("size", "sigma"), [(9, 1.0), (5, 0.7), (1, 1.0)])
def test_the_blur_is_a_two_dimensional_gaussian_over_a_zero_border(size, sigma):
    imgs = torch.randn(1, 3, 9, 14, generator=torch.Generator().manual_seed(0))
    blurred = PixelTarget(patch_size=1, blur_kernel=size, blur_sigma=sigma).blur(imgs)
    for channel in range(3):
        expected = blur_by_loops(imgs[0, channel].double(), size, sigma).float()
        assert_close(blurred[0, channel], expected, rtol=1e-5, atol=1e-6)


def test_a_constant_image_darkens_at_its_border():
    blurred = PixelTarget().blur(torch.ones(1, 3, 32, 48))
    assert blurred[0, :, 0, 0].tolist() == pytest.approx([0.489] * 3, abs=5e-4)
    assert blurred[0, :, 0, 20].tolist() == pytest.approx([0.699] * 3, abs=5e-4)
    assert blurred[0, :, 15, 0].tolist() == pytest.approx([0.699] * 3, abs=5e-4)
    assert blurred[0, :, 15, 20].tolist() == pytest.approx([1.0] * 3, abs=1e-6)


def test_no_blur_leaves_the_pixels_alone():
    imgs = torch.randn(1, 3, 8, 8)
    target = PixelTarget(patch_size=4, blur_kernel=None, normalize=False)
    assert torch.equal(target(imgs).values, patchify(imgs, 4))


def test_patches_are_in_raster_order_with_the_channel_fastest():
    imgs = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).view(2, 3, 4, 6)
    patches = patchify(imgs, 2)
    assert patches.shape == (2, 6, 12)
    for image in range(2):
        for patch in range(6):
            row, column = patch // 3 * 2, patch % 3 * 2
            pixels = [
                imgs[image, channel, row + y, column + x].item()
                for y in range(2)
                for x in range(2)
                for channel in range(3)
            ]
            assert patches[image, patch].tolist() == pixels


@pytest.mark.parametrize(("grid", "size"), [((3, 5), 4), ((1, 7), 2), ((14, 14), 16)])
def test_unpatchify_undoes_patchify(grid, size):
    imgs = torch.randn(2, 3, grid[0] * size, grid[1] * size)
    patches = patchify(imgs, size)
    assert torch.equal(unpatchify(patches, grid), imgs)
    assert torch.equal(patchify(unpatchify(patches, grid), size), patches)


def test_a_patch_has_zero_mean_and_unit_unbiased_variance():
    patches = torch.randn(2, 5, 48, dtype=torch.float64) * 3 + 7
    normalized = normalize_patches(patches)
    for image in range(2):
        for patch in range(5):
            values = patches[image, patch].tolist()
            mean = sum(values) / 48
            variance = sum((value - mean) ** 2 for value in values) / 47
            expected = [(value - mean) / math.sqrt(variance + 1e-6) for value in values]
            assert normalized[image, patch].tolist() == pytest.approx(expected, rel=1e-9)


def test_a_constant_patch_becomes_zeros():
    assert torch.equal(normalize_patches(torch.full((1, 1, 48), 5.0)), torch.zeros(1, 1, 48))


def test_the_target_is_blurred_then_cut_then_normalised(reference):
    target = PixelTarget(patch_size=4)(reference.arrays["imgs"])
    patches = patchify(reference.arrays["blurred_imgs"].double(), 4)
    mean, variance = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
    expected = (patches - mean) / (variance + 1e-6).sqrt()
    assert_close(target.values.double(), expected, rtol=0, atol=2e-4)
    assert target.tokens is None


def test_the_target_stays_float32_under_autocast_and_carries_no_gradient():
    imgs = torch.randn(1, 3, 16, 16, requires_grad=True)
    exact = PixelTarget(patch_size=4)(imgs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        target = PixelTarget(patch_size=4)(imgs)
    assert target.values.dtype == torch.float32
    assert torch.equal(target.values, exact.values)
    assert not target.values.requires_grad


def test_the_kernel_is_not_a_weight_of_the_checkpoint():
    assert PixelTarget().state_dict() == {}
