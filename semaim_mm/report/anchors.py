"""Known-good anchors: published scores of public checkpoints, and whether they were reproduced."""

from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import yaml

from semaim_mm.errors import InputError
from semaim_mm.report.result import FILE_NAME, read_result


class Anchor(NamedTuple):
    """A published score, and what was measured here: None until somebody with the data runs it.

    ``expected``, ``tolerance`` and ``source`` are None where no figure under such a protocol was
    found; ``note`` then says so. ``train`` is the config to train first, None for frozen features.
    A run with several scores has an anchor for each, of one name.
    """

    name: str
    config: str
    train: str | None
    task: str
    metric: str
    expected: float | None
    tolerance: float | None = None
    source: str | None = None
    note: str | None = None
    measured: float | None = None

    @property
    def state(self) -> str:
        if self.measured is None:
            return "not run"
        if self.expected is None:
            return f"measured {self.measured:.2f}"
        off = self.measured - self.expected
        return f"{'reproduced' if abs(off) <= self.tolerance else 'OFF'} ({off:+.2f})"


def load_anchors(results: str | Path | None = None) -> list[Anchor]:
    """-> all anchors; with the results below a folder filled in where their method is an anchor."""
    text = files("semaim_mm.report").joinpath("anchors.yaml").read_text()
    anchors = [Anchor(**{"train": entry["config"], **entry}) for entry in yaml.safe_load(text)]
    if results is None:
        return anchors
    found = {}
    for path in sorted(Path(results).rglob(FILE_NAME)):
        try:
            result = read_result(path)
        except InputError:
            continue  # a broken result is the leaderboard's to report; it is no anchor
        found[result["method"], result["task"]] = result["metrics"]
    return [
        anchor._replace(measured=found[anchor.name, anchor.task][anchor.metric]["value"])
        if anchor.metric in found.get((anchor.name, anchor.task), {})
        else anchor
        for anchor in anchors
    ]
