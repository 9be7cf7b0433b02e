"""What one of our updates spends most on: the operations with the largest own time."""

import torch
from torch.profiler import ProfilerActivity, profile

from semaim_mm.bench.pretrain import Sizes, build_model, words
from semaim_mm.bench.pretrain_steps import OurStep
from semaim_mm.bench.report import Table
from semaim_mm.bench.timing import synchronize
from semaim_mm.runtime.precision import resolve_precision

COLUMNS = ("operation", "device", "calls a step", "ms a step", "% of the operations' time")
SHOWN = 3


def measure(sizes: Sizes, rounds: int) -> list[Table]:
    """-> the three largest costs over ``rounds`` profiled steps, and all others together.

    On a GPU the time is that of the kernels an operation launched, on a CPU that in the operation
    itself.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = resolve_precision(sizes.precision, device)
    model, optim_wrapper = build_model(sizes)
    imgs = torch.randn(sizes.batch, 3, sizes.side, sizes.side, device=device)
    step = OurStep(model.to(device), imgs, optim_wrapper, precision, sizes.compile)
    for _ in range(2):
        step()
    synchronize()
    activities = [ProfilerActivity.CPU]
    if device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities, acc_events=True) as recorded:
        for _ in range(rounds):
            step()
        synchronize()
    kind = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    # by operation: on CUDA the kernels are listed once more under their own names
    events = [event for event in recorded.key_averages() if event.key.startswith("aten::")]
    spent = {event.key: (getattr(event, kind), event.count) for event in events}
    total = sum(time for time, _ in spent.values())
    largest = sorted(spent, key=lambda name: -spent[name][0])[:SHOWN]
    others = [spent[name] for name in spent if name not in largest]
    listed = [(name, *spent[name]) for name in largest]
    listed.append(("all others", sum(t for t, _ in others), sum(n for _, n in others)))
    rows = [
        (name, device, count / rounds, time / 1000 / rounds, 100 * time / total)
        for name, time, count in listed
    ]
    notes = [f"Ours, {words(sizes, precision)}, {rounds} steps under torch.profiler."]
    return [Table("Largest costs of a step", COLUMNS, rows, notes)]
