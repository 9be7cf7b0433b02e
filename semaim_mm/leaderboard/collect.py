"""Which results count: every result.json below a folder, those that don't with their reason.

What an excluded file says is never ranked, averaged or compared.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from semaim_mm.errors import InputError
from semaim_mm.report.history import pretrained_record
from semaim_mm.report.result import FILE_NAME, read_result

# protocols that draw nothing at random: another seed is no other outcome
WITHOUT_DRAWS = ("KNN",)
WITHOUT_WEIGHTS = ("RawPixels",)
STALE = re.compile(r"\.stale\d+$")  # what suite/state.py appends to a folder that it moves aside


class Seeds(NamedTuple):
    """Where a score's luck comes from. None: nothing was drawn there, or nobody wrote it down."""

    pretraining: int | None  # of the weights that were given, pretrained or random
    fitting: int | None  # of the finetuning, the probe, the detector


class Trusted(NamedTuple):
    """A result that was read, validated and found unedited.

    ``pretrained`` is the SHA-256 of the pretrained weights' file, None where there are none;
    ``run`` names one pretraining: two results with the same had the same weights to start from.
    """

    path: Path
    content: dict[str, Any]
    seeds: Seeds
    pretrained: str | None

    @property
    def run(self) -> str:
        return self.pretrained or f"no checkpoint, seed {self.seeds.pretraining}"

    @property
    def group(self) -> tuple[str, str, str]:
        """Task, fingerprint, data: what may stand in one ranking has these in common."""
        data = self.content["data"]
        return (
            self.content["task"],
            self.content["fingerprint"],
            " ".join(
                [
                    data["manifest_sha256"] or f"no manifest: {data['name']}",
                    str(data.get("folder") or ""),
                    f"{self.content['n_dataset']} images",
                    str(data.get("annotations_sha256") or "")[:16],
                ]
            ).strip(),
        )


class Excluded(NamedTuple):
    """A result file that doesn't count, and why, in a sentence."""

    path: Path
    reason: str


class Collected(NamedTuple):
    """What lies below a folder: results that count, and those that don't."""

    trusted: list[Trusted]
    excluded: list[Excluded]


def collect(results: str | Path, outdated: Mapping[str, str] | None = None) -> Collected:
    """Every result.json below a folder -> those that count and those that don't, by path.

    Excluded are files that ``read_result`` refuses (unknown schema, missing field, NaN, edited),
    runs that are not complete, folders that a suite moved aside or says are ``outdated``, copies,
    and repeats of an evaluation, of which the first run counts.

    Raises:
        InputError: there is no such folder.
    """
    results = Path(results)
    if not results.is_dir():
        raise InputError(
            f"There is no folder of results at {results}; give the one that holds them."
        )
    read, excluded = [], []
    for path in sorted(results.rglob(FILE_NAME)):
        aside = [part for part in path.relative_to(results).parts if STALE.search(part)]
        if aside:
            excluded.append(
                Excluded(path, f"{path} was moved aside ({aside[0]}): it is out of date.")
            )
            continue
        state = (outdated or {}).get(path.parent.relative_to(results).as_posix())
        if state is not None:
            reason = (
                f"{path} may be of an earlier config: the suite has its stage as '{state}'; run "
                "the suite again."
            )
            excluded.append(Excluded(path, reason))
            continue
        try:
            read.append(trust(path))
        except InputError as error:
            excluded.append(Excluded(path, str(error)))
        except (RecursionError, OverflowError) as error:
            reason = f"{path} is no result that any tool wrote ({type(error).__name__}: {error})."
            excluded.append(Excluded(path, reason))
    kept: dict[tuple, Trusted] = {}
    # the first run counts, whatever its score: a repeat is no second chance
    for found in sorted(read, key=lambda found: (found.content["start"], str(found.path))):
        same = kept.setdefault(_identity(found), found)
        if same is not found:
            excluded.append(Excluded(found.path, _repeats(found, same)))
    return Collected(
        sorted(kept.values(), key=lambda found: found.path),
        sorted(excluded, key=lambda found: found.path),
    )


def trust(path: str | Path) -> Trusted:
    """A result file -> its content and where it comes from.

    Raises:
        InputError: it can't be trusted, or its run is not complete.
    """
    content = read_result(path)
    if content["status"] != "complete":
        raise InputError(
            f"{path} says that its run is {content['status']}; run it again, or to its end."
        )
    weights = pretrained_record(content)
    pretrained = mapping(weights).get("sha256")
    if pretrained is not None and not isinstance(pretrained, str):
        raise InputError(
            f"{path} names its pretrained weights by {pretrained!r}, which is no hash."
        )
    return Trusted(Path(path), content, seeds_of(content), pretrained)


def seeds_of(content: Mapping[str, Any]) -> Seeds:
    """A result -> the seeds of its pretraining and of what was fitted on top.

    Where a detector or classifier was trained, the tested checkpoint is that run's and what it
    started from the pretraining's, or else random weights that its own seed drew; frozen features
    come from the pretrained checkpoint itself.
    """
    protocol, checkpoint = content["protocol"], content["checkpoint"]
    weights = pretrained_record(content)
    pretraining = _seed(weights)
    if protocol.get("training") is not None:
        fitting = _seed(checkpoint)
        return Seeds(fitting if weights is None else pretraining, fitting)
    if checkpoint is None and content["arch"] not in WITHOUT_WEIGHTS:
        pretraining = content["seed"]
    judge = mapping(protocol.get("evaluator")).get("type")
    return Seeds(pretraining, None if judge in WITHOUT_DRAWS else content["seed"])


def mapping(value: Any) -> Mapping[str, Any]:
    """A part of a result that the schema leaves free -> itself where it is a dict, else {}."""
    return value if isinstance(value, Mapping) else {}


def _seed(checkpoint: Mapping[str, Any] | None) -> int | None:
    seed = mapping(mapping(checkpoint).get("origin")).get("seed")
    return seed if isinstance(seed, int) else None


def _identity(found: Trusted) -> tuple:
    checkpoint = found.content["checkpoint"] or {}
    return (
        found.content["method"],
        found.content["arch"],
        found.group,
        found.seeds,
        checkpoint.get("sha256"),
    )


def _repeats(found: Trusted, first: Trusted) -> str:
    if found.content["digest"] == first.content["digest"]:
        return f"{found.path} is a copy of {first.path}."
    return (
        f"{found.path} repeats {first.path}: the same method, task, protocol, data, seeds and "
        "checkpoint. The first run counts."
    )
