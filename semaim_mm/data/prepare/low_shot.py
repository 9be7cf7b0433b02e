"""Lists of 1 % and 10 % of the labelled training images, the very ones that the leaves draw."""

import os
from pathlib import Path

from semaim_mm.data.image_folder import ImageFolder
from semaim_mm.data.prepare.manifest import cannot_write
from semaim_mm.data.subset import take_subset
from semaim_mm.errors import InputError
from semaim_mm.report.result import replacing

SHARES = {"1pct": 0.01, "10pct": 0.1}


def write_low_shot(root: str | Path, seed: int) -> list[Path]:
    """Write ``lowshot-1pct_seedN.txt`` and ``lowshot-10pct_seedN.txt`` into a data set's folder.

    Each line is a path below ``train``. A leaf takes a list, one of these or a published one, by
    ``subset.file`` of its training set, with ``subset.fraction=None``.

    Raises:
        InputError: no labelled train folder, or file names that a list can't hold.
    """
    root = Path(root)
    data = ImageFolder(str(root), "train", with_label=True, pipeline=[], lazy_init=True)
    below = os.path.join(data.img_prefix, "")
    samples = [
        (item["img_path"].removeprefix(below), int(item["gt_label"]))
        for item in data.load_data_list()
    ]
    paths = []
    for name, share in SHARES.items():
        subset = take_subset(samples, fraction=share, seed=seed)
        path = root / f"lowshot-{name}_seed{seed}.txt"
        try:
            with replacing(path) as temporary:
                text = "".join(f"{image}\n" for image, _ in subset)
                temporary.write_text(text, encoding="utf-8")
                _check(temporary, samples, subset)
        except OSError as error:
            raise cannot_write(root, error) from error
        except UnicodeError as error:
            raise InputError(_unfit(root, str(error))) from error
        paths.append(path)
    return paths


def _check(path: Path, samples: list, subset: list) -> None:
    """Raise InputError unless the list, read as a leaf reads it, gives the subset."""
    try:
        found = take_subset(samples, file=str(path))
    except InputError as error:
        raise InputError(_unfit(path.parent, str(error))) from error
    if found != subset:
        raise InputError(_unfit(path.parent, f"{len(found)} images for {len(subset)} lines"))


def _unfit(root: Path, reason: str) -> str:
    return (
        f"The images of {root / 'train'} have names that a list of one a line can't hold "
        f"({reason}); rename those with line breaks, outer spaces or bytes that are no UTF-8."
    )
