"""Images in tar shards, as webdataset writes them, with an index: streamed, yet any can be named.

A sample's number is what ImageFolder gives it, so that KeyedDataset and KeyedSampler, ranks,
workers and resuming are those of a folder. `prepare/shards.py` writes shards and index.
"""

import zipfile
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import Compose
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from semaim_mm.data.shard_store import ShardStore
from semaim_mm.errors import InputError

INDEX = "index.npz"


@DATASETS.register_module()
class ImageShards(Dataset):
    """The images of shards, in the order of the folder that they were written from.

    Give KeyedSampler ``open_shards``, so that only so many are in use at a time.

    Args:
        data_root: folder or URL of the shards and their index.npz (ShardStore tells which).
        pipeline: transforms; the first takes ``img_bytes``, as LoadImage and LoadCrop do.
        with_label: give ``gt_label``.
        cache_dir, cache_shards: for shards that are fetched (ShardStore).

    Raises:
        InputError: no index, or labels asked of shards without.
    """

    def __init__(
        self,
        data_root: str,
        pipeline: Sequence[dict] = (),
        with_label: bool = False,
        cache_dir: str | None = None,
        cache_shards: int | None = None,
    ):
        self.store = ShardStore(data_root, cache_dir, cache_shards)
        self.data_root, self.with_label = str(data_root), with_label
        try:
            with np.load(self.store.open_index(INDEX)) as index:
                self.index = {name: index[name] for name in index.files}
        except (FileNotFoundError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(
                f"There is no image index at {data_root} ({error}); write both by "
                "tools/prepare_data.py shards FOLDER OUT."
            ) from error
        if with_label and not len(self.index["classes"]):
            raise InputError(
                f"The shards at {data_root} were written without labels; write them from class "
                "folders with --labels."
            )
        if "sha256" in self.index:  # indices of before had none
            pairs = zip(self.index["files"].tolist(), self.index["sha256"].tolist(), strict=True)
            self.store.sha256 = dict(pairs)
        self.pipeline = Compose(list(pipeline))

    def check_open_shards(self, open_shards: int | None) -> None:
        """Raise InputError where the cache holds fewer shards than a sampler reads from at a time.

        Nearly every image would have a whole shard fetched for it. None reads from all.
        """
        held, most = self.store.cache_shards, len(self.index["files"])
        needed = most if open_shards is None else min(open_shards, most)
        if self.store.remote and held is not None and held < needed:
            raise InputError(
                f"cache_shards={held} is below the {needed} shards that the sampler reads from at "
                f"a time (open_shards={open_shards}), so that shards would be fetched over and "
                "over; raise cache_shards, or lower open_shards."
            )

    @property
    def metainfo(self) -> dict:
        """-> the classes, empty without labels."""
        return dict(classes=tuple(self.index["classes"].tolist()))

    @property
    def shards(self) -> np.ndarray:
        """-> (N,) the number of the shard that each sample lies in, for the sampler."""
        return self.index["shard"]

    def __len__(self) -> int:
        return len(self.index["shard"])

    def get_data_info(self, index: int) -> dict:
        """-> the sample's ``img_path`` (shard and name in the folder) and its label."""
        shard = self.index["files"][self.index["shard"][index]]
        info = dict(img_path=f"{shard}/{self.index['name'][index].decode()}", sample_idx=index)
        return info | (dict(gt_label=int(self.index["label"][index])) if self.with_label else {})

    def __getitem__(self, index: int) -> dict:
        entry = {name: self.index[name][index] for name in ("shard", "offset", "size")}
        shard = str(self.index["files"][entry["shard"]])
        content = self.store.read(shard, int(entry["offset"]), int(entry["size"]))
        return self.pipeline({**self.get_data_info(index), "img_bytes": content})
