"""One SemAIM update beside the dense-mask baseline, both as multiples of timm's plain ViT.

With a checkout of the authors' code, that is the baseline and ours an arm beside it. All count the
same model FLOPs, those that SemAIM needs (flops.py).
"""

from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from mmpretrain.registry import MODELS
from timm.models import VisionTransformer
from torch import nn

from semaim_mm.bench import loader
from semaim_mm.bench.authors_code import AuthorsStep, check_losses, load_model_class
from semaim_mm.bench.dense_semaim import DenseSemAIM
from semaim_mm.bench.flops import attention_calls, data_sheet_flops, step_flops
from semaim_mm.bench.pretrain_steps import PARTS, DenseStep, OurStep, UpdateStep
from semaim_mm.bench.report import Table, cell
from semaim_mm.bench.step_facts import check_fused, step_facts
from semaim_mm.bench.timing import Spread, Step, interleave, paired_ratio, seconds_of
from semaim_mm.pretrain.semaim import SemAIM
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.precision import resolve_precision

LEAF = "configs/pretrain/semaim_vitb.py"
MIB, FORWARDS = 2**20, 7
LOADER, LOADED = "loader, one worker", 16
OURS, BASELINE, AUTHORS = "ours", "our dense baseline", "the authors' code"
COMPILED = "ours, compiled"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def columns(against: str) -> tuple[str, ...]:
    """-> those of the table of whole steps, with the arm that ratios are formed against."""
    return (
        "what",
        "device",
        "step, ms",
        "images/s",
        f"time of {against} / this",
        "time of this / 7 timm forwards",
        "model TFLOP/s",
        "% of a matrix product's rate here",
        "MFU, % of the data sheet",
        "peak memory, MiB",
        f"memory of this / {against}",
        "kernel x calls",
    )


class Sizes(NamedTuple):
    """``arch`` as SemAIMViT takes it, ``side`` in pixels, ``batch`` in images.

    ``compile`` times ours compiled too, against a compiled timm's ViT; the baseline stays eager as
    the authors' code is.
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
    model, optim_wrapper = shape_model(LEAF, sizes.side, arch=sizes.arch)
    model.init_weights()
    return model.train(), optim_wrapper


def shape_model(leaf: str, side: int, **backbone: str) -> tuple[SemAIM, dict]:
    """-> a leaf's SemAIM for such images, weights not yet set, and its optimiser wrapper."""
    cfg = load_config(leaf)
    shape = {**cfg.model.backbone, "img_size": side, **backbone}
    model = MODELS.build({**cfg.model, "backbone": shape, "data_preprocessor": None})
    return model, cfg.optim_wrapper


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


class Arm(NamedTuple):
    """A step, its precision, and whether it is compiled: timm's ViT runs in the same way."""

    step: UpdateStep
    precision: str
    compiled: bool = False


def build_arms(
    sizes: Sizes, precision: str, device: str, authors: str | Path | None
) -> tuple[SemAIM, dict[str, Arm]]:
    """-> our model, and ours and the baselines on the same images and weights, by name."""
    kind = None if authors is None else load_model_class(authors)
    if kind is not None:
        check_losses(kind)
    model, optim_wrapper = build_model(sizes)
    imgs = torch.randn(sizes.batch, 3, sizes.side, sizes.side).to(device)
    theirs = "fp16" if device == "cuda" and precision != "fp32" else precision
    arms = {BASELINE: Arm(DenseStep(DenseSemAIM(model).to(device), imgs, theirs), theirs)}
    if kind is not None:
        arms = {AUTHORS: Arm(AuthorsStep(kind, model, imgs, theirs), theirs)} | arms
    model = model.to(device)
    if sizes.compile:
        ours = OurStep(deepcopy(model), imgs, optim_wrapper, precision, compiled=True)
        arms[COMPILED] = Arm(ours, precision, compiled=True)
    arms[OURS] = Arm(OurStep(model, imgs, optim_wrapper, precision), precision)
    return model, arms


def timm_arms(model: SemAIM, sizes: Sizes, arms: dict[str, Arm]) -> dict[tuple[str, bool], Step]:
    """-> timm's forward in every precision, compiled or not, that an arm runs in."""
    imgs, made = arms[OURS].step.imgs, {}
    vit = timm_vit(model, sizes).to(imgs.device)
    for arm in arms.values():
        tower = torch.compile(vit) if arm.compiled else vit
        made[arm.precision, arm.compiled] = timm_forward(tower, imgs, arm.precision)
    return made


