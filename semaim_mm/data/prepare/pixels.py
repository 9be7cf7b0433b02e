"""SHA-256 of what the loader makes of image files: size and RGB values, turned by EXIF."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL

from semaim_mm.data.image_folder import EXTENSIONS
from semaim_mm.data.load_image import LoadImage
from semaim_mm.data.prepare.findings import printable
from semaim_mm.data.prepare.hashing import CHUNK, chunks, workers
from semaim_mm.data.prepare.kept import KeptValues
from semaim_mm.data.prepare.listing import is_below
from semaim_mm.data.prepare.manifest import read_listing
from semaim_mm.data.prepare.progress import counting
from semaim_mm.errors import InputError, UnreadableImageError
from semaim_mm.interop.checkpoint_file import sha256_of

UNREADABLE = b"unreadable"


def decoder() -> str:
    """-> what decodes: another version may make other pixels of the same JPEG."""
    return f"Pillow {PIL.__version__}"


def image_names(root: Path, folder: str) -> list[str]:
    """-> paths of the images that a data set's listing has below a folder, in its order."""
    return [name for name, _ in _images(root, folder)]


def pixel_hashes(root: Path, folder: str, unreadable: list[str]) -> Iterator[tuple[str, bytes]]:
    """Every image of a prepared data set's folder -> its path and the hash of its pixels.

    A thousand images are in the making at a time. Hashes are kept by the SHA-256 of the file, which
    the listing has, so that a file is decoded once, wherever it lies.

    Args:
        unreadable: gets the paths of images that can't be decoded, which are left out.

    Raises:
        InputError: a file is not what the listing says.
    """
    images = list(_images(root, folder))
    name = f"pixels-pillow-{PIL.__version__}"
    with (
        KeptValues(name) as kept,
        ThreadPoolExecutor(workers()) as threads,
        counting(f"hashing pixels of {root / folder}", len(images)) as advance,
    ):
        for chunk in chunks(images, CHUNK):
            found = {sha: kept.get(bytes.fromhex(sha)) for _, sha in chunk}
            missing = {sha: name for name, sha in chunk if found[sha] is None}
            made = threads.map(lambda item: _hash(root / item[1], item[0]), missing.items())
            fresh = dict(zip(missing, made, strict=True))
            kept.put((bytes.fromhex(sha), v) for sha, v in fresh.items() if v != UNREADABLE)
            found |= fresh
            for path, sha in chunk:
                if found[sha] == UNREADABLE:
                    unreadable.append(path)
                else:
                    yield path, found[sha]
            advance(len(chunk))


def pixel_hash(path: str | Path) -> bytes:
    """An image file -> SHA-256 of its height, width and RGB values as the loader gives them.

    Raises:
        UnreadableImageError: it can't be decoded.
    """
    bgr = LoadImage()(dict(img_path=str(path)))["img"]
    found = hashlib.sha256("{} {} ".format(*bgr.shape[:2]).encode())
    found.update(np.ascontiguousarray(bgr[..., ::-1]))
    return found.digest()


def _hash(path: Path, sha256: str) -> bytes:
    try:
        if sha256_of(path) != sha256:
            raise InputError(
                f"{printable(str(path))} changed since its data set's manifest was written; "
                "prepare that data set again."
            )
        return pixel_hash(path)
    except UnreadableImageError:
        return UNREADABLE
    except OSError as error:
        raise InputError(
            f"{printable(str(path))}, which its data set's manifest lists, can't be read "
            f"({error.strerror}); restore it, or prepare that data set again."
        ) from error


def _images(root: Path, folder: str) -> Iterator[tuple[str, str]]:
    for name, digest in read_listing(root):
        if is_below(name, folder) and name.lower().endswith(EXTENSIONS):
            yield name, digest
