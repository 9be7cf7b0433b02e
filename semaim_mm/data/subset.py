"""Low-shot subsets of a labelled folder: by share and seed, or by a published list of names."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from semaim_mm.errors import InputError


def take_subset(
    samples: list, fraction: float | None = None, seed: int = 0, file: str | None = None
) -> list:
    """(path, label) pairs -> those of the subset, in their own order.

    Args:
        fraction: share of all images, the same number of every class (at least one; all of a class
            that has fewer). Which ones is a function of ``seed`` and the class's own files, so one
            class does not change another's choice.
        file: a text file with one image a line, as published 1 % and 10 % lists have; paths or
            bare names both do.

    Raises:
        InputError: neither or both given, a share outside (0, 1], a list that does not fit.
    """
    if (fraction is None) == (file is None):
        raise InputError(
            "subset needs either fraction=... (a share of all images) or file=... (a list of "
            "names), and not both; mend the config."
        )
    return _listed(samples, file) if fraction is None else _share(samples, fraction, seed)


def _share(samples: list, fraction: float, seed: int) -> list:
    if not 0 < fraction <= 1:
        raise InputError(f"subset: fraction={fraction} must lie in (0, 1]; mend the config.")
    by_class = defaultdict(list)
    for index, (_, label) in enumerate(samples):
        by_class[label].append(index)
    chosen, count = [], max(1, round(fraction * len(samples) / len(by_class)))
    for label, members in by_class.items():
        order = np.random.default_rng([seed, label]).permutation(len(members))
        chosen += [members[i] for i in order[:count]]
    return [samples[index] for index in sorted(chosen)]


def _listed(samples: list, path: str) -> list:
    if not Path(path).is_file():
        raise InputError(f"There is no subset list at {path}; check the path.")
    wanted = {line.strip() for line in Path(path).read_text().splitlines() if line.strip()}
    # a line is a path below the folder, or a bare name
    found = [s for s in samples if s[0] in wanted or Path(s[0]).name in wanted]
    if len(found) != len(wanted):
        missing = sorted(wanted - {n for s in found for n in (s[0], Path(s[0]).name)})
        raise InputError(
            f"{path} names {len(wanted)} images, of which {len(missing)} are not in the folder "
            f"({', '.join(missing[:3])}); is it the list of this data set?"
        )
    return found
