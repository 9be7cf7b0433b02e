"""The suite that judges one full-size checkpoint by the standard leaves: ``--tasks knn,coco``."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from semaim_mm.errors import InputError
from semaim_mm.interop.backbone_file import read_backbone
from semaim_mm.interop.checkpoint_file import sha256_of
from semaim_mm.suite.spec import Method, Spec, Task
from semaim_mm.suite.spec_keys import SUITE, check_keys

STANDARD = {
    "knn": "configs/cls/knn_vit{size}.py",
    "knn-cls": "configs/cls/knn-cls_vit{size}.py",
    "linear": "configs/cls/linear_vit{size}.py",
    "finetune": "configs/cls/finetune_vit{size}.py",
    "finetune-cls": "configs/cls/finetune-cls_vit{size}.py",
    "coco": "configs/det/mask-rcnn_semaim-vit{size}_vitdet-100ep_coco.py",
    "coco-benchmarking": "configs/det/mask-rcnn_semaim-vit{size}_benchmarking-100ep_coco.py",
    "ade20k": "configs/seg/upernet_semaim-vit{size}_160k_ade20k-512x512.py",
}


def spec_of_checkpoint(
    path: str,
    tasks: Sequence[str],
    gpus: int = 0,
    seeds: Sequence[int] = (0,),
    slurm: Mapping[str, Any] = MappingProxyType({}),
) -> Spec:
    """A full-size checkpoint of any family and names of STANDARD -> the suite that judges it.

    Raises:
        InputError: an unknown task, a size without leaves, a value of another kind than its key's.
    """
    unknown = [task for task in tasks if task not in STANDARD]
    if unknown:
        raise InputError(
            f"--tasks {','.join(unknown)} is none of {', '.join(STANDARD)}; choose among them, or "
            "write a suite."
        )
    width = read_backbone(path).state["patch_embed.projection.weight"].shape[0]
    sizes = {768: "b", 1024: "l"}
    if width not in sizes:
        raise InputError(
            f"{path} has a width of {width}; --tasks knows ViT-B (768) and ViT-L (1024). Write a "
            "suite with leaves of that size."
        )
    leaves = {task: Task(STANDARD[task].format(size=sizes[width])) for task in tasks}
    absent = [task for task, leaf in leaves.items() if not Path(leaf.config).is_file()]
    if absent:
        raise InputError(
            f"--tasks {','.join(absent)} has no leaf for ViT-{sizes[width].upper()}; leave it out, "
            "or write a suite with one of your own."
        )
    check_keys(dict(gpus=gpus, seeds=seeds, slurm=dict(slurm)), SUITE, "The command")
    # many checkpoints are called alike
    name = re.sub(r"[^\w.+-]", "_", f"{Path(path).stem}-{sha256_of(path)[:8]}")
    return Spec(
        name=name,
        methods={name: Method(checkpoint=path)},
        tasks=leaves,
        seeds=tuple(seeds),
        gpus=gpus,
        slurm=slurm,
    )
