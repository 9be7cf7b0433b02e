"""The maps that segmentation and detection tap equal those of every family's own library.

Built from the shipped configs as a run builds them, the family's file carried in; only width, depth
and the numbers of blocks are the small test model's.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch
from library_maps import PATCH, Library, bias_by_offset, stretch_positions, stretch_table
from mmengine.config import Config
from mmengine.registry import MODELS
from mmpretrain.models import ViTSAM
from mmpretrain.models.utils import build_2d_sincos_position_embedding
from test_carry import arch_of
from test_families import CASES, save
from timm_models import timm_named
from torch import Tensor
from transformers.models.vit_mae.modeling_vit_mae import get_2d_sincos_pos_embed

from semaim_mm.interop.backbone_file import BackboneFile, read_backbone
from semaim_mm.interop.carry import carry_into
from semaim_mm.runtime.launch import load_config
from semaim_mm.vit import SemAIMViT

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SEG = "seg/upernet_semaim-vitb_160k_ade20k-512x512.py"
RELPOS = "seg/upernet-relpos_semaim-vitb_160k_ade20k-512x512.py"
VITDET = "det/mask-rcnn_semaim-vitb_vitdet-100ep_coco.py"
BENCHMARKING = "det/mask-rcnn_semaim-vitb_benchmarking-100ep_coco.py"
DET = pytest.mark.parametrize(
    "config", [pytest.param(VITDET, id="vitdet"), pytest.param(BENCHMARKING, id="benchmarking")]
)
SMALL, LARGE = ((224, 224), (512, 640)), ((1024, 1024),)
SIZES = pytest.mark.parametrize(
    "sizes",
    [
        pytest.param(SMALL, id="224 and 512 x 640"),
        pytest.param(LARGE, id="1024", marks=pytest.mark.slow),
    ],
)
DEEP = timm_named(
    "vit_small_patch16_224.dino", "timm", depth=12, embed_dim=128, num_heads=2, mlp_ratio=1
)


@functools.cache
def shipped(config: str) -> Config:
    return load_config(str(CONFIGS / config))


class Dense:
    """A shipped config with a library's file as its checkpoint, and the backbone that it builds."""

    def __init__(self, config: str, library: Library, folder: Path, keep_blocks: bool = False):
        self.library, self.cfg = library, copy.deepcopy(shipped(config))
        told, path = library.case.told, save(library.case.content, folder / "a.pth")
        backbone = self.cfg.model.backbone
        backbone.init_cfg.update(checkpoint=path, **told)
        backbone.arch = arch_of(path, told)
        depth = backbone.arch["num_layers"]
        if not keep_blocks:
            backbone.out_indices = list(range(depth))
            if "windows" in backbone:
                backbone.windows.global_blocks = [depth - 1] if depth > 1 else []
        carry_into(self.cfg)
        self.backbone: SemAIMViT = MODELS.build(backbone)
        self.backbone.init_weights()
        self.backbone.eval()
        self.file: BackboneFile = read_backbone(path, **told)
        self.made = (backbone.img_size // PATCH,) * 2  # the grid of its position table

    def maps(self, raw: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) pixels 0..255, RGB -> the taps, normalised as the config says."""
        processor = self.cfg.model.data_preprocessor
        assert processor.bgr_to_rgb, "files are read as BGR, mean and std are RGB"
        mean, std = (torch.tensor(processor[name]).view(-1, 1, 1) for name in ("mean", "std"))
        with torch.no_grad():
            return self.backbone((raw - mean) / std)

    def tables(self, grid: tuple[int, int]) -> list[Tensor]:
        """The file's BEiT tables, by block, on another grid; none where it has none."""
        blocks = range(len(self.backbone.layers))
        names = (f"layers.{block}.attn.relative_position_bias_table" for block in blocks)
        held = [self.file.state[name] for name in names if name in self.file.state]
        return [stretch_table(table, self.file.grid, grid) for table in held]

    def sides(self) -> list[int]:
        """Every block's window, 0 for one that sees the whole map."""
        windows, depth = self.cfg.model.backbone.windows, len(self.backbone.layers)
        blocks = windows.get("global_blocks")
        if blocks is None:
            blocks = [depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4)]
        return [0 if block in blocks else windows.size for block in range(depth)]

    def assert_same_maps(
        self, sizes: Iterable[tuple[int, int]], positions: Tensor | None = None
    ) -> None:
        """Compare with the library at every input size; positions of ``made`` may be given."""
        if positions is None:
            positions = stretch_positions(self.file.state["pos_embed"], self.file.grid, self.made)
        taps = self.cfg.model.backbone.get("out_indices", [len(self.backbone.layers) - 1])
        for size in sizes:
            grid = (size[0] // PATCH, size[1] // PATCH)
            embedding = self.backbone.patch_embed.projection.weight
            self.library.place(stretch_positions(positions, self.made, grid), grid, embedding)
            if self.library.windows:
                self.place_biases(grid)
            else:
                self.library.place_tables(self.tables(self.made), self.made, grid)
            raw = torch.randint(0, 256, (1, 3, *size)).float()
            library = self.library.maps(raw)
            assert_close(self.maps(raw), [library[block] for block in taps], size)
            assert library[0].shape == (1, self.backbone.embed_dims, *grid)

    def place_biases(self, grid: tuple[int, int]) -> None:
        """Set what the library's attention adds: rows of the file's tables and of the shared ones.

        Both are made for a window, or for a whole map and then stretched to the input's.
        """
        side, map_size = self.cfg.model.backbone.windows.size, (64, 64)
        inside, whole = self.tables((side, side)), self.tables(map_size)
        for block, module in enumerate(self.library.windows):
            tables = (inside if module.side else whole)[block : block + 1]
            if self.backbone.rel_pos_shared is not None:
                shared = self.backbone.rel_pos_shared["window" if module.side else "whole"]
                tables.append(shared.detach())
            if not module.side:
                tables = [stretch_table(table, map_size, grid) for table in tables]
            area = (side, side) if module.side else grid
            biases = [bias_by_offset(table, area) for table in tables if table.any()]
            module.bias = sum(biases) if biases else None


def assert_close(found: Sequence[Tensor], expected: Sequence[Tensor], note: object) -> None:
    """Within 1e-5, of 1 or of the library's largest number where that is larger.

    With norms and scales of N(0, 1) some numbers are 20, which float32 has in steps of 2e-6.
    """
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        error = (one - other).abs().max() / max(1, other.abs().max())
        assert error < 1e-5, (note, float(error))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@SIZES
@pytest.mark.parametrize("name", CASES)
def test_segmentation_taps_the_librarys_maps(name, sizes, tmp_path):
    Dense(SEG, Library(CASES[name]), tmp_path).assert_same_maps(sizes)


@SIZES
@DET
@pytest.mark.parametrize("name", CASES)
def test_detection_taps_the_librarys_maps_in_windows(name, config, sizes, tmp_path):
    library = Library(CASES[name])
    dense = Dense(config, library, tmp_path)
    library.cut(dense.sides())
    dense.assert_same_maps(sizes)
    assert dense.backbone.pos_embed.requires_grad == (
        config == VITDET and dense.file.origin.layout["positions"] != "none"
    )


@SIZES
@pytest.mark.parametrize(
    "config", [SEG, VITDET, BENCHMARKING], ids=["seg", "vitdet", "benchmarking"]
)
def test_taps_windows_and_global_blocks_of_twelve_are_the_configs_own(config, sizes, tmp_path):
    library = Library(DEEP)
    dense = Dense(config, library, tmp_path, keep_blocks=True)
    backbone = dense.backbone
    blocks = dict(vitdet=[11], benchmarking=[2, 5, 8, 11]).get(dense.cfg.get("recipe"))
    assert list(backbone.out_indices) == (blocks or [3, 5, 7, 11])
    if config != SEG:
        sides = dense.sides()
        assert [n for n, side in enumerate(sides) if not side] == [2, 5, 8, 11]
        library.cut(sides)
    dense.assert_same_maps(sizes)


def test_fresh_tables_and_scales_of_segmentation_leave_the_maps_as_they_are(tmp_path):
    dense = Dense(RELPOS, Library(CASES["MAE"]), tmp_path)
    assert len(dense.backbone.coverage.new) == 6
    dense.assert_same_maps(SMALL)


@pytest.mark.parametrize("name", ["DINO", "BEiT", "mmpretrain BEiT", "Hugging Face BEiT"])
def test_shared_tables_add_to_the_librarys_scores_once_learned(name, tmp_path):
    library = Library(CASES[name])
    dense = Dense(BENCHMARKING, library, tmp_path)
    for table in dense.backbone.rel_pos_shared.values():
        table.data.normal_()
    library.cut(dense.sides())
    dense.assert_same_maps(SMALL)


def test_decomposed_tables_are_vitsams_once_learned(tmp_path):
    """mmpretrain's own ViTDet backbone reads the very weights of the family's file."""
    library = Library(CASES["mmpretrain"])
    dense = Dense(VITDET, library, tmp_path)
    tables = {k: v for k, v in dense.backbone.state_dict().items() if "rel_pos" in k}
    assert [len(table) for table in tables.values()] == [27, 27, 127, 127]
    for table in tables.values():
        table.normal_(std=0.1)
    arch = dict(dense.cfg.model.backbone.arch, global_attn_indexes=[1])
    size = dense.cfg.model.backbone.img_size
    theirs = ViTSAM(arch, img_size=size, out_channels=0, out_indices=[0, 1], window_size=14)
    theirs.eval()
    for name in ("rel_pos_h", "rel_pos_w"):  # of a map of 64 x 64, which img_size does not say
        setattr(theirs.layers[1].attn, name, torch.nn.Parameter(torch.zeros(127, 64)))
    state = {k.removeprefix("backbone."): v for k, v in library.case.content["state_dict"].items()}
    own = {k: v for k, v in state.items() if k.startswith(("layers.", "patch_embed."))}
    positions = stretch_positions(state["pos_embed"], (4, 4), dense.made)[:, 1:]
    theirs.load_state_dict(own | tables | dict(pos_embed=positions.unflatten(1, dense.made)))
    processor = dense.cfg.model.data_preprocessor
    mean, std = (torch.tensor(processor[name]).view(-1, 1, 1) for name in ("mean", "std"))
    for size in SMALL:
        raw = torch.randint(0, 256, (1, 3, *size)).float()
        with torch.no_grad():
            expected = theirs((raw - mean) / std)
        assert_close(dense.maps(raw), expected, size)


def sincos(name: str, side: int) -> Tensor:
    """(1, 1 + side * side, 128): the fixed table of MAE's own code, or of mmpretrain's."""
    if name == "MAE":
        table = get_2d_sincos_pos_embed(128, side, add_cls_token=True)
        return torch.tensor(table, dtype=torch.float32)[None]
    return build_2d_sincos_position_embedding(side, 128, cls_token=True)


@SIZES
@pytest.mark.parametrize(
    ("name", "key"), [("MAE", "pos_embed"), ("mmpretrain", "backbone.pos_embed")]
)
def test_benchmarking_computes_fixed_positions_anew_in_their_axis_order(name, key, sizes, tmp_path):
    library = Library(CASES[name])
    next(v for v in library.case.content.values() if key in v)[key] = sincos(name, 4)
    dense = Dense(BENCHMARKING, library, tmp_path)
    assert "sin-cos positions computed anew from 4 x 4 to 64 x 64" in str(dense.backbone.coverage)
    library.cut(dense.sides())
    dense.assert_same_maps(sizes, sincos(name, 64))
