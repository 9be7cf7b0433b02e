"""A folder of images -> tar shards in webdataset's format, with the index of ImageShards."""

import hashlib
import os
import tarfile
from pathlib import Path

import numpy as np

from semaim_mm.data.image_folder import ImageFolder
from semaim_mm.data.shard_store import webdataset
from semaim_mm.data.shards import INDEX
from semaim_mm.errors import InputError


def write_shards(
    root: str | Path, out: str | Path, split: str = "", labels: bool = False, mebibytes: float = 256
) -> list[Path]:
    """Images below ``root/split`` -> paths of ``out/shard-000000.tar``, ... and ``out/index.npz``.

    Files are stored as they are. They are dealt to shards at random (always alike), since
    neighbours in a folder are of one class, and shards are what an epoch shuffles coarsely.

    Args:
        labels: read class folders and write their numbers.
        mebibytes: a new shard begins at this size.

    Raises:
        InputError: ImageFolder's, or ``out`` holds shards already.
    """
    folder, out = ImageFolder(str(root), split, with_label=labels, pipeline=[]), Path(out)
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty; name a new folder for the shards, or empty it.")
    out.mkdir(parents=True, exist_ok=True)
    count = len(folder)
    columns = {name: np.zeros(count, np.int64) for name in ("shard", "offset", "size", "label")}
    names, files = [b""] * count, []
    order = np.random.default_rng(0).permutation(count)
    writer = webdataset().ShardWriter(
        str(out / "shard-%06d.tar"),
        maxcount=count,
        maxsize=mebibytes * 2**20,
        verbose=0,
        encoder=False,
        post=files.append,
        mtime=0,
    )
    for number in order.tolist():
        info = folder.get_data_info(number)
        path = Path(info["img_path"])
        names[number] = os.path.relpath(path, folder.img_prefix).encode()
        sample = {"__key__": f"{number:09d}", path.suffix[1:].lower(): path.read_bytes()}
        if labels:
            columns["label"][number] = info["gt_label"]
            sample["cls"] = str(int(info["gt_label"])).encode()
        writer.write(sample)
    writer.close()
    digests = []
    for shard, file in enumerate(files):
        with open(file, "rb") as content:
            digests.append(hashlib.file_digest(content, "sha256").hexdigest())
        with tarfile.open(file) as members:
            for member in members:
                stem, kind = member.name.split(".", 1)
                if kind != "cls":
                    entry = (shard, member.offset_data, member.size)
                    for name, value in zip(("shard", "offset", "size"), entry, strict=True):
                        columns[name][int(stem)] = value
    classes = folder.metainfo["classes"] if labels else ()
    part = out / f"part-{INDEX}"
    np.savez(
        part,
        **columns,
        name=np.array(names),
        files=np.array([Path(file).name for file in files]),
        sha256=np.array(digests),
        classes=np.array(classes, dtype=str),
    )
    os.replace(part, out / INDEX)  # last: where there is an index, the shards are whole
    return [*map(Path, files), out / INDEX]
