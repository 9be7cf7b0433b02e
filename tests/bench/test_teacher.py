"""The teacher's share: a part of its own, random weights only where they are asked for."""

from __future__ import annotations

import pytest
import torch
from conftest import TINY, merge
from test_pretrain_steps import WRAPPER
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing import assert_close

from semaim_mm.bench import teacher
from semaim_mm.bench.pretrain_steps import PARTS
from semaim_mm.bench.teacher import Sizes, TaughtStep
from semaim_mm.errors import InputError
from semaim_mm.pretrain import SemAIM

SIZES = Sizes("a_leaf.py", 12, 2, "fp32")
SMALL_VIT = dict(
    type="TimmTeacher",
    model="vit_tiny_patch16_224",
    weights="not/there.pt",
    model_args=dict(embed_dim=16, depth=1, num_heads=2),
)


@pytest.fixture
def imgs() -> torch.Tensor:
    return torch.randn(3, 3, 12, 20, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def leaf(monkeypatch):
    """Stands in for every leaf: a tiny SemAIM that predicts features of a tiny ViT."""
    changes = dict(backbone=dict(img_size=12), head=dict(loss="unit_l2"))
    model = SemAIM(**merge(TINY, changes) | dict(target_generator=SMALL_VIT))
    monkeypatch.setattr(teacher, "shape_model", lambda *leaf: (model, WRAPPER))
    return model


@pytest.mark.parametrize("source", ["online", "target"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_step_runs_the_teacher_once_and_gives_the_models_own_loss(
    source, whole, tiny_model, imgs, monkeypatch
):
    features = dict(target_generator=dict(type="EMATarget"), head=dict(loss="unit_l2"))
    model = tiny_model(**features, ema=dict(), similarity_from=source)
    torch.manual_seed(1)
    expected = model.loss(imgs)["loss"]
    step, calls, losses = TaughtStep(model, imgs, WRAPPER, "fp32"), [], []
    make, learn = model.target_generator.forward, step.wrapper.backward
    monkeypatch.setattr(model.target_generator, "forward", lambda *x: calls.append(1) or make(*x))
    monkeypatch.setattr(step.wrapper, "backward", lambda loss: losses.append(loss) or learn(loss))
    assert list(step.parts) == ["teacher", *PARTS]
    torch.manual_seed(1)
    for run in [step] if whole else step.parts.values():
        run()
    assert len(calls) == 1
    assert_close(losses, [expected], rtol=0, atol=0)


def test_the_shares_of_all_parts_are_the_update(leaf):
    (table,) = teacher.measure(SIZES._replace(random_teacher=True), rounds=3)
    rows = [row for row in table.rows if row[1] == "cpu"]
    assert [row[0] for row in rows] == ["teacher", *PARTS, "all"]
    alone, share = rows[0][2:]
    assert 0 < share.lowest <= share.median <= share.highest < 100
    assert share.lowest <= 100 * alone.median / rows[-1][2].lowest
    assert "TimmTeacher vit_tiny_patch16_224, with random weights" in table.notes[0]


def test_a_teacher_without_its_weights_is_refused_unless_random_ones_are_asked_for(leaf):
    with pytest.raises(InputError, match="not/there.pt"):
        teacher.build_step(SIZES)
    step = teacher.build_step(SIZES._replace(random_teacher=True))
    step()
    assert not any("teacher" in name for name, _ in step.model.named_parameters())


def test_a_students_attention_that_is_not_fused_stops_the_benchmark(leaf):
    step = teacher.build_step(SIZES._replace(random_teacher=True))
    teacher.check_attention(step)  # the teacher's own calls are not the student's
    with sdpa_kernel(SDPBackend.MATH), pytest.raises(InputError, match="not by a fused one"):
        teacher.check_attention(step)


def test_a_leaf_without_a_teacher_is_refused(tiny_model, monkeypatch):
    monkeypatch.setattr(teacher, "shape_model", lambda *leaf: (tiny_model(), WRAPPER))
    with pytest.raises(InputError, match="a_leaf.py has no teacher: PixelTarget"):
        teacher.build_step(SIZES)
