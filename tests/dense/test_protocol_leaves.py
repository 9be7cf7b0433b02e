"""A detection leaf that states a protocol has its schedule, whatever base it inherits from."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
LEAVES = sorted((CONFIGS / "det").rglob("*.py"))


def kinds(cfg: Config) -> list[str]:
    return [entry.type for entry in cfg.param_scheduler]


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda path: path.stem)
def test_a_leafs_schedule_is_of_the_kind_of_its_protocol(leaf):
    cfg = Config.fromfile(leaf)
    protocol = Config.fromfile(CONFIGS / "_base_" / f"{cfg.recipe}.py")
    assert kinds(cfg) == kinds(protocol)
    # the second part goes on where the warm-up ends, to the end of training
    warmup, rest = cfg.param_scheduler
    if rest.type == "CosineAnnealingLR":
        assert rest.begin == warmup.end and rest.eta_min == 0
    else:
        assert warmup.end < rest.milestones[0] < rest.milestones[-1] < cfg.train_cfg.max_iters
