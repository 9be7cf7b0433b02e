"""One training step of the dense tasks' backbones, and of their attention alone.

Ours beside detectron2-style attention that builds bias and scores (``explicit``, the baseline), and
beside torch's own with the bias as a matrix (``bias matrix``). The backbones are those of the
leaves in configs/; on a CPU by default a quarter of their blocks, one of them global, at 512 px; on
a GPU all of them, at 512 and at 1,024 px.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from semaim_mm.bench.map_attention import ExplicitAttention, MatrixBiasAttention, with_attention
from semaim_mm.bench.report import Table
from semaim_mm.bench.step_facts import check_fused, step_facts
from semaim_mm.bench.timing import Spread, Step, interleave, paired_ratio, release
from semaim_mm.errors import InputError
from semaim_mm.rel_pos import position_bias
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.precision import resolve_precision
from semaim_mm.vit import SemAIMViT

BASELINE = "explicit"
ARMS = {BASELINE: ExplicitAttention, "bias matrix": MatrixBiasAttention, "ours": None}
LEAVES = {
    "vitdet": "configs/det/mask-rcnn_semaim-vitb_vitdet-100ep_coco.py",
    "benchmarking": "configs/det/mask-rcnn_semaim-vitb_benchmarking-100ep_coco.py",
    "upernet": "configs/seg/upernet_semaim-vitb_160k_ade20k-512x512.py",
}
SMALL_SIDE = 512  # measured beside a larger ``side``
PATCH, MIB = 16, 2**20
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
COLUMNS = (
    "what",
    "device",
    "attention",
    "step, ms",
    "time of explicit / this",
    "peak memory, MiB",
    "memory of this / explicit",
    "largest tensor, MiB",
    "kernel x calls",
)


class Sizes(NamedTuple):
    """What is run: ``blocks`` of 12, every third global; ``side`` in pixels, 512 beside a larger.

    ``alone`` is the side in patches of the map that attention is run on alone.
    """

    blocks: int
    side: int
    alone: int
    batch: int
    precision: str


CPU_SIZES = Sizes(blocks=3, side=512, alone=32, batch=1, precision="fp32")
GPU_SIZES = Sizes(blocks=12, side=1024, alone=64, batch=1, precision="fp16")


def leaf_backbone(leaf: str, blocks: int, side: int) -> SemAIMViT:
    """-> the backbone of a leaf at ``side`` pixels, every third block global, without drop path.

    Raises InputError for blocks that are no multiple of 3, the share of global blocks in ViT-B.
    """
    if blocks % 3 or not 3 <= blocks <= 12:
        raise InputError(
            f"{blocks} blocks can't have one global block in three as ViT-B has; choose 3, 6, 9 "
            "or 12."
        )
    cfg = load_config(LEAVES[leaf]).model.backbone.to_dict()
    cfg |= dict(
        arch=dict(embed_dims=768, num_layers=blocks, num_heads=12, feedforward_channels=3072),
        img_size=side,
        init_cfg=None,
        drop_path_rate=0.0,
        out_indices=[blocks - 1],
    )
    if cfg.get("windows"):
        cfg["windows"] |= dict(global_blocks=range(2, blocks, 3), map_size=side // PATCH)
    backbone = MODELS.build(cfg)
    backbone.init_weights()
    return backbone.train()


def training_step(
    forward: Callable[[], Tensor], module: nn.Module, device: str, precision: str
) -> Step:
    """-> forward under autocast and backward; gradients are dropped at the end."""
    dtype = DTYPES[precision]

    def step() -> None:
        with torch.autocast(device, dtype=dtype, enabled=dtype is not torch.float32):
            output = forward()
        output.float().square().mean().backward()
        module.zero_grad(set_to_none=True)

    return step


class Case(NamedTuple):
    """What is run, in words; a step for every kind of attention that the leaf can have.

    ``calls`` is how often ours must run fused, None where a bias that trains can't be folded.
    """

    what: str
    steps: dict[str, Step]
    calls: int | None


def backbone_arms(leaf: str, side: int, sizes: Sizes, device: str) -> Case:
    """-> the whole backbone of a leaf on images of ``side`` pixels."""
    backbone = leaf_backbone(leaf, sizes.blocks, side)
    imgs = torch.randn(sizes.batch, 3, side, side, device=device)
    steps = {}
    for name in arms_for(backbone):
        model = with_attention(backbone, ARMS[name]).to(device)
        steps[name] = training_step(lambda m=model: m(imgs)[-1], model, device, sizes.precision)
    what = f"{leaf}, {sizes.blocks} of 12 blocks, {side} px, {sizes.batch} x {sizes.precision}"
    return Case(what, steps, sizes.blocks if folds(backbone) else None)


def attention_arms(leaf: str, windowed: bool, sizes: Sizes, device: str) -> Case:
    """-> the same of one block's attention, on a map of ``sizes.alone`` x ``sizes.alone``."""
    side, block = sizes.alone, 0 if windowed else 2
    backbone = leaf_backbone(leaf, 3, side * PATCH)
    grid = (side, side)
    steps = {}
    for name in arms_for(backbone):
        model = with_attention(backbone, ARMS[name]).to(device)
        attn = model.layers[block].attn
        tokens = torch.randn(sizes.batch, side * side, 768, device=device, requires_grad=True)

        def forward(model=model, attn=attn, tokens=tokens) -> Tensor:
            tokens.grad = None
            return attn(tokens, grid=grid, bias=shared_bias(model, windowed, grid))

        steps[name] = training_step(forward, model, device, sizes.precision)
    kind = f"windowed ({backbone.windows.size})" if windowed else "global"
    what = f"{leaf}, {kind} attention alone, {side * side} tokens"
    what = f"{what}, {sizes.batch} x {sizes.precision}"
    return Case(what, steps, 1 if folds(backbone) else None)


