"""The authors' names and numbers: there and back without loss, and the command that compares."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from semaim_mm.errors import InputError
from semaim_mm.interop import from_authors, to_authors

TOOL = Path(__file__).resolve().parents[2] / "tools" / "check_reference.py"


def check(monkeypatch, *files: Path) -> int:
    """Run tools/check_reference.py as a script in this process -> its exit status."""
    monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, files)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(TOOL), run_name="__main__")
    return stopped.value.code


@pytest.fixture
def tampered(reference, tmp_path):
    """``tampered(key, factor)`` -> a copy of the file with that tensor's largest value moved."""

    def write(key: str, change: float, drop: tuple[str, ...] = ()) -> Path:
        with np.load(reference.path) as file:
            arrays = {name: file[name] for name in file.files if not name.startswith(drop)}
        values = np.array(arrays[key], dtype=np.float64)
        where = np.unravel_index(np.abs(values).argmax(), values.shape)
        values[where] += change * np.abs(values).max()
        path = tmp_path / "tampered.npz"
        np.savez(path, **arrays | {key: values.astype(np.float32) if values.ndim else values})
        return path

    return write


def test_there_and_back_every_weight_is_bit_equal(reference):
    back = to_authors(from_authors(reference.state, **reference.config))
    assert back.keys() == reference.state.keys()
    for name, value in reference.state.items():
        if name == "gaussian_blur.weight":  # derived here
            assert_close(back[name], value, rtol=0, atol=1e-7)
        else:
            assert torch.equal(back[name], value), name


def test_the_configuration_becomes_this_model(reference):
    model = from_authors(reference.state, **reference.config)
    assert model.backbone.patch_resolution == (14, 14)
    assert (model.neck.depth, model.neck.stride, model.head.projection) == (4, 1, "mlp")
    assert (model.head.loss_name, model.head.out_dims) == ("l2", 48)
    assert (model.target_generator.blur_kernel, model.target_generator.blur_sigma) == (9, 1.0)
    assert type(model.order).__name__ == "SemanticOrder"
    assert model.order.similarity == "cls"


def test_arrays_and_ddp_names_are_taken_too(reference):
    arrays = {f"module.{name}": value.numpy() for name, value in reference.state.items()}
    model = from_authors(arrays, **reference.config)
    assert torch.equal(model.backbone.cls_token, reference.state["cls_token"])


@pytest.mark.parametrize("blur", [dict(), dict(gaussian_kernel_size=9), dict(gaussian_sigma=1)])
def test_without_both_blur_arguments_the_target_is_sharp_as_theirs(blur, reference):
    config = {k: v for k, v in reference.config.items() if not k.startswith("gaussian")}
    state = {k: v for k, v in reference.state.items() if not k.startswith("gaussian")}
    model = from_authors(state, **config, **blur)
    assert model.target_generator.blur_kernel is None
    assert to_authors(model).keys() == state.keys()


def test_an_unknown_configuration_key_is_refused(reference):
    with pytest.raises(InputError, match="keys unknown here: mask_ratio"):
        from_authors(reference.state, **reference.config, mask_ratio=0.75)


def test_a_weight_of_no_known_name_is_refused(reference):
    state = reference.state | {"decoder_pred.weight": torch.zeros(1)}
    with pytest.raises(InputError, match=r"'decoder_pred.weight', which has no counterpart"):
        from_authors(state, **reference.config)


@pytest.mark.parametrize("missing", ["blocks.2.attn.qkv.bias", "norm.weight", "pos_embed"])
def test_a_missing_weight_is_refused(missing, reference):
    state = {name: value for name, value in reference.state.items() if name != missing}
    with pytest.raises(InputError, match="does not fit the configuration: missing"):
        from_authors(state, **reference.config)


def test_a_weight_that_is_left_over_is_refused(reference):
    with pytest.raises(InputError, match=r"left over \['neck\.layers\.2\."):
        from_authors(reference.state, **reference.config | dict(query_depth=2))


