"""A checkout of the authors' code is timed only if it reproduces what their code computed."""

from __future__ import annotations

import re
import sys
from functools import partial
from types import ModuleType

import numpy as np
import pytest
import torch
from authors_checkout import write_checkout
from conftest import REFERENCE

from semaim_mm.bench import pretrain
from semaim_mm.bench.authors_code import AuthorsStep, check_losses, load_model_class
from semaim_mm.bench.dense_semaim import DenseSemAIM
from semaim_mm.bench.pretrain_steps import PARTS
from semaim_mm.bench.report import Table
from semaim_mm.errors import InputError

OPTIMIZER = dict(optimizer=dict(type="AdamW"), clip_grad=dict(max_norm=3.0))


@pytest.fixture
def model(tiny_model):
    """14 x 14 patches, the least that their code takes."""
    return tiny_model(backbone=dict(img_size=56))


@pytest.fixture
def imgs() -> torch.Tensor:
    return torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))


def test_one_that_reproduces_the_losses_passes(tmp_path):
    check_losses(load_model_class(write_checkout(tmp_path)), REFERENCE)


@pytest.mark.parametrize("factor", ["1.0001", "float('nan')"])
def test_one_whose_losses_differ_is_refused(factor, tmp_path):
    checkout = write_checkout(tmp_path, factor)
    with pytest.raises(InputError, match="does not reproduce the reference losses.*not timed"):
        check_losses(load_model_class(checkout), REFERENCE)


def test_one_whose_updates_alone_differ_is_refused(tmp_path, monkeypatch):
    kind = load_model_class(write_checkout(tmp_path))
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: (step(self), step(self)))
    with pytest.raises(InputError, match="does not reproduce the reference losses"):
        check_losses(kind, REFERENCE)


def test_a_folder_without_their_model_is_named(tmp_path):
    with pytest.raises(InputError, match="is no checkout.*no models/models_semaim.py"):
        load_model_class(tmp_path)


def test_a_missing_dependency_is_named(tmp_path):
    write_checkout(tmp_path)
    (tmp_path / "util" / "blocks.py").write_text("import no_such_package\n")
    with pytest.raises(InputError, match="can't be imported.*no_such_package"):
        load_model_class(tmp_path)


def test_other_arguments_than_theirs_are_named(tmp_path):
    write_checkout(tmp_path)
    (tmp_path / "models" / "models_semaim.py").write_text("class AimViT:\n    pass\n")
    with pytest.raises(InputError, match="does not take the authors' arguments"):
        check_losses(load_model_class(tmp_path), REFERENCE)


def test_images_of_fewer_patches_than_theirs_are_refused(tmp_path, tiny_model):
    kind = load_model_class(write_checkout(tmp_path))
    imgs = torch.randn(1, 3, 32, 32)
    with pytest.raises(InputError, match="needs 14 x 14 patches or more"):
        AuthorsStep(kind, tiny_model(backbone=dict(img_size=32)), imgs, "fp32")


def test_neither_its_packages_nor_the_old_name_of_numpy_stay(tmp_path, monkeypatch):
    mine = ModuleType("util")
    monkeypatch.setitem(sys.modules, "util", mine)
    path = list(sys.path)
    for number in ("1.0", "1.5"):  # the second one's modules are not the first one's
        kind = load_model_class(write_checkout(tmp_path / number, number))
        assert kind.forward_pixel_loss.__globals__["FACTOR"] == float(number)
    assert sys.modules["util"] is mine and "util.blocks" not in sys.modules
    assert "models.models_semaim" not in sys.modules and sys.path == path
    assert not hasattr(np, "float")


def test_its_parts_give_its_own_loss_and_move_its_weights(tmp_path, model, imgs):
    step = AuthorsStep(load_model_class(write_checkout(tmp_path)), model, imgs, "fp32")
    before = [p.detach().clone() for p in step.parameters]
    for part in PARTS[:3]:
        step.parts[part]()
    dense = DenseSemAIM(model)
    assert step.value == pytest.approx(dense(imgs, 1 - dense.similarity(imgs)).item(), rel=1e-6)
    assert step.value == step.model(imgs, None, step.map)[0].item()
    for part in PARTS[3:]:
        step.parts[part]()
    moved = [not torch.equal(a, b) for a, b in zip(before, step.parameters, strict=True)]
    assert all(moved) and all(p.grad is None for p in step.parameters)


