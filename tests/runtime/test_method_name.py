"""What results are called by default: no two files of other code share a row by lying together."""

from __future__ import annotations

import torch

from semaim_mm.runtime.evaluate import method_name

LEAF = "configs/cls/knn_tiny.py"


def test_a_checkpoint_of_ours_is_called_by_its_runs_folder(tmp_path):
    run = tmp_path / "semantic"
    run.mkdir()
    torch.save(dict(state_dict={}, meta=dict(epoch=3, training={})), run / "epoch_3.pth")
    assert method_name(LEAF, str(run / "epoch_3.pth")) == "semantic"


def test_files_of_other_code_in_one_folder_are_methods_of_their_own(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("mae_vitb.pth", "dino0100.pth", "dino0800.pth"):
        torch.save(dict(model={}), folder / name)
    found = [method_name(LEAF, str(path)) for path in sorted(folder.iterdir())]
    assert found == ["checkpoints-dino0100", "checkpoints-dino0800", "checkpoints-mae_vitb"]


def test_what_is_no_file_has_a_name_too():
    assert method_name(LEAF, "random") == "random"
    assert method_name("configs/cls/knn_tiny_pixels.py", None) == "pixels"
