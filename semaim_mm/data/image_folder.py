"""A folder of images, with or without class folders, whose faults are named before training."""

import os
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from mmengine.registry import DATASETS
from mmpretrain.datasets import CustomDataset
from timm.data import ImageNetInfo

from semaim_mm.data.held_out import take_part
from semaim_mm.data.label_file import check_label_file
from semaim_mm.data.subset import take_subset
from semaim_mm.errors import InputError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# what tools/prepare_data.py writes into a data set's folder
OWN_FILES = ("manifest.json", "files.sha256", "overlap.json", "lowshot-*.txt")


@DATASETS.register_module()
class ImageFolder(CustomDataset):
    """All images below ``data_root/split``; with labels, its sub-folders are the classes.

    Args:
        data_root: the data set's folder; the runner fills in the config's own ``data_root``.
        split: folder below it, e.g. 'train'; '' for the folder itself.
        with_label: read class folders; pretraining needs none.
        skip_files: name patterns of files and folders to pass over; any other file that is no image
            stops.
        known_classes: 'imagenet-1k' labels folders by ImageNet's own order of WordNet ids (or of
            the numbers 0 to 999, as ImageNet-V2 names them), of which some may be absent; the
            classes present stand in ``metainfo['present']``.
        subset: dict(fraction=0.01, seed=0) for a class-balanced share of the images, or
            dict(file='1percent.txt') for the file names that a published list holds.
        part: dict(share=0.1, held_out=False) leaves that share out, True takes nothing else.
        **kwargs: those of mmpretrain's CustomDataset (pipeline, classes, ann_file, ...).

    Raises:
        InputError: the folder is missing or empty, holds other files, a class folder is empty, or
            a label file has a wrong line.
    """

    def __init__(
        self,
        data_root: str,
        split: str = "",
        with_label: bool = False,
        skip_files: Sequence[str] = (".*",),
        known_classes: str | None = None,
        subset: dict | None = None,
        part: dict | None = None,
        **kwargs,
    ):
        if known_classes not in (None, "imagenet-1k"):
            raise InputError(
                f"ImageFolder knows no class list {known_classes!r}; the only one is 'imagenet-1k'."
            )
        self.skip_files, self.subset, self.part = tuple(skip_files), subset, part
        self.known_classes = known_classes
        super().__init__(
            data_root=data_root,
            data_prefix=split,
            with_label=with_label,
            extensions=EXTENSIONS,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """-> the samples; a label file (``ann_file``) is checked line by line first."""
        if self.ann_file:
            check_label_file(
                self.ann_file, Path(self.img_prefix), self.with_label, self.CLASSES or ()
            )
        return super().load_data_list()

    def _find_samples(self) -> list:
        """-> paths, or (path, class index) pairs, relative to the folder, sorted."""
        root = Path(self.img_prefix)
        if not root.is_dir():
            raise InputError(
                f"There is no image folder at {root}; put the images there, or set the data set's "
                "data_root and split in the config."
            )
        images, strangers = [], []
        for folder, subfolders, names in os.walk(root, followlinks=True):
            subfolders[:] = sorted(name for name in subfolders if not self._skipped(name))
            for name in sorted(names):
                path = os.path.relpath(os.path.join(folder, name), root)
                own = os.sep not in path and any(fnmatch(name, pattern) for pattern in OWN_FILES)
                if self._skipped(name) or own:
                    continue
                (images if self.is_valid_file(name) else strangers).append(path)
        if strangers:
            raise InputError(
                f"{root} holds {len(strangers)} files that are no images "
                f"({', '.join(strangers[:3])}{', ...' if len(strangers) > 3 else ''}); remove "
                "them, or name them in the data set's skip_files, e.g. skip_files=('*.txt',)."
            )
        if not images:
            raise InputError(
                f"{root} holds no image ({', '.join(EXTENSIONS)}); check the data set's data_root "
                "and split."
            )
        samples = self._label(root, images) if self.with_label else images
        if self.subset is not None:
            samples = take_subset(samples, **self.subset)
        return take_part(
            samples, lambda sample: sample[0] if self.with_label else sample, self.part, str(root)
        )

    def _skipped(self, name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in self.skip_files)

    def _label(self, root: Path, images: list[str]) -> list[tuple[str, int]]:
        classes = sorted(
            entry.name
            for entry in os.scandir(root)
            if entry.is_dir() and not self._skipped(entry.name)
        )
        if self.CLASSES is not None and set(self.CLASSES) != set(classes):
            missing, extra = set(self.CLASSES) - set(classes), set(classes) - set(self.CLASSES)
            raise InputError(
                f"{root} does not have the configured classes: without a folder "
                f"{sorted(missing)[:5]}, not configured {sorted(extra)[:5]}; make them agree."
            )
        if self.known_classes is not None:
            number, classes = _imagenet_numbers(root, classes)
        else:
            classes = list(self.CLASSES or classes)
            number = {name: index for index, name in enumerate(classes)}
        self._metainfo["classes"] = tuple(classes)
        self._metainfo["present"] = tuple(sorted(number.values()))
        loose = [path for path in images if os.sep not in path]
        if loose:
            raise InputError(
                f"{root} should hold one folder a class, but {len(loose)} images lie beside them "
                f"({loose[0]}); move them into a class folder."
            )
        labelled = [(path, number[path.split(os.sep, 1)[0]]) for path in images]
        filled = {label for _, label in labelled}
        empty = {name for name, label in number.items() if label not in filled}
        if empty:
            raise InputError(
                f"{root} has empty class folders: {', '.join(sorted(empty)[:5])}; fill or remove "
                "them."
            )
        return labelled


def _imagenet_numbers(root: Path, folders: list[str]) -> tuple[dict[str, int], list[str]]:
    """Class folders -> {folder: class index}, and all 1,000 WordNet ids in ImageNet's order."""
    synsets = ImageNetInfo("imagenet-1k").label_names()
    number = {name: index for index, name in enumerate(synsets)}
    if all(name.isdigit() for name in folders):
        number = {name: int(name) for name in folders}
    unknown = [name for name in folders if not 0 <= number.get(name, -1) < len(synsets)]
    if unknown:
        raise InputError(
            f"{root} has {len(unknown)} folders that are no ImageNet class ({unknown[0]}, ...); "
            "expected WordNet ids such as n01440764, or numbers 0 to 999."
        )
    return {name: number[name] for name in folders}, synsets
