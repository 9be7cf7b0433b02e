"""Frozen features of a backbone: which layer, which pooling, extracted once by all processes.

Legend: B images, N data set size, L patches, D feature width.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_rank, get_world_size
from mmengine.model import BaseModel, BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor
from torch.utils.data import DataLoader

from semaim_mm.errors import InputError
from semaim_mm.transfer.feature_store import FeatureTable, RecordFile

POOLINGS = ("cls", "patches", "both", "attentive")


class Features(NamedTuple):
    """Features of a data set by image number: ``values[name]`` (N, D), ``labels`` (N,).

    A protocol reads ``values[name][index]``, or the whole by ``.to(device)``; a Tensor will do.
    """

    values: Mapping[str, FeatureTable | Tensor]
    labels: Tensor


@MODELS.register_module()
class RawPixels(BaseModule):
    """The image itself as its feature: the row that a table needs so as not to oversell."""

    def features(self, imgs: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> {'pixels': (B, 3 * H * W)}."""
        return {"pixels": imgs.flatten(1)}


@MODELS.register_module()
class FeatureModel(BaseModel):
    """A frozen backbone that offers pooled features of chosen layers.

    Args:
        backbone: SemAIMViT, or RawPixels.
        layers: blocks whose output is read, counted from 0; negative from the end.
        poolings: 'cls' (after the pretrained norm at the last block, an affine-free LayerNorm at
            others or where a model has no such norm), 'patches' (mean of patch tokens, then an
            affine-free LayerNorm, as the authors do), 'both' (the two side by side), 'attentive'
            (the patch tokens themselves, from which LinearProbe learns to pool).
        attentive_layers: those of ``layers`` whose patch tokens are read; None for all.
        attentive_share: class-balanced share of the training images whose patch tokens are read.
        max_token_gib: most disk that the patch tokens may take for one data set, GiB.
    """

    def __init__(
        self,
        backbone: dict,
        layers: Sequence[int] = (-1,),
        poolings: Sequence[str] = ("patches",),
        attentive_layers: Sequence[int] | None = None,
        attentive_share: float = 1.0,
        max_token_gib: float = 16.0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        unknown = [name for name in poolings if name not in POOLINGS]
        if unknown:
            raise InputError(
                f"FeatureModel knows no pooling {unknown[0]!r}; choose from {', '.join(POOLINGS)}."
            )
        if not 0 < attentive_share <= 1:
            raise InputError(
                f"FeatureModel: attentive_share={attentive_share} must lie above 0 and up to 1; "
                "mend the config."
            )
        self.layers = self._numbers(layers)
        self.attentive_layers = (
            self.layers if attentive_layers is None else self._numbers(attentive_layers)
        )
        unread = sorted(set(self.attentive_layers) - set(self.layers))
        if unread and "attentive" in poolings:
            raise InputError(
                f"FeatureModel: attentive_layers has block {unread[0]}, which is not among "
                f"layers={self.layers}; add it there."
            )
        self.poolings, self.max_token_gib = tuple(poolings), max_token_gib
        self.attentive_share = attentive_share
        self.requires_grad_(False)

    def _numbers(self, layers: Sequence[int]) -> list[int]:
        depth = getattr(self.backbone, "num_layers", 1)
        bad = [layer for layer in layers if not -depth <= layer < depth]
        if bad:
            raise InputError(
                f"FeatureModel: layer {bad[0]} is outside the backbone's {depth} blocks; count "
                "from 0, or from -1 backwards."
            )
        return sorted({layer % depth for layer in layers})

    @property
    def recipes(self) -> dict[str, tuple[str, ...]]:
        """{feature: the parts that stand side by side in it}; parts are what is stored."""
        if isinstance(self.backbone, RawPixels):
            return {"pixels": ("pixels",)}
        found = {}
        for layer in self.layers:
            for pooling in self.poolings:
                if pooling == "attentive" and layer not in self.attentive_layers:
                    continue
                kinds = ("cls", "patches") if pooling == "both" else (pooling,)
                found[f"layer{layer}.{pooling}"] = tuple(f"layer{layer}.{kind}" for kind in kinds)
        return found

    def parts(self, inputs: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> the distinct features: (B, D); patch tokens (B, L, D)."""
        if isinstance(self.backbone, RawPixels):
            return self.backbone.features(inputs)
        wanted = {part for parts in self.recipes.values() for part in parts}
        last = self.backbone.num_layers - 1
        found = {}
        for layer, tokens in self.backbone.block_outputs(inputs, self.layers):
            normed = layer == last and self.backbone.final_norm
            spatial = tokens[:, self.backbone.num_extra_tokens :]
            views = dict(
                cls=self.backbone.ln1(tokens)[:, 0] if normed else plain_norm(tokens[:, 0]),
                patches=plain_norm(spatial.mean(dim=1)),
                attentive=spatial,
            )
            named = {f"layer{layer}.{kind}": view for kind, view in views.items()}
            found |= {name: named[name] for name in named if name in wanted}
        return found

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor]:
        """(B, 3, H, W) -> {'layer11.patches': (B, D), ...}; 'attentive' gives (B, L, D)."""
        parts = self.parts(inputs)
        return {
            name: torch.cat([parts[kind] for kind in kinds], dim=-1)
            for name, kinds in self.recipes.items()
        }


def plain_norm(x: Tensor) -> Tensor:
    """(..., D) -> LayerNorm without learned scale and shift, eps 1e-6."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


@torch.inference_mode()
def part_shapes(model: FeatureModel, loader: DataLoader, device: torch.device) -> dict[str, tuple]:
    """-> the shape of each distinct feature of one image, found by running the first one."""
    model.eval()
    batch = loader.collate_fn([loader.dataset[0]])
    batch = model.data_preprocessor(batch, False)
    parts = model.parts(batch["inputs"].to(device))
    return {name: tuple(value.shape[1:]) for name, value in parts.items()}


def feature_shapes(
    recipes: Mapping[str, Sequence[str]], shapes: Mapping[str, Sequence[int]]
) -> dict[str, tuple]:
    """What each feature is made of and its parts' shapes -> one image's shape by feature."""
    return {
        name: (*shapes[kinds[0]][:-1], sum(shapes[kind][-1] for kind in kinds))
        for name, kinds in recipes.items()
    }


@torch.inference_mode()
def extract_features(
    model: FeatureModel, loader: DataLoader, device: torch.device, files: Sequence[RecordFile]
) -> Features:
    """Run a FeatureModel over a data set into ``files``; no process holds more than a batch.

    The loader's sampler is mmengine's DefaultSampler without shuffling, which deals samples out in
    turn and pads the last round; padding is cut off here. Raises InputError for NaN features.
    """
    model.eval()
    size, labels = len(loader.dataset), []
    for file in files:
        file.create()
    for batch in loader:
        batch = model.data_preprocessor(batch, False)
        parts = model.parts(batch["inputs"].to(device))
        for name, value in parts.items():
            _check_finite(name, value)
        seen = torch.arange(len(labels), len(labels) + len(batch["data_samples"]))
        numbers = get_rank() + get_world_size() * seen
        real = int((numbers < size).sum())
        parts = {name: value[:real] for name, value in parts.items()}
        for file in files:
            file.write(parts, numbers[:real])
        labels += [int(sample.gt_label) for sample in batch["data_samples"]]
    for file in files:
        file.finish()
    home = {part: file for file in files for part in file.shapes}
    values = {name: FeatureTable(home[kinds[0]], kinds) for name, kinds in model.recipes.items()}
    return Features(values, gather_shards(torch.tensor(labels), size))


def _check_finite(name: str, value: Tensor) -> None:
    bad = (~value.isfinite().flatten(1)).any(dim=1).sum().item()
    if bad:
        raise InputError(
            f"{bad} of {len(value)} images of a batch have NaN or infinite features ({name}): the "
            "checkpoint is broken, or the precision too low for it; nothing was evaluated."
        )


def gather_shards(shard: Tensor, size: int) -> Tensor:
    """(n, ...) of this process -> (size, ...) of all, in data set order."""
    if get_world_size() == 1:
        return shard[:size]
    return torch.stack(all_gather(shard), dim=1).flatten(0, 1)[:size]
