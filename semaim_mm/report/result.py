"""The result file: what every evaluation writes and every table reads.

Plain JSON after ``result.schema.json``, per-sample outcomes beside it in ``outcomes.npz``. The
``digest`` covers the content, so an edited file is recognised.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np

from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import sha256_of
from semaim_mm.report.history import history_of

SCHEMA_VERSION = "1.0"
FILE_NAME, OUTCOMES_NAME = "result.json", "outcomes.npz"
ROUNDING = 1e-9  # how far a mean of percentages may lie beyond 0 or 100


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal content, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def finite(value: Any) -> Any:
    """JSON of Python's kind -> JSON of every kind: infinite numbers and NaN become their names."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def sha256_text(text: str) -> str:
    """-> SHA-256 of a text in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(protocol: dict) -> str:
    """A protocol -> 16 hex digits; only results with equal ones may be ranked together."""
    return sha256_text(canonical(protocol))[:16]


def write_result(folder: str | Path, result: dict, outcomes: dict[str, np.ndarray] | None) -> Path:
    """Complete, validate and write a result and its outcomes; neither is ever seen half-written.

    Infinite numbers and NaN are written by their names, 'inf' and 'nan', as JSON has none.
    Both are checked before either is replaced, so a refusal leaves an earlier run's as they were.

    Args:
        result: everything but schema_version, fingerprint, pretraining, training, outcomes, digest.
        outcomes: arrays whose first axis is the data set's, e.g. ``correct`` (N,) bool.

    Raises:
        InputError: a missing field, a NaN or no percentage for a metric, or fewer outcomes than
            images.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found = json.loads(canonical(result))
    # metrics as they are: check_result refuses them by their value
    result = {key: part if key == "metrics" else finite(part) for key, part in found.items()}
    result |= dict(schema_version=SCHEMA_VERSION, outcomes=None, outcomes_sha256=None)
    result["fingerprint"] = fingerprint(result["protocol"])
    result |= history_of(result)
    if outcomes is not None:
        for name, array in outcomes.items():
            if len(array) != result["n_evaluated"]:
                raise InputError(
                    f"The outcomes {name!r} have {len(array)} entries for {result['n_evaluated']} "
                    "evaluated images; the result was not written."
                )
    with ExitStack() as files:
        text = files.enter_context(replacing(folder / FILE_NAME))  # entered first, renamed last
        if outcomes is not None:
            arrays = files.enter_context(replacing(folder / OUTCOMES_NAME))
            with arrays.open("wb") as file:
                np.savez_compressed(file, **outcomes)
            result["outcomes"] = OUTCOMES_NAME
            result["outcomes_sha256"] = sha256_of(arrays)
        result["digest"] = sha256_text(canonical(result))
        check_result(result, folder / FILE_NAME)
        text.write_text(json.dumps(result, indent=1, sort_keys=True, allow_nan=False) + "\n")
    return folder / FILE_NAME


def read_result(path: str | Path) -> dict:
    """A result file -> its content. Raises InputError where it can't be trusted."""
    try:
        result = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no readable result file ({error}).") from error
    check_result(result, path)
    return result


def check_result(result: Any, path: str | Path) -> None:
    """Raise InputError unless a result is of a known version, whole, in bounds and of one piece."""
    version = str(result.get("schema_version")) if isinstance(result, dict) else "none"
    if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise InputError(
            f"{path} has result schema {version}; this version reads {SCHEMA_VERSION}."
        )
    schema = json.loads(files("semaim_mm.report").joinpath("result.schema.json").read_text())
    faults = sorted(jsonschema.Draft202012Validator(schema).iter_errors(result), key=str)
    if faults:
        where = "/".join(map(str, faults[0].absolute_path)) or "the top"
        raise InputError(f"{path} is no valid result: {faults[0].message} (at {where}).")
    for name, metric in result["metrics"].items():
        if not math.isfinite(metric["value"]):
            raise InputError(f"{path} has a metric {name} that is {metric['value']}.")
        if metric["unit"] == "percent" and not -ROUNDING <= metric["value"] <= 100 + ROUNDING:
            raise InputError(
                f"{path} has a metric {name} of {metric['value']:g} percent, where 0 to 100 is all "
                "there is. Evaluate again, with a metric that gives percent."
            )
    for part in ("pretraining", "training"):
        for name, value in (result[part] or {}).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"{path} has a {name} of its {part} that is {value}.")
    if result["status"] == "complete" and result["n_evaluated"] != result["n_dataset"]:
        raise InputError(
            f"{path} evaluated {result['n_evaluated']} of {result['n_dataset']} images, yet calls "
            "itself complete."
        )
    content = {key: value for key, value in result.items() if key != "digest"}
    if sha256_text(canonical(content)) != result["digest"]:
        raise InputError(f"{path} was edited after it was written: its digest does not match.")
    stated, found = result["fingerprint"], fingerprint(result["protocol"])
    if stated != found:
        raise InputError(
            f"{path} states the fingerprint {stated}, and its protocol's is {found}: it would be "
            "ranked among results of another protocol. Evaluate again with tools/test.py."
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, renamed onto it when the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
