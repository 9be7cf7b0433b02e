"""What counts as which class, and which identities and photographs belong to which split.

Classes follow the subgroups of Unicode's `emoji-test.txt`. An identity is one emoji: a single code
point (country flags: two regional indicators), so that no skin tone or gender variant of a training
identity turns up in validation.
"""

from __future__ import annotations

import zlib

import numpy as np

from semaim_mm.errors import InputError

CLASSES = ("face", "person", "animal", "food", "vehicle", "flag")
DENSE_CLASSES = ("animal", "food", "vehicle")  # few, so that little training shows
SPLITS = ("train", "val")
VAL_EVERY = 4  # one in four identities and photographs is kept for validation

_SUBGROUPS = {
    "face": "face-smiling face-affection face-tongue face-hand face-hat face-neutral-skeptical "
    "face-sleepy face-unwell face-glasses face-concerned face-negative",
    "person": "person person-gesture person-role person-fantasy person-activity person-sport "
    "person-resting family",
    "animal": "animal-mammal animal-bird animal-amphibian animal-reptile animal-marine animal-bug",
    "food": "food-fruit food-vegetable food-prepared food-asian food-sweet drink",
    "vehicle": "transport-ground transport-water transport-air",
    "flag": "flag country-flag subdivision-flag",
}
_CLASS_OF = {name: label for label, names in _SUBGROUPS.items() for name in names.split()}

# members of those subgroups that do not show what the class says
_NOT_MEMBERS = {
    "face": "1F480 2620",  # skulls
    "person": "1F46A",  # a pictogram of a family
    # paw prints, feather, wing, web, shell, coral, microbe
    "animal": "1F43E 1FAB6 1FABD 1F578 1F41A 1FAB8 1F9A0",
    "food": "1F9CA",  # ice
    # bus stop, roads, oil, fuel, wheel, lights, signs, anchor, ring buoy, seat, parachute
    "vehicle": "1F68F 1F6E3 1F6E4 1F6E2 26FD 1F6DE 1F6A8 1F6A5 1F6A6 1F6D1 1F6A7 2693 1F6DF 1F4BA "
    "1FA82",
}
_EXCLUDED = {int(code, 16) for codes in _NOT_MEMBERS.values() for code in codes.split()}


def class_of(subgroup: str, codepoints: tuple[int, ...]) -> str | None:
    """The class of an emoji, or None where it has none or is a variant of another."""
    label = _CLASS_OF.get(subgroup)
    is_country = len(codepoints) == 2 and all(0x1F1E6 <= c <= 0x1F1FF for c in codepoints)
    if label is None or (len(codepoints) > 1 and not is_country) or codepoints[0] in _EXCLUDED:
        return None
    return label


def split_by_group(group_of: dict[str, str], seed: int) -> dict[str, list[str]]:
    """{name: group} -> disjoint 'train' and 'val' lists with one in VAL_EVERY of each group in val.

    Depends on names, groups and seed, not on the order they came in.
    """
    chosen = set()
    for group in sorted(set(group_of.values())):
        names = sorted(name for name, its_group in group_of.items() if its_group == group)
        if len(names) < 2:
            raise InputError(
                f"The sample data needs two {group} pictures or more, one each for "
                f"train and val, and has {names}; remove the packages folder and run "
                "python tools/fetch_sample_packages.py"
            )
        rng = np.random.default_rng([seed, zlib.crc32(group.encode())])
        chosen |= set(rng.permutation(names)[: max(1, len(names) // VAL_EVERY)].tolist())
    return {"train": sorted(set(group_of) - chosen), "val": sorted(chosen)}


def check_disjoint(manifest: dict) -> None:
    """Raise unless train and val of a manifest share no identity and no photograph."""
    for what in ("identities", "photos"):
        train, val = (_flatten(manifest[what][split]) for split in SPLITS)
        if shared := sorted(train & val):
            raise InputError(
                f"{len(shared)} {what} of the sample data, such as {shared[0]}, stand in both "
                "train and val, so its validation numbers would be worthless; make it anew: "
                "python tools/make_sample_data.py --force"
            )


def _flatten(names: list[str] | dict[str, list[str]]) -> set[str]:
    """All names of a list, or of a dictionary of lists."""
    if isinstance(names, dict):
        return {name for group in names.values() for name in group}
    return set(names)
