"""Parameter groups: few, with mmengine's values, fused where the device can, checked on resume."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import write_images
from mmengine import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from semaim_mm.errors import InputError
from semaim_mm.runtime.launch import build_runner, load_config
from semaim_mm.runtime.param_groups import FusedOptimizer, check_groups, fused_where_possible
from semaim_mm.runtime.reliable.finite import decides_on_device

MMENGINES = "DefaultOptimWrapperConstructor"
FLAT = dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0)
KEYS = {"backbone.layers.1": dict(lr_mult=0.5, decay_mult=2.0), "neck": dict(betas=[0.8, 0.9])}


def wrap(model: nn.Module, constructor: str = "GroupedConstructor", paramwise=FLAT, **changes):
    optimizer = dict(type="AdamW", lr=1e-3, weight_decay=0.05, betas=(0.9, 0.95)) | changes
    cfg = dict(type="OptimWrapper", optimizer=optimizer, constructor=constructor)
    return build_optim_wrapper(model, cfg | dict(paramwise_cfg=paramwise))


def values(model: nn.Module, wrapper) -> dict[str, tuple]:
    name_of = {id(p): name for name, p in model.named_parameters()}
    return {
        name_of[id(p)]: (g["lr"], g["weight_decay"], tuple(g["betas"]))
        for g in wrapper.optimizer.param_groups
        for p in g["params"]
    }


@pytest.mark.parametrize(
    ("paramwise", "groups"),
    [(FLAT, 2), (FLAT | dict(custom_keys=KEYS), 4), (dict(bias_lr_mult=2.0), 2), (None, 1)],
)
def test_every_parameter_keeps_mmengines_values_in_few_groups(tiny_model, paramwise, groups):
    model = tiny_model()
    ours, theirs = (wrap(model, kind, paramwise) for kind in ("GroupedConstructor", MMENGINES))
    assert values(model, ours) == values(model, theirs)
    assert len(ours.optimizer.param_groups) == groups
    assert ours.get_lr().get("base_lr") == theirs.get_lr().get("base_lr"), "what is logged"
    assert set(ours.get_lr()["lr"]) == set(theirs.get_lr()["lr"])


def trained(model: nn.Module, constructor: str) -> dict[str, torch.Tensor]:
    wrapper, draws = wrap(model, constructor), torch.Generator().manual_seed(0)
    for _ in range(3):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=draws)
        wrapper.step()
    return dict(model.named_parameters())


def test_few_groups_train_as_one_a_parameter_does_to_the_bit(tiny_model):
    ours, theirs = (trained(tiny_model(), kind) for kind in ("GroupedConstructor", MMENGINES))
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


def test_a_checkpoint_of_one_group_a_weight_is_refused_and_one_of_equal_groups_is_not(tiny_model):
    model = tiny_model()
    ours, theirs = (wrap(model, kind) for kind in ("GroupedConstructor", MMENGINES))
    check_groups(dict(optimizer=deepcopy(ours.state_dict())), ours.optimizer, "new.pth")
    check_groups({}, ours.optimizer, "weights.pth")
    with pytest.raises(InputError, match=r"old.pth has \d+ parameter group.*this run 2 of"):
        check_groups(dict(optimizer=theirs.state_dict()), ours.optimizer, "old.pth")


def test_groups_of_equal_size_and_other_weights_are_refused(tiny_model):
    wrapper = wrap(tiny_model())
    state = deepcopy(wrapper.state_dict())
    state["param_groups"][0]["param_names"].reverse()
    with pytest.raises(InputError, match="don't match"):
        check_groups(dict(optimizer=state), wrapper.optimizer, "other.pth")


def weight(device: str, trains: bool = True) -> SimpleNamespace:
    return SimpleNamespace(
        device=torch.device(device), requires_grad=trains, is_floating_point=lambda: True
    )


@pytest.mark.parametrize(
    ("stated", "devices", "fused"),
    [
        (dict(type="AdamW"), ["cuda", "cuda"], True),
        (dict(type="AdamW"), ["cuda", "cpu"], None),
        (dict(type="AdamW"), [], None),
        (dict(type="AdamW", fused=False), ["cuda"], False),
        (dict(type="AdamW", foreach=True), ["cuda"], None),
        (dict(type="LARS"), ["cuda"], None),
    ],
)
def test_the_optimiser_is_fused_where_all_that_trains_is_on_cuda(stated, devices, fused):
    weights = [weight(device) for device in devices] + [weight("cpu", trains=False)]
    assert fused_where_possible(stated, weights).get("fused") is fused


@pytest.mark.parametrize("constructor", ["GroupedConstructor", "LayerDecayConstructor"])
def test_the_configs_key_comes_before_the_choice(tiny_model, constructor):
    assert wrap(tiny_model(), constructor).optimizer.defaults["fused"] is None
    assert wrap(tiny_model(), constructor, fused=True).optimizer.defaults["fused"] is True


def test_a_resumed_run_keeps_its_own_kernels_and_not_the_checkpoints(tmp_path):
    write_images(tmp_path / "pretrain", 4, size=64)

    def optimizer(epochs: int, fused: bool) -> torch.optim.Optimizer:
        options = {
            "log_level": "ERROR",
            "data_root": str(tmp_path),
            "experiment_name": f"{tmp_path.name}{epochs}",
            "total_batch": 4,
            "train_dataloader.batch_size": 4,
            "train_dataloader.num_workers": 0,
            "val_dataloader": None,
            "val_cfg": None,
            "val_evaluator": None,
            "train_cfg.max_epochs": epochs,
            "optim_wrapper.optimizer.fused": fused,
            "param_scheduler": None,
            "resume": epochs > 1,
        }
        work_dir = str(tmp_path / "run")
        runner = build_runner(load_config("configs/pretrain/semaim_tiny.py", options, work_dir))
        runner.train()
        return runner.optim_wrapper.optimizer

    assert not decides_on_device(optimizer(epochs=1, fused=False))
    resumed = optimizer(epochs=2, fused=True)
    assert decides_on_device(resumed) and all(g["fused"] for g in resumed.param_groups)
    assert {state["step"].item() for state in resumed.state.values()} == {2}


@pytest.mark.parametrize("base", sorted(Path("configs/_base_").glob("*.py")), ids=lambda p: p.stem)
def test_every_base_with_adamw_has_a_constructor_that_fuses_it(base):
    wrapper = Config.fromfile(base).get("optim_wrapper") or {}
    if wrapper.get("optimizer", {}).get("type") == "AdamW":
        constructor = OPTIM_WRAPPER_CONSTRUCTORS.get(wrapper.get("constructor", ""))
        assert constructor is not None and issubclass(constructor, FusedOptimizer)
