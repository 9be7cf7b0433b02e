"""One SemAIM update beside the dense-mask baseline, both as multiples of timm's plain ViT.

Both count the same model FLOPs, those that SemAIM needs (flops.py).
"""

from typing import NamedTuple

import torch
from mmpretrain.registry import MODELS
from timm.models import VisionTransformer
from torch import nn

from semaim_mm.bench.dense_semaim import DenseSemAIM
from semaim_mm.bench.flops import data_sheet_flops, step_flops
from semaim_mm.bench.pretrain_steps import PARTS, DenseStep, OurStep, UpdateStep
from semaim_mm.bench.report import Table
from semaim_mm.bench.step_facts import check_fused, step_facts
from semaim_mm.bench.timing import Spread, Step, interleave, paired_ratio, seconds_of
from semaim_mm.pretrain.semaim import SemAIM
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.precision import resolve_precision

LEAF = "configs/pretrain/semaim_vitb.py"
MIB, FORWARDS = 2**20, 7
OURS, BASELINE = "ours", "our dense baseline"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
COLUMNS = (
    "what",
    "device",
    "step, ms",
    "images/s",
    "time of our dense baseline / this",
    "time of this / 7 timm forwards",
    "model TFLOP/s",
    "% of a matrix product's rate here",
    "MFU, % of the data sheet",
    "peak memory, MiB",
    "memory of this / our dense baseline",
    "kernel x calls",
)


class Sizes(NamedTuple):
    """``arch`` as SemAIMViT takes it, ``side`` in pixels, ``batch`` in images.

    ``compile`` compiles ours and timm's ViT; the baseline stays eager as the authors' code is.
    """

    arch: str
    side: int
    batch: int
    precision: str
    compile: bool = False


CPU_SIZES = Sizes("base", 224, 2, "fp32")
GPU_SIZES = Sizes("base", 224, 128, "bf16")


def build_model(sizes: Sizes) -> tuple[SemAIM, dict]:
    """-> the leaf's SemAIM at these sizes, in training mode, and the leaf's optimiser wrapper."""
    cfg = load_config(LEAF)
    backbone = {**cfg.model.backbone, "arch": sizes.arch, "img_size": sizes.side}
    model = MODELS.build({**cfg.model, "backbone": backbone, "data_preprocessor": None})
    model.init_weights()
    return model.train(), cfg.optim_wrapper


def timm_vit(model: SemAIM, sizes: Sizes) -> nn.Module:
    """-> timm's ViT of the same shape, without a classifier."""
    settings = model.backbone.arch_settings
    return VisionTransformer(
        img_size=sizes.side,
        patch_size=model.backbone.patch_size,
        embed_dim=settings["embed_dims"],
        depth=settings["num_layers"],
        num_heads=settings["num_heads"],
        mlp_ratio=settings["feedforward_channels"] / settings["embed_dims"],
        num_classes=0,
    ).eval()


def timm_forward(vit: nn.Module, imgs: torch.Tensor, precision: str) -> Step:
    """-> one forward pass without gradients."""
    dtype = DTYPES[precision]

    @torch.no_grad()
    def forward() -> None:
        with torch.autocast(imgs.device.type, dtype=dtype, enabled=precision != "fp32"):
            vit(imgs)

    return forward


def matrix_product(device: str, precision: str) -> tuple[Step, float]:
    """-> a plain product of two square matrices, and its FLOPs."""
    side = 8192 if device == "cuda" else 1024
    a, b = torch.randn(2, side, side, device=device, dtype=DTYPES[precision]).unbind()
    return lambda: torch.mm(a, b), 2.0 * side**3


def measure(sizes: Sizes, rounds: int) -> list[Table]:
    """-> the table of whole steps and that of their parts.

    Raises InputError for a precision that the device can't do.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = resolve_precision(sizes.precision, device)
    theirs = "fp16" if device == "cuda" and precision != "fp32" else precision
    model, optim_wrapper = build_model(sizes)
    imgs = torch.randn(sizes.batch, 3, sizes.side, sizes.side).to(device)
    vit, dense = timm_vit(model, sizes).to(device), DenseSemAIM(model).to(device)
    model = model.to(device)
    vit = torch.compile(vit) if sizes.compile else vit
    product, product_flops = matrix_product(device, precision)
    ours = OurStep(model, imgs, optim_wrapper, precision, sizes.compile)
    steps: dict[str, UpdateStep] = {BASELINE: DenseStep(dense, imgs, theirs), OURS: ours}
    arms = {**steps, "timm": timm_forward(vit, imgs, precision), "product": product}
    times = interleave(arms, rounds, warmup=2)
    facts = {name: step_facts(step, device) for name, step in steps.items()}
    check_fused(facts[OURS])
    flops = step_flops(model, model.backbone.patch_resolution)
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    peak, amount = data_sheet_flops(name, precision), flops.total * sizes.batch
    rows = []
    for arm, kind in ((BASELINE, theirs), (OURS, precision)):
        spread = Spread.of(times[arm])
        share = paired_ratio(times["product"], times[arm]).scaled(100 * amount / product_flops)
        rows.append(
            (
                f"{arm}, {words(sizes, kind)}{', compiled' * (sizes.compile and arm == OURS)}",
                device,
                spread.scaled(1000),
                spread.per(sizes.batch),
                paired_ratio(times[BASELINE], times[arm]),
                paired_ratio(times[arm], times["timm"]).scaled(1 / FORWARDS),
                spread.per(amount).scaled(1e-12),
                share,
                None if peak is None else spread.per(amount).scaled(100 / peak),
                facts[arm].peak / MIB,
                facts[arm].peak / facts[BASELINE].peak,
                facts[arm].attention,
            )
        )
    if device == "cpu":
        for arm, kind in ((BASELINE, "fp16"), (OURS, "bf16")):
            rows.append((f"{arm}, {words(GPU_SIZES, kind)}", "cuda", *[None] * 10))
    notes = [
        "A step is the whole update on images that lie on the device: order, both streams, loss, "
        "backward, clipping, AdamW; no loader. Ratios to the authors' own code are not measured: "
        "the baseline is this repository's dense-mask model, laid out as theirs and equal to "
        "their reference losses. A timm forward is one pass of the plain ViT of the same shape "
        f"at {precision} without gradients{', compiled' * sizes.compile}. Model FLOPs: "
        f"{flops.total / 1e9:.1f} GFLOP an image for both. Peak memory is what a step adds to "
        "weights and optimiser states.",
    ]
    title = "SemAIM, one update"
    return [Table(title, COLUMNS, rows, notes), parts_table(steps, rounds, device)]


def words(sizes: Sizes, precision: str) -> str:
    """-> the sizes as a table's row names them."""
    return f"ViT {sizes.arch}, {sizes.side} px, {sizes.batch} x {precision}"


def parts_table(steps: dict[str, UpdateStep], rounds: int, device: str) -> Table:
    """Run the steps part by part, in turn, waiting for the device after each -> their times."""
    times = {name: {part: [] for part in PARTS} for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            for part, run in step.parts.items():
                times[name][part].append(seconds_of(run))
    rows = [
        (
            part,
            device,
            *(Spread.of(times[name][part]).scaled(1000) for name in steps),
            paired_ratio(times[BASELINE][part], times[OURS][part]),
        )
        for part in PARTS
    ]
    columns = ("part", "device", *(f"{name}, ms" for name in steps), "baseline / ours")
    return Table("The update by part", columns, rows, ["Loss includes the target."])
