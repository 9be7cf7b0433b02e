"""A teacher sees RGB, whatever order of channels the student's preprocessor hands on."""

from __future__ import annotations

import pytest
import torch
from teachers import BGR, SMALL, random_teacher, save
from torch.testing import assert_close

NAME = "vit_base_patch16_224.dino"


@pytest.mark.parametrize("normalize", ["teacher", "student", dict(mean=[9, 8, 7], std=[6, 5, 4])])
@pytest.mark.parametrize("scaled", [True, False], ids=["normalised", "not normalised"])
def test_the_tokens_are_those_of_rgb_for_a_student_of_bgr(normalize, scaled, tiny_model, tmp_path):
    path = save(random_teacher(NAME, img_size=64, num_classes=0).state_dict(), tmp_path / "t.pth")
    teacher = dict(type="TimmTeacher", model=NAME, weights=path, normalize=normalize)
    pixels = torch.randint(0, 256, (2, 3, 12, 20), generator=torch.Generator().manual_seed(0))
    tokens, seen = [], []
    for to_rgb, order in ((True, 1), (False, -1)):
        scale = dict(mean=BGR["mean"][::order], std=BGR["std"][::order]) if scaled else {}
        model = tiny_model(
            target_generator=teacher | dict(model_args=dict(SMALL, img_size=64)),
            head=dict(loss="unit_l2"),
            data_preprocessor=dict(type="KeyedPreprocessor", to_rgb=to_rgb, **scale),
        )
        imgs = model.data_preprocessor(dict(inputs=pixels.byte()))["inputs"]
        tokens.append(model.target(imgs).tokens)
        seen.append(imgs)
    assert torch.equal(seen[0], seen[1].flip(1)) and not torch.equal(*seen)
    assert_close(tokens[1], tokens[0], rtol=1e-4, atol=1e-4)
