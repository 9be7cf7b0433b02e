"""How an update's cost grows with batch, tokens, depth and query depth, one varied at a time."""

from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from mmpretrain.registry import MODELS

from semaim_mm.bench.pretrain import DTYPES, LEAF, MIB
from semaim_mm.bench.pretrain_steps import OurStep
from semaim_mm.bench.report import Table
from semaim_mm.bench.step_facts import check_fused, step_facts
from semaim_mm.bench.timing import Spread, Step, interleave, paired_ratio, release
from semaim_mm.layers import ContentAttention
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.precision import resolve_precision

PATCH = 16
COLUMNS = (
    "varied",
    "value",
    "device",
    "step, ms",
    "time of this / the axis' first",
    "value / the axis' first",
    "peak memory of a step, MiB",
    "peak memory of attention alone, MiB",
    "its bytes a token",
)


class Sizes(NamedTuple):
    """The point that every axis passes through, and how far the axes go.

    ``width`` in channels (64 a head), ``side`` in pixels, ``tokens`` the most patches of an image.
    """

    width: int
    depth: int
    side: int
    batch: int
    tokens: int
    precision: str


CPU_SIZES = Sizes(64, 4, 224, 1, 4096, "fp32")
GPU_SIZES = Sizes(768, 12, 224, 64, 4096, "bf16")
SIDES = (112, 224, 448, 512, 1024)  # 49, 196, 784, 1,024 and 4,096 patches


def axes(sizes: Sizes) -> dict[str, list[tuple[int, Sizes, int]]]:
    """-> by axis (value, the sizes there, query depth)."""
    depth, batch = sizes.depth, sizes.batch
    sides = [side for side in SIDES if (side // PATCH) ** 2 <= sizes.tokens]
    fewer = max(1, batch // 16)  # the longest sequences must fit too
    least = max(1, batch // 2)
    return {
        "batch": [(n, sizes._replace(batch=n), depth) for n in (least, 2 * least, 4 * least)],
        "tokens": [
            ((side // PATCH) ** 2, sizes._replace(side=side, batch=fewer), depth) for side in sides
        ],
        "depth": [(n, sizes._replace(depth=n), 1) for n in (depth // 2, depth, 2 * depth)],
        "query depth": [(n, sizes, n) for n in sorted({1, depth // 2, depth})],
    }


def build_step(sizes: Sizes, query_depth: int, device: str, precision: str) -> OurStep:
    """-> the leaf's update at these sizes, on random images."""
    cfg = load_config(LEAF)
    arch = dict(
        embed_dims=sizes.width,
        num_layers=sizes.depth,
        num_heads=max(1, sizes.width // 64),
        feedforward_channels=4 * sizes.width,
    )
    backbone = {**cfg.model.backbone, "arch": arch, "img_size": sizes.side}
    neck = {**cfg.model.neck, "query_depth": query_depth}
    parts = dict(backbone=backbone, neck=neck, data_preprocessor=None)
    model = MODELS.build({**cfg.model, **parts})
    model.init_weights()
    imgs = torch.randn(sizes.batch, 3, sizes.side, sizes.side, device=device)
    return OurStep(model.train().to(device), imgs, cfg.optim_wrapper, precision)


def attention_alone(sizes: Sizes, device: str, precision: str) -> Step:
    """-> the content stream's causal attention of one block, forward and backward."""
    length, dtype = (sizes.side // PATCH) ** 2, DTYPES[precision]
    attn = ContentAttention(embed_dims=sizes.width, num_heads=max(1, sizes.width // 64)).to(device)
    shape = sizes.batch, length, sizes.width
    tokens = torch.randn(shape, device=device, requires_grad=True)

    def step() -> None:
        with torch.autocast(device, dtype=dtype, enabled=precision != "fp32"):
            out = attn(tokens, causal=True)
        out.sum().backward()
        attn.zero_grad()
        tokens.grad = None

    return step


def measure(sizes: Sizes, rounds: int, figure: str | Path | None = None) -> list[Table]:
    """-> one table, a row for every point; ``figure`` is where the plot goes (.svg or .png)."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = resolve_precision(sizes.precision, device)
    rows = []
    for axis, points in axes(sizes).items():
        steps = {value: build_step(at, depth, device, precision) for value, at, depth in points}
        times = interleave(steps, rounds)
        first = points[0][0]
        for value, at, _ in points:
            alone = attention_alone(at, device, precision)
            alone()
            facts = step_facts(alone, device)
            check_fused(facts, calls=1)
            rows.append(
                (
                    axis,
                    value,
                    device,
                    Spread.of(times[value]).scaled(1000),
                    paired_ratio(times[value], times[first]),
                    value / first,
                    step_facts(steps[value], device).peak / MIB,
                    facts.peak / MIB,
                    facts.peak / (at.batch * (at.side // PATCH) ** 2),
                )
            )
        del steps
        release()
    notes = [
        f"One update of a SemAIM of width {sizes.width} and depth {sizes.depth} at {sizes.side} px "
        f"and batch {sizes.batch}, {precision}, one of these varied at a time (depth at query "
        "depth 1; tokens at the smallest batch). Attention alone is one content block's causal "
        "attention with its projections, forward and backward; its bytes a token are constant "
        "where memory is linear in tokens, but for the gradients of its weights.",
    ]
    if figure is not None:
        draw(rows, Path(figure))
    return [Table("Cost against size", COLUMNS, rows, notes)]


def draw(rows: list[tuple], path: Path) -> None:
    """Rows of the table -> step time (ratio to the axis' first) and attention memory, log-log."""
    picture = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = picture.subplots(1, 2)
    for axis in dict.fromkeys(row[0] for row in rows):
        mine = [row for row in rows if row[0] == axis]
        left.plot([row[5] for row in mine], [row[4].median for row in mine], "o-", label=axis)
        if axis == "tokens":
            right.plot([row[1] for row in mine], [row[7] for row in mine], "o-", label="measured")
            line = [mine[0][7] * row[5] for row in mine]
            right.plot([row[1] for row in mine], line, ":", label="linear")
    left.set(xlabel="size, in the smallest", ylabel="step time, in the smallest's")
    right.set(xlabel="tokens", ylabel="peak of attention alone, MiB")
    for each in (left, right):
        each.set(xscale="log", yscale="log")
        each.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path)
