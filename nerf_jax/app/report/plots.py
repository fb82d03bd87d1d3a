"""Curves and histograms as drawings: where each line, bar and label goes. A template draws them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nerf_jax.data.files import optional_import

WIDTH, HEIGHT = 440, 270
LEFT, RIGHT, TOP, BOTTOM = 42, 428, 12, 226
"""The frame within the drawing; labels stand to its left and below. In the drawing's pixels."""

MAX_POINTS = 400
"""Of a curve: more of them than pixels would make a page heavy and no finer."""


class Axis(NamedTuple):
    """A linear scale from values to pixels."""

    label: str
    low: float
    high: float
    start: float
    """Pixel of ``low``."""
    end: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """The pixel of a value."""
        part = (value - self.low) / (self.high - self.low)
        return round(self.start + part * (self.end - self.start), 2)


class Curve(NamedTuple):
    """Points to be joined."""

    label: str
    tone: int
    """Which of the page's colours."""
    points: tuple[tuple[float, float], ...]
    marked: bool = False
    """Whether each point is shown: for few of them."""


class Plot(NamedTuple):
    """Curves in a frame."""

    title: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...]


class Bar(NamedTuple):
    """So many values between two."""

    low: float
    high: float
    names: tuple[str, ...]


class Histogram(NamedTuple):
    """Bars in a frame."""

    title: str
    x: Axis
    y: Axis
    bars: tuple[Bar, ...]


def curve(
    label: str,
    tone: int,
    reports: Iterable[Mapping[str, Any]],
    x: str,
    y: str,
    *,
    marked: bool = False,
) -> Curve:
    """Two fields of a run's reports; those that lack one of them are left out."""
    points = [(r.get(x), r.get(y)) for r in reports]
    numbers = (int, float)
    known = [
        (float(a), float(b))
        for a, b in points
        if isinstance(a, numbers) and isinstance(b, numbers) and np.isfinite([a, b]).all()
    ]
    stride = max(1, -(-len(known) // MAX_POINTS))
    kept = known[::-1][::stride][::-1]  # the last one is the one that counts
    return Curve(label, tone, tuple(kept), marked)


def plot(title: str, x_label: str, y_label: str, curves: Sequence[Curve]) -> Plot | None:
    """Curves in a frame that holds them all; None if there is nothing to draw."""
    drawn = tuple(curve for curve in curves if curve.points)
    if not drawn:
        return None
    xs, ys = zip(*(point for curve in drawn for point in curve.points), strict=True)
    across = _axis(x_label, [0.0, *xs], LEFT, RIGHT)
    return Plot(title, across, _axis(y_label, ys, BOTTOM, TOP), drawn)


def histogram(title: str, label: str, values: Mapping[str, float]) -> Histogram | None:
    """How many of some named values lie where; None if there are none."""
    known = {name: value for name, value in values.items() if np.isfinite(value)}
    if not known:
        return None
    edges = _ticks(list(known.values()), bins=10)
    places = np.clip(np.searchsorted(edges, list(known.values()), "right") - 1, 0, len(edges) - 2)
    bars = tuple(
        Bar(
            edges[number],
            edges[number + 1],
            tuple(name for name, place in zip(known, places, strict=True) if place == number),
        )
        for number in range(len(edges) - 1)
    )
    most = max(len(bar.names) for bar in bars)
    counts = [tick for tick in _ticks([0, most], bins=4) if tick == round(tick)]
    across = Axis(label, edges[0], edges[-1], LEFT, RIGHT, tuple(edges))
    up = Axis("views", 0, max(most, counts[-1]), BOTTOM, TOP, tuple(counts))
    return Histogram(title, across, up, bars)


def _axis(label: str, values: Sequence[float], start: float, end: float) -> Axis:
    ticks = _ticks(values, bins=5)
    return Axis(label, ticks[0], ticks[-1], start, end, tuple(ticks))


def _ticks(values: Sequence[float], bins: int) -> list[float]:
    """Round numbers from below the least value to above the greatest."""
    locator = optional_import("matplotlib.ticker", "matplotlib").MaxNLocator(bins)
    low, high = float(min(values)), float(max(values))
    margin = 0.5 if low == high else 0.0  # a scale of no length has no places
    ticks = locator.tick_values(low - margin, high + margin)
    return [round(float(tick), 10) for tick in ticks]
