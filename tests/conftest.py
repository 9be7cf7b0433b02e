"""What tests share: OpenMMLab's scope, silence, tiny models, the authors' numbers, images."""

from __future__ import annotations

import ast
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.visualization import Visualizer
from PIL import Image

import semaim_mm  # noqa: F401  (registration)
from semaim_mm.pretrain import SemAIM

FIXTURES = Path(__file__).resolve().parent / "fixtures"
REFERENCE = FIXTURES / "pixel_l2_cls.npz"

TINY = dict(
    backbone=dict(
        type="SemAIMViT",
        arch=dict(embed_dims=24, num_layers=4, num_heads=2, feedforward_channels=48),
        img_size=(12, 20),
        patch_size=4,
        frozen_pos_embed=True,
    ),
    neck=dict(type="SemAIMDecoder", query_depth=2),
    head=dict(type="SemAIMHead", projection="mlp", loss="l2"),
    target_generator=dict(type="PixelTarget"),
    order="semantic",
)

# changes of TINY that make it the model of configs/*/*_tiny.py
OF_TINY_LEAVES = dict(
    backbone=dict(
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=64,
        patch_size=8,
    ),
    target_generator=dict(patch_size=8),
)


def merge(base: Mapping, changes: Mapping) -> dict:
    """``base`` with ``changes`` laid over it, dicts merged at any depth."""
    merged = deepcopy(dict(base))  # or who changes it changes the base of all
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        merged[key] = merge(base[key], value) if both else value
    return merged


def build_tiny(seed: int = 0, noise: float = 0.1, **changes) -> SemAIM:
    """A tiny SemAIM (3 x 5 patches, width 24); ``noise`` moves each weight off its start."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = SemAIM(**merge(TINY, changes))
        model.init_weights()
        for parameter in model.parameters() if noise else ():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=noise)
        if noise and model.ema is not None:
            model.ema.copy_from(model.backbone)
    return model


def write_images(folder: Path, count: int, size: int = 24, seed: int = 0) -> list[Path]:
    """``count`` PNGs of colour ramps and noise, each another; -> their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, size)
    paths = []
    for number in range(count):
        slopes = random.normal(size=(2, 3)) * 80
        pixels = 128 + ramp[:, None, None] * slopes[0] + ramp[None, :, None] * slopes[1]
        pixels = np.clip(pixels + random.normal(scale=12, size=(size, size, 3)), 0, 255)
        paths.append(folder / f"{number:03d}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A data root with four images, of 64 pixels, to pretrain on."""
    root = tmp_path_factory.mktemp("data")
    write_images(root / "pretrain", 4, size=64)
    return root


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests go to one worker, as they share what they make; so do all full-size models.

    Two of those at a time take more memory than a machine of two cores has. Not by xdist_group,
    which pytest 9.2 and xdist 3.8 leave without effect.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = Path(nodeid.split("::")[0])
            return "full_size" if path.name.startswith("test_full_size") else path.as_posix()

    return ByFile(config, log)


@pytest.fixture(autouse=True, scope="session")
def quiet_openmmlab():
    """The scope that every config sets, one thread, and no log lines of builders and loaders."""
    init_default_scope("mmpretrain")
    torch.set_num_threads(1)  # the models are tiny, and threads that wait for each other are slow
    MMLogger.get_instance("mmengine").setLevel(logging.WARNING)


@pytest.fixture
def share_of_cores():
    """Full width is where threads pay: as many as the cores that no other worker has."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    torch.set_num_threads(max(1, os.cpu_count() // workers))
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def named_instances():
    """A run leaves its logger (on a stream that pytest closes), scope and so on; take them away."""
    kinds = (DefaultScope, MMLogger, MessageHub, Visualizer)
    before = [kind._instance_dict.copy() for kind in kinds]
    yield
    for kind, instances in zip(kinds, before, strict=True):
        kind._instance_dict.clear()
        kind._instance_dict.update(instances)


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., SemAIM]:
    """``tiny_model(seed=1, neck=dict(query_depth=4), order='raster')`` -> a new model."""
    return build_tiny


@pytest.fixture(scope="session")
def make_images() -> Callable[..., list[Path]]:
    """``make_images(folder, count)`` writes images there and returns their paths."""
    return write_images


@pytest.fixture(scope="session")
def reference() -> SimpleNamespace:
    """The authors' numbers: ``path``, ``config``, ``state`` (their names), ``arrays`` (tensors)."""
    with np.load(REFERENCE, allow_pickle=False) as file:
        config = ast.literal_eval(str(file["config"]))
        arrays = {key: torch.tensor(file[key]) for key in file.files if key != "config"}
    state = {k.removeprefix("state."): v for k, v in arrays.items() if k.startswith("state.")}
    return SimpleNamespace(path=REFERENCE, config=config, state=state, arrays=arrays)


@pytest.fixture
def compiled_without_kernels(monkeypatch) -> Iterator[list]:
    """torch.compile does all but the kernels, which would take minutes; -> what was compiled."""
    compiled, real = [], torch.compile

    def compile_(model, **how):
        compiled.append(model)
        return real(model, **how | dict(backend="aot_eager"))

    monkeypatch.setattr(torch, "compile", compile_)
    yield compiled
    torch.compiler.reset()
