"""Splits in class folders, as ImageFolder reads them: what would stop it, told before it runs."""

from collections.abc import Sequence

from semaim_mm.data.prepare.findings import Findings
from semaim_mm.data.prepare.listing import Listing


def check_splits(
    listing: Listing, splits: Sequence[str], found: Findings, labelled: bool
) -> dict[str, dict[str, int]]:
    """-> dict(images, classes, bytes) of every split that is there; faults go to ``found``.

    Args:
        labelled: every image must lie in a class folder. Without it a split that holds images
            beside folders, or no folders, counts as unlabelled: classes is 0.
    """
    counts, classes = {}, {}
    for split in (split for split in splits if split in listing.folders):
        images, folders = listing.below(split), listing.children(split)
        depth = split.count("/") + 1 if split else 0
        loose = [name for name in images if name.count("/") == depth]
        where = f"{split}: " if split else ""
        if loose and labelled:
            found.fault(
                f"{where}images beside the class folders",
                loose,
                "sort them into one folder a class (ImageNet's val by the true labels of its "
                "development kit)",
            )
        if labelled or not loose:
            filled = {name.split("/")[depth] for name in images if name.count("/") > depth}
            found.fault(
                f"{where}class folders without an image",
                set(folders) - filled,
                "fill or remove them",
            )
            classes[split] = set(folders)
        counts[split] = dict(
            images=len(images), classes=len(classes.get(split, ())), bytes=listing.bytes(split)
        )
    if len(classes) == 2:
        (one, first), (other, second) = classes.items()
        for here, there, extra in ((one, other, first - second), (other, one, second - first)):
            found.fault(
                f"classes of {here} that {there} has no folder of",
                extra,
                "make both have the same folders, for labels are numbered by them",
            )
    return counts
