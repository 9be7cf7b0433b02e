"""Runs that lose nothing: atomic checkpoints, exact resume, signals, locks, non-finite steps."""

from semaim_mm.runtime.reliable.checkpoint_hook import SafeCheckpointHook
from semaim_mm.runtime.reliable.finite import FiniteStepHook
from semaim_mm.runtime.reliable.hang import HangHook
from semaim_mm.runtime.reliable.loops import ResumableEpochLoop, ResumableIterLoop
from semaim_mm.runtime.reliable.runner import ReliableRunner
from semaim_mm.runtime.reliable.skipped import SkippedImagesHook
from semaim_mm.runtime.reliable.status import StatusHook
from semaim_mm.runtime.reliable.stop import StopSignalHook

__all__ = [
    "FiniteStepHook",
    "HangHook",
    "ReliableRunner",
    "ResumableEpochLoop",
    "ResumableIterLoop",
    "SafeCheckpointHook",
    "SkippedImagesHook",
    "StatusHook",
    "StopSignalHook",
]