def measure(sizes: Sizes, rounds: int, authors: str | Path | None = None) -> list[Table]:
    """-> the table of whole steps and that of their parts.

    Args:
        authors: folder of a checkout of the authors' code, which ratios are formed against then.

    Raises:
        InputError: a precision that the device can't do; a checkout that can't be imported or does
            not reproduce the reference losses.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = resolve_precision(sizes.precision, device)
    model, arms = build_arms(sizes, precision, device, authors)
    against, steps = next(iter(arms)), {name: arm.step for name, arm in arms.items()}
    timm, (product, product_flops) = (
        timm_arms(model, sizes, arms),
        matrix_product(device, precision),
    )
    times = interleave({**steps, **timm, "product": product}, rounds, warmup=2)
    facts = {name: step_facts(step, device) for name, step in steps.items()}
    for name in {OURS, COMPILED} & set(arms):
        check_fused(facts[name], attention_calls(model))
    flops = step_flops(model, model.backbone.patch_resolution)
    card, amount = torch.cuda.get_device_name() if device == "cuda" else "cpu", sizes.batch
    amount *= flops.total
    rows = []
    for name, arm in arms.items():
        spread, peak = Spread.of(times[name]), data_sheet_flops(card, arm.precision)
        share = paired_ratio(times["product"], times[name]).scaled(100 * amount / product_flops)
        forwards = paired_ratio(times[name], times[arm.precision, arm.compiled])
        rows.append(
            (
                f"{name}, {words(sizes, arm.precision)}",
                device,
                spread.scaled(1000),
                spread.per(sizes.batch),
                paired_ratio(times[against], times[name]),
                forwards.scaled(1 / FORWARDS),
                spread.per(amount).scaled(1e-12),
                share,
                None if peak is None else spread.per(amount).scaled(100 / peak),
                facts[name].peak / MIB,
                facts[name].peak / facts[against].peak,
                facts[name].attention,
            )
        )
    if device == "cpu":
        for name in arms:
            kind = "bf16" if name in (OURS, COMPILED) else "fp16"
            rows.append((f"{name}, {words(GPU_SIZES, kind)}", "cuda", *[None] * 10))
    notes = [
        "A step is the whole update on images that lie on the device: order, both streams, loss, "
        f"backward, clipping, AdamW; no loader. {told(against, device)} A timm forward is one pass "
        "of the plain ViT of the same shape without gradients, in the row's own precision and "
        f"compiled where it is. Model FLOPs: {flops.total / 1e9:.1f} GFLOP an image for all. Peak "
        "memory is what a step adds to weights and optimiser states.",
    ]
    if sizes.compile:
        gain = paired_ratio(times[OURS], times[COMPILED])
        notes.append(f"Time of ours / ours, compiled: {cell(gain)}.")
    whole = Table("SemAIM, one update", columns(against), rows, notes)
    return [whole, parts_table(steps, rounds, device, sizes.batch)]


def told(against: str, device: str) -> str:
    """-> the sentences that say what ratios are formed against."""
    if against == BASELINE:
        return (
            "Ratios are against our dense baseline: this repository's dense-mask model, laid out "
            "as the authors' and equal to their reference losses. Those to the authors' own code "
            "are not measured; --authors times a checkout of it."
        )
    order = "" if device == "cuda" else " It sorts by the map alone, for its distances need CUDA."
    return (
        "Ratios are against the authors' code, a checkout that reproduced the reference losses of "
        f"one batch and of eight updates before it was timed.{order}"
    )


def words(sizes: Sizes, precision: str) -> str:
    """-> the sizes as a table's row names them."""
    return f"ViT {sizes.arch}, {sizes.side} px, {sizes.batch} x {precision}"


def parts_table(steps: dict[str, UpdateStep], rounds: int, device: str, batch: int) -> Table:
    """Run the steps part by part, in turn, waiting for the device after each -> their times.

    The loader's part is that of one worker, by our pipeline, and by the stock one for baselines.
    """
    times = {name: {part: [] for part in PARTS} for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            for part, run in step.parts.items():
                times[name][part].append(seconds_of(run))
    loading = load_seconds(batch, rounds)
    for name in steps:
        times[name][LOADER] = loading["ours" if name in (OURS, COMPILED) else "stock"]
    others = [name for name in steps if name != OURS]
    rows = [
        (
            part,
            "cpu" if part == LOADER else device,
            *(Spread.of(times[name][part]).scaled(1000) for name in steps),
            *(paired_ratio(times[name][part], times[OURS][part]) for name in others),
        )
        for part in (*PARTS, LOADER)
    ]
    ratios = (f"{name} / ours" for name in others)
    columns = ("part", "device", *(f"{name}, ms" for name in steps), *ratios)
    notes = [
        "Loss includes the target. The loader's part is a batch of 224-px crops by one worker, "
        "beside the update in training: divide it by the workers. Baselines have mmpretrain's "
        "stock pipeline; `loader` says more.",
    ]
    return Table("The update by part", columns, rows, notes)


def load_seconds(batch: int, rounds: int) -> dict[str, list[float]]:
    """-> seconds a batch by each of the loader benchmark's pipelines, one time a round."""
    with TemporaryDirectory() as folder:
        loader.write_jpegs(Path(folder), LOADED)
        times = loader.seconds(Path(folder), LOADED, rounds)
    return {name: [each * batch / LOADED for each in values] for name, values in times.items()}
