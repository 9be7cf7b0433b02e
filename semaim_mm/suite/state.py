"""What is done: a stage counts as finished by what went in and came out, never by a file's name.

``stage.json`` beside a stage's output holds its key, a hash of the resolved config, the SHA-256 of
the checkpoint that it started from and that of the data's manifest, and the SHA-256 of its output.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from mmengine.config import Config

from semaim_mm.data.prepare.manifest import manifest_of
from semaim_mm.interop.checkpoint_file import sha256_of
from semaim_mm.report.provenance import config_hash
from semaim_mm.report.result import canonical, replacing, sha256_text
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.spread import datasets_of, spread_keys
from semaim_mm.suite.stages import Stage, output_of

FILE_NAME = "stage.json"


def key_of(stage: Stage, checkpoint: str | None) -> str:
    """A stage and its input, a file, 'random' or None -> the hash that its record must have."""
    cfg = load_config(stage.config, stage.options)
    config = config_hash(cfg)
    weights = checkpoint
    if checkpoint not in (None, "random"):
        weights = sha256_of(checkpoint)
    content = dict(
        kind=stage.kind,
        config=config,
        checkpoint=weights,
        data=sorted(_read_by(cfg)),
    )
    return sha256_text(canonical(content))


def _read_by(cfg: Config) -> set[str]:
    """-> SHA-256 of the manifests and lists of all data sets that a stage reads; changes cfg."""
    spread_keys(cfg)
    found = set()
    for _, dataset in datasets_of(cfg):
        found.add(manifest_of(dataset.get("data_root")))
        listed = (dataset.get("subset") or {}).get("file")
        if listed and Path(listed).is_file():
            found.add(sha256_of(listed))
    return found - {None}


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


def is_finished(stage: Stage, key: str) -> bool:
    """Whether a stage ran to its end with this key, and its output is still what it wrote."""
    record = read_state(stage)
    if not record or record.get("status") != "complete" or record.get("key") != key:
        return False
    output = output_of(stage)
    return output.is_file() and sha256_of(output) == record["output_sha256"]


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
    number = 1
    while (aside := stage.folder.with_name(f"{stage.folder.name}.stale{number}")).exists():
        number += 1
    shutil.move(stage.folder, aside)
    return aside
