"""What a checkpoint says of itself is data of unknown origin: checked before anything uses it."""

from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.validators import extend

from semaim_mm.errors import InputError

COUNT = {"type": "integer", "minimum": 0}
NUMBER, NUMBERS = {"type": "number"}, {"type": "array", "items": {"type": "number"}}
HUB = ("log_scalars", "runtime_info", "resumed_keys")
PART = {"type": ["object", "null"]}
WRITTEN = {  # of any checkpoint: what our hooks write into ``meta``, and read again
    "resumes": COUNT,
    "skipped_images": {"type": "array", "items": {"type": "string"}},
    "model": {
        "type": ["object", "null"],
        "properties": {"backbone": {"type": "object"}, "data_preprocessor": {"type": "object"}},
        "required": ["backbone", "data_preprocessor"],
    },
    "budget": {
        "type": ["object", "null"],
        "properties": {"images": NUMBER, "device_hours": NUMBER},
        "required": ["images", "device_hours"],
    },
    "started_from": PART,
    "loaded": PART,
    "training": PART,
    "data": PART,
}
# mmengine's schedulers take over whatever they find under the names of their attributes
SCHEDULER = {
    "type": "object",
    "properties": {
        "last_step": {"type": "integer"},
        "_global_step": {"type": "integer"},
        "base_values": NUMBERS,
        "_last_value": NUMBERS,
        "param_name": {"type": "string"},
        "milestones": {"type": "object"},  # a Counter of steps
    },
    "additionalProperties": {"type": ["number", "boolean", "null"]},
}
RESUMED = {  # of one that a run goes on from: its other parts
    "message_hub": {
        "type": "object",
        "properties": {name: {"type": "object"} for name in HUB},
        "required": list(HUB),
    },
    "optimizer": {
        "type": "object",
        "properties": {
            "state": {"type": "object", "additionalProperties": {"type": "object"}},
            "param_groups": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "params": {"type": "array", "items": COUNT},
                        "lr": NUMBER,
                        "weight_decay": NUMBER,
                        "betas": {**NUMBERS, "minItems": 2, "maxItems": 2},
                    },
                    "required": ["params"],
                },
            },
        },
        "required": ["state", "param_groups"],
    },
    "param_schedulers": {
        "type": ["array", "object", "null"],
        "items": SCHEDULER,
        "additionalProperties": {"type": "array", "items": SCHEDULER},
    },
    "random_states": {
        "type": ["array", "null"],
        "items": {"type": "object", "required": ["python", "numpy", "torch", "cuda"]},
    },
    "batch": {"type": ["object", "null"], "additionalProperties": {**COUNT, "minimum": 1}},
}


# JSON Schema in which a tuple is an array too, and NaN no number
_Kinds = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "array": lambda _, value: isinstance(value, list | tuple),
            "number": lambda _, value: (
                isinstance(value, int | float) and not isinstance(value, bool) and value == value
            ),
        }
    ),
)


def check_header(checkpoint: dict[str, Any], path: str, resumes: bool) -> None:
    """Check a checkpoint's ``meta`` in place, and take out the config that mmengine would execute.

    Raises:
        InputError: something in it that this suite reads is of another kind than it writes; a run
            that resumes finds no epoch and iteration, or another part of another kind.
    """
    meta = checkpoint["meta"] = checkpoint.get("meta") or {}
    if not isinstance(meta, dict):
        raise InputError(f"{path} has a meta that is no dict but {_told(meta)}; {_else(resumes)}")
    meta.pop("config", None)  # Runner.resume would execute it
    _check(meta, {"properties": WRITTEN}, f"{path} (meta)", resumes)
    if not resumes:
        return
    for key in ("epoch", "iter"):
        number = meta.get(key)
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise InputError(
                f"{path} can't be resumed from: its meta has {key}={number!r}, not a number of "
                "finished ones. Weights alone are where a run starts, by "
                "model.backbone.init_cfg.checkpoint or load_from, not what it goes on from."
            )
    _check(meta, {"properties": {"seed": {"type": ["integer", "null"]}}}, f"{path} (meta)", True)
    _check(checkpoint, {"properties": RESUMED, "required": ["message_hub"]}, path, True)


def _check(content: dict, schema: dict, place: str, resumes: bool) -> None:
    error = next(_Kinds(schema).iter_errors(content), None)
    if error is None:
        return
    key = ".".join(map(str, error.absolute_path))
    if error.validator == "required":
        absent = [name for name in error.validator_value if name not in error.instance]
        said = f"{key or 'it'} lacks {', '.join(absent)}"
    else:
        wanted = error.schema.get("type")
        wanted = " or ".join([wanted] if isinstance(wanted, str) else wanted)
        said = f"{key} is {_told(error.instance)}, where this suite writes {wanted}"
        said += f" from {error.validator_value} on" if error.validator == "minimum" else ""
    raise InputError(
        f"{place} was not written by this suite, or is damaged: {said}; {_else(resumes)}"
    )


def _told(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:60]!r}"


def _else(resumes: bool) -> str:
    if resumes:
        return "resume from another checkpoint, or start from its weights with load_from."
    return "take its weights out by tools/convert_checkpoint.py."
