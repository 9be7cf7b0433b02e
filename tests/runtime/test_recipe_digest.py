"""What a recipe's hash is of: seeds of one config share it on any machine, others don't."""

from __future__ import annotations

import pytest

from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.record import recipe_digest
from semaim_mm.runtime.spread import spread_keys

TEACHER = "model.target_generator"


def digest(leaf: str = "semaim_tiny_cached-features", sha256: str = "a" * 64, **options) -> str:
    cfg = load_config(f"configs/pretrain/{leaf}.py", options)
    spread_keys(cfg)
    return recipe_digest(cfg, [dict(sha256=sha256, weights="any.pth")])


@pytest.mark.parametrize(
    "options",
    [
        {f"{TEACHER}.teacher.weights": "elsewhere/renamed.pth"},
        {f"{TEACHER}.folder": "elsewhere"},
        {"model.backbone.with_cp": True, "model.neck.with_cp": True},
        {"model.compiled": "inductor"},
        {"model.backbone.init_cfg": dict(type="BackboneCheckpoint", checkpoint="seed1.pth")},
        {"data_root": "elsewhere"},
    ],
    ids=lambda options: ", ".join(options),
)
def test_where_files_lie_and_how_memory_is_saved_does_not_count(options):
    assert digest(**options) == digest()


def test_the_content_of_a_teachers_file_counts():
    assert digest(sha256="b" * 64) != digest()
    assert digest(**{f"{TEACHER}.teacher.stride": 32}) != digest()


def test_weights_of_losses_are_no_path():
    leaf = "semaim_tiny_pixels-ema"
    assert digest(leaf, **{"model.head.weights": [0.25, 0.75]}) != digest(leaf)


def test_a_start_from_a_whole_model_counts():
    cfg = load_config("configs/pretrain/semaim_tiny.py")
    assert recipe_digest(cfg, whole=True) != recipe_digest(cfg)
