"""What a result says of its own making: the pretraining's cost and the task's training, typed.

Both are read off the checkpoint's record, so that no evaluation can state them otherwise.
"""

import math
from collections.abc import Mapping
from typing import Any

BUDGET = ("epochs", "images", "flops", "device_hours")
BATCH = ("total_batch", "batch_norm_batch", "world_size")


def pretrained_record(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The record of the pretrained weights; None where a run started from random ones.

    Where a model was trained on the task, the tested checkpoint is that run's and the pretrained
    one what it started from; frozen features come from the pretrained one itself.
    """
    checkpoint = content["checkpoint"]
    if checkpoint is None or content["protocol"].get("training") is None:
        return checkpoint
    return checkpoint.get("started_from")


def history_of(content: Mapping[str, Any]) -> dict[str, dict | None]:
    """A result's ``protocol`` and ``checkpoint`` -> its ``pretraining`` and ``training``.

    A number that a checkpoint's record does not tell, or tells in no plain way, is None; a part
    that did not take place (no pretraining, frozen features) is None as a whole.
    """
    weights, checkpoint = pretrained_record(content), content["checkpoint"]
    trained = content["protocol"].get("training") is not None and checkpoint is not None
    return dict(
        pretraining=None if weights is None else _made(weights, BUDGET),
        training=_made(checkpoint, ("epochs", "updates")) if trained else None,
    )


def labelled_teachers(content: Mapping[str, Any]) -> list[str]:
    """A result -> the models that class labels taught, and whose features its weights predicted.

    Those of the pretraining, and of the weights that it started from. A record of before teachers
    said what taught them counts where it names a ConvTeacher.
    """
    weights, found = pretrained_record(content), set()
    while isinstance(weights, Mapping) and weights:
        training = _mapping(_mapping(weights.get("origin")).get("training"))
        teachers = training.get("teachers")
        for teacher in teachers if isinstance(teachers, list) else ():
            record = _mapping(teacher)
            if record.get("labels", record.get("type") == "ConvTeacher"):
                found.add(str(record.get("model")))
        weights = weights.get("started_from")
    return sorted(found)


def _made(record: Mapping[str, Any], lengths: tuple[str, ...]) -> dict[str, Any]:
    origin = _mapping(record.get("origin"))
    training = _mapping(origin.get("training"))
    told = dict(epochs=training.get("max_epochs"), updates=training.get("max_iters"))
    told |= _mapping(origin.get("budget"))
    precision = training.get("precision")
    return dict(
        sha256=record.get("sha256"),
        resumes=_number(origin.get("resumes")),
        precision=precision if isinstance(precision, str) else None,
        **{key: _number(training.get(key)) for key in BATCH},
        **{key: _number(told.get(key)) for key in lengths},
    )


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
