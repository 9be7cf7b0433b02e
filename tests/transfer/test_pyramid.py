"""ViTDet's pyramid: sizes, numbers against plain torch, where it starts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.testing import assert_close

from semaim_mm.errors import InputError
from semaim_mm.transfer.pyramid import SimpleFeaturePyramid

WIDTH, OUT = 16, 6


class ChannelNorm(nn.Module):
    """LN over the channels of a map, written out."""

    def __init__(self, width: int):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(torch.full((width,), x)) for x in (1.0, 0.0))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=1, keepdim=True)
        x = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class HalveUp(nn.Module):
    """The larger of each 2 x 2 pixels; a row or column without a partner stays."""

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2
        parts = [x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
        full = [
            F.pad(p, (0, columns - p.shape[3], 0, rows - p.shape[2]), value=-torch.inf)
            for p in parts
        ]
        return torch.stack(full).amax(dim=0)


class Plain(nn.Module):
    """The same pyramid in plain torch."""

    def __init__(self, d: int = WIDTH, c: int = OUT):
        super().__init__()
        large = nn.ConvTranspose2d(d, d // 2, 2, 2), ChannelNorm(d // 2), nn.GELU()
        x4 = nn.Sequential(*large, nn.ConvTranspose2d(d // 2, d // 4, 2, 2), *self.after(d // 4, c))
        x2 = nn.Sequential(nn.ConvTranspose2d(d, d // 2, 2, 2), *self.after(d // 2, c))
        x1 = nn.Sequential(*self.after(d, c))
        half = nn.Sequential(HalveUp(), *self.after(d, c))
        self.levels = nn.ModuleList([x4, x2, x1, half])

    @staticmethod
    def after(d: int, c: int) -> list[nn.Module]:
        first, second = (nn.Conv2d(d, c, 1, bias=False), nn.Conv2d(c, c, 3, 1, 1, bias=False))
        return [first, ChannelNorm(c), second, ChannelNorm(c)]

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [level(x) for level in self.levels]
        return [*maps, maps[-1][..., ::2, ::2]]


def pyramid(**kwargs) -> SimpleFeaturePyramid:
    return SimpleFeaturePyramid(**dict(in_channels=WIDTH, out_channels=OUT) | kwargs)


@pytest.mark.parametrize(
    "image, sizes",
    [
        ((224, 224), [(56, 56), (28, 28), (14, 14), (7, 7), (4, 4)]),
        ((512, 640), [(128, 160), (64, 80), (32, 40), (16, 20), (8, 10)]),
        ((1024, 1024), [(256, 256), (128, 128), (64, 64), (32, 32), (16, 16)]),
        ((208, 112), [(52, 28), (26, 14), (13, 7), (7, 4), (4, 2)]),
        ((16, 16), [(4, 4), (2, 2), (1, 1), (1, 1), (1, 1)]),
    ],
)
def test_levels_have_4_2_1_half_and_a_quarter_of_the_maps_size(image, sizes):
    neck = SimpleFeaturePyramid(in_channels=8, out_channels=4)
    with torch.no_grad():
        maps = neck((torch.randn(2, 8, image[0] // 16, image[1] // 16),))
    assert [tuple(level.shape) for level in maps] == [(2, 4, *size) for size in sizes]


@pytest.mark.parametrize("num_outs", [4, 5, 6])
def test_num_outs_counts_all_levels(num_outs):
    maps = pyramid(num_outs=num_outs)((torch.randn(1, WIDTH, 8, 8),))
    assert [level.shape[-1] for level in maps] == [32, 16, 8, 4, 2, 1][:num_outs]


@pytest.mark.parametrize("size", [(6, 8), (7, 5), (1, 1)])
def test_it_equals_plain_torch_with_the_same_weights(size):
    torch.manual_seed(0)
    neck, plain = pyramid(), Plain()
    with torch.no_grad():
        for ours, theirs in zip(neck.parameters(), plain.parameters(), strict=True):
            theirs.copy_(torch.randn_like(theirs) * 0.3)
            ours.copy_(theirs)
        x = torch.randn(2, WIDTH, *size) * 3
        found, expected = neck((x,)), plain(x)
    assert len(found) == len(expected) == 5
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_only_the_last_map_counts():
    neck = pyramid()
    last, other = torch.randn(1, WIDTH, 4, 4), torch.full((1, WIDTH, 4, 4), torch.nan)
    for a, b in zip(neck((other, other, last)), neck((last,)), strict=True):
        assert torch.equal(a, b)


def test_every_parameter_has_a_gradient_from_its_own_level():
    neck = pyramid()
    maps = neck((torch.randn(2, WIDTH, 5, 6),))
    for number, level in enumerate(maps[:4]):
        neck.zero_grad()
        (level * torch.randn_like(level)).sum().backward(retain_graph=True)
        reached = {n for n, p in neck.named_parameters() if p.grad is not None and p.grad.any()}
        own = {n for n, _ in neck.named_parameters() if n.startswith(f"levels.{number}.")}
        assert reached == own


def test_it_starts_as_torch_does_and_not_as_mmcv_does():
    neck = pyramid()
    torch.manual_seed(3)
    plain = Plain()
    torch.manual_seed(3)
    neck.init_weights()
    for ours, theirs in zip(neck.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_fresh_one_is_started_too():
    for name, weight in SimpleFeaturePyramid(in_channels=64, out_channels=32).named_parameters():
        if name.endswith(".conv.weight"):
            bound = (weight[0].numel()) ** -0.5
            assert weight.abs().max() <= bound, name
            assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1), name


def test_init_cfg_is_laid_over_the_start():
    neck = pyramid(init_cfg=dict(type="Constant", layer="Conv2d", val=0.5))
    neck.init_weights()
    assert (neck.levels[0][2].conv.weight == 0.5).all()
    assert neck.levels[0][0][0].weight.std() > 0


@pytest.mark.parametrize("scope", ["mmdet", "mmseg", "mmpretrain", "mmengine"])
def test_its_bare_name_builds_in_every_scope(scope):
    cfg = dict(type="SimpleFeaturePyramid", in_channels=8)
    with DefaultScope.overwrite_default_scope(scope):
        neck = MODELS.build(cfg)
    norms = [m for m in neck.modules() if isinstance(m, nn.LayerNorm)]
    assert [norm.eps for norm in norms] == [1e-6] * 9
    assert neck.levels[3][1].norm.num_channels == 256


def test_another_norm_takes_the_place_of_ln():
    neck = pyramid(out_channels=4, norm_cfg=dict(type="GN", num_groups=2))
    norms = [m for m in neck.modules() if isinstance(m, (nn.LayerNorm, nn.GroupNorm))]
    assert len(norms) == 9 and all(isinstance(m, nn.GroupNorm) for m in norms)
    assert neck((torch.randn(1, WIDTH, 3, 3),))[0].shape == (1, 4, 12, 12)


@pytest.mark.parametrize(
    "kwargs, words",
    [
        (dict(in_channels=18), "in_channels=18 can't be halved twice"),
        (dict(num_outs=3), "num_outs=3"),
    ],
)
def test_what_it_cannot_make_is_refused(kwargs, words):
    with pytest.raises(InputError, match=words):
        pyramid(**kwargs)
