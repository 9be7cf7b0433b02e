"""k-NN classification beside the plain matrix products that it can't do without."""

import time
from typing import NamedTuple

import torch

from semaim_mm.bench.report import Table
from semaim_mm.bench.step_facts import step_facts
from semaim_mm.bench.timing import Spread, interleave, paired_ratio
from semaim_mm.transfer.knn import KNN, knn_votes

CLASSES, CHUNK = 1000, 1 << 27
IMAGENET = dict(bank=1_281_167, queries=50_000)
COLUMNS = (
    "what",
    "device",
    "seconds",
    "time of this / matrix product",
    "peak memory, MiB",
    "projected to ImageNet, minutes",
)


class Sizes(NamedTuple):
    """Training images, test images, feature width."""

    bank: int
    queries: int
    width: int


CPU_SIZES = Sizes(100_000, 2048, 768)  # enough that normalising the bank weighs little
GPU_SIZES = Sizes(1_281_167, 10_000, 768)


def measure(sizes: Sizes, rounds: int) -> list[Table]:
    """-> a row for our k-NN at all its k, and one for the products alone, into one buffer."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bank = torch.randn(sizes.bank, sizes.width, device=device)
    queries = torch.randn(sizes.queries, sizes.width, device=device)
    labels = torch.randint(CLASSES, (sizes.bank,), device=device)
    ks = [k for k in KNN().ks if k <= sizes.bank]

    def products() -> None:
        parts = queries.split(max(1, CHUNK // sizes.bank))
        into = queries.new_empty(len(parts[0]), sizes.bank)
        for part in parts:
            torch.mm(part, bank.T, out=into[: len(part)])

    def votes() -> None:
        knn_votes(bank, labels, queries, ks, CLASSES, chunk_elements=CHUNK)

    arms = {"matrix product": products, "ours": votes}
    clock = time.process_time if device == "cpu" else time.perf_counter
    times = interleave(arms, rounds, clock=clock)
    full = IMAGENET["bank"] * IMAGENET["queries"] / (sizes.bank * sizes.queries)
    size = f"{sizes.queries:,} x {sizes.bank:,} x {sizes.width}"
    rows = [
        (
            f"{name}, {size}, fp32",
            device,
            Spread.of(times[name]),
            paired_ratio(times[name], times["matrix product"]),
            step_facts(step, device).peak / 2**20,
            Spread.of(times[name]).scaled(full / 60),
        )
        for name, step in arms.items()
    ]
    if device == "cpu":
        size = f"{GPU_SIZES.queries:,} x {GPU_SIZES.bank:,} x {GPU_SIZES.width}"
        rows += [(f"{name}, {size}, fp32", "cuda", None, None, None, None) for name in arms]
    notes = [
        f"Votes at k = {', '.join(map(str, ks))} of {CLASSES:,} classes, normalisation included. "
        "The projection scales the measured time by the number of pairs of 50,000 and 1,281,167 "
        "images; peak memory leaves the two feature tables out. Seconds on a GPU are "
        "wall-clock time, on a CPU processor time, which other work on the machine lengthens less.",
    ]
    return [Table("k-NN", COLUMNS, rows, notes)]
