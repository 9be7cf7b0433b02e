"""Order maps and figures of analyses below a folder of results, as data that a page can hold."""

import base64
from dataclasses import dataclass
from pathlib import Path

from semaim_mm.leaderboard.collect import STALE

PATTERN = "orders/*.png"
ANALYSES = "analysis/*.png"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST = 12  # pictures of a kind on a page; each has about a megabyte
MAP, ANALYSIS = "order map", "analysis"


@dataclass(frozen=True)
class Picture:
    """A PNG as a data URI, under the name of its file; ``kind``: MAP or ANALYSIS."""

    name: str
    path: str
    uri: str
    kind: str = MAP


def order_maps(results: str | Path) -> tuple[list[Picture], dict[str, int]]:
    """A folder of results -> its first MOST order maps by path, and by kind how many more."""
    return _pictures(Path(results), PATTERN, MAP)


def analysis_figures(results: str | Path) -> tuple[list[Picture], dict[str, int]]:
    """The same of what tools/analyze.py drew into folders called ``analysis``."""
    return _pictures(Path(results), ANALYSES, ANALYSIS)


def _pictures(root: Path, pattern: str, kind: str) -> tuple[list[Picture], dict[str, int]]:
    paths = [
        path
        for path in sorted(root.rglob(pattern))
        if _is_png(path) and not any(STALE.search(p) for p in path.relative_to(root).parts)
    ]
    found = []
    for path in paths[:MOST]:
        uri = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
        found.append(Picture(path.stem, path.relative_to(root).as_posix(), uri, kind))
    return found, {kind: max(0, len(paths) - MOST)}


def _is_png(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE
