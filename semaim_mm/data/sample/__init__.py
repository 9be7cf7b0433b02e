"""The sample data: emoji from a Debian font pasted on photographs, with exact ground truth.

Fetched packages (`packages`) -> emoji and photographs (`sources`) -> identities and backgrounds of
each split, disjoint (`classes`) -> scenes (`scenes`) -> files and manifest (`build`). Real pixels
and exact masks to run the whole chain on; no ground for claims about photographs.
"""

import os
from pathlib import Path

from semaim_mm.data.sample.build import build_sample_data, is_complete
from semaim_mm.errors import InputError

__all__ = ["build_sample_data", "default_sample_path", "sample_data_path"]


def default_sample_path() -> Path:
    """Where the data set belongs: `$SEMAIM_DATA/sample`, `data/sample` by default."""
    return Path(os.environ.get("SEMAIM_DATA", "data")) / "sample"


def sample_data_path() -> Path:
    """Folder of the finished data set. Raises InputError where there is none."""
    path = default_sample_path()
    if not is_complete(path):
        raise InputError(
            f"{path} holds no finished sample data; make it: "
            "python tools/make_sample_data.py, or set SEMAIM_DATA to where it is."
        )
    return path
