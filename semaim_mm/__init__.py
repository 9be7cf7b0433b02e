"""SemAIM pretraining and its transfer to downstream tasks, on OpenMMLab.

image -> patches -> order -> content and query stream -> target and loss -> checkpoint ->
the same backbone in a classifier, detector, segmenter -> metrics -> table.

Importing the package registers its classes; configs do so by ``custom_imports``.
"""

from semaim_mm import data, pretrain, runtime, transfer, vit  # noqa: F401  (registration)

__version__ = "0.1.0"
