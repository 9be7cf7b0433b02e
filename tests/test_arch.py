"""A backbone's name in results, and what can be read back from it."""

from __future__ import annotations

import pytest

from semaim_mm.arch import SIZES, arch_name, depth_of, settle_arch

OWN = dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384)


@pytest.mark.parametrize("arch", [*SIZES, OWN], ids=str)
def test_the_depth_is_read_back_from_the_name_that_results_have(arch):
    name = arch_name(dict(type="SemAIMViT", arch=arch, patch_size=8))
    assert name.endswith("/8") and depth_of(name) == settle_arch(arch)["num_layers"]


def test_names_are_those_of_results_and_others_tell_no_depth():
    assert arch_name(dict(arch="base")) == "ViT-base/16"
    assert arch_name(dict(arch=OWN, patch_size=8)) == "ViT-96x4/8"
    assert arch_name(dict(type="RawPixels")) == "RawPixels" and arch_name({}) == "unknown"
    for name in ("RawPixels", "unknown", "ViT-odd/16", "ViT-base", "my ViT-96x4/8"):
        assert depth_of(name) is None
