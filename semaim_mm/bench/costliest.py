"""What one of our updates spends most on: the operations with the largest own time."""

from collections.abc import Iterable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from semaim_mm.bench.flops import attention_calls
from semaim_mm.bench.pretrain import Sizes, build_model, words
from semaim_mm.bench.pretrain_steps import OurStep
from semaim_mm.bench.report import Table
from semaim_mm.bench.step_facts import check_fused, step_facts
from semaim_mm.bench.timing import synchronize
from semaim_mm.runtime.precision import resolve_precision

COLUMNS = ("operation", "device", "calls a step", "ms a step", "% of the operations' time")
SHOWN = 3
TRITON, OTHER_KERNELS = "triton", "other kernels"
# what torch calls the code that torch.compile made for a CPU, whose kernels have no names
COMPILED = ("## Call CompiledFxGraph", "Torch-Compiled Region", "CompiledFunction")


def costs(events: Iterable[Any], on_gpu: bool) -> dict[str, tuple[float, int]]:
    """The profiler's averages -> microseconds and calls by operation, no time counted twice.

    On a GPU a kernel counts for the operation that launched it, and one that torch.compile made for
    itself; the profiler lists all kernels under their own names too, which gives the rest.
    """
    events = list(events)
    operations = [event for event in events if event.key.startswith("aten::")]
    if not on_gpu:
        operations += [event for event in events if event.key.startswith(COMPILED)]
        return {event.key: (event.self_cpu_time_total, event.count) for event in operations}
    kernels = [e for e in events if e.device_type == DeviceType.CUDA and not e.is_user_annotation]
    named = operations + [kernel for kernel in kernels if kernel.key.startswith(TRITON)]
    spent = {event.key: (event.self_device_time_total, event.count) for event in named}
    rest = sum(kernel.self_device_time_total for kernel in kernels)
    rest -= sum(time for time, _ in spent.values())
    return spent | ({OTHER_KERNELS: (rest, 0)} if rest > 0 else {})


def measure(sizes: Sizes, rounds: int) -> list[Table]:
    """-> the three largest costs over ``rounds`` profiled steps, and all others together.

    On a GPU the time is that of the kernels an operation launched, on a CPU that in the operation
    itself. Raises InputError where attention is not fused in every block.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = resolve_precision(sizes.precision, device)
    model, optim_wrapper = build_model(sizes)
    imgs = torch.randn(sizes.batch, 3, sizes.side, sizes.side, device=device)
    step = OurStep(model.to(device), imgs, optim_wrapper, precision, sizes.compile)
    for _ in range(2):
        step()
    check_fused(step_facts(step, device), attention_calls(model))
    synchronize()
    activities = [ProfilerActivity.CPU]
    if device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities, acc_events=True) as recorded:
        for _ in range(rounds):
            step()
        synchronize()
    spent = costs(recorded.key_averages(), device == "cuda")
    total = sum(time for time, _ in spent.values())
    largest = sorted(spent, key=lambda name: -spent[name][0])[:SHOWN]
    others = [spent[name] for name in spent if name not in largest]
    listed = [(name, *spent[name]) for name in largest]
    listed.append(("all others", sum(t for t, _ in others), sum(n for _, n in others)))
    rows = [
        (name, device, count / rounds, time / 1000 / rounds, 100 * time / total)
        for name, time, count in listed
    ]
    what = words(sizes, precision) + ", compiled" * sizes.compile
    notes = [f"Ours, {what}, {rounds} steps under torch.profiler."]
    return [Table("Largest costs of a step", COLUMNS, rows, notes)]
