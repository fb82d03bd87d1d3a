"""The report of one run."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nerf_jax.app.report import plots
from nerf_jax.app.report.pages import write_page
from nerf_jax.app.report.pictures import data_uri, picture, read_panels
from nerf_jax.app.report.record import Record, ScoredView, read
from nerf_jax.app.report.text import protocol
from nerf_jax.app.runs import Run

MAX_SIDE = 640
"""Pixels of the longer side of a page's pictures."""
THUMBNAIL_SIDE = 96
MAX_THUMBNAILS = 200
MAX_VIDEO_BYTES = 2**20
"""Larger videos are linked and not embedded."""


class ShownView(NamedTuple):
    """A view with its pictures as ``data:`` URIs."""

    rank: str
    view: ScoredView
    size_hw: tuple[int, int]
    truth: str
    rendering: str
    error: str
    depth: str


def write_report(run: Run) -> Path:
    """Write ``report.html``: scores, pictures, curves and config of a run, in one file.

    Raises:
        OSError: there is no run, it was not evaluated, or its folder cannot be written to.
        ValueError: one of its files is damaged.
    """
    record = read(run)
    pictured = [view for view in record.views if view.picture.is_file()]
    thumbnails = pictured if len(pictured) <= MAX_THUMBNAILS else []
    return write_page(
        run.folder / "report.html",
        "single.html",
        record=record,
        protocol=protocol(record.protocol),
        shown=[_shown_view(rank, view) for rank, view in ranked_views(pictured)],
        thumbnails={
            view.name: picture(read_panels(view.picture).rendering, THUMBNAIL_SIDE)
            for view in thumbnails
        },
        videos=_videos(run),
        page="scene.html" if (run.folder / "scene.html").is_file() else "",
        plots=plots.psnr_plots("PSNR", lambda x: _curves(record, x)),
        histogram=plots.histogram(
            "PSNR of the views", "PSNR (dB)", {view.name: view.psnr for view in record.views}
        ),
        config=_sections(record.config),
        written=time.strftime("%Y-%m-%d %H:%M"),
    )


def ranked_views(views: Sequence[ScoredView]) -> list[tuple[str, ScoredView]]:
    """At most four of the views, which go from worst to best, each with its rank."""
    last = len(views) - 1
    # For few views these may be the same index: the later name is the clearer one.
    names = {(last + 1) // 2: "in the middle", 1: "second worst", last: "the best", 0: "the worst"}
    return [(names[index], views[index]) for index in sorted(names) if 0 <= index <= last]


def _shown_view(rank: str, view: ScoredView) -> ShownView:
    panels = read_panels(view.picture)
    height, width = panels.truth.shape[:2]
    return ShownView(rank, view, (height, width), *(picture(panel, MAX_SIDE) for panel in panels))


def _videos(run: Run) -> list[tuple[str, str, bool]]:
    """The newest video in colour, depth and normals: label, address, whether it is embedded."""
    kinds = {"colour": "", "depth": "_depth", "normals": "_normals"}
    files = [p for p in run.folder.glob("*.mp4") if not p.stem.endswith(("_depth", "_normals"))]
    newest = max(files, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        return []
    videos = []
    for label, ending in kinds.items():
        path = newest.with_stem(newest.stem + ending)
        if path.is_file():
            embedded = path.stat().st_size <= MAX_VIDEO_BYTES
            address = data_uri(path.read_bytes(), "video/mp4") if embedded else path.name
            videos.append((label, address, embedded))
    return videos


def _curves(record: Record, x: str) -> list[plots.Curve]:
    return [
        plots.curve("training rays", 0, record.reports, x, "psnr"),
        plots.curve("held-out rays", 1, record.reports, x, "val_psnr", marked=True),
    ]


def _sections(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The fields of a config by the part of their full names before the last point."""
    sections: dict[str, dict[str, Any]] = {}
    for name, value in config.items():
        section, _, field = name.rpartition(".")
        sections.setdefault(section, {})[field] = value
    return sections
