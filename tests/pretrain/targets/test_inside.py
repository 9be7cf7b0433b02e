"""What lies inside a target: whether it can run on any picture, and who gives its map."""

from __future__ import annotations

import pytest
from conftest import TINY

from semaim_mm.pretrain import SemAIM
from semaim_mm.pretrain.targets import Student, build_target
from semaim_mm.pretrain.targets.inside import absent
from semaim_mm.report.order_data import examine


@pytest.fixture
def image(tmp_path, make_images):
    return make_images(tmp_path / "images", 1, size=40)[0]


TEACHER = dict(type="TimmTeacher", model="vit_base_patch16_224.dino", weights="gone.pth")


@pytest.mark.parametrize(
    "target",
    [
        dict(type="CachedTarget", teacher=TEACHER, folder="gone"),
        dict(type="MultiTarget", generators=[dict(type="PixelTarget"), TEACHER]),
    ],
)
def test_a_teacher_inside_another_target_is_not_at_hand_without_its_weights(target):
    generator = build_target(target, Student(4, 16))
    assert "TimmTeacher are not at gone.pth" in absent(generator)
    assert absent(build_target(dict(type="OnlineTarget"), Student(4, 16))) is None


@pytest.mark.parametrize(
    ("kind", "said"), [("EMATarget", "the averaged model"), ("OnlineTarget", "the model itself")]
)
def test_a_map_by_the_models_own_tokens_is_called_so(kind, said, image):
    several = dict(type="MultiTarget", generators=[dict(type="PixelTarget"), dict(type=kind)])
    single = dict(type="SemAIMHead", loss="unit_l2")
    heads = dict(type="MultiHead", heads=[dict(loss="l2"), dict(loss="unit_l2")])
    for target, head in ((dict(type=kind), single), (several, heads)):
        cfg = dict(TINY, target_generator=target, head=head, ema=dict(), similarity_from="target")
        model = SemAIM(**cfg)
        model.init_weights()
        assert examine(model.eval(), image).source == f"to CLS, by {said}"
