"""Class names given in a config: checked, and given colours where it names none."""

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path

from semaim_mm.errors import InputError

GOLDEN_RATIO = (5**0.5 - 1) / 2


def make_palette(count: int) -> list[tuple[int, int, int]]:
    """-> ``count`` RGB colours (0 to 255), always the same, neighbours far apart in hue."""
    colours = []
    for index in range(count):
        # hues by the golden ratio never repeat; two other turns tell near hues apart
        shade = colorsys.hsv_to_rgb(
            index * GOLDEN_RATIO % 1, (0.9, 0.6)[index // 12 % 2], (1, 0.75, 0.5)[index // 24 % 3]
        )
        colours.append(tuple(round(255 * value) for value in shade))
    return colours


def checked_metainfo(metainfo: dict | None, own: Mapping | None = None) -> dict | None:
    """A data set's ``metainfo`` with ``classes`` as a tuple and a palette of equal length.

    Args:
        metainfo: dict(classes=('a', 'b')), a list, or the path of a file with one name a line; a
            ``palette`` of RGB colours if wanted. None, or one without classes, is left as it is.
        own: the data set's METAINFO; names found there keep the colours they have there.

    Raises:
        InputError: no name, a name twice, one bare text, or a palette of another length.
    """
    if metainfo is None or "classes" not in metainfo:
        return metainfo
    metainfo = dict(metainfo)
    classes = metainfo["classes"]
    if isinstance(classes, str):
        classes = _read_names(classes)
    if not isinstance(classes, Sequence) or not all(isinstance(name, str) for name in classes):
        raise InputError(
            f"The config's classes are {classes!r}; write their names, as in classes=('cat', "
            "'dog')."
        )
    twice = sorted({name for name in classes if list(classes).count(name) > 1})
    if not classes or twice:
        wrong = f"name {twice[0]!r} twice" if twice else "are empty"
        raise InputError(f"The config's classes {wrong}; mend them.")
    metainfo["classes"] = tuple(classes)
    if metainfo.get("palette") is None:
        names, colours = ((own or {}).get(key, ()) for key in ("classes", "palette"))
        colours = dict(zip(names, colours, strict=True))
        if colours.keys() >= set(classes):
            metainfo["palette"] = [colours[name] for name in classes]
        else:
            metainfo["palette"] = make_palette(len(classes))
    elif len(metainfo["palette"]) != len(classes):
        raise InputError(
            f"The config has {len(metainfo['palette'])} colours in its palette for {len(classes)} "
            "classes; give one a class, or leave the palette out."
        )
    return metainfo


def _read_names(path: str) -> list[str]:
    if not Path(path).is_file():
        raise InputError(
            f"The config's classes are the text {path!r}, which is no file either; for one class "
            f"write classes=({path!r},), with the comma."
        )
    return [line.strip() for line in Path(path).read_text().splitlines() if line.strip()]
