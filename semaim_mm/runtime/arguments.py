"""Whether the values of a config's dict are what the class that it names takes.

Of this package's, mmengine's and torch's classes the annotations count; of other libraries' the
arguments' names and the kinds of their defaults, for their annotations are often too narrow.
"""

import inspect
import math
import types
import typing
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from semaim_mm.errors import InputError

ANNOTATED = ("semaim_mm", "mmengine", "torch")
# what a runner or builder gives, or takes out of the dict before the class sees it
NOT_THEIRS = ("type", "_scope_", "priority", "convert_to_iter_based")


def check_arguments(
    kind: type, given: Mapping[str, Any], where: str, not_theirs: Sequence[str] = NOT_THEIRS
) -> None:
    """Compare a dict's keys and values with a class's arguments.

    Raises:
        InputError: a key that the class does not take, or a value of another kind; it is named
            after ``where``, the dict's place in the config.
    """
    hints, defaults, open_ended = arguments_of(kind)
    for key, value in given.items():
        place = f"{where}.{key}"
        if key in not_theirs:
            continue
        if key not in hints:
            if open_ended:
                continue
            raise InputError(
                f"{place}: {kind.__name__} takes no {key!r}; it takes "
                f"{', '.join(name for name in hints if name != 'student')}."
            )
        if not fits(value, hints[key]):
            raise InputError(
                f"{place}={value!r} is not what {kind.__name__} takes there, {told(hints[key])}; "
                "mend the config."
            )
        if not _like(value, defaults.get(key)):
            raise InputError(
                f"{place}={value!r} is text, and {kind.__name__} takes a number or a flag there "
                f"(by default {defaults[key]!r}); mend the config."
            )


def arguments_of(kind: Any) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """-> annotations and defaults by argument, base classes' too; whether others may be given."""
    if not isinstance(kind, type):
        return _own_arguments(kind, kind, skip=0)
    if issubclass(kind, tuple):
        return typing.get_type_hints(kind), {}, False
    hints: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    more = False
    for base in kind.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        found, values, more = _own_arguments(base.__init__, base, skip=1)
        hints, defaults = found | hints, values | defaults
        if not more:
            break
    return hints, defaults, more


def _own_arguments(
    function: Any, owner: Any, skip: int
) -> tuple[dict[str, Any], dict[str, Any], bool]:
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    annotated = owner.__module__.split(".")[0] in ANNOTATED
    stated = _type_hints(function) if annotated else {}
    hints, defaults, more = {}, {}, False
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            more = True
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            hints[parameter.name] = stated.get(parameter.name, Any)
            if parameter.default is not parameter.empty:
                defaults[parameter.name] = parameter.default
    return hints, defaults, more


def _type_hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):  # names that its module imports for type checkers alone
        return {}


def fits(value: Any, hint: Any) -> bool:
    """Whether a value of a config is what an annotation says; lists stand for tuples."""
    origin = typing.get_origin(hint)
    if hint is Any:
        return True
    if hint is None or hint is types.NoneType:
        return value is None
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in typing.get_args(hint))
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, Real) and not isinstance(value, bool) and _is_finite(value)
    origin = origin or hint
    if origin in (Sequence, list, tuple):
        kinds = [one for one in typing.get_args(hint) if one is not Ellipsis] or [Any]
        return isinstance(value, list | tuple) and all(
            any(fits(one, kind) for kind in kinds) for one in value
        )
    if origin in (dict, Mapping):
        return isinstance(value, Mapping)
    return not isinstance(origin, type) or isinstance(value, origin)


def told(hint: Any) -> str:
    """An annotation, as a sentence names it."""
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _like(value: Any, default: Any) -> bool:
    """Text where the default is a number or a flag is a mistake in any library."""
    text = isinstance(value, str) and value != "inf"  # mmpretrain's way to say so in a config
    return not (text and isinstance(default, bool | int | float))


def _is_finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
