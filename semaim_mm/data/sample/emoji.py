"""Emoji as cut-outs with exact alpha, from a colour font or from a package of PNG files.

Noto Color Emoji keeps each emoji as a 136 x 128 PNG in its table CBDT. Those are read as they are:
the pixels then depend on no font renderer, and flags need no text shaping library.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from semaim_mm.data.sample.classes import class_of
from semaim_mm.errors import InputError

VARIATION_SELECTOR = 0xFE0F  # asks for the coloured form; no identity of its own


@dataclass(frozen=True)
class Emoji:
    """One identity. `image` is (H, W, 4) uint8 RGBA, trimmed to its visible part."""

    codepoints: tuple[int, ...]
    name: str
    group: str
    subgroup: str
    label: str
    image: np.ndarray

    @property
    def key(self) -> str:
        """Code points in hexadecimal, such as '1F600' or '1F1E8-1F1ED'."""
        return "-".join(f"{c:X}" for c in self.codepoints)


def trim(image: Image.Image) -> Image.Image:
    """An RGBA image without its fully transparent margins."""
    box = image.getchannel("A").getbbox()
    if box is None:
        raise InputError(
            "An emoji has no visible pixel; fetch its package again: remove its "
            "folder and run python tools/fetch_sample_packages.py"
        )
    return image.crop(box)


def from_font(font: Path, names: Path) -> list[Emoji]:
    """The classes' emoji of a colour font with CBDT bitmaps; `names` is emoji-test.txt."""
    from fontTools.ttLib import TTFont, TTLibError

    try:
        tables = TTFont(font, lazy=True)
        bitmaps = tables["CBDT"].strikeData[0]
    except (TTLibError, KeyError, OSError) as error:
        raise InputError(
            f"{font} has no emoji bitmaps that can be read ({error!r}); remove its "
            "folder and run python tools/fetch_sample_packages.py"
        ) from None
    glyph_of, ligatures = tables.getBestCmap(), _ligatures(tables)
    found = []
    for codepoints, name, group, subgroup in _read_emoji_test(names):
        label = class_of(subgroup, codepoints)
        glyphs = tuple(glyph_of.get(c, "") for c in codepoints)
        glyph = glyphs[0] if len(glyphs) == 1 else ligatures.get(glyphs, "")
        if label and glyph in bitmaps:
            image = trim(Image.open(io.BytesIO(bitmaps[glyph].imageData)).convert("RGBA"))
            found.append(Emoji(codepoints, name, group, subgroup, label, np.asarray(image)))
    return _without_twins(found)


def from_png_folder(folder: Path) -> list[Emoji]:
    """The classes' emoji of the npm package: emoji.json and one 64 x 64 PNG each."""
    found = []
    for entry in json.loads((folder / "emoji.json").read_text(encoding="utf-8")):
        codepoints = _identity(entry["unified"].split("-"))
        label = class_of(entry["subcategory"], codepoints)
        path = folder / entry["image"]
        if label and path.is_file():
            image = trim(Image.open(path).convert("RGBA"))
            found.append(
                Emoji(
                    codepoints,
                    entry["name"].lower(),
                    entry["category"],
                    entry["subcategory"],
                    label,
                    np.asarray(image),
                )
            )
    return _without_twins(found)


def _without_twins(emoji: list[Emoji]) -> list[Emoji]:
    """In code point order, each picture once: several territories fly another country's flag."""
    unique = {}
    for one in sorted(emoji, key=lambda one: one.codepoints):
        unique.setdefault((one.image.shape, one.image.tobytes()), one)
    return list(unique.values())


def _identity(hexadecimal: list[str]) -> tuple[int, ...]:
    """Code points without variation selectors."""
    return tuple(c for c in (int(text, 16) for text in hexadecimal) if c != VARIATION_SELECTOR)


def _read_emoji_test(path: Path) -> Iterator[tuple[tuple[int, ...], str, str, str]]:
    """(code points, name, group, subgroup) of each fully qualified emoji in emoji-test.txt."""
    group = subgroup = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.removeprefix("# group:").strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.removeprefix("# subgroup:").strip()
        elif "; fully-qualified" in line:
            codes, _, comment = line.partition(";")
            name = comment.partition("#")[2].split(maxsplit=2)[2]  # "<emoji> E1.0 <name>"
            yield _identity(codes.split()), name, group, subgroup


def _ligatures(tables) -> dict[tuple[str, ...], str]:
    """Glyph sequence -> glyph, from the font's substitution table (flags are ligatures)."""
    found = {}
    for lookup in tables["GSUB"].table.LookupList.Lookup:
        for subtable in lookup.SubTable:
            table = getattr(subtable, "ExtSubTable", subtable)
            for first, choices in getattr(table, "ligatures", {}).items():
                for choice in choices:
                    found[(first, *choice.Component)] = choice.LigGlyph
    return found
