"""Transfer of a backbone: frozen features, k-NN, probes."""

from semaim_mm.transfer.accuracy import SampleAccuracy
from semaim_mm.transfer.features import FeatureModel, RawPixels
from semaim_mm.transfer.knn import KNN
from semaim_mm.transfer.linear_probe import LinearProbe
from semaim_mm.transfer.logistic_regression import LogisticRegression
from semaim_mm.transfer.protocol import PROTOCOLS, FeatureTestLoop

__all__ = [
    "KNN",
    "PROTOCOLS",
    "FeatureModel",
    "FeatureTestLoop",
    "LinearProbe",
    "LogisticRegression",
    "RawPixels",
    "SampleAccuracy",
]
