"""What processes without an accelerator get as their model's wrapper."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config

from semaim_mm.runtime.launch import use_cpu_group


@pytest.mark.parametrize(
    ("stated", "wrapper"),
    [
        (None, dict(type="MMDistributedDataParallel", device_ids=None)),
        (
            dict(gradient_as_bucket_view=True),
            dict(type="MMDistributedDataParallel", gradient_as_bucket_view=True, device_ids=None),
        ),
        (dict(type="Own", device_ids=[0]), dict(type="Own", device_ids=None)),
    ],
)
def test_keys_of_the_configs_model_wrapper_are_kept(stated, wrapper, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    cfg = Config(dict(launcher="pytorch", model_wrapper_cfg=stated))
    use_cpu_group(cfg)
    assert cfg.model_wrapper_cfg.to_dict() == wrapper
