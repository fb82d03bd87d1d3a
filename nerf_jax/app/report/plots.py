"""Plots: ``curves.png``, and for the pages the pixels of curves and histograms."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from nerf_jax.app.runs import Run
from nerf_jax.data.files import atomic_write, optional_import

LEFT, RIGHT, TOP, BOTTOM = 42, 428, 12, 226
"""The frame within a drawing of 440 x 270 pixels; labels are to its left and below it."""

MAX_POINTS = 400
"""Points of a curve on a page: more than its pixels add nothing visible."""


class Axis(NamedTuple):
    """A linear scale from values ``low`` to ``high`` to pixels ``start`` to ``end``."""

    label: str
    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """The pixel of a value."""
        fraction = (value - self.low) / (self.high - self.low)
        return round(self.start + fraction * (self.end - self.start), 2)


class Curve(NamedTuple):
    """A polyline."""

    label: str
    tone: int
    """Index of one of the page's colours."""
    points: tuple[tuple[float, float], ...]
    marked: bool = False
    """Whether each point has a marker."""


class Bar(NamedTuple):
    """The named values between two edges."""

    low: float
    high: float
    names: tuple[str, ...]


class Plot(NamedTuple):
    """Curves, or the bars of a histogram, in a frame."""

    title: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...] = ()
    bars: tuple[Bar, ...] = ()


Reports = Iterable[Mapping[str, Any]]
"""The lines of ``metrics.jsonl``."""


def write_curves(run: Run) -> None:
    """Write ``curves.png``: the PSNR of training and held-out rays over steps and over time."""
    reports = run.metrics()
    if not reports:
        return
    optional_import("matplotlib", "matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharey=True)
    training = {"color": "tab:blue", "alpha": 0.6, "linewidth": 1, "label": "training rays"}
    held_out = {"color": "tab:orange", "marker": "o", "markersize": 3, "label": "held-out rays"}
    for axis, x, label in zip(
        axes, ("step", "train_seconds"), ("step", "seconds of training"), strict=True
    ):
        axis.plot(*_points(reports, x, "psnr").T, **training)
        axis.plot(*_points(reports, x, "val_psnr").T, **held_out)
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("PSNR (dB)")
    axes[0].legend(loc="lower right")
    figure.suptitle(run.folder.name)
    with atomic_write(run.folder / "curves.png") as aside:
        figure.savefig(aside, dpi=120)


def _points(reports: Reports, x: str, y: str) -> Float[np.ndarray, "n 2"]:
    """Two fields of the reports, without those that lack one of them."""
    pairs = [(report.get(x), report.get(y)) for report in reports]
    numbers = [pair for pair in pairs if all(isinstance(each, int | float) for each in pair)]
    points = np.array(numbers, float).reshape(-1, 2)
    return points[np.isfinite(points).all(axis=1)]


def curve(
    label: str, tone: int, reports: Reports, x: str, y: str, *, marked: bool = False
) -> Curve:
    """The curve of two fields of a run's reports, thinned to at most ``MAX_POINTS``."""
    points = _points(reports, x, y)
    stride = max(1, -(-len(points) // MAX_POINTS))
    thinned = points[::-1][::stride][::-1]  # the last point is the result of training
    return Curve(label, tone, tuple((a, b) for a, b in thinned.tolist()), marked)


def psnr_plots(title: str, curves_over: Callable[[str], Sequence[Curve]]) -> list[Plot]:
    """Plots over steps and over time of the curves over each; those without points are omitted."""
    over = {"step": "steps", "train_seconds": "seconds of training"}
    plots = (
        plot(f"{title} over {label}", label, "PSNR (dB)", curves_over(x))
        for x, label in over.items()
    )
    return [each for each in plots if each]


def plot(title: str, x_label: str, y_label: str, curves: Sequence[Curve]) -> Plot | None:
    """Curves in a frame that contains them all; None without any points."""
    drawn = tuple(curve for curve in curves if curve.points)
    if not drawn:
        return None
    xs, ys = zip(*(point for curve in drawn for point in curve.points), strict=True)
    x_axis = _axis(x_label, [0.0, *xs], LEFT, RIGHT)
    return Plot(title, x_axis, _axis(y_label, ys, BOTTOM, TOP), drawn)


def histogram(title: str, label: str, values: Mapping[str, float]) -> Plot | None:
    """The histogram of named values; None without finite ones."""
    known = {name: value for name, value in values.items() if np.isfinite(value)}
    if not known:
        return None
    edges = _ticks(list(known.values()), bins=10)
    bins = np.clip(np.searchsorted(edges, list(known.values()), "right") - 1, 0, len(edges) - 2)
    bars = tuple(
        Bar(low, high, tuple(name for name, bin in zip(known, bins, strict=True) if bin == index))
        for index, (low, high) in enumerate(itertools.pairwise(edges))
    )
    most = max(len(bar.names) for bar in bars)
    counts = [tick for tick in _ticks([0, most], bins=4) if tick == round(tick)]
    x_axis = Axis(label, edges[0], edges[-1], LEFT, RIGHT, tuple(edges))
    y_axis = Axis("views", 0, max(most, counts[-1]), BOTTOM, TOP, tuple(counts))
    return Plot(title, x_axis, y_axis, bars=bars)


def _axis(label: str, values: Sequence[float], start: float, end: float) -> Axis:
    ticks = _ticks(values, bins=5)
    return Axis(label, ticks[0], ticks[-1], start, end, tuple(ticks))


def _ticks(values: Sequence[float], bins: int) -> list[float]:
    """Round numbers that enclose all values."""
    locator = optional_import("matplotlib.ticker", "matplotlib").MaxNLocator(bins)
    low, high = float(min(values)), float(max(values))
    margin = 0.5 if low == high else 0.0  # an axis needs a length
    ticks = locator.tick_values(low - margin, high + margin)
    return [round(float(tick), 10) for tick in ticks]
