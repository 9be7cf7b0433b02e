"""Converting checkpoints: no bit lost, every key accounted for, nothing half written."""

import json

import pytest
import torch
from mmpretrain.registry import MODELS
from safetensors.torch import load_file, save_file

from semaim_mm.errors import InputError
from semaim_mm.interop import convert
from semaim_mm.interop.authors import algorithm_config, to_authors
from semaim_mm.interop.backbone_checkpoint import load_backbone_weights
from semaim_mm.interop.blur_kernel import BlurKernel, target_of_text
from semaim_mm.interop.checkpoint_file import read_state_dict
from semaim_mm.interop.convert import convert_file

TINY = dict(img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, query_depth=2)


def build(**config):
    """A tiny SemAIM whose every weight, norms and biases included, is random."""
    torch.manual_seed(0)
    model = MODELS.build(algorithm_config(TINY | config))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def authors_state(**config) -> dict[str, torch.Tensor]:
    """The authors' state dict of a random model, its kernel such as no formula gives to the bit."""
    state = to_authors(build(**config))
    if "gaussian_blur.weight" in state:
        state["gaussian_blur.weight"] *= 1 + 1e-7 * torch.arange(81.0).view(9, 9)
    return state


def assert_equal(ours: dict, theirs: dict) -> None:
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        assert ours[key].dtype == value.dtype and torch.equal(ours[key], value), key


@pytest.mark.parametrize("head", ["MLP", "LINEAR"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("blur", [dict(gaussian_kernel_size=9, gaussian_sigma=1), {}])
def test_there_and_back_changes_no_bit_of_the_authors_weights(tmp_path, head, suffix, blur):
    state = authors_state(prediction_head_type=head, **blur)
    assert ("gaussian_blur.weight" in state) == bool(blur)
    torch.save(dict(state_dict=state), tmp_path / "theirs.pth")
    convert_file(tmp_path / "theirs.pth", tmp_path / f"ours{suffix}")
    convert_file(tmp_path / f"ours{suffix}", tmp_path / f"back{suffix}")
    assert_equal(read_state_dict(tmp_path / f"back{suffix}"), state)


def test_the_authors_own_file_comes_back_bit_by_bit(tmp_path, reference):
    torch.save(dict(state_dict=reference.state), tmp_path / "theirs.pth")
    convert_file(tmp_path / "theirs.pth", tmp_path / "ours.safetensors")
    convert_file(tmp_path / "ours.safetensors", tmp_path / "back.pth")
    assert_equal(read_state_dict(tmp_path / "back.pth"), reference.state)


def test_the_converted_state_is_the_whole_model_and_nothing_else(tmp_path):
    model = build(gaussian_kernel_size=9, gaussian_sigma=1)
    torch.save(to_authors(model), tmp_path / "theirs.pth")
    convert_file(tmp_path / "theirs.pth", tmp_path / "ours.pth")
    assert_equal(read_state_dict(tmp_path / "ours.pth"), dict(model.state_dict()))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_survives_too(tmp_path, half):
    state = {
        k: v.to(half) for k, v in authors_state(gaussian_kernel_size=9, gaussian_sigma=1).items()
    }
    torch.save(state, tmp_path / "theirs.pth")
    convert_file(tmp_path / "theirs.pth", tmp_path / "ours.safetensors")
    convert_file(tmp_path / "ours.safetensors", tmp_path / "back.pth")
    assert_equal(read_state_dict(tmp_path / "back.pth"), state)


def wrap(state: dict, form: str) -> dict:
    """A state dict in one of the forms in which the authors' files come."""
    prefixed = {f"module.{key}": value for key, value in state.items()}
    return {
        "bare": state,
        "prefixed": prefixed,
        "model": dict(model=state, epoch=3),
        "state_dict": dict(epoch=3, model="aim_base", state_dict=prefixed, optimizer={}),
    }[form]


@pytest.mark.parametrize("form", ["bare", "prefixed", "model", "state_dict"])
def test_every_container_gives_the_same_and_prints_every_key(tmp_path, form):
    state = authors_state(gaussian_kernel_size=9, gaussian_sigma=1)
    content = wrap(state, form)
    torch.save(content, tmp_path / "in.pth")
    conversion = convert_file(tmp_path / "in.pth", tmp_path / "out.pth")
    prefix = "module." if form in ("prefixed", "state_dict") else ""
    lines = conversion.lines()
    for key in state:
        assert sum(line.startswith(f"{prefix}{key} ") for line in lines) == 1, key
    assert sum("->" in line for line in lines[1:]) == len(state) - 1
    blur = next(line for line in lines if "gaussian_blur" in line)
    assert "left out: a Gaussian of 9 x 9, sigma 1" in blur
    assert f"{len(state)} keys read: {len(state) - 1} renamed, 0 kept, 1 left out" in lines[-1]
    rest = [key for key in content if form in ("model", "state_dict") and key != form]
    assert not rest or f"not converted: {', '.join(rest)}" in lines[-2]


def test_the_direction_is_read_off_the_keys_not_the_name(tmp_path):
    torch.save(build().state_dict(), tmp_path / "authors_semaim.pth")
    conversion = convert_file(tmp_path / "authors_semaim.pth", tmp_path / "mmpretrain.pth")
    assert conversion.lines()[0] == "mmpretrain -> authors"
    assert "blocks.0.norm1.weight" in read_state_dict(tmp_path / "mmpretrain.pth")


@pytest.mark.parametrize(
    ("kernel", "added"),
    [(9, "a Gaussian of 9 x 9, sigma 1, by the config text"), (None, "not blurred, by the config")],
)
def test_the_blur_of_a_run_of_ours_is_read_from_its_config_text_and_never_run(
    tmp_path, kernel, added
):
    text = (
        f"import os\nos.mkdir({str(tmp_path / 'canary')!r})\n"
        f"model = dict(type='SemAIM', target_generator=dict(type='PixelTarget', "
        f"blur_kernel={kernel}))\n"
    )
    torch.save(dict(state_dict=build().state_dict(), meta=dict(cfg=text)), tmp_path / "in.pth")
    lines = convert_file(tmp_path / "in.pth", tmp_path / "out.pth").lines()
    assert any(added in line for line in lines)
    assert ("gaussian_blur.weight" in read_state_dict(tmp_path / "out.pth")) == bool(kernel)
    assert not (tmp_path / "canary").exists()


def test_the_blur_comes_from_a_config_given_or_by_default_and_is_said(tmp_path):
    torch.save(build().state_dict(), tmp_path / "in.pth")
    given = dict(type="PixelTarget", blur_kernel=5, blur_sigma=0.8)
    lines = convert_file(tmp_path / "in.pth", tmp_path / "a.pth", target_config=given).lines()
    assert any("a Gaussian of 5 x 5, sigma 0.8, by the config given" in line for line in lines)
    assert read_state_dict(tmp_path / "a.pth")["gaussian_blur.weight"].shape == (3, 1, 5, 5)
    lines = convert_file(tmp_path / "in.pth", tmp_path / "b.pth").lines()
    assert any("a Gaussian of 9 x 9, sigma 1, by default" in line for line in lines)


def test_a_config_that_agrees_with_the_file_keeps_the_exact_kernel(tmp_path):
    state = authors_state(gaussian_kernel_size=9, gaussian_sigma=1)
    torch.save(state, tmp_path / "in.pth")
    convert_file(tmp_path / "in.pth", tmp_path / "ours.pth")
    same = dict(type="PixelTarget", blur_kernel=9, blur_sigma=1.0)
    convert_file(tmp_path / "ours.pth", tmp_path / "back.pth", target_config=same)
    assert_equal(read_state_dict(tmp_path / "back.pth"), state)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.25])