def measured(monkeypatch, model, compile=False, **options) -> tuple[list[dict], Table, Table]:
    """The benchmark's tables of ``model`` on 2 images, after the first one's rows on the CPU."""
    monkeypatch.setattr(pretrain, "build_model", lambda sizes: (model, OPTIMIZER))
    sizes = pretrain.Sizes("tiny", 56, 2, "fp32", compile)
    whole, parts = pretrain.measure(sizes, 1, **options)
    rows = [dict(zip(whole.columns, row, strict=True)) for row in whole.rows]
    return [row for row in rows if row["device"] == "cpu"], whole, parts


@pytest.mark.slow
def test_with_a_checkout_ratios_are_against_it(monkeypatch, tmp_path, model):
    monkeypatch.setattr(pretrain, "check_losses", lambda kind: check_losses(kind, REFERENCE))
    checkout = write_checkout(tmp_path)
    rows, whole, parts = measured(monkeypatch, model, authors=checkout)
    named = [row["what"].split(",")[0] for row in rows]
    assert named == ["the authors' code", "our dense baseline", "ours"]
    assert rows[0]["time of the authors' code / this"] == (1.0, 1.0, 1.0)
    assert rows[0]["memory of this / the authors' code"] == 1.0
    assert "a checkout that reproduced the reference losses" in whole.notes[0]
    assert list(parts.columns)[-2:] == ["the authors' code / ours", "our dense baseline / ours"]


def test_without_one_ratios_are_against_our_dense_baseline(monkeypatch, model):
    rows, whole, _ = measured(monkeypatch, model)
    assert [row["what"].split(",")[0] for row in rows] == ["our dense baseline", "ours"]
    assert rows[0]["time of our dense baseline / this"] == (1.0, 1.0, 1.0)
    assert "Those to the authors' own code are not measured" in whole.notes[0]
    assert not any("authors" in name for name in whole.columns)


@pytest.mark.slow
def test_ours_is_timed_compiled_beside_eager(monkeypatch, model):
    # aot_eager compiles all but the kernels, which would take minutes
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    rows, whole, parts = measured(monkeypatch, model, compile=True)
    torch.compiler.reset()
    named = [row["what"].partition(", ViT")[0] for row in rows]
    assert named == ["our dense baseline", "ours, compiled", "ours"]
    (told,) = [note for note in whole.notes if note.startswith("Time of ours / ours, compiled: ")]
    assert float(re.search(r"compiled: ([\d.]+) \(", told)[1]) > 0
    assert list(parts.columns)[-2:] == ["our dense baseline / ours", "ours, compiled / ours"]
    assert "predict_in_order" not in vars(model)
    loading = dict(zip(parts.columns, parts.rows[-1], strict=True))
    assert loading["part"] == pretrain.LOADER and loading["device"] == "cpu"
    assert loading["ours, compiled, ms"] == loading["ours, ms"] != loading["our dense baseline, ms"]
    assert loading["ours, compiled / ours"] == (1.0, 1.0, 1.0)


def test_every_arm_is_a_multiple_of_timm_in_its_own_precision_and_compile(monkeypatch, model, imgs):
    seen = []
    monkeypatch.setattr(torch, "compile", lambda vit: seen.append("compiled") or vit)
    step = AuthorsStep.__new__(AuthorsStep)
    step.imgs = imgs
    arms = {
        pretrain.BASELINE: pretrain.Arm(step, "fp16"),
        pretrain.OURS: pretrain.Arm(step, "bf16", compiled=True),
    }
    made = pretrain.timm_arms(model, pretrain.Sizes("tiny", 56, 2, "bf16", True), arms)
    assert set(made) == {("fp16", False), ("bf16", True)} and seen == ["compiled"]
    kinds = []
    for forward in made.values():
        hook = torch.nn.modules.module.register_module_forward_hook(
            lambda module, args, out: (
                kinds.append(out.dtype) if isinstance(module, torch.nn.Linear) else None
            )
        )
        forward()
        hook.remove()
        kinds.append(None)
    split = kinds.index(None)
    assert set(kinds[:split]) == {torch.float16} and set(kinds[split + 1 : -1]) == {torch.bfloat16}
