"""A table's rows: results of one method under one protocol, its pretrainings kept apart."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.collect import Trusted, mapping
from semaim_mm.report.history import pretrained_record

# the metric that a task is read by: the first of these that it has
HEADLINES = ("top1", "bbox_mAP", "segm_mAP", "mIoU")

# a checkpoint's hashes of its recipe, each defined in its own way: only the same are compared
RECIPES = ("recipe_digest", "recipe_sha256", "made_by")

# what tells rows of one method and group apart
APART = ("arch", "epochs", "selection", "pretrained_on")


class RowKey(NamedTuple):
    """What makes results a row: they differ by seed alone.

    ``epochs`` are of the pretraining, ``pretrained_on`` names its data where that is recorded.
    """

    method: str
    arch: str
    selection: str
    epochs: int | None
    pretrained_on: str | None = None


def groups_of(results: Sequence[Trusted]) -> dict[tuple, dict[RowKey, list[Trusted]]]:
    """Results -> rows by (task, fingerprint, data); only rows of one group may be ranked."""
    groups: dict[tuple, dict[RowKey, list[Trusted]]] = {}
    for result in results:
        groups.setdefault(result.group, {}).setdefault(key_of(result), []).append(result)
    return {group: dict(sorted(rows.items(), key=str)) for group, rows in sorted(groups.items())}


def key_of(result: Trusted) -> RowKey:
    """A result -> the row that it belongs to."""
    content = result.content
    return RowKey(
        content["method"],
        content["arch"],
        content["selection"],
        epochs_of(content),
        pretrained_on(content),
    )


def apart(one: Any, alike: Sequence[Any], fields: Sequence[str] = APART) -> list[str]:
    """A row (or its key) -> what of it tells it from those alike, in words; empty where nothing."""
    told = []
    for field in fields:
        if len({getattr(other, field) for other in alike}) > 1:
            value = getattr(one, field)
            shown = f"{value} epochs" if field == "epochs" else str(value)
            told.append(f"{field.replace('_', ' ')} not recorded" if value is None else shown)
    return told


def headline_of(results: Sequence[Trusted]) -> str:
    """The metric that a group is ranked by: one that all of its results have.

    Raises:
        InputError: they share none of HEADLINES, nor any other.
    """
    shared = set.intersection(*(set(result.content["metrics"]) for result in results))
    known = [name for name in HEADLINES if name in shared]
    if not shared:
        raise InputError(
            f"The {len(results)} results of the task {results[0].content['task']!r} have no metric "
            f"in common (the first: {results[0].path}); evaluate them with one metric."
        )
    return known[0] if known else min(shared)


def by_pretraining(results: Sequence[Trusted]) -> dict[str, list[Trusted]]:
    """A row's results by pretraining run; finetuning one again makes no further pretraining."""
    runs: dict[str, list[Trusted]] = {}
    for result in results:
        runs.setdefault(result.run, []).append(result)
    return runs


def scores_by_run(results: Sequence[Trusted], metric: str) -> dict[str, list[float]]:
    """A row's results -> its scores in a metric by pretraining run."""
    return {
        run: [result.content["metrics"][metric]["value"] for result in found]
        for run, found in by_pretraining(results).items()
    }


def own_training(results: Sequence[Trusted]) -> str | None:
    """'finetuning' or 'probe' where each of a row's pretrainings has one of its own, else None.

    The spread over pretraining seeds then has that of the finetuning or the probe in it.
    """
    runs = by_pretraining(results)
    fitted = all(result.seeds.fitting is not None for result in results)
    if not fitted or len(runs) < 2 or max(map(len, runs.values())) > 1:
        return None
    return "probe" if results[0].content["protocol"].get("training") is None else "finetuning"


def shares(results: Sequence[Trusted], sign: float = 1.0) -> list[float]:
    """A row's results -> their weights in its mean, in which every pretraining counts once."""
    runs = by_pretraining(results)
    return [sign / (len(runs) * len(runs[result.run])) for result in results]


def check_same_images(results: Sequence[Trusted]) -> None:
    """Raise InputError unless one manifest vouches that several results are of the same images."""
    data = results[0].content["data"]
    if len(results) > 1 and data["manifest_sha256"] is None:
        raise InputError(
            f"{data['name']} has no manifest, so nobody knows that {len(results)} results are of "
            "the same images; write one with tools/prepare_data.py."
        )


def seed_clash(results: Sequence[Trusted]) -> str | None:
    """A sentence where seeds were made by several configs, or different weights claim one seed."""
    origins = [mapping(mapping(pretrained_record(r.content)).get("origin")) for r in results]
    told = ([o.get(key) for o in origins] for key in RECIPES)
    recipes = max(({v for v in values if isinstance(v, str)} for values in told), key=len)
    if len(recipes) > 1:
        return (
            f"its seeds were pretrained by {len(recipes)} different configs, so the row is not "
            "ranked; give one of them another method name, or pretrain again."
        )
    claims: dict[tuple[str, Any], set[str | None]] = {}
    for result in results:
        seeds, checkpoint = result.seeds, result.content["checkpoint"] or {}
        if seeds.pretraining is not None:
            claims.setdefault(("pretraining", seeds.pretraining), set()).add(result.run)
        if seeds.fitting is not None:
            key = f"finetuning of {result.run[:12]}", seeds.fitting
            claims.setdefault(key, set()).add(checkpoint.get("sha256"))
    for (what, seed), found in claims.items():
        if len(found) > 1:
            return (
                f"{len(found)} different checkpoints claim the {what} seed {seed}, so the row is "
                "not ranked; give one of them another method name."
            )
    return None


def training_clash(results: Sequence[Trusted]) -> str | None:
    """A sentence where results of one protocol were trained on the task in ways that decide scores.

    The fingerprint has the config's words, e.g. precision 'auto', which devices resolve apart.
    """
    told = []
    for key, name in (("precision", "precision"), ("batch_norm_batch", "batch-norm batch")):
        found = {mapping(result.content.get("training")).get(key) for result in results} - {None}
        if len(found) > 1:
            told.append(f"{name} ({', '.join(sorted(map(str, found)))})")
    if not told:
        return None
    return (
        f"results under this fingerprint were trained on the task with different "
        f"{' and '.join(told)}, so none of them is ranked; train all of them alike."
    )


def epochs_of(content: Mapping[str, Any]) -> int | None:
    """A result -> how many epochs its weights were pretrained, None where nobody wrote it down."""
    origin = mapping(mapping(pretrained_record(content)).get("origin"))
    epochs = mapping(origin.get("budget")).get("epochs", origin.get("epoch"))
    return epochs if isinstance(epochs, int) else None


def pretrained_on(content: Mapping[str, Any]) -> str | None:
    """A result -> its pretraining data: name and the manifest's first digits, or as stated."""
    weights = mapping(pretrained_record(content))
    data = mapping(mapping(weights.get("origin")).get("data"))
    if not isinstance(data.get("name"), str):
        stated = mapping(weights.get("coverage")).get("pretrained_on")
        return f"{stated}, as stated" if isinstance(stated, str) else None
    manifest = data.get("manifest_sha256")
    return f"{data['name']} {str(manifest or 'no manifest')[:8]}"
