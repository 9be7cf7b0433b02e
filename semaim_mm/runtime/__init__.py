"""What a run needs around the model: batch, learning rate, precision, seeds, logs."""

from semaim_mm.runtime.batch import BatchPlan, plan_batch
from semaim_mm.runtime.budget import BudgetHook
from semaim_mm.runtime.hooks import (
    ClassCountHook,
    LateInfoHook,
    SeedStepHook,
    ThroughputHook,
)
from semaim_mm.runtime.precision import (
    BFloat16OptimWrapper,
    Float16OptimWrapper,
    Float32OptimWrapper,
)
from semaim_mm.runtime.record import RecordHook
from semaim_mm.runtime.reliable import (
    FiniteStepHook,
    HangHook,
    ResumableEpochLoop,
    ResumableIterLoop,
    SafeCheckpointHook,
    SkippedImagesHook,
    StatusHook,
    StopSignalHook,
)
from semaim_mm.runtime.runner import TransferRunner

__all__ = [
    "BFloat16OptimWrapper",
    "BatchPlan",
    "BudgetHook",
    "ClassCountHook",
    "FiniteStepHook",
    "Float16OptimWrapper",
    "Float32OptimWrapper",
    "HangHook",
    "LateInfoHook",
    "RecordHook",
    "ResumableEpochLoop",
    "ResumableIterLoop",
    "SafeCheckpointHook",
    "SeedStepHook",
    "SkippedImagesHook",
    "StatusHook",
    "StopSignalHook",
    "ThroughputHook",
    "TransferRunner",
    "plan_batch",
]
