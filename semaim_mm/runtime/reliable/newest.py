"""Which checkpoint a run goes on from: the newest whole one of its own work dir."""

from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import read_file
from semaim_mm.interop.digest import check_archive

POINTER = "last_checkpoint"


def newest_checkpoint(work_dir: str | Path) -> str | None:
    """-> the path of the newest checkpoint that a training can go on from, None without one.

    ``last_checkpoint`` is not asked, for it may be cut short, old or somebody else's; the time that
    each file states of itself is. A file that is cut short, differs from its digest or lies outside
    the work dir is passed over, and the log says so.
    """
    found = []
    for path in sorted(Path(work_dir).glob("*.pth")):
        if path.resolve().parent != Path(work_dir).resolve():
            _pass_over(path, "it is a link to outside the work dir")
            continue
        try:
            content = read_file(path, lazily=True)
        except InputError as error:
            _pass_over(path, str(error))
            continue
        age = _age(content, path)
        if age is not None:
            found.append((age, path))
    for _, path in sorted(found, reverse=True):
        try:
            check_archive(path)
        except InputError as error:
            _pass_over(path, str(error))
            continue
        _tell_of_pointer(Path(work_dir), path)
        return str(path)
    _tell_of_pointer(Path(work_dir), None)
    return None


def _age(content: dict, path: Path) -> tuple | None:
    """What checkpoints are ordered by, None for one without an optimiser's state, e.g. a best."""
    meta = content.get("meta")
    if "optimizer" not in content or not isinstance(meta, dict):
        return None
    numbers = [meta.get("saved_at"), meta.get("iter"), meta.get("epoch")]
    if not all(isinstance(number, (int, float)) for number in numbers[1:]):
        return None
    if not isinstance(numbers[0], (int, float)):
        numbers[0] = path.stat().st_mtime  # written by mmengine's own runner
    return tuple(numbers)


def _pass_over(path: Path, reason: Any) -> None:
    print_log(f"{path} is passed over: {reason}")  # printed: the run's own log begins later


def _tell_of_pointer(work_dir: Path, chosen: Path | None) -> None:
    """Say where ``last_checkpoint`` names another file than the one taken."""
    pointer = work_dir / POINTER
    if not pointer.is_file():
        return
    with pointer.open("rb") as file:
        named = file.read(4096).decode("utf-8", "replace").strip()
    # a work dir may have moved: the name counts, not the folder
    if chosen is None or Path(named).name != chosen.name:
        taken = "no checkpoint" if chosen is None else chosen
        print_log(f"{pointer} names {named!r}, but the newest whole checkpoint counts: {taken}")
