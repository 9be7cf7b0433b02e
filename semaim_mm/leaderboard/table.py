"""From a folder of results to a leaderboard: grouped by protocol, ranked inside a group."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from semaim_mm.data.prepare.overlap import Overlap, judge
from semaim_mm.errors import InputError
from semaim_mm.leaderboard.collect import Trusted, collect, mapping
from semaim_mm.leaderboard.compare import compare
from semaim_mm.leaderboard.intervals import (
    OVER_FITTING,
    RESAMPLES,
    Interval,
    over_images,
    over_pretrainings,
    over_seeds,
)
from semaim_mm.leaderboard.model import Absent, Cell, Dropped, Group, Leaderboard, Row, Trial
from semaim_mm.leaderboard.outcome_metrics import Combination, Outcomes
from semaim_mm.leaderboard.plan import Plan
from semaim_mm.leaderboard.provenance import run_of
from semaim_mm.leaderboard.published import published
from semaim_mm.leaderboard.scores import (
    RowKey,
    by_pretraining,
    check_same_images,
    groups_of,
    headline_of,
    own_training,
    scores_by_run,
    seed_clash,
    shares,
    training_clash,
)
from semaim_mm.report.history import labelled_teachers
from semaim_mm.report.result import finite

BOTH_SPREADS = (
    "one finetuning a pretraining: its spread over pretraining seeds has that of finetuning in it"
)
PERCENT = (0.0, 100.0)
NO_MANIFEST = "no manifest: nobody knows that other rows are of the same images"
# what a row's weights have of a supervised teacher, or of weights that had one
OWN, INHERITED = "features of", "started from weights that predicted features of"
LABELLED = "which labels taught"
DIRTY = "trained or measured with uncommitted changes in the source"


def leaderboard(
    results: str | Path,
    declared: Sequence[Sequence[str]] = (),
    absent: Iterable[Absent] = (),
    truth: Mapping[str, str | Path] | None = None,
    resamples: int = RESAMPLES,
    overlaps: Sequence[Overlap] | None = None,
    outdated: Mapping[str, str] | None = None,
    plan: Plan | None = None,
) -> Leaderboard:
    """A folder of results -> its leaderboard.

    Args:
        declared: pairs of methods whose comparison was declared beforehand.
        absent: what was to be run and wasn't, or failed.
        truth: COCO annotation files by their own SHA-256, the data's name or its manifest's.
        resamples: of the images, for the intervals over them; 0 leaves these out.
        overlaps: test images that pretraining data holds too, by ``read_overlaps``: rows are told
            of theirs, or that nobody looked. None says nothing.
        outdated: folders, relative to the root, whose results are of an earlier run, and how their
            stage stands now.
        plan: the tests that a suite's comparisons ask for, with their seeds.

    Raises:
        InputError: no such folder, a comparison that can't be made.
    """
    root = Path(results)
    found = collect(root, outdated)
    counted = [result for result in found.trusted if not is_trial(result)]
    outcomes = Outcomes(truth) if resamples else None
    differences = compare(counted, declared, outcomes, resamples, plan)
    return Leaderboard(
        groups=tuple(
            _group(root, rows, outcomes, resamples, overlaps)
            for rows in groups_of(counted).values()
        ),
        comparisons=tuple(
            replace(item, no_images=item.no_images and _below(root, item.no_images))
            for item in differences
        ),
        published=tuple(published()),
        absent=tuple(absent),
        trials=tuple(_trial(root, result) for result in found.trusted if is_trial(result)),
        excluded=tuple(
            Dropped(item.path.relative_to(root).as_posix(), _below(root, item.reason))
            for item in found.excluded
        ),
    )


def rank(rows: Sequence[Row], headline: str) -> list[Row]:
    """Rows -> the same with ranks, best first; equal scores share a rank, doubtful rows have none.

    Raises:
        InputError: they were measured under several protocols or on several data sets.
    """
    kinds = sorted({(row.fingerprint, row.data) for row in rows})
    if len(kinds) > 1:
        told = ", ".join(f"{fingerprint} on {data}" for fingerprint, data in kinds)
        raise InputError(
            f"{len(rows)} rows of {len(kinds)} protocols or data sets ({told}) can't be ranked "
            "together: how they were measured is in their scores. Rank each by itself."
        )
    ordered = sorted(rows, key=lambda row: (row.doubt is not None, -row.cells[headline].value))
    scores = [row.cells[headline].value for row in ordered if row.doubt is None]
    return [
        row
        if row.doubt is not None
        else replace(row, rank=1 + scores.index(row.cells[headline].value))
        for row in ordered
    ]


def _group(
    root: Path,
    rows: Mapping[RowKey, Sequence[Trusted]],
    outcomes: Outcomes | None,
    resamples: int,
    overlaps: Sequence[Overlap] | None,
) -> Group:
    results = [result for found in rows.values() for result in found]
    first, headline = results[0].content, headline_of(results)
    built = [_row(root, key, found, outcomes, resamples, overlaps) for key, found in rows.items()]
    units = {name: cell.unit for row in built for name, cell in row.cells.items()}
    names = [headline, *sorted(set(units) - {headline})]
    sets = {row.pretrained_on for row in built} - {None}
    if len(sets) > 1:
        built = [
            replace(row, notes=(*row.notes, f"pretrained on {row.pretrained_on}"))
            if row.pretrained_on
            else row
            for row in built
        ]
    clash = training_clash(results)
    built = [replace(row, doubt=row.doubt or clash) for row in built]
    return Group(
        task=first["task"],
        fingerprint=first["fingerprint"],
        data=first["data"]["name"],
        manifest=first["data"]["manifest_sha256"],
        headline=headline,
        metrics={name: units[name] for name in names},
        protocol=finite(first["protocol"]),
        decided_by=finite(mapping(first["run"].get("decided_by"))) or None,
        rows=tuple(rank(built, headline)),
    )


def is_trial(result: Trusted) -> bool:
    """Whether a result was measured on held-out training images, to choose settings by."""
    return bool(mapping(result.content["protocol"].get("test_data")).get("part"))


def _trial(root: Path, result: Trusted) -> Trial:
    content, metric = result.content, headline_of([result])
    return Trial(
        method=content["method"],
        task=content["task"],
        seed=result.seeds.pretraining,
        settings={},
        metric=metric,
        unit=content["metrics"][metric]["unit"],
        value=content["metrics"][metric]["value"],
        images=content["n_evaluated"],
        path=result.path.relative_to(root).as_posix(),
    )


def _row(
    root: Path,
    key: RowKey,
    results: Sequence[Trusted],
    outcomes: Outcomes | None,
    resamples: int,
    overlaps: Sequence[Overlap] | None,
) -> Row:
    runs, doubt = by_pretraining(results), seed_clash(results)
    intervals, reason = _over_images(root, results, outcomes, resamples)
    shared = set.intersection(*(set(result.content["metrics"]) for result in results))
    notes, own = [], own_training(results)
    if own:
        notes.append(BOTH_SPREADS.replace("finetuning", own))
    taught = [labelled_teachers(result.content) for result in results]
    for words, names in zip((OWN, INHERITED), zip(*taught, strict=True), strict=True):
        notes += [f"{words} {name}, {LABELLED}" for name in sorted(set().union(*names))]
    provenance = tuple(run_of(root, result) for result in results)
    if any(run.dirty for run in provenance):
        notes.append(DIRTY)
    if results[0].content["data"]["manifest_sha256"] is None:
        notes.append(NO_MANIFEST)
    if overlaps is not None:
        notes += sorted({judge(result.content, overlaps).note or "" for result in results} - {""})
    return Row(
        **key._asdict(),
        fingerprint=results[0].content["fingerprint"],
        data=results[0].group[2],
        cells={name: _cell(name, results, intervals.get(name), reason) for name in sorted(shared)},
        runs=provenance,
        single=len(runs) == 1,
        notes=tuple(notes),
        doubt=doubt,
    )


def _cell(
    name: str, results: Sequence[Trusted], images: Interval | None, reason: str | None
) -> Cell:
    scores = scores_by_run(results, name)
    seeds = {result.run: result.seeds.pretraining for result in results}
    interval = over_pretrainings(scores, own_training(results))
    if images is None and reason is None:
        reason = f"what was kept by image does not give {name}"
    return Cell(
        metric=name,
        unit=results[0].content["metrics"][name]["unit"],
        value=interval.value,
        over_pretraining=interval,
        over_fitting=tuple(
            over_seeds(found, f"{OVER_FITTING} (seed {seeds[run]})")
            for run, found in scores.items()
            if len(found) > 1
        ),
        over_images=images,
        no_images=None if images else reason,
    )


def _below(root: Path, reason: str) -> str:
    """A sentence with its paths relative to the folder of results, as all paths of a table are."""
    return reason.replace(f"{root}/", "")


def _over_images(
    root: Path, results: Sequence[Trusted], outcomes: Outcomes | None, resamples: int
) -> tuple[dict[str, Interval], str | None]:
    """-> intervals by metric, of the row's mean over its weights; or why there are none."""
    if outcomes is None:
        return {}, "not asked for"
    try:
        check_same_images(results)
        metrics = [outcomes(result) for result in results]
        mean = Combination(metrics, shares(results))
        return over_images(mean, resamples, limits=PERCENT), None
    except InputError as error:
        return {}, _below(root, str(error))
