"""What does not fit together is refused, when a SemAIM is built or at its first images."""

from __future__ import annotations

import pytest
import torch
from mmpretrain.structures import DataSample

from semaim_mm.errors import InputError


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(neck=dict(query_depth=3)), r"query_depth=3 does not divide depth=4.*\[1, 2, 4\]"),
        (dict(neck=dict(query_depth=0)), "query_depth=0 does not divide depth=4"),
        (dict(neck=dict(depth=6)), "depth=6, but the backbone has 4 blocks"),
        (dict(neck=dict(embed_dims=32)), "SemAIMDecoder has embed_dims=32, the backbone 24"),
        (dict(head=dict(embed_dims=32)), "SemAIMHead has embed_dims=32, the backbone 24"),
        (dict(head=dict(out_dims=7)), "predicts 7 values a patch, but PixelTarget has 48"),
        (dict(head=dict(loss="l3")), "no loss 'l3'; choose one of l2, l1, unit_l2"),
        (dict(head=dict(projection="deep")), "no projection 'deep'; choose 'mlp' or 'linear'"),
        (dict(target_generator=dict(patch_size=2)), "patches of 2 pixels, the backbone of 4"),
        (dict(target_generator=dict(blur_kernel=8)), "blur_kernel=8 must be odd"),
        (dict(target_generator=dict(blur_sigma=0)), "blur_sigma=0 positive"),
        (dict(backbone=dict(img_size=(12, 22))), r"img_size=\(12, 22\) is not a multiple .* 12 x"),
        (dict(backbone=dict(arch=dict(num_heads=5))), "num_heads=5 does not divide embed_dims=24"),
        (dict(order="semantik"), "no generation order 'semantik'; choose one of"),
        (dict(order=dict(type="semantic", similarity="max")), "no similarity 'max'"),
        (dict(similarity_from="teacher"), "'teacher' is none of online, ema, target"),
        (dict(similarity_from="ema"), r"needs an averaged copy of the backbone: set ema=dict\(\)"),
        (dict(ema=dict(start=1.0)), "start=1.0 and end=0.9999 must satisfy"),
        (dict(ema=dict(epochs=0)), "epochs=0 must be at least 1"),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_a_sentence(changes, sentence, tiny_model):
    with pytest.raises(InputError, match=sentence):
        tiny_model(**changes)


def test_missing_teacher_tokens_are_refused(tiny_model):
    model = tiny_model(
        target_generator=dict(type="GivenTokens", out_dims=10), head=dict(loss="unit_l2")
    )
    with pytest.raises(InputError, match="no teacher tokens were given"):
        model.pretrain_loss(torch.randn(2, 3, 12, 20), torch.rand(2, 15))


def test_a_map_that_the_target_can_not_give_is_refused(tiny_model):
    with pytest.raises(InputError, match="PixelTarget offers no tokens"):
        tiny_model(similarity_from="target")


def test_images_that_patches_do_not_tile_are_refused(tiny_model):
    with pytest.raises(InputError, match="13"):
        tiny_model()(torch.randn(2, 3, 13, 20), [DataSample(), DataSample()], mode="loss")
