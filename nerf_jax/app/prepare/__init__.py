"""From photos, or a video, to a scene with cameras: a folder that can be trained on.

==================  ==================================================================
``images/``         the photos, upright; or the frames picked from the video
``transforms.json`` the cameras, in nerfstudio's fields; written last
``sparse_points.ply``  what the cameras were found by, in the same frame
``cameras.png``     a picture of both, to judge them by
``prepare.json``    what was done: photos placed, reprojection error, times, versions
``colmap/``         COLMAP's database, by which the same photos go on, and its model, which
                    ``transforms.json`` names: it says which photo shows which point
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

from nerf_jax.app.prepare import colmap, photos, scene, video
from nerf_jax.app.progress import duration, say
from nerf_jax.config.serialization import to_dict

_EXHAUSTIVE_UP_TO = 150
"""Photos: the pairs grow with the square, 11,175 of them here."""


@dataclass(frozen=True)
class Settings:
    """How the cameras are looked for."""

    max_size: int = 1600
    """Pixels: larger photos are looked at reduced to this; the photos themselves stay."""
    max_features: int = 4096
    """Of a photo."""
    frames: int = 120
    """Picked from a video."""
    matching: Literal["auto", "exhaustive", "sequential"] = "auto"
    """Which photos are compared: all with all; or each with the next ones, which suits a video.
    [auto: sequential for a video and for more than 150 photos]"""

    def __post_init__(self) -> None:
        for name in ("max_size", "max_features", "frames"):
            if getattr(self, name) < 3:
                raise ValueError(f"{name} must be at least 3, but is {getattr(self, name)}")


def prepare_scene(source: Path, out: Path, settings: Settings) -> dict[str, Any]:
    """Find the cameras of photos, and write the scene.

    Args:
        source: a folder of photos, or a video.
        out: the scene's folder; if it is there, it must be of the same photos.
        settings: how.

    Returns:
        What ``prepare.json`` holds.

    Raises:
        ValueError: the photos are not there, too few, or show too little in common; the video
            cannot be read; ``out`` holds something else.
        OSError: ``out`` cannot be written to.
        ImportError: ``pycolmap`` is missing.
    """
    colmap.load()
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such folder or video")
    files = photos.find(source) if source.is_dir() else [source]
    _claim(out, source, files, settings)
    seconds: dict[str, float] = {}
    with _timed("photos", seconds):
        sizes, skipped, sequence = _images(source, files, out / "images", settings)
    database = out / "colmap" / "database.db"
    with _timed("features", seconds):
        colmap.find_features(
            database, out / "images", sizes, settings.max_size, settings.max_features
        )
    with _timed("matching", seconds):
        colmap.match(database, colmap.pairs(list(sizes), sequence))
    with _timed("placing", seconds):
        reconstruction = colmap.place(database, out / "images", len(sizes))
    placed = reconstruction.num_reg_images() if reconstruction else 0
    if placed < 3:
        reasons = _why(colmap.overlap(database), len(sizes))
        raise ValueError(
            f"{source}: only {placed} of {len(sizes)} photos could be placed: {reasons}"
        )
    return _write(out, source, reconstruction, sizes, skipped, settings, seconds)


@contextlib.contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - start, 2)


def _claim(out: Path, source: Path, files: list[Path], settings: Settings) -> None:
    """Make the folder, or see that it was begun with the same photos.

    Raises:
        ValueError: it holds something else.
    """
    found_by = {name: value for name, value in to_dict(settings).items() if name != "matching"}
    about = {"files": photos.digest(files), "settings": found_by}
    record = out / "colmap" / "photos.json"
    if source.is_dir() and (out / "images").exists() and (out / "images").samefile(source):
        raise ValueError(f"--output {out}: the photos are in its images/; name another folder")
    if record.is_file():
        try:
            begun = json.loads(record.read_text())
        except ValueError:  # cut off, or not from here
            begun = {}
        if begun == about:
            say(f"{out}: begun before with the same photos; what is there is used again")
            return
        what = "other photos" if begun.get("files") != about["files"] else "other settings"
        raise ValueError(
            f"--output {out}: was made from {what} ({record}); remove it, or name another folder"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--output {out}: is there already and not from here; name another folder")
    try:
        scene.write_json(record, about)
    except OSError as error:
        raise OSError(
            f"--output {out}: cannot be written to ({error.strerror}); name another folder"
        ) from error


def _images(
    source: Path, files: list[Path], images: Path, settings: Settings
) -> tuple[dict[str, tuple[int, int]], dict[str, str], bool]:
    """The photos in the scene's folder with their sizes, those skipped, and whether a sequence."""
    if not source.is_dir():
        video.write_frames(source, images, settings.frames)
    sizes, skipped = photos.gather(files if source.is_dir() else photos.find(images), images)
    for name, why in skipped.items():
        say(f"  skipped {source / name}: {why}")
    if len(sizes) < 3:
        raise ValueError(
            f"{source}: {len(skipped)} of {len(files)} photos could not be read, and "
            f"{len(sizes)} are too few: poses take at least 3"
        )
    kinds = ", ".join(f"{width}x{height}" for width, height in sorted(set(sizes.values())))
    say(f"{len(sizes)} photos of {kinds}" + (f", {len(skipped)} skipped" if skipped else ""))
    long = not source.is_dir() or len(sizes) > _EXHAUSTIVE_UP_TO
    sequence = settings.matching == "sequential" or (settings.matching == "auto" and long)
    return sizes, skipped, sequence


def _why(shared: colmap.Overlap, count: int) -> str:
    """Why photos could not be placed, most likely, and what to do."""
    numbers = (
        f"a photo has {shared.features:.0f} features and shows the same as {shared.partners:.0f} "
        f"of the {count - 1} others, in the median"
    )
    if shared.features < 500:
        return (
            f"{numbers}; few features: photos that are blurred or dark, or smooth things; take "
            "sharp photos in good light, with something textured in view"
        )
    if shared.partners < 3:
        return (
            f"{numbers}; too little overlap: take more photos, each with two thirds of the one "
            "before in view; for a video, --matching exhaustive compares all its frames"
        )
    return (
        f"{numbers}; enough, but no motion explains them: walk around the scene rather than turn "
        "on the spot, and keep what moves out of view"
    )


def _write(
    out: Path,
    source: Path,
    reconstruction: Any,
    sizes: dict[str, tuple[int, int]],
    skipped: dict[str, str],
    settings: Settings,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Write the scene, and say what became of the photos."""
    names = [image.name for image in scene.placed_images(reconstruction)]
    missing = [name for name in sizes if name not in set(names)]
    shared = colmap.overlap(out / "colmap" / "database.db")
    error = float(reconstruction.compute_mean_reprojection_error())
    report = {
        "source": str(source),
        "photos": len(sizes),
        "placed": len(names),
        "not_placed": missing,
        "skipped": skipped,
        "mean_reprojection_error_px": error,
        "points": reconstruction.num_points3D(),
        "median_features": shared.features,
        "median_partners": shared.partners,
        "seconds": seconds,
        "settings": to_dict(settings),
        "versions": {name: metadata.version(name) for name in ("nerf_jax", "pycolmap")},
    }
    title = (
        f"placed {len(names)} of {len(sizes)} photos, mean reprojection error {error:.2f} px, "
        f"{report['points']:,} points"
    )
    scene.write(out, reconstruction, title, report)
    say(f"{title}, in {duration(sum(seconds.values()))}")
    if missing:
        say(f"not placed: {', '.join(missing)}")
    if len(missing) > len(sizes) / 2:
        say(f"less than half: {_why(shared, len(sizes))}")
    return report
