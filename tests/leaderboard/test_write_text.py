"""Names and numbers as they are written in every format."""

from __future__ import annotations

import pytest
from boards import HOSTILE

from semaim_mm.leaderboard.intervals import over_seeds
from semaim_mm.leaderboard.write.text import (
    clean,
    count,
    p_value,
    plural,
    quantity,
    score,
    span,
    with_margin,
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_becomes_one_line_of_characters_that_can_be_seen(name):
    shown = clean(name)
    assert shown.isprintable() and "\n" not in shown
    shown.encode("utf-8")


def test_what_hides_is_written_as_an_escape_and_the_rest_stays():
    assert clean("a\nb\u202ec\x00d\ud800") == r"a\nb\u202ec\x00d\ud800"
    assert clean("名前 é 🦄 | <b>") == "名前 é 🦄 | <b>"
    assert clean("wide\u00a0space") == "wide space"


def test_a_long_name_loses_its_middle():
    shown = clean("a" * 100 + "b" * 100, 40)
    assert len(shown) == 40 and shown.startswith("a" * 29 + "…") and shown.endswith("b" * 10)
    assert clean("a" * 40, 40) == "a" * 40


def test_a_score_has_two_decimals_a_true_minus_and_no_negative_zero():
    assert [score(v) for v in (12.345678, -0.001, -1.5, None, float("nan"))] == [
        "12.35",
        "0.00",
        "−1.50",
        "–",
        "–",
    ]
    assert (score(1.0, sign=True), score(-1.0, sign=True)) == ("+1.00", "−1.00")


def test_a_mean_comes_with_half_its_interval_and_one_seed_is_marked():
    interval = over_seeds([50.0, 52.0, 54.0])
    margin = (interval.high - interval.low) / 2
    assert with_margin(interval) == f"52.00 ± {margin:.2f}"
    assert span(interval) == f"{interval.low:.2f} to {interval.high:.2f}"
    assert with_margin(over_seeds([50.0])) == "50.00 (n = 1)"
    assert with_margin(over_seeds([50.0, 50.0])) == "50.00 (n = 2, no spread)"
    assert span(over_seeds([50.0])) == span(None) == "–"


def test_large_numbers_have_their_prefix():
    values = (3.173e12, 8.1e11, 999.0, 0.0, 2.5e21, None)
    assert [quantity(v) for v in values] == ["3.17 T", "810 G", "999", "0", "2.5e+03 E", "–"]
    assert count(1281167) == "1\u202f281\u202f167"


def test_small_p_values_are_not_zero():
    assert [p_value(p) for p in (None, 1e-9, 0.0123456)] == ["–", "< 0.0001", "0.0123"]


def test_one_and_many():
    assert [plural(n, "row") for n in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
