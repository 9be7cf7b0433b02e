"""Frozen features of a backbone: which layer, which pooling, extracted once by all processes.

Legend: B images, N data set size, L patches, D feature width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_world_size
from mmengine.model import BaseModel, BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor
from torch.utils.data import DataLoader

from semaim_mm.errors import InputError

POOLINGS = ("cls", "patches", "both", "attentive")


class Features(NamedTuple):
    """Features of a data set in its own order: ``values[name]`` (N, D), ``labels`` (N,)."""

    values: dict[str, Tensor]
    labels: Tensor


@MODELS.register_module()
class RawPixels(BaseModule):
    """The image itself as its feature: the row that a table needs so as not to oversell."""

    def features(self, imgs: Tensor, layers: Sequence[int], poolings: Sequence[str]) -> dict:
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
            (the patch tokens themselves, from which LinearProbe learns to pool; in float16).
        max_token_gib: most memory that the tokens of 'attentive' may take for one data set.
    """

    def __init__(
        self,
        backbone: dict,
        layers: Sequence[int] = (-1,),
        poolings: Sequence[str] = ("patches",),
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
        depth = getattr(self.backbone, "num_layers", 1)
        bad = [layer for layer in layers if not -depth <= layer < depth]
        if bad:
            raise InputError(
                f"FeatureModel: layer {bad[0]} is outside the backbone's {depth} blocks; count "
                "from 0, or from -1 backwards."
            )
        self.layers = sorted({layer % depth for layer in layers})
        self.poolings, self.max_token_gib = tuple(poolings), max_token_gib
        self.requires_grad_(False)

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor"
    ) -> dict:
        """(B, 3, H, W) -> {'layer11.patches': (B, D), ...}; 'attentive' gives (B, L, D)."""
        if isinstance(self.backbone, RawPixels):
            return self.backbone.features(inputs, self.layers, self.poolings)
        last = self.backbone.num_layers - 1
        pooled = {}
        for layer, tokens in self.backbone.block_outputs(inputs, self.layers):
            normed = layer == last and self.backbone.final_norm
            cls = self.backbone.ln1(tokens)[:, 0] if normed else plain_norm(tokens[:, 0])
            spatial = tokens[:, self.backbone.num_extra_tokens :]
            patches = plain_norm(spatial.mean(dim=1))
            both = torch.cat([cls, patches], dim=1)
            views = dict(cls=cls, patches=patches, both=both, attentive=spatial.half())
            for name in self.poolings:
                pooled[f"layer{layer}.{name}"] = views[name]
        return pooled


def plain_norm(x: Tensor) -> Tensor:
    """(..., D) -> LayerNorm without learned scale and shift, eps 1e-6."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


@torch.inference_mode()
def extract_features(model: BaseModel, loader: DataLoader, device: torch.device) -> Features:
    """Run a FeatureModel over a data set; every process gets the whole result, on the CPU.

    The loader's sampler is mmengine's DefaultSampler without shuffling, which deals samples out in
    turn and pads the last round; padding is cut off here. Raises InputError for NaN features.
    """
    model.eval()
    values, labels = {}, []
    for batch in loader:
        batch = model.data_preprocessor(batch, False)
        for name, value in model(batch["inputs"].to(device)).items():
            if value.ndim == 3:
                _check_memory(model, value, len(loader.dataset))
            _check_finite(name, value)
            values.setdefault(name, []).append(value.cpu())
        labels += [int(sample.gt_label) for sample in batch["data_samples"]]
    size = len(loader.dataset)
    return Features(
        {name: gather_shards(torch.cat(parts), size) for name, parts in values.items()},
        gather_shards(torch.tensor(labels), size),
    )


def _check_finite(name: str, value: Tensor) -> None:
    bad = (~value.isfinite().flatten(1)).any(dim=1).sum().item()
    if bad:
        raise InputError(
            f"{bad} of {len(value)} images of a batch have NaN or infinite features ({name}): the "
            "checkpoint is broken, or the precision too low for it; nothing was evaluated."
        )


def _check_memory(model: FeatureModel, tokens: Tensor, size: int) -> None:
    needed = size * tokens[0].numel() * 2 * len(model.layers) / 2**30
    if needed > model.max_token_gib:
        raise InputError(
            f"Attentive pooling would keep {needed:.0f} GiB of patch tokens for {size} images, "
            f"more than max_token_gib={model.max_token_gib:g}; read fewer layers, take a subset of "
            "the training set, raise the limit, or leave 'attentive' out of poolings."
        )


def gather_shards(shard: Tensor, size: int) -> Tensor:
    """(n, ...) of this process -> (size, ...) of all, in data set order."""
    if get_world_size() == 1:
        return shard[:size]
    return torch.stack(all_gather(shard), dim=1).flatten(0, 1)[:size]