def folds(backbone: SemAIMViT) -> bool:
    """Whether ours needs no bias matrix: tables that are looked up by pair can't be folded."""
    own = [layer.attn.relative_position_bias_table for layer in backbone.layers]
    return backbone.rel_pos_shared is None and all(table is None for table in own)


def shared_bias(backbone: SemAIMViT, windowed: bool, grid: tuple[int, int]) -> Tensor | None:
    """-> the one bias that a block of this kind reads, None where blocks share no tables."""
    if backbone.rel_pos_shared is None:
        return None
    side = backbone.windows.size
    made, area = backbone.windows.map_size, grid
    if windowed:
        made = area = (side, side)
    table = backbone.rel_pos_shared["window" if windowed else "whole"]
    return position_bias(table, made, area, cls=False)


def arms_for(backbone: SemAIMViT) -> list[str]:
    """Ours builds a bias matrix itself unless the bias is decomposed."""
    decomposed = backbone.windows.rel_pos == "decomposed"
    return [name for name in ARMS if name != "bias matrix" or decomposed]


def rows_of(case: Case, device: str, rounds: int) -> Iterator[tuple]:
    """Measure the steps side by side -> a row each."""
    times = interleave(case.steps, rounds)
    facts = {name: step_facts(step, device) for name, step in case.steps.items()}
    if case.calls is not None:
        check_fused(facts["ours"], case.calls)
    for name, found in facts.items():
        yield (
            case.what,
            device,
            name,
            Spread.of(times[name]).scaled(1000),
            paired_ratio(times[BASELINE], times[name]),
            found.peak / MIB,
            found.peak / facts[BASELINE].peak,
            None if found.largest is None else found.largest / MIB,
            found.attention,
        )


def cases(sizes: Sizes, device: str) -> Iterator[Callable[[], Case]]:
    """-> what the table holds, built one after another so that memory is free again between."""
    for leaf in LEAVES:
        for side in sorted({min(SMALL_SIDE, sizes.side), sizes.side}):
            yield lambda leaf=leaf, side=side: backbone_arms(leaf, side, sizes, device)
    for leaf in ("vitdet", "benchmarking"):
        for windowed in (False, True):
            yield lambda leaf=leaf, w=windowed: attention_arms(leaf, w, sizes, device)


def measure(sizes: Sizes, rounds: int) -> list[Table]:
    """-> the table of this device; on a CPU also the GPU's rows, which stay without numbers.

    Raises InputError for a precision that the device can't do, or where ours is not fused.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = sizes._replace(precision=resolve_precision(sizes.precision, device))
    rows = []
    for build in cases(sizes, device):
        rows += rows_of(build(), device, rounds)
        release()
    if device == "cpu":
        rows += [
            (f"{leaf}, 12 of 12 blocks, {side} px", "cuda", name, *[None] * 6)
            for leaf in LEAVES
            for side in (SMALL_SIDE, GPU_SIZES.side)
            for name in (BASELINE, *(["bias matrix"] if leaf == "vitdet" else []), "ours")
        ]
    notes = [
        "One step is forward and backward of the backbone (no neck, head or optimiser), without "
        "drop path; `explicit` builds the bias, the scores and their softmax as matrices, "
        "detectron2-style; `bias matrix` builds the bias alone and leaves the rest to torch; "
        "`ours` folds ViTDet's decomposed bias into queries and keys. Peak "
        "memory is what the step adds to the weights "
        f"({'torch.cuda.max_memory_allocated' if device == 'cuda' else 'torch.profiler'}).",
    ]
    title = "Backbone and attention of the dense tasks, one training step"
    return [Table(title, COLUMNS, rows, notes)]
