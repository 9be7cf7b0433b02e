"""Transfer of a backbone: frozen features, k-NN, probes, layer decay, pyramid."""

from semaim_mm.transfer.accuracy import SampleAccuracy
from semaim_mm.transfer.features import FeatureModel, RawPixels
from semaim_mm.transfer.knn import KNN
from semaim_mm.transfer.layer_decay import LayerDecayConstructor
from semaim_mm.transfer.linear_probe import LinearProbe
from semaim_mm.transfer.logistic_regression import LogisticRegression
from semaim_mm.transfer.protocol import PROTOCOLS, FeatureTestLoop
from semaim_mm.transfer.pyramid import SimpleFeaturePyramid

__all__ = [
    "KNN",
    "PROTOCOLS",
    "FeatureModel",
    "FeatureTestLoop",
    "LayerDecayConstructor",
    "LinearProbe",
    "LogisticRegression",
    "RawPixels",
    "SampleAccuracy",
    "SimpleFeaturePyramid",
]
