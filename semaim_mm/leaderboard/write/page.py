"""The leaderboard as one self-contained HTML page: it asks nothing of any network.

The templates escape every text. Scripts run only if their hash stands in the page's content
security policy, so a name that slipped through could still not run, nor could anything be fetched.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from semaim_mm.leaderboard.intervals import OVER_IMAGES, OVER_PRETRAINING
from semaim_mm.leaderboard.model import Group, Leaderboard, Row
from semaim_mm.leaderboard.write import text
from semaim_mm.leaderboard.write.charts import against_cost, bars, curve_figures
from semaim_mm.leaderboard.write.cost import TITLES, Cost, cost_of
from semaim_mm.leaderboard.write.curves import Curve
from semaim_mm.leaderboard.write.order_maps import ANALYSIS, MAP, Picture
from semaim_mm.leaderboard.write.overview import (
    caveats,
    methods_of,
    ordered_groups,
    overview,
    title_of,
)
from semaim_mm.leaderboard.write.rows import marks, settings, shown_metrics

STYLES = ("page.css",)
SCRIPTS = ("tables.js", "dialogs.js", "theme.js", "charts.js")
LONGEST = 80  # of a name in a table; its provenance has all of it


@dataclass(frozen=True)
class RowView:
    """A row and the id of the dialog that its cells open."""

    id: str
    row: Row
    cost: Cost
    marks: tuple[str, ...]


@dataclass(frozen=True)
class GroupView:
    """A group with its anchor; ``metrics`` are shown, ``further`` on demand.

    ``common``: notes that most rows have -> how many; they stand below the table, once.
    """

    id: str
    title: str
    group: Group
    metrics: tuple[str, ...]
    further: tuple[str, ...]
    rows: tuple[RowView, ...]
    common: dict[str, int]
    has_cost: bool


def page(
    board: Leaderboard,
    curves: Sequence[Curve] = (),
    pictures: Sequence[Picture] = (),
    pictures_left_out: Mapping[str, int] | None = None,
) -> str:
    """A leaderboard, curves, pictures -> an HTML document, the same for the same.

    ``pictures_left_out``: how many more there are, by kind.
    """
    left_out = pictures_left_out or {}
    methods, groups, figures = methods_of(board), [], {}
    views: dict[int, RowView] = {}
    for number, group in enumerate(ordered_groups(board)):
        view = _group(number, group, len(views), board)
        views |= {id(shown.row): shown for shown in view.rows}
        groups.append(view)
        figures[f"bars-{view.id}"] = bars(group, methods)
        if (cost := against_cost(group, methods)) is not None:
            figures[f"cost-{view.id}"] = cost
    parts = curve_figures(curves, methods)
    figures |= {f"curves-{number}": figure for number, figure in enumerate(parts.values())}
    scripts = [_line_ends(get_plotlyjs()), *(_line_ends(_source(name)) for name in SCRIPTS)]
    return (
        _environment()
        .get_template("page.html")
        .render(
            board=board,
            groups=groups,
            overview=overview(board),
            caveats=caveats(board),
            view_of=lambda row: views[id(row)],
            anchor_of=lambda group: next(view.id for view in groups if view.group is group),
            curves=list(parts),
            maps=[picture for picture in pictures if picture.kind == MAP],
            analyses=[picture for picture in pictures if picture.kind == ANALYSIS],
            maps_left_out=left_out.get(MAP, 0),
            analyses_left_out=left_out.get(ANALYSIS, 0),
            figures=figures,
            methods=methods,
            policy=policy(scripts),
            styles=[_source(name) for name in STYLES],
            scripts=scripts,
            cost_titles=TITLES,
            over_pretraining=OVER_PRETRAINING,
            over_images=OVER_IMAGES,
        )
    )


def policy(scripts: Sequence[str]) -> str:
    """Scripts -> a content security policy that lets these run, and nothing be fetched."""
    hashes = (
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts
    )
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def embedded(value: Any) -> str:
    """JSON that no text in it can break out of, for a script element of type application/json."""
    told = json.dumps(value, sort_keys=True, allow_nan=False)
    for sign in "<>&":
        told = told.replace(sign, f"\\u{ord(sign):04x}")
    return told


def pretty(value: Mapping[str, Any] | None) -> str:
    """A protocol or a record -> indented JSON."""
    return json.dumps(value, indent=2, sort_keys=True)


def _group(number: int, group: Group, first: int, board: Leaderboard) -> GroupView:
    shown = shown_metrics(group)
    notes = Counter(note for row in group.rows for note in row.notes)
    rows = tuple(
        RowView(f"row-{first + place}", row, cost_of(row), tuple(marks(row)))
        for place, row in enumerate(group.rows)
    )
    return GroupView(
        id=f"group-{number}",
        title=title_of(group, board),
        group=group,
        metrics=tuple(shown),
        further=tuple(name for name in group.metrics if name not in shown),
        rows=rows,
        common={note: times for note, times in notes.items() if 2 * times > len(group.rows)},
        has_cost=any(view.cost.pretrained and view.cost.flops for view in rows),
    )


def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("semaim_mm.leaderboard.write", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= dict(
        clean=text.clean,
        name=lambda value: text.clean(value, LONGEST),
        score=text.score,
        signed=lambda value: text.score(value, sign=True),
        span=text.span,
        signed_span=lambda interval: text.span(interval, sign=True),
        margin=text.with_margin,
        unit=text.unit_of,
        p=text.p_value,
        count=text.count,
        plural=text.plural,
        pretty=pretty,
        embedded=embedded,
        settings=settings,
    )
    found.globals["NONE"] = text.NONE
    return found


def _source(name: str) -> str:
    loader = PackageLoader("semaim_mm.leaderboard.write", "template")
    return loader.get_source(Environment(autoescape=True), name)[0]


def _line_ends(script: str) -> str:
    """As a browser reads them, so that the hash is of what it sees."""
    return script.replace("\r\n", "\n").replace("\r", "\n")
