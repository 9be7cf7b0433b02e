"""Results of a suite for another machine, or for git: what a table is made of, without weights.

An archive holds all that one method and seed left: records of its stages, results with their
outcomes by sample, losses and configs of its trainings. Unpacked into a suite's folder elsewhere,
its stages are finished there too, as long as config and data are the same.
"""

import json
import lzma
import tarfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

from semaim_mm.errors import InputError
from semaim_mm.report.result import replacing
from semaim_mm.suite.spec import Spec
from semaim_mm.suite.stages import Stage, plan
from semaim_mm.suite.state import FILE_NAME
from semaim_mm.suite.summary import write_summary
from semaim_mm.suite.view import states_of

SUFFIX = ".tar.xz"
DECLARED = "declared.json"  # what was to be compared, before there were results to choose by
# below a stage's folder; logs stay, as they name the machine's own paths
KEPT = (FILE_NAME, "result.json", "outcomes.npz", "predictions*")
KEPT += ("*/vis_data/scalars.json", "*/vis_data/config.py")


def keep(spec: Spec, folder: str | Path) -> list[Path]:
    """Archive each method and seed whose stages are all finished -> the archives written.

    They are called ``METHOD-seedN.tar.xz`` and have the same bytes whenever they are made of the
    same files; one that is there already is written anew where it holds anything else.

    Raises:
        InputError: archives there are of a suite that declared other comparisons.
    """
    _check_declared(spec, Path(folder) / DECLARED)
    stages, written = plan(spec), []
    states = states_of(stages)
    for name, group in _groups(stages).items():
        target = Path(folder) / f"{name}{SUFFIX}"
        if any(states[stage.name] != "finished" for stage in group):
            continue
        found = _contents(spec, group)
        # by content, since another version of xz compresses the same files to other bytes
        if target.exists() and _held(target) == found:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        (target.parent / DECLARED).write_text(_declared(spec))
        with replacing(target) as temporary, tarfile.open(temporary, "w:xz") as archive:
            for name, content in found.items():
                _add(archive, name, content)
        written.append(target)
    return written


def restore(spec: Spec, folder: str | Path) -> tuple[list[Path], list[Path]]:
    """Unpack archives of ``keep`` into a suite's folder -> those unpacked, those passed over.

    One is passed over whose method and seed have left anything there already. ``suite.json`` is
    written, so that the leaderboard has what the suite asks for.

    Raises:
        InputError: no archive, one that is none of the suite's, or none that can be read; other
            comparisons than were declared when they were made.
    """
    found = sorted(Path(folder).glob(f"*{SUFFIX}"))
    if not found:
        raise InputError(f"{folder} holds no *{SUFFIX} of a suite's results; name their folder.")
    _check_declared(spec, Path(folder) / DECLARED)
    stages, unpacked, passed_over = plan(spec), [], []
    groups = _groups(stages)
    for path in found:
        group = groups.get(path.name.removesuffix(SUFFIX))
        if group is None:
            raise InputError(
                f"{path} is of no method and seed of the suite {spec.name}; give the suite that "
                "its results are of."
            )
        if any(stage.folder.exists() for stage in group):
            passed_over.append(path)
            continue
        _unpack(path, spec.folder, [stage.folder.relative_to(spec.folder) for stage in group])
        unpacked.append(path)
    write_summary(spec, stages)  # also where nothing was unpacked: a file may be at hand by now
    return unpacked, passed_over


def uncounted(spec: Spec, archives: Sequence[Path]) -> list[Path]:
    """Archives that were restored -> those with a stage that is not finished here.

    Its data, its config or a file that it reads is absent or another than its results are of.
    """
    stages = plan(spec)
    states, groups = states_of(stages), _groups(stages)
    return [
        path
        for path in archives
        if any(states[s.name] != "finished" for s in groups[path.name.removesuffix(SUFFIX)])
    ]


def _declared(spec: Spec) -> str:
    return json.dumps([list(pair) for pair in spec.comparisons]) + "\n"


def _check_declared(spec: Spec, path: Path) -> None:
    if path.is_file() and path.read_text() != _declared(spec):
        raise InputError(
            f"{path} says what was declared to be compared before there were these results, and "
            f"the suite {spec.name} now declares {_declared(spec).strip()}. Keep what was "
            "declared, or give the suite another name."
        )


def _groups(stages: list[Stage]) -> dict[str, list[Stage]]:
    groups: dict[str, list[Stage]] = {}
    for stage in stages:
        groups.setdefault(f"{stage.method}-seed{stage.seed}", []).append(stage)
    return groups


def _kept(stage: Stage) -> Iterator[Path]:
    for pattern in KEPT:
        yield from (path for path in stage.folder.glob(pattern) if path.is_file())


def _contents(spec: Spec, group: list[Stage]) -> dict[str, bytes]:
    """What a method and seed left -> name in the archive: content, in the archive's order."""
    paths = sorted(path for stage in group for path in _kept(stage))
    return {path.relative_to(spec.folder).as_posix(): path.read_bytes() for path in paths}


def _held(path: Path) -> dict[str, bytes] | None:
    """An archive -> the content of its files by name; None where it can't be read as one."""
    try:
        with tarfile.open(path, "r:xz") as archive:
            files = {m.name: archive.extractfile(m) for m in archive.getmembers()}
            return {name: file.read() if file else b"" for name, file in files.items()}
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError):
        return None


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # no time, owner or mode of the machine
    entry.size = len(content)
    archive.addfile(entry, BytesIO(content))


def _unpack(path: Path, target: Path, places: list[Path]) -> None:
    """Unpack an archive of files below ``places``, or nothing of it."""
    try:
        with tarfile.open(path, "r:xz") as archive:
            members = archive.getmembers()
            strange = [m.name for m in members if not m.isfile() or not _is_in(m.name, places)]
            if strange:
                raise InputError(
                    f"{path} holds {strange[0]}, which is no file of a stage of its method and "
                    "seed; nothing of it was unpacked. Make it anew from the results."
                )
            target.mkdir(parents=True, exist_ok=True)
            archive.extractall(target, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{path} can't be unpacked into {target}: {error}.") from error


def _is_in(name: str, places: list[Path]) -> bool:
    path = Path(name)
    return ".." not in path.parts and any(map(path.is_relative_to, places))
