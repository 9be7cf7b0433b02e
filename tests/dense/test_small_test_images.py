"""A segmenter's logits lie where the image has them, also where the image is below the crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.cnn.bricks.transformer import PatchEmbed
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.registry import MODELS, init_default_scope
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.structures import SegDataSample
from PIL import Image
from torch import nn

import semaim_mm.dense  # noqa: F401  (registration)

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "seg"
FULL_SIZE = sorted(path for path in CONFIGS.glob("*.py") if "tiny" not in path.name)
ONE_SCALE = [path for path in FULL_SIZE if not path.stem.endswith("-ms")]


@MODELS.register_module()
class PatchMeans(nn.Module):
    """A backbone that gives each patch's mean: mmpretrain's own patches, and their padding."""

    def __init__(self):
        super().__init__()
        self.patches = PatchEmbed(3, 2, kernel_size=16, stride=16)
        nn.init.constant_(self.patches.projection.weight, 1 / (3 * 16 * 16))
        nn.init.zeros_(self.patches.projection.bias)

    def forward(self, images):
        tokens, size = self.patches(images)
        return (tokens.mT.unflatten(2, size),)


@MODELS.register_module()
class AsTheyAre(BaseDecodeHead):
    """A head whose scores are the backbone's maps."""

    def forward(self, inputs):
        return inputs[0]


def model_of(leaf: Path, **preprocessor) -> nn.Module:
    """A leaf's segmenter, its preprocessing and windows; what it scores are the pixels."""
    init_default_scope("mmseg")
    model = Config.fromfile(leaf).model.to_dict()
    head = dict(type="AsTheyAre", in_channels=2, channels=2, num_classes=2, align_corners=False)
    model.update(backbone=dict(type="PatchMeans"), neck=None, auxiliary_head=None)
    model.update(decode_head=head)
    model["data_preprocessor"].update(mean=[0.0] * 3, std=[1.0] * 3, **preprocessor)
    return MODELS.build(ConfigDict(model)).eval()


def ramps(height: int, width: int) -> torch.Tensor:
    """The pixels' columns, beginning with 1000 to stand out from the padding."""
    return (torch.arange(width) + 1000.0).expand(3, height, width).clone()


def scores_of(model, image: torch.Tensor, flip: bool = False) -> torch.Tensor:
    """-> the scores of the first class, (H, W), at the image's own size."""
    size = tuple(image.shape[1:])
    meta = dict(ori_shape=size, img_shape=size, pad_shape=size)
    meta |= dict(flip=flip, flip_direction="horizontal" if flip else None)
    given = image.flip(-1) if flip else image
    data = dict(inputs=[given], data_samples=[SegDataSample(metainfo=meta)])
    with torch.no_grad():
        return model.test_step(data)[0].seg_logits.data[0]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [(256, 341), (341, 256), (384, 512), (511, 511)])
@pytest.mark.parametrize("leaf", ONE_SCALE, ids=lambda path: path.stem)
def test_scores_of_a_small_image_lie_where_its_pixels_are(leaf, size, flip):
    image = ramps(*size)
    found = scores_of(model_of(leaf), image, flip)
    # not the patches at the border, which have padding in them or no neighbour
    inside = (slice(0, size[0] - 32), slice(32, size[1] - 32))
    assert (found - image[0])[inside].abs().max() < 0.01


def test_without_the_padding_they_are_squeezed():
    image = ramps(256, 341)
    plain = scores_of(model_of(ONE_SCALE[0], test_cfg=None), image)
    assert (plain - image[0])[:, 32:309].abs().max() > 8


@pytest.mark.parametrize("leaf", ONE_SCALE, ids=lambda path: path.stem)
def test_scores_of_an_image_of_the_crops_size_or_more_stay_as_they_were(leaf):
    for size in ((512, 512), (512, 683), (771, 512)):
        image = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
        padded, plain = model_of(leaf), model_of(leaf, test_cfg=None)
        assert torch.equal(scores_of(padded, image), scores_of(plain, image))


@pytest.mark.parametrize("size", [(300, 400), (683, 512), (2400, 300)])
@pytest.mark.parametrize("leaf", sorted(CONFIGS.glob("upernet*512-ms.py")), ids=lambda p: p.stem)
def test_no_view_is_smaller_than_the_crop_and_there_are_twelve(leaf, size, tmp_path):
    init_default_scope("mmseg")
    for name, mode in (("image.png", "RGB"), ("map.png", "L")):
        Image.new(mode, size, 1).save(tmp_path / name)
    info = dict(img_path=str(tmp_path / "image.png"), seg_map_path=str(tmp_path / "map.png"))
    info |= dict(reduce_zero_label=True, seg_fields=[])
    views = Compose(Config.fromfile(leaf).test_dataloader.dataset.pipeline)(info)
    shorts = [min(view.shape[1:]) for view in views["inputs"]]
    assert shorts == [side for side in (512, 512, 512, 640, 768, 896) for _ in range(2)]
    assert [sample.flip for sample in views["data_samples"]] == [False, True] * 6
    ratio = max(size) / min(size)
    longs = [max(view.shape[1:]) for view in views["inputs"]]
    assert np.allclose(longs, np.array(shorts) * ratio, atol=1)
    assert {tuple(s.gt_sem_seg.shape) for s in views["data_samples"]} == {size[::-1]}


@pytest.mark.parametrize("leaf", sorted(CONFIGS.glob("upernet*512-ms.py")), ids=lambda p: p.stem)
def test_a_multi_scale_leaf_differs_by_its_views_alone(leaf):
    views = Config.fromfile(leaf).to_dict()
    alone = Config.fromfile(str(leaf).replace("-ms.py", ".py")).to_dict()
    pipeline = views.pop("tta_pipeline")
    assert views.pop("tta_model") == dict(type="SegTTAModel")
    assert views["test_dataloader"]["dataset"].pop("pipeline") == pipeline
    alone["test_dataloader"]["dataset"].pop("pipeline")
    assert views == alone
