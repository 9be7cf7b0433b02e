"""A spec's keys by kind and range, before anything is made of them: a sentence for each."""

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.validators import extend

from semaim_mm.errors import InputError

TEXT = {"type": ["string"], "minLength": 1}
TEXT_OR_NONE = {"type": ["string", "null"], "minLength": 1}
NAMED = {"type": "object", "propertyNames": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}
SEEDS = {"type": "array", "items": COUNT, "minItems": 1, "uniqueItems": True}
TEXTS = {"type": "array", "items": TEXT}
OPTIONS = (NAMED, "{config key: value}")
SEEDS_TOLD = "a list of whole numbers, each once, e.g. [0, 1, 2]"
LEAF = (TEXT_OR_NONE, "the path of a leaf")
# what is not here has sentences of its own: grid (grid.py), sweep (sweep.py)
SUITE = dict(
    name=(TEXT, "the name of the suite's folder"),
    base=LEAF,
    methods=(NAMED, "{name: dict(config=LEAF) or dict(checkpoint=FILE)}"),
    tasks=(NAMED, "{name: leaf}"),
    seeds=(SEEDS, SEEDS_TOLD),
    comparisons=(
        {"type": "array", "items": TEXTS},
        'a list of pairs of methods, e.g. [("ours", "mae")]',
    ),
    holdout=(
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "a share between 0 and 1",
    ),
    notes=({**NAMED, "additionalProperties": TEXT}, "{task: sentence}"),
    out=(TEXT, "the path of a folder"),
    gpus=(COUNT, "a whole number, 0 for one process on the first GPU that it sees, if any"),
    slurm=(NAMED, "{submitit's name of a setting: value}"),
)
METHOD = dict(
    config=LEAF,
    checkpoint=(TEXT_OR_NONE, "the path of a file, or 'random'"),
    tasks=(NAMED, "{task: leaf}"),
    options=OPTIONS,
    seeds=({"anyOf": [SEEDS, {"type": "null"}]}, SEEDS_TOLD),
    without=(TEXTS, "a list of tasks"),
)
TASK = dict(config=(TEXT, "the path of a leaf"), options=OPTIONS)

# JSON Schema in which a tuple is an array too, and 1.0 and True are no whole numbers
_Kinds = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "array": lambda _, value: isinstance(value, list | tuple),
            "integer": lambda _, value: type(value) is int,
        }
    ),
)


def check_keys(found: Mapping[str, Any], kinds: Mapping[str, tuple[dict, str]], where: str) -> None:
    """Raise InputError for a value that is not of its key's kind; ``where`` begins the sentence."""
    for key, (schema, wanted) in kinds.items():
        if key in found and not _Kinds(schema).is_valid(found[key]):
            raise InputError(f"{where}: {key}={repr(found[key])[:200]} must be {wanted}.")
