"""The analyses by name: files that a leaderboard's page picks up."""

import json

import pytest
import torch
from conftest import TINY, build_tiny
from square_scenes import write_squares

from semaim_mm.analysis.run import ANALYSES, analyze
from semaim_mm.errors import InputError
from semaim_mm.leaderboard.write.order_maps import analysis_figures

RAW = dict(target_generator=dict(blur_kernel=None, normalize=False))


@pytest.fixture
def made(tmp_path):
    """``made(**changes)`` -> a config, two checkpoints of random weights, an annotation file."""

    def make(**changes):
        folder = tmp_path / "run"
        folder.mkdir()
        model = build_tiny(0, **changes)
        merged = dict(TINY, type="SemAIM", order=changes.get("order", "semantic"))
        target = dict(TINY["target_generator"], **changes.get("target_generator", {}))
        merged["target_generator"] = target
        merged["data_preprocessor"] = dict(
            type="SelfSupDataPreprocessor", mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True
        )
        config = folder / "run.py"
        config.write_text(f"model = {merged!r}\n")
        for epoch in (1, 2):
            model = build_tiny(epoch, **changes)
            torch.save(dict(state_dict=model.state_dict()), folder / f"epoch_{epoch}.pth")
        return config, sorted(folder.glob("*.pth")), write_squares(tmp_path)

    return make


def test_all_that_a_model_can_is_written_and_found_by_the_page(made, tmp_path):
    config, checkpoints, annotations = made(order="raster", **RAW)
    written = analyze(config, checkpoints, None, annotations)
    names = {path.name for path in written}
    possible = set(ANALYSES) - {"precision"}
    assert {f"{name}.png" for name in possible} | {"several.png", "objects.json"} <= names
    left_out = json.loads((checkpoints[0].parent / "analysis" / "left_out.json").read_text())
    assert list(left_out) == ["precision"] and "RasterOrder reads no" in left_out["precision"]
    found = json.loads((checkpoints[0].parent / "analysis" / "objects.json").read_text())
    assert list(found["share"]) == ["epoch_1", "epoch_2"]
    assert found["tau"]["epoch_1 to epoch_2"]["raster"]["value"] == pytest.approx(1)
    figures, _ = analysis_figures(tmp_path)
    assert {figure.name for figure in figures} >= possible


def test_generation_is_refused_by_name_and_left_out_by_default(made):
    config, checkpoints, annotations = made()
    with pytest.raises(InputError, match="Only a leaf with raw pixel targets"):
        analyze(config, checkpoints, ["generation"], annotations)
    names = {path.name for path in analyze(config, checkpoints[-1:], None, annotations)}
    assert "generation.png" not in names and "objects.png" in names
