"""The analyses' figures hide no curve: one that lies on another is dashed, legends lie beside."""

from semaim_mm.analysis.figures import objects_figure
from semaim_mm.leaderboard.intervals import over_seeds


def test_curves_of_equal_orders_are_both_seen_and_no_legend_lies_on_a_curve():
    item = over_seeds([0.2, 0.4, 0.3])
    shares = {order: {"0.1": item, "1.0": item} for order in ("semantic", "raster", "snake")}
    found = dict(
        share=dict(epoch_1=shares),
        by_chance=item,
        distance=dict(epoch_1=dict(semantic=item)),
        tau={},
    )
    figure = objects_figure(found)
    figure.canvas.draw()
    first = figure.axes[0]
    styles = {curve.get_label(): curve.get_linestyle() for curve in first.lines}
    assert styles["raster"] == "-" and styles["snake"] == "--"
    for axes in figure.axes[:2]:
        assert not axes.get_legend().get_window_extent().overlaps(axes.get_window_extent())
    for axes in figure.axes:
        title = axes.title.get_window_extent()
        assert title.x0 >= 0 and title.x1 <= figure.bbox.width
