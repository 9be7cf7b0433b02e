"""What one step allocates and which attention kernels it runs: facts that no clock is needed for.

Peak memory is what tensors hold above the level before the step. On CUDA it is
``max_memory_allocated``; on the CPU the sum over the profiler's allocations and frees, which unlike
a process' resident size repeats exactly and leaves the libraries' scratch space out.
"""

from collections import Counter
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from semaim_mm.bench.timing import Step, synchronize
from semaim_mm.errors import InputError

# the op that torch's profiler names -> the backend, as torch.nn.attention calls it
KERNELS = {
    "aten::_scaled_dot_product_flash_attention": "flash",
    "aten::_scaled_dot_product_flash_attention_for_cpu": "flash (CPU)",
    "aten::_scaled_dot_product_efficient_attention": "efficient",
    "aten::_scaled_dot_product_cudnn_attention": "cudnn",
    "aten::_scaled_dot_product_attention_math": "math",
    "aten::_scaled_dot_product_fused_attention_overrideable": "overrideable",
}


class StepFacts(NamedTuple):
    """Bytes at the peak above the start, of the largest single tensor, and calls by kernel."""

    peak: int
    largest: int | None
    kernels: dict[str, int]
    how: str

    @property
    def attention(self) -> dict[str, int] | str:
        """Calls by kernel for a table; 'own softmax' where none of torch's ran."""
        return self.kernels or "own softmax"


def step_facts(step: Step, device: torch.device | str) -> StepFacts:
    """Run ``step`` (twice on CUDA) -> what it needs.

    The step must have run before, and leave no gradients behind, else the peak is short of them.
    ``largest`` is None on CUDA, whose allocations the profiler does not list by tensor.
    """
    on_cuda = torch.device(device).type == "cuda"
    if on_cuda:
        synchronize()
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
        step()
        synchronize()
        peak, largest = torch.cuda.max_memory_allocated() - start, None
        how = "torch.cuda.max_memory_allocated, less what was allocated before the step"
    # acc_events only keeps torch from warning that it forgets earlier cycles; there is one
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=not on_cuda, acc_events=True
    ) as recorded:
        step()
    events = recorded.profiler.kineto_results.events()  # the list that every public view is made of
    if not on_cuda:
        changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
        peak, largest = peak_of([size for _, size in sorted(changes, key=lambda pair: pair[0])])
        how = "torch.profiler: allocated less freed bytes, at their highest"
    kernels = Counter(KERNELS[e.name()] for e in events if e.name() in KERNELS)
    return StepFacts(peak, largest, dict(kernels), how)


def peak_of(changes: list[int]) -> tuple[int, int]:
    """Bytes allocated (positive) and freed (negative), in turn -> highest sum, largest tensor."""
    held = highest = largest = 0
    for change in changes:
        held += change
        highest, largest = max(highest, held), max(largest, change)
    return highest, largest


def check_fused(facts: StepFacts, calls: int | None = None) -> None:
    """Raise InputError where attention ran other than fused: it would hold matrices of pairs.

    ``calls`` is how often torch's attention must have run: fewer means that some was done by hand.
    """
    if not facts.kernels or "math" in facts.kernels:
        ran = ", ".join(facts.kernels) or "none that is known"
        raise InputError(
            f"The step's attention ran by the kernel {ran} and not by a fused one; choose another "
            "precision or head width, or look for what disables the fused kernels of torch."
        )
    if calls not in (None, ran := sum(facts.kernels.values())):
        raise InputError(
            f"The step ran torch's fused attention {ran} times, and its blocks are {calls}: the "
            "others attend by hand, or blocks are left out or run twice. Look for what changed "
            "in the model, or mend the count."
        )
