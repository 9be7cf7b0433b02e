"""A run that begins as a whole model (load_from): its weights enter, and its record says which."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_runs import tiny_config

from semaim_mm.errors import InputError
from semaim_mm.runtime.launch import build_runner, set_resume
from semaim_mm.runtime.record import checkpoint_record

STILL = {"base_lr": 0.0}  # weights stay what they were at the start


@pytest.fixture(scope="module")
def start(photos, tmp_path_factory) -> Path:
    """The checkpoint of a pretraining of another seed."""
    folder = tmp_path_factory.mktemp("start")
    build_runner(tiny_config(photos, folder, **{"randomness.seed": 7})).train()
    return (folder / "epoch_1.pth").rename(folder / "start.pth")


def begun(data: Path, work_dir: Path, **options):
    """-> a runner as ``tools/train.py --resume auto`` builds it."""
    cfg = tiny_config(data, work_dir, **STILL, **options)
    set_resume(cfg, "auto")
    return build_runner(cfg)


def origin(path: Path) -> dict:
    return checkpoint_record(path)["origin"]


def weights(path: Path) -> dict:
    return torch.load(path, weights_only=False)["state_dict"]


def same_weights(one: Path, other: Path) -> bool:
    one, other = weights(one), weights(other)
    return all(torch.equal(one[name], other[name]) for name in one)


def test_resume_auto_in_an_empty_folder_starts_from_the_whole_model(photos, start, tmp_path):
    begun(photos, tmp_path, load_from=str(start)).train()
    made = tmp_path / "epoch_1.pth"
    assert same_weights(made, start)
    found = origin(made)
    assert found["loaded"] == checkpoint_record(start), "with its own history"
    assert found["training"]["recipe"]["starts_from"] == "a whole model"
    assert found["resumes"] == 0


def test_resume_auto_goes_on_from_a_checkpoint_and_keeps_what_it_began_as(photos, start, tmp_path):
    begun(photos, tmp_path, load_from=str(start)).train()
    first = origin(tmp_path / "epoch_1.pth")
    runner = begun(photos, tmp_path, load_from=str(start), **{"train_cfg.max_epochs": 2})
    runner.train()
    second = origin(tmp_path / "epoch_2.pth")
    assert second["recipe_digest"] != first["recipe_digest"], "of another length"
    assert (runner.epoch, second["resumes"]) == (2, 1)
    assert second["loaded"] == first["loaded"] is not None


def test_a_checkpoint_that_appears_once_the_run_is_built_is_gone_on_from(photos, start, tmp_path):
    two = {"train_cfg.max_epochs": 2}
    runner = begun(photos, tmp_path, load_from=str(start), **two)
    begun(photos, tmp_path, experiment_name="another").train()  # from random weights
    runner.train()
    found = origin(tmp_path / "epoch_2.pth")
    assert (found["resumes"], found["loaded"]) == (1, None)
    assert same_weights(tmp_path / "epoch_1.pth", tmp_path / "epoch_2.pth")


def test_a_checkpoint_that_is_gone_once_the_dir_is_held_stops_the_run(photos, tmp_path):
    begun(photos, tmp_path).train()
    runner = begun(photos, tmp_path, experiment_name="again", **{"train_cfg.max_epochs": 2})
    (tmp_path / "epoch_1.pth").unlink()
    with pytest.raises(InputError, match="epoch_1.pth"):
        runner.train()


def test_seeds_that_start_from_whole_models_of_their_own_share_a_recipe(photos, start, tmp_path):
    begun(photos, tmp_path / "0", load_from=str(start)).train()
    first = tmp_path / "0" / "epoch_1.pth"
    begun(photos, tmp_path / "1", load_from=str(first)).train()
    found = [origin(tmp_path / seed / "epoch_1.pth") for seed in "01"]
    assert found[0]["loaded"]["sha256"] != found[1]["loaded"]["sha256"]
    assert found[0]["recipe_digest"] == found[1]["recipe_digest"]


def test_data_of_a_whole_model_counts_where_a_protocol_names_it(photos, start, tmp_path):
    runner = begun(photos, tmp_path, load_from=str(start), pretraining_data="imagenet")
    with pytest.raises(InputError, match="start.pth was pretrained on "):
        runner.train()
    assert not list(tmp_path.glob("*.pth"))


def test_weights_of_init_cfg_that_a_whole_model_replaces_are_no_start(photos, start, tmp_path):
    init = {"model.backbone.init_cfg": dict(type="BackboneCheckpoint", checkpoint=str(start))}
    begun(photos, tmp_path, load_from=str(start), **init).train()
    record = checkpoint_record(tmp_path / "epoch_1.pth")
    assert record["started_from"] is None and record["origin"]["loaded"]["file"] == "start.pth"
