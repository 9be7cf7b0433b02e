"""A backbone loads strictly, from any known naming; nothing that a file holds is executed."""

from __future__ import annotations

import os

import pytest
import torch
from mmengine.logging import HistoryBuffer, history_buffer
from safetensors.torch import save_file

from semaim_mm.errors import InputError
from semaim_mm.interop import load_backbone_weights, read_state_dict, to_authors
from semaim_mm.vit import SemAIMViT

ARCH = dict(embed_dims=24, num_layers=4, num_heads=2, feedforward_channels=48)
SHAPE = dict(arch=ARCH, img_size=(16, 16), patch_size=4)


def fresh(**kwargs) -> SemAIMViT:
    return SemAIMViT(**SHAPE | kwargs)


@pytest.fixture
def model(tiny_model):
    return tiny_model(backbone=dict(img_size=(16, 16)))


def save(tmp_path, content) -> str:
    path = tmp_path / "checkpoint.pth"
    torch.save(content, path)
    return str(path)


def assert_equals(backbone: SemAIMViT, model) -> None:
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(backbone.state_dict()[name], value), name


FORMS = {
    "mmpretrain under state_dict": lambda m: dict(meta={}, state_dict=m.state_dict()),
    "mmpretrain bare": lambda m: m.state_dict(),
    "from several GPUs": lambda m: dict(
        state_dict={f"module.{k}": v for k, v in m.state_dict().items()}
    ),
    "backbone alone": lambda m: m.backbone.state_dict(),
    "authors under state_dict": lambda m: dict(epoch=3, state_dict=to_authors(m)),
    "authors under model": lambda m: dict(model=to_authors(m)),
    "authors from several GPUs": lambda m: dict(
        state_dict={f"module.{k}": v for k, v in to_authors(m).items()}
    ),
    "timm with a classifier": lambda m: dict(
        model=to_authors(m) | {"head.weight": torch.zeros(3, 24), "head.bias": torch.zeros(3)}
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_known_form_loads_in_full(form, model, tmp_path):
    backbone = fresh()
    coverage = load_backbone_weights(backbone, save(tmp_path, FORMS[form](model)))
    assert_equals(backbone, model)
    assert coverage.matched == len(backbone.state_dict())
    assert (coverage.new, coverage.unused) == ((), ())


def test_safetensors_load_too(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    backbone = fresh()
    load_backbone_weights(backbone, tmp_path / "model.safetensors")
    assert_equals(backbone, model)


@pytest.mark.parametrize("kind", ["BackboneCheckpoint", "Pretrained"])
def test_init_cfg_loads_the_file_and_is_strict(kind, model, tmp_path):
    path = save(tmp_path, model.state_dict())
    backbone = fresh(init_cfg=dict(type=kind, checkpoint=path))
    backbone.init_weights()
    assert_equals(backbone, model)
    assert backbone.coverage.matched == len(backbone.state_dict())
    with pytest.raises(InputError, match="lacks"):
        fresh(
            arch=ARCH | dict(num_layers=5), init_cfg=dict(type=kind, checkpoint=path)
        ).init_weights()


def test_missing_weights_are_counted_and_named_and_nothing_is_loaded(model, tmp_path):
    state = {k: v for k, v in model.state_dict().items() if "layers.2.attn" not in k}
    backbone = fresh()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    path = save(tmp_path, state)
    with pytest.raises(InputError) as error:
        load_backbone_weights(backbone, path)
    assert f"{path} lacks 4 of the backbone's {len(before)} weights (layers.* (4))" in str(
        error.value
    )
    assert all(torch.equal(backbone.state_dict()[k], v) for k, v in before.items())


def test_a_file_of_another_model_says_what_it_holds(tmp_path):
    path = save(tmp_path, {"conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1)})
    with pytest.raises(InputError, match=r"it has conv1.weight, fc.bias"):
        load_backbone_weights(fresh(), path)


def test_weights_named_as_new_may_be_missing_and_stay_as_they_are(model, tmp_path):
    backbone = fresh(out_type="avg_featmap")
    with torch.no_grad():
        backbone.ln2.weight.fill_(7)
    path = save(tmp_path, model.state_dict())
    with pytest.raises(InputError, match=r"ln2.\* \(2\)"):
        load_backbone_weights(backbone, path)
    coverage = load_backbone_weights(backbone, path, new_keys=["ln2.*"])
    assert coverage.new == ("ln2.bias", "ln2.weight")
    assert "2 new (ln2.bias, ln2.weight)" in str(coverage)
    assert (backbone.ln2.weight == 7).all()
    assert_equals(backbone, model)


def test_a_new_key_that_the_backbone_lacks_is_refused(model, tmp_path):
    path = save(tmp_path, model.state_dict())
    with pytest.raises(InputError, match=r"new_keys names 'fc_norm.\*', but .* begin with cls_"):
        load_backbone_weights(fresh(), path, new_keys=["fc_norm.*"])


def test_weights_that_the_backbone_does_not_use_are_reported(model, tmp_path):
    pooling = {"ln2.weight": torch.zeros(24), "ln2.bias": torch.zeros(24)}
    coverage = load_backbone_weights(fresh(), save(tmp_path, model.backbone.state_dict() | pooling))
    assert coverage.unused == ("ln2.bias", "ln2.weight")
    assert "2 of the file unused (ln2.bias, ln2.weight)" in str(coverage)


def test_another_width_is_refused_with_both_shapes(model, tmp_path):
    wide = fresh(arch=ARCH | dict(embed_dims=32))
    with pytest.raises(InputError, match=r"does not fit the backbone: .*Choose the arch"):
        load_backbone_weights(wide, save(tmp_path, model.state_dict()))


def test_another_grid_is_interpolated(model, tmp_path):
    backbone = fresh(img_size=(24, 32))
    load_backbone_weights(backbone, save(tmp_path, model.state_dict()))
    assert torch.equal(backbone.pos_embed[:, 0], model.backbone.pos_embed[:, 0])
    assert torch.equal(backbone.layers[0].attn.qkv.bias, model.backbone.layers[0].attn.qkv.bias)


def test_a_rectangular_table_that_can_not_be_interpolated_is_refused(tiny_model, tmp_path):
    path = save(tmp_path, tiny_model().state_dict())  # 3 x 5 patches: no square to start from
    with pytest.raises(InputError, match="pos_embed|img_size"):
        load_backbone_weights(fresh(), path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no checkpoint file at .*nowhere.pth; check the path"):
        load_backbone_weights(fresh(), tmp_path / "nowhere.pth")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kept", [0, 1, 2, 50, 0.3, 0.9, -1])
def test_a_truncated_file_is_refused_with_a_sentence(kept, legacy, model, tmp_path):
    path = tmp_path / "cut.pth"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(InputError, match=r"cut.pth (is not a readable checkpoint|holds)"):
        read_state_dict(path)


@pytest.mark.parametrize("content", [[torch.zeros(1)], torch.zeros(1), {}, dict(epoch=3), 7])
def test_a_file_without_a_state_dict_is_refused(content, tmp_path):
    with pytest.raises(InputError, match="holds no state dict"):
        read_state_dict(save(tmp_path, content))


def test_a_file_that_wants_to_run_code_is_refused_and_runs_nothing(model, tmp_path):
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(canary),)

    path = save(tmp_path, dict(state_dict=model.state_dict(), optimizer=Evil()))
    with pytest.raises(InputError, match="could run code; it was not read"):
        load_backbone_weights(fresh(), path)
    assert not canary.exists()


def test_a_file_can_not_run_code_through_the_names_that_log_buffers_need(
    model, tmp_path, monkeypatch
):
    """An unrestricted ``getattr`` reaches a module's globals, and from there ``exec``."""
    canary = tmp_path / "canary"
    code = f"import os; os.mkdir({str(canary)!r})"
    monkeypatch.setattr(history_buffer, "np", history_buffer.np)  # restored whatever happens

    class Attribute:
        def __init__(self, owner, name):
            self.args = owner, name

        def __reduce__(self):
            return getattr, self.args

    class FakeNumpy:
        def __reduce__(self):
            run = Attribute(Attribute(getattr, "__self__"), "exec")
            return HistoryBuffer, (), dict(array=run)

    class Replace:
        def __reduce__(self):
            items = iter([("np", FakeNumpy())])
            return getattr, (HistoryBuffer.min, "__globals__"), None, None, items

    class Run:
        def __reduce__(self):
            return HistoryBuffer, (code, "#" * len(code))

    path = save(tmp_path, dict(state_dict=model.state_dict(), logs=[Replace(), Run()]))
    with pytest.raises(InputError, match="could run code; it was not read"):
        read_state_dict(path)
    assert not canary.exists(), "the file ran its code"


def test_mmengines_own_log_buffers_are_read(model, tmp_path):
    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    path = save(tmp_path, dict(state_dict=model.state_dict(), message_hub=dict(loss=buffer)))
    assert read_state_dict(path).keys() == model.state_dict().keys()
