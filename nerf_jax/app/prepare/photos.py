"""Collects the photos of a scene, upright and readable, in one folder."""

import hashlib
import os
import shutil
from pathlib import Path

from nerf_jax.app.progress import track
from nerf_jax.data.files import atomic_write, optional_import

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_KEPT_SUFFIXES = (".jpg", ".jpeg", ".png")
_KEPT_MODES = ("L", "RGB", "RGBA")
"""Pillow's; every reader of scenes supports these. Other photos are converted."""

_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_EXIF, _FOCAL_LENGTH, _FOCAL_LENGTH_35MM = 0x8769, 0x920A, 0xA405

Sizes = dict[str, tuple[int, int]]
"""``{name: (width, height)}`` of photos."""


def find(folder: Path) -> list[Path]:
    """The photos in a folder, by name.

    Raises:
        ValueError: there are fewer than three.
    """
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    photos = [path for path in paths if _is_photo(path)]
    if photos and len(photos) < 3:
        raise ValueError(
            f"{folder}: {len(photos)} photo(s), but at least 3 are needed, better 20 to 200"
        )
    if not photos:
        raw = [path for path in paths if path.suffix.lower() in (".heic", ".heif", ".dng")]
        inside = [path for path in paths if path.is_dir() and any(map(_is_photo, path.iterdir()))]
        hint = f"; it holds {len(raw)} {raw[0].suffix} files: convert them to JPEG" if raw else ""
        hint += f"; did you mean {inside[0]}?" if inside else ""
        raise ValueError(f"{folder}: no photos (looked for *{', *'.join(SUFFIXES)}){hint}")
    return photos


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def gather(photos: list[Path], images: Path) -> tuple[Sizes, dict[str, str]]:
    """Put photos into the folder ``images``: links or copies if they can be used as they are.

    Photos with an EXIF orientation are rotated, so that no later step depends on it; their other
    EXIF data, such as the focal length, are kept.

    Returns:
        The sizes of the photos there, and ``{name: reason}`` of those that could not be read.
    """
    images.mkdir(parents=True, exist_ok=True)
    sizes, skipped = {}, {}
    for path in track(photos, "photos", len(photos)):
        try:
            size, usable = _inspect(path)
        except (OSError, ValueError, SyntaxError) as error:  # Pillow's, for damaged files
            skipped[path.name] = str(error)
            continue
        name = "_".join(path.name.split())  # spaces separate names in COLMAP's lists of pairs
        name = name if path.suffix.lower() in _KEPT_SUFFIXES else f"{name}.png"
        while name in sizes:
            name = f"_{name}"
        sizes[name] = size if usable else _write_upright(path, images / name)
        if usable:
            with atomic_write(images / name) as aside:
                try:
                    os.link(path, aside)
                except OSError:  # another disk, or one without hard links
                    shutil.copyfile(path, aside)
    return sizes, skipped


def _inspect(path: Path) -> tuple[tuple[int, int], bool]:
    """The size of a photo, and whether it can be used as it is; decodes it to detect damage."""
    with optional_import("PIL.Image", "pillow").open(path) as image:
        size = image.size
        image.draft(None, (size[0] // 8, size[1] // 8))  # JPEG: reads all bytes, few pixels
        image.load()
        upright = image.getexif().get(_ORIENTATION, 1) == 1
        plain = image.mode in _KEPT_MODES and path.suffix.lower() in _KEPT_SUFFIXES
        return size, upright and plain


def _write_upright(path: Path, target: Path) -> tuple[int, int]:
    pillow, ops = optional_import("PIL.Image", "pillow"), optional_import("PIL.ImageOps", "pillow")
    with pillow.open(path) as image:
        upright = ops.exif_transpose(image)
        if upright.mode not in _KEPT_MODES:
            upright = upright.convert("RGB")
        with atomic_write(target) as aside:
            upright.save(aside, quality=95, subsampling=0, exif=upright.getexif().tobytes())
    return upright.size


def focal_length(path: Path) -> str:
    """The focal length in a photo's EXIF data, as written there, to compare photos by."""
    with optional_import("PIL.Image", "pillow").open(path) as image:
        exif = image.getexif().get_ifd(_EXIF)
    return str(exif.get(_FOCAL_LENGTH_35MM) or exif.get(_FOCAL_LENGTH))


def digests(paths: list[Path]) -> dict[str, str]:
    """A short hash of each file's content, by name."""
    found = {}
    for path in paths:
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "blake2b").hexdigest()[:16]
    return found
