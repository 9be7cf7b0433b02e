"""What is done: a stage counts as finished by what went in and came out, never by a file's name.

``stage.json`` beside a stage's output holds its key, a hash of the resolved config, the SHA-256 of
the checkpoint that it started from and that of the data's manifest (of annotations that no root
has, their own), and the SHA-256 of its output. Where $SEMAIM_DATA points to does not count.
A checkpoint may be deleted once all that start from it are finished: they count on.
"""

import json
import os
import shutil
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config

from semaim_mm.data.prepare.manifest import manifest_of
from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import sha256_of
from semaim_mm.report.provenance import config_hash
from semaim_mm.report.result import canonical, replacing, sha256_text
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.spread import datasets_of, spread_keys
from semaim_mm.suite.stages import Stage, output_of, settle

FILE_NAME = "stage.json"
LOG = "log.txt"
NEVER_BEGAN = "could not start"  # the key of a stage that has left nothing but a log
FORESEEN = (InputError, OSError, RuntimeError)  # what a start that fails usually raises
WEIGHTS = ("weights", "checkpoint", "load_from")  # keys of a config that name a file of weights


def key_of(stage: Stage, stages: Sequence[Stage] = ()) -> str:
    """A settled stage of a plan -> the hash that its record must have."""
    cfg = load_config(stage.config, stage.options)
    config = config_hash(_as_below_data(cfg))
    content = dict(
        kind=stage.kind,
        config=config,
        checkpoint=_weights_of(stage, stages),
        data=sorted(_read_by(cfg)),
    )
    if named := sorted(_named_in(cfg.to_dict())):
        content["weights"] = named
    return sha256_text(canonical(content))


def _as_below_data(cfg: Config) -> Config:
    """A config -> as it would be with all below $SEMAIM_DATA in ``data``, where it mostly lies.

    Only what the key has the content of: folders with a manifest, files of weights.
    """
    top = (os.environ.get("SEMAIM_DATA") or "").rstrip("/")
    if not top:
        return cfg
    content = cfg.to_dict()
    roots = tuple(f"{root}/" for root in _data_roots(content) if manifest_of(root))

    def moved(part: Any, key: str | None = None) -> Any:
        if isinstance(part, dict):
            return {name: moved(value, name) for name, value in part.items()}
        if isinstance(part, list | tuple):
            return [moved(item) for item in part]
        if not isinstance(part, str) or not part.startswith(f"{top}/"):
            return part
        told = f"{part}/".startswith(roots) or (key in WEIGHTS and Path(part).is_file())
        return f"data/{part.removeprefix(top).lstrip('/')}" if told else part

    return Config(moved(content))


def _data_roots(part: Any) -> set[str]:
    """-> every data_root that a config states, at any depth."""
    if isinstance(part, dict):
        own = {part["data_root"]} if isinstance(part.get("data_root"), str) else set()
        return own.union(*map(_data_roots, part.values()))
    return set().union(*map(_data_roots, part)) if isinstance(part, list | tuple) else set()


def _weights_of(stage: Stage, stages: Sequence[Stage]) -> str | None:
    """-> the SHA-256 of what a stage starts from, 'random', or None."""
    if stage.needs is None:
        given = stage.checkpoint
        return given if given in (None, "random") else sha256(given)
    source = next(other for other in stages if other.name == stage.needs)
    output = output_of(source)
    if output.is_file():
        return sha256(output)
    return (read_state(source) or {}).get("output_sha256")


def _named_in(part: Any) -> set[str]:
    """-> SHA-256 of the weights that a config names itself: a teacher's, a pretraining's own."""
    if isinstance(part, dict):
        files = {part[key] for key in WEIGHTS if isinstance(part.get(key), str)}
        found = {sha256(name) for name in files if Path(name).is_file()}
        return found.union(*map(_named_in, part.values()))
    return set().union(*map(_named_in, part)) if isinstance(part, list | tuple) else set()


def sha256(path: str | Path) -> str:
    """A file's SHA-256, read once a process as long as its size and time stay as they are."""
    found = Path(path).resolve()
    state = found.stat()
    return _sha256(str(found), state.st_ino, state.st_size, state.st_mtime_ns)


@cache
def _sha256(path: str, *state: int) -> str:
    return sha256_of(path)


def _read_by(cfg: Config) -> set[str]:
    """-> SHA-256 of the manifests and lists of all data sets that a stage reads; changes cfg.

    Annotations count by themselves where no ``data_root`` says which manifest has them.
    """
    spread_keys(cfg)
    found = set()
    for _, dataset in datasets_of(cfg):
        found.update(map(manifest_of, _roots_of(dataset)))
        listed = (dataset.get("subset") or {}).get("file")
        if listed and Path(listed).is_file():
            found.add(sha256(listed))
        annotations = dataset.get("ann_file")
        if annotations and not dataset.get("data_root") and Path(annotations).is_file():
            found.add(sha256(annotations))
    return found - {None}


