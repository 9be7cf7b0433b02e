"""Images on the device: normalised as mmpretrain does, flipped as a function of the sample."""

from __future__ import annotations

import pytest
import torch
from mmpretrain.models import SelfSupDataPreprocessor
from mmpretrain.structures import DataSample
from seen_ops import SeenOps

from semaim_mm.errors import InputError
from semaim_mm.pretrain.draws import Draws
from semaim_mm.pretrain.preprocessor import FLIP, KeyedPreprocessor

SCALE = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)


def batch(ids, epoch: int = 0, seed: int = 0) -> dict:
    """Images whose pixels depend on the id alone."""
    imgs = [torch.randint(256, (3, 4, 6), generator=torch.Generator().manual_seed(n)) for n in ids]
    samples = [DataSample(metainfo=dict(sample_key=(seed, epoch, n))) for n in ids]
    return dict(inputs=torch.stack(imgs).to(torch.uint8), data_samples=samples)


def flipped(prepared: torch.Tensor, data: dict) -> list[bool]:
    """Which images of a prepared batch are flipped; each is that or as it was, bit by bit."""
    plain = SelfSupDataPreprocessor(**SCALE)(data)["inputs"]
    found = []
    for one, other in zip(prepared, plain, strict=True):
        found.append(torch.equal(one, other.flip(-1)))
        assert found[-1] or torch.equal(one, other)
    return found


@pytest.mark.parametrize("options", [SCALE, dict(), dict(SCALE, to_rgb=False)])
def test_without_flips_it_is_mmpretrains(options):
    data = batch(range(4))
    ours = KeyedPreprocessor(flip_prob=0.5, **options)(data, False)
    theirs = SelfSupDataPreprocessor(**options)(data, False)
    assert torch.equal(ours["inputs"], theirs["inputs"])
    keys = [[sample.sample_key for sample in found["data_samples"]] for found in (ours, theirs)]
    assert keys[0] == keys[1]


def test_half_of_the_images_are_flipped_and_others_in_another_epoch():
    prepare = KeyedPreprocessor(flip_prob=0.5, **SCALE)
    first, second = (
        flipped(prepare(batch(range(400), epoch), True)["inputs"], batch(range(400), epoch))
        for epoch in (0, 1)
    )
    assert 160 < sum(first) < 240 and 160 < sum(second) < 240
    assert 150 < sum(a != b for a, b in zip(first, second, strict=True)) < 250


def test_a_sample_is_flipped_or_not_wherever_it_stands_in_whatever_batch():
    prepare = KeyedPreprocessor(flip_prob=0.5, **SCALE)
    whole = prepare(batch(range(12)), True)["inputs"]
    for ids in ([11, 3, 0, 7], [5]):
        assert torch.equal(prepare(batch(ids), True)["inputs"], whole[ids])


def test_flips_say_nothing_of_the_orders_draws():
    data = batch(range(400))
    flips = torch.tensor(
        flipped(KeyedPreprocessor(flip_prob=0.5, **SCALE)(data, True)["inputs"], data)
    )
    noise = Draws.of_samples(data["inputs"], data["data_samples"]).below(1 << 24) < 1 << 23
    assert 160 < (flips == noise).sum() < 240
    again = Draws.of_samples(data["inputs"], data["data_samples"], purpose=FLIP)
    assert torch.equal(again.below(1 << 24) < 1 << 23, flips)


def test_views_are_flipped_apart():
    data = batch(range(64))
    images = data["inputs"]
    views = KeyedPreprocessor(flip_prob=0.5, **SCALE)(dict(data, inputs=[images, images]), True)
    one, other = (flipped(view, data) for view in views["inputs"])
    assert one != other and 15 < sum(a == b for a, b in zip(one, other, strict=True)) < 49


def test_no_index_comes_from_the_host():
    for kind, expected in ((SelfSupDataPreprocessor, True), (KeyedPreprocessor, False)):
        with SeenOps() as ops:
            kind(**SCALE)(batch(range(2)), True)
        assert ("index" in ops.names) is expected


def test_a_share_above_one_is_refused():
    with pytest.raises(InputError, match=r"flip_prob=50; choose a share from 0 to 1"):
        KeyedPreprocessor(flip_prob=50)
