"""A run goes on only with the weights that it began with: another's file is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_runs import tiny_config

from semaim_mm.errors import InputError
from semaim_mm.interop.init_cfg import UNTRAINED
from semaim_mm.runtime.launch import build_runner, set_resume
from semaim_mm.runtime.record import checkpoint_record


@pytest.fixture(scope="module")
def weights(photos, tmp_path_factory) -> list[Path]:
    """Checkpoints of two seeds."""
    folder = tmp_path_factory.mktemp("weights")
    found = []
    for seed in (0, 1):
        build_runner(tiny_config(photos, folder / str(seed), **{"randomness.seed": seed})).train()
        found.append((folder / str(seed) / "epoch_1.pth").rename(folder / f"method{seed}.pth"))
    return found


def train(data: Path, work_dir: Path, checkpoint: str | None, epochs: int) -> dict:
    """``tools/train.py --resume auto`` -> the record of the last checkpoint."""
    options = {"train_cfg.max_epochs": epochs}
    if checkpoint is not None:
        init = dict(type="BackboneCheckpoint", checkpoint=checkpoint)
        options["model.backbone.init_cfg"] = init
    cfg = tiny_config(data, work_dir, **options)
    set_resume(cfg, "auto")
    build_runner(cfg).train()
    return checkpoint_record(work_dir / f"epoch_{epochs}.pth")


def test_a_run_of_other_weights_is_not_gone_on_with(photos, weights, tmp_path):
    one, other = map(str, weights)
    begun = train(photos, tmp_path, one, 1)
    for named, told in ((other, "method1.pth"), (UNTRAINED, "no weights")):
        with pytest.raises(InputError, match=rf"began with method0\.pth .* names .*{told}"):
            train(photos, tmp_path, named, 2)
        # nor is a finished one passed off as the other's
        with pytest.raises(InputError, match="--work-dir"):
            train(photos, tmp_path, named, 1)
    assert train(photos, tmp_path, one, 2)["started_from"] == begun["started_from"]


def test_a_run_of_no_weights_is_not_gone_on_with_as_of_some(photos, weights, tmp_path):
    train(photos, tmp_path, None, 1)
    with pytest.raises(InputError, match=r"began with no weights, but .*method0\.pth"):
        train(photos, tmp_path, str(weights[0]), 2)


def test_weights_that_are_deleted_meanwhile_are_not_missed(photos, weights, tmp_path):
    copy = tmp_path / "copy.pth"
    torch.save(torch.load(weights[0], weights_only=False), copy)
    begun = train(photos, tmp_path / "run", str(copy), 1)
    copy.unlink()
    assert train(photos, tmp_path / "run", str(copy), 2)["started_from"] == begun["started_from"]
