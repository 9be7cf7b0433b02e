"""A suite for people: the plan with what it costs, and what came out."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.scores import HEADLINES
from semaim_mm.report.result import read_result
from semaim_mm.runtime.launch import configs_read_once, load_config
from semaim_mm.suite.execute import DONE, Outcome, input_of
from semaim_mm.suite.spec import Spec
from semaim_mm.suite.stages import (
    Stage,
    command_of,
    output_of,
    settle,
    shell_line,
    sorted_by_need,
)
from semaim_mm.suite.state import is_finished, key_of, without_manifest
from semaim_mm.suite.times import expectations, machines


@configs_read_once()
def plan_table(stages: Sequence[Stage]) -> Table:
    """-> stages with their length, state, and the time that their like has taken here."""
    view = Table(title="Plan")
    for column in ("stage", "leaf", "length", "state", "expected"):
        view.add_column(column, no_wrap=True)
    known = expectations(stages)
    total, unknown, elsewhere = 0.0, 0, False
    states = states_of(stages)
    for stage in stages:
        state = states[stage.name]
        expected = known.get(stage.name)
        if state == "finished":
            told = ""
        elif expected is None:
            told, unknown = "not known", unknown + 1
        else:
            told = _time(expected.seconds) + (" *" if expected.elsewhere else "")
            total, elsewhere = total + expected.seconds, elsewhere or expected.elsewhere
        cells = stage.name, stage.config.removeprefix("configs/"), length_of(stage), state, told
        view.add_row(*map(Text, cells))  # as text: in rich's markup [x] would vanish
    caption = f"expected, one after another: {_time(total)}"
    if unknown:
        told = f"at least {_time(total)}, and {unknown} stage(s) of unknown length"
        caption = f"expected, one after another: {told}"
    if elsewhere:
        caption += f"\n* measured on {machines()}"
    if unlisted := without_manifest(stages):
        caption += (
            f"\nno manifest in {', '.join(unlisted)}: if images change there, nothing is run anew; "
            "tools/prepare_data.py writes one, for any layout: its kind 'folder'"
        )
    view.caption = Text(caption, style="table.caption")
    return view


@configs_read_once()
def states_of(stages: Sequence[Stage]) -> dict[str, str]:
    """Stages -> 'finished', 'to run', or 'after' the stage that has to run before it, by name."""
    found: dict[str, str] = {}
    for stage in sorted_by_need(stages):
        lacking = [name for name in stage.after if found[name] != "finished"]
        found[stage.name] = f"after {lacking[0]}" if lacking else _state(stage, stages)
    return found


def _state(stage: Stage, stages: Sequence[Stage]) -> str:
    try:
        stage = settle(stage, stages)
        key = key_of(stage, stages)
    except (InputError, OSError):
        return "to run"  # and to fail, with its reason
    return "finished" if is_finished(stage, key, stages) else "to run"


def length_of(stage: Stage) -> str:
    """-> how long a stage trains, as its config says."""
    cfg = load_config(stage.config, stage.options)
    loop = cfg.get("train_cfg")
    if stage.kind == "test" or loop is None:
        return "one pass"
    if "max_iters" in loop:
        return f"{loop.max_iters} updates of {cfg.total_batch}"
    return f"{loop.max_epochs} epochs, batch {cfg.total_batch}"


def commands(stages: Sequence[Stage], suite: Sequence[str]) -> list[str]:
    """-> one shell line a stage, in an order in which they can be run; what it runs stands above.

    Args:
        suite: the arguments that name the suite to tools/transfer.py, which runs the stage and
            records it as the suite's own.
    """
    lines = []
    for stage in stages:
        runs = "what the sweep has yet to choose"
        if not stage.trials:
            runs = shell_line(command_of(stage, input_of(stage, stages)))
        own = shell_line([sys.executable, "tools/transfer.py", *suite, "--only", stage.name])
        lines += [f"# {stage.name}: {runs}", own]
    return lines


def results_table(spec: Spec, outcomes: Sequence[Outcome]) -> Table:
    """-> methods x tasks: the headline figure of every seed; a failed one with its log."""
    title = ": ".join(filter(None, [spec.name, _headline_note(outcomes)]))
    view = Table(title=Text(title, style="table.title"))
    view.add_column("method")
    for task in spec.tasks:
        view.add_column(task, justify="right")
    for method in spec.methods:
        cells = []
        for task in spec.tasks:
            if not spec.asks(method, task):
                cells.append("not asked")
                continue
            mine = [
                o
                for o in outcomes
                if (o.stage.method, o.stage.task) == (method, task) and o.stage.trial is None
            ]
            mine += [o for o in outcomes if o.stage.method == method and o.stage.kind == "pretrain"]
            cells.append(_cell(mine))
        view.add_row(Text(method), *map(Text, cells))
    return view


def _cell(outcomes: Sequence[Outcome]) -> str:
    tests = [o for o in outcomes if o.stage.kind == "test"]
    values = [f"{headline(output_of(o.stage))[1]:.1f}" for o in tests if o.status in DONE]
    lines = [" ".join(values)] if values else []
    lines += [f"failed: {o.log}" for o in outcomes if o.status == "failed"]
    return "\n".join(lines) or "-"


def headline(result: Path) -> tuple[str, float]:
    """A result file -> the name and value of its task's main figure."""
    metrics = read_result(result)["metrics"]
    name = next((name for name in HEADLINES if name in metrics), next(iter(metrics)))
    return name, metrics[name]["value"]


def _headline_note(outcomes: Sequence[Outcome]) -> str:
    done = [o for o in outcomes if o.stage.kind == "test" and o.status in DONE]
    names = {o.stage.task: headline(output_of(o.stage))[0] for o in done}
    told = ", ".join(f"{task} {name}" for task, name in names.items())
    return f"{told}, in percent" if told else ""


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
