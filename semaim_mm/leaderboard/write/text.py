"""How names and numbers are written, whatever the format; each format then escapes for itself."""

import math
import unicodedata

from semaim_mm.leaderboard.intervals import Interval

NONE = "–"  # nothing to show
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control, direction, surrogate, line breaks
STEPS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def clean(text: object, most: int | None = None) -> str:
    """Any text -> one line without characters that hide, reorder or break: those as escapes.

    Args:
        most: longest length in characters; what is longer loses its middle.
    """
    shown = "".join(_visible(character) for character in str(text)).strip()
    if most is None or len(shown) <= most:
        return shown
    tail = most // 4
    return f"{shown[: most - tail - 1]}…{shown[len(shown) - tail :]}"


def unit_of(unit: str) -> str:
    """A metric's unit -> as it stands behind a number."""
    return "%" if unit == "percent" else clean(unit, 20)


def score(value: float | None, sign: bool = False) -> str:
    """A score, or a difference with its sign, to two decimals; never a negative zero."""
    if value is None or not math.isfinite(value):
        return NONE
    return (f"{value:+z.2f}" if sign else f"{value:z.2f}").replace("-", "−")


def span(interval: Interval | None, sign: bool = False) -> str:
    """An interval's ends, or NONE."""
    if interval is None or interval.low is None or interval.high is None:
        return NONE
    return f"{score(interval.low, sign)} to {score(interval.high, sign)}"


def with_margin(interval: Interval) -> str:
    """A mean over pretraining seeds with half its 95 % interval; one seed is marked."""
    if interval.n == 1:
        return f"{score(interval.value)} (n = 1)"
    if interval.low is None or interval.high is None:
        return f"{score(interval.value)} (n = {interval.n}, no spread)"
    return f"{score(interval.value)} ± {score((interval.high - interval.low) / 2)}"


def p_value(value: float | None) -> str:
    """A p value to three digits."""
    return NONE if value is None else "< 0.0001" if value < 1e-4 else f"{value:.3g}"


def quantity(value: float | None) -> str:
    """A large number to three digits with its metric prefix: 3.17 T."""
    if value is None:
        return NONE
    for size, prefix in STEPS:
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g}"


def count(value: float | None) -> str:
    """A number of things, its thousands set apart."""
    return NONE if value is None else f"{value:,.0f}".replace(",", "\u202f")


def hours(value: float | None) -> str:
    """Hours to three digits."""
    return NONE if value is None else f"{value:.3g}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """1, 'result' -> '1 result'."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def _visible(character: str) -> str:
    if unicodedata.category(character) in HIDDEN:
        return character.encode("unicode_escape").decode()
    return " " if character.isspace() else character
