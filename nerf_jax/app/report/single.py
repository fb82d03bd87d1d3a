"""The page of one run."""

import time
from pathlib import Path
from typing import Any, NamedTuple

from nerf_jax.app.report import plots
from nerf_jax.app.report.pages import write_page
from nerf_jax.app.report.pictures import data_uri, picture, read_panels
from nerf_jax.app.report.record import Record, View, read
from nerf_jax.app.report.text import protocol
from nerf_jax.app.runs import Run

MAX_SIDE = 640
"""Of the pictures that a page is about, in pixels."""
THUMBNAIL_SIDE = 96
MAX_THUMBNAILS = 200
MAX_VIDEO_BYTES = 2**20
"""Larger videos stay beside the page and are linked."""


_ASIDE = {"_depth": "depth", "_normals": "normals"}


class Shown(NamedTuple):
    """A view with its pictures, as addresses."""

    why: str
    view: View
    size_hw: tuple[int, int]
    truth: str
    rendering: str
    error: str
    depth: str


class Row(NamedTuple):
    """A view in the table of all."""

    view: View
    thumbnail: str | None


class Video(NamedTuple):
    """A video, within the page or beside it."""

    label: str
    address: str
    embedded: bool


def write_report(run: Run) -> Path:
    """Write ``report.html``: scores, pictures, curves and config of a run, in one file.

    Raises:
        OSError: it is no run, was never evaluated, or cannot be written to.
        ValueError: a file of it is damaged.
    """
    record = read(run)
    pictured = [view for view in record.views if view.picture.is_file()]
    return write_page(
        run.folder / "report.html",
        "single.html",
        record=record,
        protocol=protocol(record.protocol),
        shown=[_shown(why, view) for why, view in telling(pictured)],
        rows=[Row(view, _thumbnail(view, len(pictured))) for view in record.views],
        videos=_videos(record),
        plots=_curves(record),
        histogram=plots.histogram(
            "PSNR of the views", "PSNR (dB)", {view.name: view.psnr for view in record.views}
        ),
        config=sections(record.config),
        written=time.strftime("%Y-%m-%d %H:%M"),
    )


def telling(views: list[View]) -> list[tuple[str, View]]:
    """The few views that say most of many, each with what it is; ``views`` from worst to best."""
    last = len(views) - 1
    # Where several are the same view, the later name is the more telling one.
    names = {(last + 1) // 2: "in the middle", 1: "second worst", last: "the best", 0: "the worst"}
    return [(names[number], views[number]) for number in sorted(names) if 0 <= number <= last]


def sections(config: Any) -> dict[str, dict[str, Any]]:
    """Fields by full name as tables by the first part of it."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in config.items():
        section, _, rest = name.rpartition(".")
        found.setdefault(section, {})[rest] = value
    return found


def _shown(why: str, view: View) -> Shown:
    panels = read_panels(view.picture)
    height, width = panels.truth.shape[:2]
    return Shown(why, view, (height, width), *(picture(panel, MAX_SIDE) for panel in panels))


def _thumbnail(view: View, among: int) -> str | None:
    if among > MAX_THUMBNAILS or not view.picture.is_file():
        return None
    return picture(read_panels(view.picture).rendering, THUMBNAIL_SIDE)


def _videos(record: Record) -> list[Video]:
    """The newest way through the scene, in colour and in what else was filmed of it."""
    files = [p for p in record.run.folder.glob("*.mp4") if not p.stem.endswith(tuple(_ASIDE))]
    newest = max(files, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        return []
    kinds = {"": "colour"} | _ASIDE
    found = {label: newest.with_stem(newest.stem + end) for end, label in kinds.items()}
    return [_video(label, path) for label, path in found.items() if path.is_file()]


def _video(label: str, path: Path) -> Video:
    if path.stat().st_size > MAX_VIDEO_BYTES:
        return Video(label, path.name, embedded=False)
    return Video(label, data_uri(path.read_bytes(), "video/mp4"), embedded=True)


def _curves(record: Record) -> list[plots.Plot]:
    """PSNR over steps and over time."""
    drawn = []
    for field, label in (("step", "steps"), ("train_seconds", "seconds of training")):
        learned = plots.curve("training rays", 0, record.reports, field, "psnr")
        unseen = plots.curve("held-out rays", 1, record.reports, field, "val_psnr", marked=True)
        drawn.append(plots.plot(f"PSNR over {label}", label, "PSNR (dB)", [learned, unseen]))
    return [plot for plot in drawn if plot]
