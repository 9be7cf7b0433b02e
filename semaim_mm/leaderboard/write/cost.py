"""What a row's pretraining cost: the columns by which equal epochs and equal FLOPs are read."""

from dataclasses import dataclass

from semaim_mm.leaderboard.model import Row
from semaim_mm.leaderboard.write.text import NONE, count, hours, quantity

KINDS = ("epochs", "images", "flops", "device_hours")
TITLES = ("epochs", "images", "FLOPs", "device hours")


@dataclass(frozen=True)
class Cost:
    """One pretraining's, the mean over a row's. None: not known; ``pretrained`` tells from none."""

    pretrained: bool
    epochs: float | None
    images: float | None
    flops: float | None
    device_hours: float | None

    def told(self) -> tuple[str, str, str, str]:
        """-> as text, in the order of TITLES; 'none' where nothing was pretrained."""
        if not self.pretrained:
            return ("none", NONE, NONE, NONE)
        epochs = NONE if self.epochs is None else f"{self.epochs:.6g}"
        return epochs, count(self.images), quantity(self.flops), hours(self.device_hours)

    def values(self) -> tuple[float | None, ...]:
        """-> as numbers, in the order of KINDS; 0 where nothing was pretrained."""
        if not self.pretrained:
            return (0.0,) * len(KINDS)
        return self.epochs, self.images, self.flops, self.device_hours


def cost_of(row: Row) -> Cost:
    """A row -> the mean cost of its pretrainings, each counted once; None where one is unknown."""
    budgets = {run.pretrained_sha256: run.budget or {} for run in row.runs}
    known = {kind: [budget.get(kind) for budget in budgets.values()] for kind in KINDS}
    means = {
        kind: None if None in values else sum(values) / len(values)
        for kind, values in known.items()
    }
    if means["epochs"] is None and row.epochs is not None:
        means["epochs"] = float(row.epochs)
    return Cost(pretrained=any(run.pretrained_sha256 for run in row.runs), **means)
