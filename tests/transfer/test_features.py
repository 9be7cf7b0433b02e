"""Pooled features against the backbone's own tokens."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from semaim_mm.errors import InputError
from semaim_mm.transfer.features import extract_features, gather_shards

ARCH = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64)


def feature_model(**options):
    torch.manual_seed(0)
    backbone = dict(type="SemAIMViT", arch=ARCH, img_size=32, patch_size=8)
    model = MODELS.build(dict(type="FeatureModel", backbone=backbone, **options))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def test_the_last_layers_poolings_are_the_authors():
    model = feature_model(poolings=["cls", "patches", "both"])
    imgs = torch.randn(2, 3, 32, 32)
    got = model(imgs)
    raw = model.backbone.encode(imgs, blocks=3)
    patches = F.layer_norm(raw[:, 1:].mean(dim=1), (32,), eps=1e-6)
    torch.testing.assert_close(got["layer2.cls"], model.backbone.encode(imgs)[:, 0])
    torch.testing.assert_close(got["layer2.patches"], patches)
    torch.testing.assert_close(
        got["layer2.both"], torch.cat([got["layer2.cls"], got["layer2.patches"]], dim=1)
    )


def test_every_layer_is_the_output_of_its_block():
    model = feature_model(layers=[0, 1, -1])
    imgs = torch.randn(2, 3, 32, 32)
    got = model(imgs)
    assert list(got) == ["layer0.patches", "layer1.patches", "layer2.patches"]
    for layer in range(3):
        mean = model.backbone.encode(imgs, blocks=layer + 1)[:, 1:].mean(dim=1)
        expected = F.layer_norm(mean, (32,), eps=1e-6)
        torch.testing.assert_close(got[f"layer{layer}.patches"], expected)


@pytest.mark.parametrize(
    "options, words",
    [(dict(poolings=["max"]), "no pooling 'max'"), (dict(layers=[3]), "layer 3 is outside")],
)
def test_an_unknown_pooling_or_layer_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        feature_model(**options)


class Loader(list):
    """Batches as mmengine's loader gives them, with the data set's length."""

    def __init__(self, batches, size):
        super().__init__(batches)
        self.dataset = range(size)


def batch(imgs, labels):
    from mmpretrain.structures import DataSample

    samples = [DataSample().set_gt_label(label) for label in labels]
    return dict(inputs=imgs, data_samples=samples)


def test_features_come_in_data_set_order_without_the_samplers_padding():
    model = feature_model()
    imgs = torch.randn(5, 3, 32, 32)
    loader = Loader(
        [batch(imgs[:3], [0, 1, 2]), batch(torch.cat([imgs[3:], imgs[:1]]), [3, 4, 0])], 5
    )
    features = extract_features(model, loader, torch.device("cpu"))
    assert features.labels.tolist() == [0, 1, 2, 3, 4]
    torch.testing.assert_close(features.values["layer2.patches"], model(imgs)["layer2.patches"])


def test_a_feature_that_is_not_finite_stops_the_evaluation():
    model = feature_model()
    imgs = torch.randn(2, 3, 32, 32)
    imgs[1, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="1 of 2 images of a batch have NaN"):
        extract_features(model, Loader([batch(imgs, [0, 1])], 2), torch.device("cpu"))


def test_one_process_keeps_its_shard_as_it_is():
    assert gather_shards(torch.arange(6), 5).tolist() == [0, 1, 2, 3, 4]