def test_a_weight_of_another_shape_is_refused(reference):
    state = reference.state | {"norm.weight": torch.ones(49)}
    with pytest.raises(InputError, match="ln1.weight"):
        from_authors(state, **reference.config)


def test_the_command_passes_the_authors_file_with_a_row_for_every_quantity(
    reference, monkeypatch, capsys
):
    assert check(monkeypatch, reference.path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "all quantities within tolerance"
    rows = {line.split()[0]: float(line.split()[1]) for line in lines[2:-1]}
    compared = {key for key in reference.arrays if not key.startswith("state.")}
    assert set(rows) == compared - {"imgs", "order_keys", "teacher_tokens"}
    assert max(error for name, error in rows.items() if name != "adamw_losses") <= 1e-5
    assert rows["adamw_losses"] <= 1e-4
    assert rows["raster_keys"] == 0


@pytest.mark.parametrize("change", [1e-4, float("nan")])
@pytest.mark.parametrize(
    "key",
    [
        "encoder_tokens",
        "similarity_cls",
        "similarity_gap",
        "similarity_self",
        "center_distance",
        "raster_keys",
        "prediction",
        "blurred_imgs",
        "loss",
        "loss_per_patch",
    ],
)
def test_the_command_fails_a_quantity_that_is_off(key, change, tampered, monkeypatch, capsys):
    path = tampered(key, change, drop=("adamw_losses", "grad."))
    assert check(monkeypatch, path) == 1
    failed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "FAILED" in line]
    assert failed == [key]


@pytest.mark.parametrize("name", ["cls_token", "query_blocks.3.attn.v.weight", "norm.bias"])
def test_the_command_fails_a_gradient_that_is_off(name, tampered, monkeypatch, capsys):
    assert check(monkeypatch, tampered(f"grad.{name}", 1e-4, drop=("adamw_losses",))) == 1
    failed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "FAILED" in line]
    assert failed == [f"grad.{name}"]


def test_the_command_fails_a_gradient_that_is_nan(tampered, monkeypatch, capsys):
    assert check(monkeypatch, tampered("grad.norm.bias", float("nan"), drop=("adamw_losses",))) == 1
    assert any(
        line.startswith("grad.norm.bias ") and "FAILED" in line
        for line in capsys.readouterr().out.splitlines()
    )


@pytest.mark.parametrize("change", [3e-4, float("nan")])
def test_the_command_fails_an_optimisation_that_is_off(change, tampered, monkeypatch, capsys):
    assert check(monkeypatch, tampered("adamw_losses", change, drop=("grad.",))) == 1
    assert "1 quantities past tolerance" in capsys.readouterr().out


def test_the_command_fails_when_a_weight_differs(tampered, monkeypatch, capsys):
    path = tampered("state.blocks.1.attn.qkv.weight", 0.05, drop=("adamw_losses", "grad."))
    assert check(monkeypatch, path) == 1
    out = capsys.readouterr().out
    for key in ("encoder_tokens", "prediction", "loss_per_patch"):
        assert any(line.startswith(f"{key} ") and "FAILED" in line for line in out.splitlines())


def test_one_bad_file_among_good_ones_fails_the_command(tampered, reference, monkeypatch, capsys):
    assert check(monkeypatch, tampered("loss", 1e-4), reference.path) == 1


@pytest.mark.parametrize("content", [None, b"", b"no zip at all"])
def test_a_file_that_is_no_reference_is_refused_with_a_sentence(
    content, tmp_path, monkeypatch, capsys
):
    path = tmp_path / "file.npz"
    if content is not None:
        path.write_bytes(content)
    assert check(monkeypatch, path) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert str(path) in error
    assert error.count("\n") == 1


def test_a_file_that_lacks_the_inputs_is_refused(tmp_path, monkeypatch, capsys):
    np.savez(tmp_path / "file.npz", imgs=np.zeros(1))
    assert check(monkeypatch, tmp_path / "file.npz") == 2
    assert "it lacks config, order_keys, loss" in capsys.readouterr().err
