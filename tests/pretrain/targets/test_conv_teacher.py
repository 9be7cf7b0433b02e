"""Convolutional teachers: cells of a map are patches; the PyPI package's file is read."""

from __future__ import annotations

import pytest
import timm
import torch
from teachers import package_names, rescaled, save
from torch.testing import assert_close

from semaim_mm.errors import InputError
from semaim_mm.pretrain.targets import ConvTeacher

HALF = ((0.5,) * 3, (0.5,) * 3)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model("tf_efficientnet_lite0", num_classes=5)
        for name, buffer in model.named_buffers():
            if "running_mean" in name:
                buffer.normal_(std=0.1)
    return model.eval()


@pytest.fixture
def imgs() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def map_of(network: torch.nn.Module, imgs: torch.Tensor, blocks: int) -> torch.Tensor:
    """(B, L, C): the output of the first ``blocks`` stages, run one by one."""
    with torch.no_grad():
        x = network.bn1(network.conv_stem(imgs))
        for stage in network.blocks[:blocks]:
            x = stage(x)
    return x.flatten(2).transpose(1, 2)


@pytest.mark.parametrize(("stride", "blocks", "width"), [(8, 3, 40), (16, 5, 112), (32, 7, 320)])
def test_tokens_are_the_cells_of_the_networks_map(stride, blocks, width, network, imgs, tmp_path):
    path = save(network.state_dict(), tmp_path / "net.pth")
    target = ConvTeacher(weights=path, stride=stride, patch_size=8, normalize="student")
    side = 8 * stride
    seen = imgs
    if side != 64:
        seen = torch.nn.functional.interpolate(seen, (side, side), mode="bicubic", antialias=True)
    expected = map_of(network, seen, blocks)
    found = target(imgs)
    assert expected.shape == (2, 64, width) and target.out_dims == width
    assert_close(found.values, expected, rtol=1e-5, atol=1e-5)
    assert_close(found.tokens[:, 0], expected.mean(dim=1), rtol=1e-5, atol=1e-5)


def test_inputs_are_scaled_as_the_network_wants(network, imgs, tmp_path):
    target = ConvTeacher(weights=save(network.state_dict(), tmp_path / "net.pth"))
    expected = map_of(network, rescaled(imgs, *HALF), 5)
    assert_close(target(imgs).values, expected, rtol=1e-4, atol=1e-4)


def test_a_file_with_the_packages_names_gives_the_same_teacher(network, imgs, tmp_path):
    state = network.state_dict()
    expected = ConvTeacher(weights=save(state, tmp_path / "a.pth"))(imgs).tokens
    path = save(package_names(state, network), tmp_path / "b.pth")
    assert torch.equal(ConvTeacher(weights=path)(imgs).tokens, expected)


def test_what_is_no_such_network_or_file_is_refused(network, imgs, tmp_path):
    with pytest.raises(InputError, match=r"no map of stride 12; choose one of \[2, 4, 8, 16, 32\]"):
        ConvTeacher(weights="w.pth", stride=12)
    with pytest.raises(InputError, match="no maps of several strides"):
        ConvTeacher("vit_base_patch16_224.dino", weights="w.pth")
    with pytest.raises(InputError, match="has no weights for tf_efficientnet_lite0"):
        ConvTeacher()
    state = package_names(network.state_dict(), network)
    state.pop("_blocks.5._bn2.running_mean")
    with pytest.raises(InputError, match="does not hold the weights"):
        ConvTeacher(weights=save(state, tmp_path / "cut.pth"))(imgs)
