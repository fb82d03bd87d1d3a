"""Prepares photos, or a video, for training: finds the cameras with COLMAP.

A photo is *placed* if COLMAP registers it, so that its pose is known. The output folder holds:

==================  ==================================================================
``images/``         the photos, upright; or the frames chosen from the video
``transforms.json`` the cameras, in nerfstudio's fields; written last
``sparse_points.ply``  the points that COLMAP triangulated, in the same frame
``cameras.png``     a plot of the cameras and the points
``prepare.json``    a report: photos placed, the attempt that placed them, reprojection error,
                    photos of other models, advice, times, versions
``colmap/``         COLMAP's databases, from which an interrupted run continues, and its sparse
                    model, which ``transforms.json`` names: which photo shows which point
==================  ==================================================================
"""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from nerf_jax.app.prepare import colmap, diagnosis, photos, scene, video
from nerf_jax.app.progress import duration, say, say_notes
from nerf_jax.config.serialization import to_dict
from nerf_jax.data.files import require_writable, write_json

_DATABASE = "colmap/database.db"
_MAX_EXHAUSTIVE = 150
"""Photos: the number of pairs grows quadratically, 11,175 here."""


@dataclass(frozen=True)
class Settings:
    """How the cameras are found."""

    max_size: int = 1600
    """Pixels along the longest side: features are extracted from larger photos at this size."""
    max_features: int = 4096
    """Maximum number of features per photo."""
    frames: int = 120
    """Maximum number of frames chosen from a video."""
    matching: Literal["auto", "exhaustive", "sequential"] = "auto"
    """Which photos are matched: all pairs, or each photo with the next ones, as suits a video.
    [auto: sequential for a video and for more than 150 photos]"""

    def __post_init__(self) -> None:
        for name in ("max_size", "max_features", "frames"):
            if getattr(self, name) < 3:
                raise ValueError(f"{name} must be at least 3, but is {getattr(self, name)}")


def prepare_scene(source: Path, out: Path, settings: Settings) -> dict[str, Any]:
    """Find the cameras of a folder of photos, or of a video, and write the scene.

    ``out`` is created, or continued if it was made from the same photos and settings.

    Returns:
        The content of ``prepare.json``.

    Raises:
        ValueError: photos are missing, too few, or overlap too little; the video cannot be read;
            ``out`` holds something else.
        OSError: ``out`` cannot be written to.
    """
    colmap.load()
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such folder or video")
    files = photos.find(source) if source.is_dir() else [source]
    _claim(out, source, files, settings)
    seconds: dict[str, float] = {}
    with _timed("photos", seconds):
        sizes, skipped = _gather(source, files, out / "images", settings.frames)
    ordered = not source.is_dir() or len(sizes) > _MAX_EXHAUSTIVE
    sequential = settings.matching == "sequential" or (settings.matching == "auto" and ordered)
    attempt, models = _find_cameras(out, sizes, sequential, settings, seconds)
    placement = _placement(out / _DATABASE, list(sizes), models)
    if not models:
        raise ValueError(
            f"{source}: 0 of {len(sizes)} photos could be placed: {'; '.join(placement['advice'])}"
        )
    model = models[0]
    report = {
        "source": str(source),
        "photos": len(sizes),
        **placement,
        "skipped": skipped,
        "attempt": attempt,
        "mean_reprojection_error_px": float(model.compute_mean_reprojection_error()),
        "points": model.num_points3D(),
        "seconds": seconds,
        "settings": to_dict(settings),
        "versions": {name: metadata.version(name) for name in ("nerf_jax", "pycolmap")},
    }
    _write(out, model, report)
    return report