def test_sigma_is_measured_from_the_weights(sigma):
    kernel = BlurKernel.of_weight(BlurKernel.gaussian(7, sigma).weight())
    assert (kernel.kernel_size, kernel.sigma) == (7, sigma)


def test_a_blur_that_no_config_may_have_is_refused():
    for wrong in (dict(blur_kernel=4), dict(blur_kernel="x"), dict(blur_sigma=0)):
        with pytest.raises(InputError, match="describe no blur"):
            BlurKernel.of_target(dict(type="PixelTarget") | wrong)


@pytest.mark.parametrize("text", ["model = f()", "model =", "model = dict(a=1)", "x = 1"])
def test_a_config_text_that_tells_nothing_gives_none(text):
    assert target_of_text(text) is None


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_backbone_part_is_what_init_cfg_wants(tmp_path, suffix):
    model = build(gaussian_kernel_size=9, gaussian_sigma=1)
    torch.save(dict(state_dict=to_authors(model)), tmp_path / "theirs.pth")
    out = tmp_path / f"backbone{suffix}"
    lines = convert_file(tmp_path / "theirs.pth", out, part="backbone").lines()
    assert_equal(read_state_dict(out), dict(model.backbone.state_dict()))
    assert "query_blocks.0.norm1.bias left out: not part of the backbone" in lines
    fresh = build().backbone
    coverage = load_backbone_weights(fresh, out)
    assert coverage.matched == len(model.backbone.state_dict()) and not coverage.unused


