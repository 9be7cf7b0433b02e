"""What the page says of the measured analysis is what its file says, and the file is small."""

from __future__ import annotations

import json

import measured_analysis
import pytest
from measured_analysis import FILE, IMAGES, block, brief, kept


def interval(value: float, low: float | None = 0.1, high: float | None = 0.3) -> dict:
    return dict(over="images", value=value, low=low, high=high, sd=0.1, n=4, level=0.95, method="t")


def test_intervals_are_kept_as_value_low_high_and_number():
    found = brief(dict(a=interval(0.123456), b=dict(c=interval(0.5, None, None)), n=3))
    assert found == dict(a=[0.1235, 0.1, 0.3, 4], b=dict(c=[0.5, None, None, 4]), n=3)


def test_of_the_coverages_only_the_last_checkpoints_are_kept():
    orders = {order: dict.fromkeys(("0.1", "0.3", "1.0"), 1) for order in measured_analysis.ORDERS}
    found = kept(
        dict(
            share=dict(epoch_0=orders, epoch_1=orders),
            covered=dict(epoch_0={"1": {}}, epoch_1={"3+": orders}),
            tau={"epoch_0 to epoch_1": dict.fromkeys((*measured_analysis.ORDERS, "snake"), 0.5)},
            distance={},
            paired=dict(epoch_0={}, epoch_1={"a minus b": {"0.1": 1, "0.3": 1, "1.0": 0}}),
            covered_paired=dict(epoch_0={}, epoch_1={"3+": {"c minus d": {"0.1": 1, "0.3": 1}}}),
        )
    )
    assert list(found["covered"]) == ["3+"] and found["share"]["epoch_0"]["raster"] == {
        "0.1": 1,
        "0.3": 1,
    }
    assert found["paired"] == {"a minus b": {"0.1": 1, "0.3": 1}}
    assert list(found["covered_paired"]) == ["3+"]
    assert "snake" not in found["tau"]["epoch_0 to epoch_1"]


@pytest.mark.parametrize("what", ["training", "orders", "several", "about"])
def test_a_table_has_a_line_of_every_row_of_the_file(what):
    found, lines = json.loads(FILE.read_text()), block(what).splitlines()
    rows = dict(training=found["epochs"] + 3, orders=9, several=5, about=1)
    assert len(lines) == rows[what]
    if what == "training":
        value, low, high, _ = found["objects"]["share"]["epoch_2"]["semantic"]["0.1"]
        assert f"| {100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f}) |" in lines[4]


def test_figures_of_the_page_are_small():
    sizes = [path.stat().st_size for path in IMAGES.glob("*.png")]
    assert len(sizes) == 6 and sum(sizes) < 300_000
