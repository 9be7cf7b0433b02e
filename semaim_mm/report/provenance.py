"""Where a result comes from: versions, hardware, source revision, configuration."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device

from semaim_mm.report.result import canonical, sha256_text

PACKAGES = (
    "semaim_mm",
    "torch",
    "torchvision",
    "onedl-mmengine",
    "onedl-mmcv",
    "onedl-mmpretrain",
    "onedl-mmdetection",
    "onedl-mmsegmentation",
    "timm",
    "numpy",
)
SOURCES = (":/semaim_mm", ":/configs", ":/tools")  # in a checkout
# what says where a run writes or what it shows, not what it computes
NOT_CONTENT = ("work_dir", "launcher", "log_level", "visualizer", "tensorboard", "resume")


def versions() -> dict[str, str]:
    """Installed packages that a number may depend on -> their versions."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def hardware(world_size: int) -> dict:
    """-> the device's name, the number of processes and CPU threads."""
    kind = get_device().split(":")[0]
    name = torch.cuda.get_device_name() if kind == "cuda" else platform.processor() or "generic"
    return dict(device=f"{kind} ({name})", world_size=world_size, threads=torch.get_num_threads())


def git_state() -> dict:
    """-> commit and dirty flag of the source tree, None where it is no git checkout.

    What git does not know counts too, below the folders that a run reads code and configs from.
    """
    here = Path(__file__).parent

    def git(*args: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(here), *args], capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return dict(commit=None, dirty=None)  # installed inside a repository of something else
    status = git("status", "--porcelain", "--", *SOURCES)
    return dict(commit=git("rev-parse", "HEAD"), dirty=None if status is None else bool(status))


def config_hash(cfg: Config) -> str:
    """-> SHA-256 of the resolved config, without the keys that don't change what is computed."""
    content = {key: value for key, value in cfg.to_dict().items() if key not in NOT_CONTENT}
    return sha256_text(canonical(content))
