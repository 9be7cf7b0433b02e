"""Pooled features against the backbone's own tokens."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from semaim_mm.errors import InputError
from semaim_mm.transfer.feature_store import FeatureStore
from semaim_mm.transfer.features import (
    extract_features,
    feature_shapes,
    gather_shards,
    part_shapes,
)

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
    [
        (dict(poolings=["max"]), "no pooling 'max'"),
        (dict(layers=[3]), "layer 3 is outside"),
        (dict(poolings=["attentive"], attentive_layers=[0]), "block 0, which is not among"),
        (dict(attentive_share=0.0), "attentive_share=0.0 must"),
    ],
)
def test_an_unknown_pooling_or_layer_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        feature_model(**options)


class Loader(list):
    """Batches as mmengine's loader gives them, with the data set's length."""

    def __init__(self, batches, size):
        super().__init__(batches)
        self.dataset = range(size)
        self.collate_fn = lambda items: batches[0]


def batch(imgs, labels):
    from mmpretrain.structures import DataSample

    samples = [DataSample().set_gt_label(label) for label in labels]
    return dict(inputs=imgs, data_samples=samples)


def extract(model, loader, folder, shares=None, **options):
    cpu, store = torch.device("cpu"), FeatureStore(folder, **options)
    size = len(loader.dataset)
    store.plan(part_shapes(model, loader, cpu), {"train": size}, shares, model.max_token_gib)
    return extract_features(model, loader, cpu, store.files["train"])


def two_batches():
    """Five images, the last batch padded by the first one."""
    imgs = torch.randn(5, 3, 32, 32)
    padded = torch.cat([imgs[3:], imgs[:1]])
    return imgs, Loader([batch(imgs[:3], [0, 1, 2]), batch(padded, [3, 4, 0])], 5)


def test_features_come_in_data_set_order_without_the_samplers_padding(tmp_path):
    model = feature_model(layers=[1, 2], poolings=["both", "patches"])
    imgs, loader = two_batches()
    features = extract(model, loader, tmp_path)
    assert features.labels.tolist() == [0, 1, 2, 3, 4]
    expected = model(imgs)
    assert list(features.values) == list(expected)
    for name, table in features.values.items():
        assert table.dtype == torch.float32 and table.shape == expected[name].shape
        torch.testing.assert_close(table[torch.tensor([4, 0])], expected[name][[4, 0]])
        torch.testing.assert_close(table.to(torch.device("cpu")), expected[name])


def test_a_feature_is_stored_once_however_many_poolings_read_it(tmp_path):
    model = feature_model(layers=[0, 1, 2], poolings=["cls", "patches", "both"])
    _, loader = two_batches()
    extract(model, loader, tmp_path, storage="float16")
    # three layers, CLS and mean, 32 numbers of two bytes, five images
    assert (tmp_path / "train.pooled.bin").stat().st_size == 3 * 2 * 32 * 2 * 5
    shapes = part_shapes(model, loader, torch.device("cpu"))
    assert feature_shapes(model.recipes, shapes)["layer1.both"] == (64,)


def test_patch_tokens_are_kept_for_a_share_of_the_images_and_chosen_layers(tmp_path):
    model = feature_model(layers=[0, 2], poolings=["patches", "attentive"], attentive_layers=[-1])
    imgs, loader = two_batches()
    share = torch.tensor([1, 4])
    features = extract(model, loader, tmp_path, {"train": share})
    assert list(features.values) == ["layer0.patches", "layer2.patches", "layer2.attentive"]
    table = features.values["layer2.attentive"]
    assert table.images.tolist() == [1, 4] and features.values["layer0.patches"].images is None
    expected = model(imgs)["layer2.attentive"].half()
    # a batch of another size rounds otherwise
    torch.testing.assert_close(table[torch.tensor([4, 1])], expected[[4, 1]], rtol=2e-3, atol=2e-3)
    with pytest.raises(IndexError, match="does not have"):
        table[torch.tensor([0])]


def test_more_patch_tokens_than_the_budget_stop_before_the_extraction(tmp_path):
    model = feature_model(poolings=["attentive"], max_token_gib=1e-6)
    _, loader = two_batches()
    with pytest.raises(InputError, match="patch tokens for 5 images, more than max_token_gib"):
        extract(model, loader, tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_feature_that_is_not_finite_stops_the_evaluation(tmp_path):
    model = feature_model()
    imgs = torch.randn(2, 3, 32, 32)
    imgs[1, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="1 of 2 images of a batch have NaN"):
        extract(model, Loader([batch(imgs, [0, 1])], 2), tmp_path)


def test_one_process_keeps_its_shard_as_it_is():
    assert gather_shards(torch.arange(6), 5).tolist() == [0, 1, 2, 3, 4]
