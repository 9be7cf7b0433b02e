"""Data sets: image folders with named faults, augmentation keyed by sample, shipped sample data."""

from semaim_mm.data.image_folder import ImageFolder
from semaim_mm.data.keyed import KeyedDataset, KeyedSampler, SampleKey
from semaim_mm.data.load_crop import LoadCrop
from semaim_mm.data.load_image import LoadImage
from semaim_mm.data.shards import ImageShards

__all__ = [
    "ImageFolder",
    "ImageShards",
    "KeyedDataset",
    "KeyedSampler",
    "LoadCrop",
    "LoadImage",
    "SampleKey",
]