def _roots_of(dataset: Any) -> set[str]:
    """A data set's config -> its data_root; of one without, the folders that it takes files from.

    A data set that joins nothing to its paths has them from the working folder, or absolute.
    """
    if dataset.get("data_root"):
        return {str(dataset["data_root"])}
    prefix = dataset.get("data_prefix") or {}
    folders = prefix.values() if isinstance(prefix, Mapping) else [prefix]
    return {str(folder) for folder in (*folders, dataset.get("split")) if folder}


def without_manifest(stages: Sequence[Stage]) -> list[str]:
    """Stages -> the folders of data that they read which no manifest stands for."""
    found = set()
    for stage in {stage.but_for_its_seed: stage for stage in stages}.values():
        try:
            cfg = load_config(stage.config, stage.options)
            spread_keys(cfg)
        except (InputError, OSError):
            continue  # its run will tell why
        roots = set().union(*(_roots_of(dataset) for _, dataset in datasets_of(cfg)))
        found |= {root for root in roots if Path(root).is_dir() and manifest_of(root) is None}
    return sorted(found)


def read_state(stage: Stage) -> dict[str, Any] | None:
    """-> a stage's record, None where there is none that can be read."""
    try:
        return json.loads((stage.folder / FILE_NAME).read_text())
    except (OSError, ValueError):
        return None


def write_state(stage: Stage, **record: Any) -> None:
    """Write a stage's record; it is never seen half-written."""
    stage.folder.mkdir(parents=True, exist_ok=True)
    with replacing(stage.folder / FILE_NAME) as temporary:
        temporary.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def write_down(stage: Stage, error: Exception) -> Path:
    """Keep why a stage could not start in its log -> the log.

    One that nothing here foresaw is kept with its trace. The stage's record becomes that of a
    failed one, with the key of what an earlier run left.
    """
    log = stage.folder / LOG
    stage.folder.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        file.write(f"{stage.name} could not start: {sentence_of(error)}\n")
        if not isinstance(error, FORESEEN):
            traceback.print_exception(error, file=file)
    former = read_state(stage) or {}
    if former.get("status") == "complete":
        return log
    if former.get("status") == "running" and former.get("job"):
        return log  # the job may still be under way, and only its record leads to it
    key = former.get("key", NEVER_BEGAN) if _left_anything(stage) else NEVER_BEGAN
    write_state(stage, **{**former, "status": "failed", "key": key, "log": str(log)})
    return log


def sentence_of(error: Exception) -> str:
    """-> an error's sentence; before one that nothing here foresaw stands what it is."""
    return str(error) if isinstance(error, FORESEEN) else f"{type(error).__name__}: {error}"


def _left_anything(stage: Stage) -> bool:
    """Whether a stage's folder holds more than its record and its log."""
    return any(path.name not in (FILE_NAME, LOG) for path in stage.folder.iterdir())


def is_finished(stage: Stage, key: str, stages: Sequence[Stage] = ()) -> bool:
    """Whether a stage ran to its end with this key, and its output is still what it wrote.

    An output that is gone is not missed where all stages that start from it are finished.
    """
    record = read_state(stage)
    if not record or record.get("status") != "complete" or record.get("key") != key:
        return False
    output = output_of(stage)
    if output.is_file():
        return sha256(output) == record["output_sha256"]
    heirs = [other for other in stages if other.needs == stage.name]
    return bool(heirs) and all(_is_finished(heir, stages) for heir in heirs)


def _is_finished(stage: Stage, stages: Sequence[Stage]) -> bool:
    try:
        stage = settle(stage, stages)
    except (InputError, OSError):
        return False
    return is_finished(stage, key_of(stage, stages), stages)


def clear_if_stale(stage: Stage, key: str) -> Path | None:
    """Move aside what another config, checkpoint or data set left in a stage's folder.

    Call it for stages that are not finished. -> where it went; None where there was nothing, or
    only an unfinished run of this very key.
    """
    if not stage.folder.is_dir():
        return None
    record = read_state(stage)
    # a complete stage that is no longer finished has an output that somebody changed
    if record is not None and record.get("key") == key and record.get("status") != "complete":
        return None
    if record is not None and record.get("key") == NEVER_BEGAN and not _left_anything(stage):
        return None
    number = 1
    while (aside := stage.folder.with_name(f"{stage.folder.name}.stale{number}")).exists():
        number += 1
    shutil.move(stage.folder, aside)
    return aside