def test_the_averaged_backbone_can_be_asked_for(tmp_path):
    from semaim_mm.pretrain import BackboneEMA

    model = build()
    model.ema = BackboneEMA(model.backbone)
    for parameter in model.ema.parameters():
        torch.nn.init.normal_(parameter)
    torch.save(model.state_dict(), tmp_path / "in.pth")
    out = tmp_path / "out.pth"
    lines = convert_file(tmp_path / "in.pth", out, part="backbone", ema=True).lines()
    assert_equal(read_state_dict(out), dict(model.ema.module.state_dict()))
    assert "backbone.cls_token left out: the online copy" in lines
    theirs = dict(state_dict=authors_state(), ema_state_dict=authors_state())
    theirs["ema_state_dict"]["cls_token"] += 1
    torch.save(theirs, tmp_path / "theirs.pth")
    convert_file(tmp_path / "theirs.pth", tmp_path / "x.pth", part="backbone", ema=True)
    written = read_state_dict(tmp_path / "x.pth")["cls_token"]
    assert torch.equal(written, theirs["ema_state_dict"]["cls_token"])
    torch.save(authors_state(), tmp_path / "plain.pth")
    with pytest.raises(InputError, match="averaged"):
        convert_file(tmp_path / "plain.pth", tmp_path / "y.pth", part="backbone", ema=True)


def test_the_same_names_in_the_other_format_are_a_conversion_too(tmp_path):
    state, out = dict(build().state_dict()), tmp_path / "out.safetensors"
    torch.save(state, tmp_path / "in.pth")
    lines = convert_file(tmp_path / "in.pth", out, to="mmpretrain").lines()
    assert_equal(load_file(out), state)
    assert f"0 renamed, {len(state)} kept" in lines[-1]


def assert_refused(tmp_path, content, match, out="out.pth", **options) -> None:
    """The conversion raises a sentence and leaves nothing beside its input."""
    torch.save(content, tmp_path / "in.pth")
    with pytest.raises(InputError, match=match):
        convert_file(tmp_path / "in.pth", tmp_path / out, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.pth"]


def test_what_can_not_be_converted_is_refused_by_name(tmp_path):
    ours, theirs = dict(build().state_dict()), authors_state()
    one = torch.ones(1)
    assert_refused(tmp_path, ours, "nothing would change", to="mmpretrain")
    assert_refused(tmp_path, theirs, "nothing would change", to="authors")
    assert_refused(tmp_path, theirs | {"fc_norm.weight": one}, "'fc_norm.weight'")
    assert_refused(
        tmp_path, theirs | {"blocks.0.attn.q_norm.weight": one}, "'blocks.0.attn.q_norm.weight'"
    )
    assert_refused(tmp_path, ours | {"neck.mask_token": one}, "'neck.mask_token'")
    assert_refused(tmp_path, ours | {"backbone.layers.0.attn.gamma1.weight": one}, "gamma1")
    assert_refused(tmp_path, {"encoder.weight": one}, "in no form known here")
    assert_refused(tmp_path, [one], "not weights by name")
    assert_refused(tmp_path, {"a": one, "module.a": one}, "without 'module.'")
    assert_refused(tmp_path, theirs, "leave --to out", to="authors", part="backbone")
    assert_refused(tmp_path, theirs, "--part backbone with it", ema=True)
    assert_refused(tmp_path, theirs, "name OUT so", out="out.bin")
    assert_refused(tmp_path, theirs, "the file to read", out="in.pth")
    skewed = torch.rand(3, 1, 9, 9)
    assert_refused(tmp_path, theirs | {"gaussian_blur.weight": skewed}, "no Gaussian")


def test_a_classifier_is_not_taken_for_a_pretraining(tmp_path):
    state = {k: v for k, v in build().state_dict().items() if k.startswith("backbone.")}
    assert_refused(tmp_path, state | {"head.fc.weight": torch.ones(1000, 16)}, "a classifier's")


@pytest.mark.parametrize("name", ["in.pth", "in.safetensors"])
def test_a_corrupt_file_is_a_sentence_and_leaves_no_output(tmp_path, name):
    save = torch.save if name.endswith(".pth") else save_file
    save({key: value.contiguous() for key, value in authors_state().items()}, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a readable checkpoint"):
        convert_file(tmp_path / name, tmp_path / "out.pth")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("note", [1, {}, {"blur": {"kernel_size": 9}}, {"blur": [1]}])
def test_a_hostile_meta_is_a_sentence_or_ignored(tmp_path, note):
    state = {k: v.contiguous() for k, v in build().state_dict().items()}
    save_file(state, tmp_path / "in.safetensors", {"semaim_mm": json.dumps(note)})
    try:
        convert_file(tmp_path / "in.safetensors", tmp_path / "out.pth")
    except InputError as error:
        assert "meta is broken" in str(error)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_failure_while_writing_keeps_the_old_file_and_leaves_no_other(
    tmp_path, monkeypatch, suffix
):
    torch.save(authors_state(), tmp_path / "in.pth")
    old = tmp_path / f"out{suffix}"
    old.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left"):
        convert_file(tmp_path / "in.pth", old)
    with pytest.raises(InputError, match="could not be written"):
        convert_file(tmp_path / "in.pth", old / "below-a-file.pth")
    assert old.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.pth", old.name]


def test_every_family_is_a_target_and_names_are_inverse():
    assert convert.TARGETS == ("authors", "mmpretrain", "timm")
    ours = list(build().state_dict())
    for family in convert.FAMILIES[:2]:
        assert [family.to_ours(family.from_ours(key)) for key in ours] == ours
