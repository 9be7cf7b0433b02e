"""Order maps and figures of analyses below a folder of results, as data that a page can hold."""

import base64
from dataclasses import dataclass
from pathlib import Path

from semaim_mm.leaderboard.collect import STALE

PATTERN = "orders/*.png"
ANALYSES = "analysis/*.png"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST = 12  # pictures of a kind on a page; each has about a megabyte


@dataclass(frozen=True)
class Picture:
    """A PNG as a data URI, under the name of its file; ``kind``: 'order map' or 'analysis'."""

    name: str
    path: str
    uri: str
    kind: str = "order map"


def order_maps(results: str | Path) -> tuple[list[Picture], int]:
    """A folder of results -> its first MOST order maps by path, and how many more there are."""
    return _pictures(Path(results), PATTERN, "order map")


def analysis_figures(results: str | Path) -> tuple[list[Picture], int]:
    """The same of what tools/analyze.py drew into folders called ``analysis``."""
    return _pictures(Path(results), ANALYSES, "analysis")


def _pictures(root: Path, pattern: str, kind: str) -> tuple[list[Picture], int]:
    paths = [
        path
        for path in sorted(root.rglob(pattern))
        if path.is_file() and not any(STALE.search(part) for part in path.relative_to(root).parts)
    ]
    found = []
    for path in paths[:MOST]:
        content = path.read_bytes()
        if content.startswith(SIGNATURE):
            uri = f"data:image/png;base64,{base64.b64encode(content).decode()}"
            found.append(Picture(path.stem, path.relative_to(root).as_posix(), uri, kind))
    return found, max(0, len(paths) - MOST)
