"""What a result says of its own making: the pretraining's cost and the task's training, typed.

Both are read off the checkpoint's record, so that no evaluation can state them otherwise.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

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


def lineage(record: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """A checkpoint's record -> itself and those of all that it was trained from, nearest first.

    ``started_from`` has the weights of its backbone, ``origin.loaded`` the whole model that it
    began as: each has a history of its own.
    """
    waiting = [record]
    while waiting:
        link = waiting.pop()
        if isinstance(link, Mapping) and link:
            yield link
            waiting += [_mapping(link.get("origin")).get("loaded"), link.get("started_from")]


def history_of_weights(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A result -> the records of its pretrained weights and of all that those started from.

    Of a model trained on the task, they are what that training began with.
    """
    found = list(lineage(content["checkpoint"]))
    return found if content["protocol"].get("training") is None else found[1:]


class Taught(NamedTuple):
    """Models that class labels taught: whose features a pretraining predicted, or those before."""

    own: list[str]
    inherited: list[str]


def labelled_teachers(content: Mapping[str, Any]) -> Taught:
    """A result -> the models that class labels taught, and whose features its weights predicted.

    ``own`` are the pretraining's, ``inherited`` others of the weights that it started from. A
    record of before teachers said what taught them counts where it names a ConvTeacher.
    """
    own = _labelled(_mapping(pretrained_record(content)))
    known = set().union(*map(_labelled, history_of_weights(content)))
    return Taught(sorted(own), sorted(known - own))


def _labelled(record: Mapping[str, Any]) -> set[str]:
    teachers = _mapping(_mapping(record.get("origin")).get("training")).get("teachers")
    told = map(_mapping, teachers if isinstance(teachers, list) else ())
    return {
        str(teacher.get("model"))
        for teacher in told
        if teacher.get("labels", teacher.get("type") == "ConvTeacher")
    }


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
