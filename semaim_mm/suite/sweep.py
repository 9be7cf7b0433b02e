"""Equal tuning: every method gets the same grid, and its settings are chosen on held-out images.

A trial trains without a share of the training set and is tested on that share alone. The settings
of the best trial of a method's first seed are then used for all of its seeds; every trial is kept.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.scores import HEADLINES
from semaim_mm.report.result import canonical, read_result, replacing, sha256_text

HOLDOUT = 0.1


def grid_points(grid: Mapping[str, Sequence]) -> list[dict[str, Any]]:
    """{config key: values} -> every combination of them, the last key changing fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def check_sweep(sweep: Any, tasks: Sequence[str], path: str) -> None:
    """Raise InputError for a ``sweep`` that is not {task: {config key: [values]}}."""
    if not isinstance(sweep, Mapping):
        raise InputError(f"{path}: sweep={sweep!r} must be a dict of tasks; see docs/suites.md.")
    strangers = [task for task in sweep if task not in tasks]
    if strangers:
        raise InputError(
            f"{path} sweeps {', '.join(strangers)}, which is no task of the suite; its tasks are "
            f"{', '.join(tasks)}."
        )
    for task, grid in sweep.items():
        lists = isinstance(grid, Mapping) and all(
            isinstance(values, list | tuple) and values for values in grid.values()
        )
        if not lists or len(grid_points(grid)) < 2:
            raise InputError(
                f"{path}: the sweep of {task} must give config keys lists of values, two "
                'combinations or more, e.g. {"base_lr": [5e-4, 1e-3]}.'
            )


def choose(
    folder: Path, grid: Mapping[str, Sequence], share: float, results: Sequence[Path]
) -> tuple[dict[str, Any], Path]:
    """The results of all trials, in the grid's order -> the best settings, and a file about them.

    The first of equally good trials is taken. The file, in ``folder``, holds the grid, the share,
    the metric, every trial's score and what was chosen; its name says its content.
    """
    points = grid_points(grid)
    metrics = [read_result(path)["metrics"] for path in results]
    name = next((n for n in HEADLINES if n in metrics[0]), next(iter(metrics[0])))
    scores = [found[name]["value"] for found in metrics]
    best = scores.index(max(scores))
    content = dict(
        grid={key: list(values) for key, values in grid.items()},
        share=share,
        metric=name,
        trials=[
            dict(settings=point, value=score, digest=read_result(path)["digest"])
            for point, score, path in zip(points, scores, results, strict=True)
        ],
        chosen=points[best],
    )
    text = canonical(content)
    path = folder / f"choice-{sha256_text(text)[:12]}.json"
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    return points[best], path