def _placement(database: Path, names: list[str], models: list[Any]) -> dict[str, Any]:
    """The report on the photos: which are placed, and what to do about the others."""
    matches = colmap.matches(database)
    features, partners = colmap.median_features(database), diagnosis.overlap(names, matches)
    known: list[list[str]] = []
    for model in models:
        found = [image.name for image in scene.placed_images(model)]
        known.append([name for name in found if not any(name in other for other in known)])
    linked = diagnosis.groups(names, matches)[:1] if matches else [names]
    advice = diagnosis.missing_links(names, known or linked, matches)
    if sum(map(len, known)) < len(names) / 2:
        advice.insert(0, diagnosis.likely_reason(features, partners, len(names)))
    placed = known[0] if known else []
    return {
        "placed": len(placed),
        "not_placed": [name for name in names if name not in placed],
        "other_models": known[1:],
        "unmatched": [name for name in names if not any(name in pair for pair in matches)],
        "advice": advice,
        "median_features": features,
        "median_partners": partners,
    }


def _find_cameras(
    out: Path, sizes: photos.Sizes, sequential: bool, settings: Settings, seconds: dict[str, float]
) -> tuple[str, list[Any]]:
    """COLMAP's steps: the name of the best attempt, and its models."""
    database, images = out / _DATABASE, out / "images"
    with _timed("features", seconds):
        colmap.extract_features(database, images, sizes, settings.max_size, settings.max_features)
    with _timed("matching", seconds):
        colmap.match(database, colmap.pairs(list(sizes), sequential=sequential))
    with _timed("placing", seconds):
        linked = len(diagnosis.groups(list(sizes), colmap.matches(database))[0])
        return colmap.reconstruct(database, images, len(sizes), linked)


@contextlib.contextmanager
def _timed(step: str, seconds: dict[str, float]) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[step] = round(time.monotonic() - start, 2)


def _claim(out: Path, source: Path, files: list[Path], settings: Settings) -> None:
    """Create the output folder, or check that it was made from the same photos and settings."""
    used = {name: value for name, value in to_dict(settings).items() if name != "matching"}
    inputs = {"files": photos.digests(files), "settings": used}
    record = out / "colmap" / "photos.json"
    if source.is_dir() and (out / "images").exists() and (out / "images").samefile(source):
        raise ValueError(f"--output {out}: its images/ is the folder of photos; name another one")
    if record.is_file():
        try:
            previous = json.loads(record.read_text())
        except ValueError:  # truncated, or written by another program
            previous = {}
        if previous == inputs:
            say(f"{out}: made from the same photos; its features and matches are used again")
            return
        changed = "photos" if previous.get("files") != inputs["files"] else "settings"
        raise ValueError(
            f"--output {out}: was made from other {changed} ({record}); remove it, or name another "
            "folder"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--output {out}: exists and is no output of prepare; name another folder")
    require_writable(out)
    write_json(record, inputs)


def _gather(
    source: Path, files: list[Path], images: Path, num_frames: int
) -> tuple[photos.Sizes, dict[str, str]]:
    """Put the photos, or the video's frames, into ``images``: as :func:`photos.gather`."""
    if not source.is_dir():
        video.write_frames(source, images, num_frames)
    sizes, skipped = photos.gather(files if source.is_dir() else photos.find(images), images)
    for name, reason in skipped.items():
        say(f"  skipped {source / name}: {reason}")
    if len(sizes) < 3:
        raise ValueError(
            f"{source}: {len(skipped)} of {len(files)} photos could not be read, and "
            f"{len(sizes)} are too few: at least 3 are needed"
        )
    kinds = ", ".join(f"{width}x{height}" for width, height in sorted(set(sizes.values())))
    say(f"{len(sizes)} photos of {kinds}" + (f", {len(skipped)} skipped" if skipped else ""))
    return sizes, skipped


def _write(out: Path, model: Any, report: dict[str, Any]) -> None:
    """Write the scene, and print how many photos were placed."""
    total, missing = report["photos"], report["not_placed"]
    title = (
        f"placed {report['placed']} of {total} photos, mean reprojection error "
        f"{report['mean_reprojection_error_px']:.2f} px, {report['points']:,} points"
    )
    scene.write(out, model, title, report)
    say(f"{title}, in {duration(sum(report['seconds'].values()))}")
    if missing:
        say(f"not placed: {', '.join(missing)}")
    say_notes(report["advice"])
