"""Where lines, bars and labels go."""

import math

import numpy as np

from nerf_jax.app.report import plots


def reports(count: int) -> list[dict[str, float | None]]:
    return [
        {"step": 10.0 * n, "psnr": 20.0 + n, "val": float(n) if n % 2 else None}
        for n in range(count)
    ]


def test_an_axis_goes_from_end_to_end():
    axis = plots.Axis("", 10.0, 30.0, 100.0, 0.0, ())
    assert [axis.at(value) for value in (10, 20, 30)] == [100, 50, 0]


def test_a_curve_leaves_out_what_is_not_known():
    found = plots.curve("a", 0, reports(5), "step", "val")
    assert found.points == ((10.0, 1.0), (30.0, 3.0))
    odd = [{"step": 1, "psnr": math.nan}, {"step": 2}, {"step": 3, "psnr": "x"}]
    assert plots.curve("a", 0, odd, "step", "psnr").points == ()


def test_a_long_curve_is_thinned_and_ends_where_it_ends():
    found = plots.curve("a", 0, reports(10_000), "step", "psnr").points
    assert plots.MAX_POINTS / 2 < len(found) <= plots.MAX_POINTS
    assert found[-1] == (99_990.0, 10_019.0)
    assert (np.diff([x for x, _ in found]) > 0).all()


def test_a_plot_holds_its_curves():
    curves = [plots.curve(name, 0, reports(6), "step", name) for name in ("psnr", "val")]
    drawn = plots.plot("t", "steps", "dB", curves)
    for curve in curves:
        for x, y in curve.points:
            assert plots.LEFT <= drawn.x.at(x) <= plots.RIGHT
            assert plots.TOP <= drawn.y.at(y) <= plots.BOTTOM
    assert drawn.x.low == 0
    assert plots.plot("t", "steps", "dB", [plots.Curve("none", 0, ())]) is None


def test_a_single_point_is_drawn():
    drawn = plots.plot("t", "steps", "dB", [plots.Curve("one", 0, ((5.0, 30.0),))])
    assert math.isfinite(drawn.x.at(5.0))
    assert math.isfinite(drawn.y.at(30.0))


def test_a_histogram_counts_each_value_once():
    values = dict(
        zip("abcdefgh", [20.0, 20.1, 22.4, 25.0, 25.0, 29.9, 30.0, math.nan], strict=True)
    )
    drawn = plots.histogram("t", "dB", values)
    counted = [name for bar in drawn.bars for name in bar.names]
    assert sorted(counted) == list("abcdefg")
    for bar in drawn.bars:
        for name in bar.names:
            assert bar.low <= values[name] <= bar.high
    assert drawn.y.high >= max(len(bar.names) for bar in drawn.bars)


def test_a_histogram_of_equal_values():
    drawn = plots.histogram("t", "dB", {"a": 30.0, "b": 30.0})
    assert [bar.names for bar in drawn.bars if bar.names] == [("a", "b")]
    assert drawn.bars[-1].high > drawn.bars[0].low
    assert plots.histogram("t", "dB", {"a": math.nan}) is None
