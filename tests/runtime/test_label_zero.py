"""Label 0 is a class or it is none: said once, in all loaders, and for ADE20K never a class."""

from __future__ import annotations

import pytest
from mmengine.config import Config
from mmseg.datasets import ADE20KDataset

import semaim_mm.dense  # noqa: F401  (registration)
from semaim_mm.errors import InputError
from semaim_mm.runtime.label_zero import check_label_zero
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.runner import TransferRunner

ADE = dict(classes=ADE20KDataset.METAINFO["classes"])
OWN = dict(classes=("dry", "water"))
LEAF = "configs/seg/upernet_semaim-vitb_160k_ade20k-512x512.py"


def config(train: dict, test: dict | None = None, wrapper: str = "KeyedDataset") -> Config:
    test = train if test is None else test
    return Config(
        dict(
            default_scope="mmseg",
            train_dataloader=dict(dataset=dict(type=wrapper, dataset=train)),
            val_dataloader=dict(dataset=test),
            test_dataloader=dict(dataset=test),
        )
    )


def refusal(cfg: Config) -> str:
    with pytest.raises(InputError) as error:
        check_label_zero(cfg)
    return str(error.value)


@pytest.mark.parametrize(
    "dataset",
    [
        dict(type="mmseg.ADE20KDataset", reduce_zero_label=False),
        dict(type="ADE20KDataset", reduce_zero_label=False),
        dict(type=ADE20KDataset, reduce_zero_label=False),
        dict(type="ADE20KDataset", metainfo=OWN, reduce_zero_label=False),
        dict(type="BaseSegDataset", metainfo=ADE, reduce_zero_label=False),
        dict(type="mmseg.BaseSegDataset", metainfo=ADE),  # mmseg's default is False
        dict(type="CheckedADE20K", reduce_zero_label=False),
    ],
)
def test_ade20k_with_label_0_as_a_class_is_refused(dataset):
    message = refusal(config(dataset))
    assert message.startswith("train_dataloader.dataset.dataset.reduce_zero_label is False")
    assert "Set reduce_zero_label=True there" in message
    message = refusal(config(dict(type="CheckedADE20K"), dataset))
    assert message.startswith("val_dataloader.dataset.reduce_zero_label is False")


@pytest.mark.parametrize(
    "dataset",
    [
        dict(type="CheckedADE20K"),
        dict(type="mmseg.ADE20KDataset"),  # whose default is True
        dict(type="BaseSegDataset", metainfo=ADE, reduce_zero_label=True),
        dict(type="BaseSegDataset", metainfo=OWN),
        # maps that were converted; their values are looked at
        dict(type="CheckedLabelMaps", metainfo=ADE, reduce_zero_label=False),
        dict(type="CheckedLabelMaps", metainfo=OWN),  # refuses by itself, with more to say
    ],
)
def test_what_is_right_or_told_elsewhere_passes(dataset):
    check_label_zero(config(dataset))


@pytest.mark.parametrize("kind", ["CheckedLabelMaps", "BaseSegDataset"])
@pytest.mark.parametrize("train", [True, False])
def test_loaders_that_take_label_0_differently_are_refused(kind, train):
    one, other = (
        dict(type=kind, metainfo=OWN, reduce_zero_label=said) for said in (train, not train)
    )
    message = refusal(config(one, other))
    places = ["train_dataloader.dataset.dataset", "val_dataloader.dataset"]
    reducing, other = places if train else places[::-1]
    assert f"{reducing}.reduce_zero_label is True and {other}.reduce_zero_label False" in message


def test_a_concatenation_is_looked_into():
    ade = dict(type="ADE20KDataset", reduce_zero_label=False)
    both = dict(type="ConcatDataset", datasets=[dict(type="CheckedADE20K"), ade])
    assert "train_dataloader.dataset.dataset.datasets.1.reduce" in refusal(config(both))


def test_a_run_is_refused_before_anything_is_built(tmp_path):
    part = dict(type="mmseg.ADE20KDataset", reduce_zero_label=False)
    cfg = load_config(LEAF, {"test_dataloader.dataset": part}, work_dir=str(tmp_path))
    with pytest.raises(InputError, match="test_dataloader.dataset.reduce_zero_label is False"):
        TransferRunner.from_cfg(cfg)
