"""Photos to place, upright and readable, in a folder of their own."""

import hashlib
import os
import shutil
from pathlib import Path

from nerf_jax.app.progress import track
from nerf_jax.data.files import atomic_write, optional_import

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_KEPT_SUFFIXES = (".jpg", ".jpeg", ".png")
_KEPT_MODES = ("L", "RGB", "RGBA")
"""What every reader of scenes reads; the rest is written anew."""

_ORIENTATION = 0x0112  # EXIF: 1 is upright


def find(folder: Path) -> list[Path]:
    """The photos in a folder, by name.

    Raises:
        ValueError: there are fewer than three.
    """
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    photos = [path for path in paths if path.suffix.lower() in SUFFIXES]
    if photos and len(photos) < 3:
        raise ValueError(
            f"{folder}: {len(photos)} photo(s), but poses take at least 3, and 20 to 200 do well"
        )
    if not photos:
        raw = [path for path in paths if path.suffix.lower() in (".heic", ".heif", ".dng")]
        inside = [path for path in paths if path.is_dir() and _holds_photos(path)]
        hint = f"; it holds {len(raw)} {raw[0].suffix} files: convert them to JPEG" if raw else ""
        hint += f"; did you mean {inside[0]}?" if inside else ""
        raise ValueError(f"{folder}: no photos there (looked for *{', *'.join(SUFFIXES)}){hint}")
    return photos


def _holds_photos(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def gather(photos: list[Path], images: Path) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    """Put photos into the folder ``images``: hard links or copies where they can stay as they are.

    A photo that its EXIF data turns is turned, so that nobody after this needs to know; its other
    EXIF data, which hold the focal length, are kept.

    Returns:
        ``{name: (width, height)}`` of those that are there now, and ``{name: why}`` of those that
        could not be read.

    Raises:
        OSError: ``images`` cannot be written to.
    """
    images.mkdir(parents=True, exist_ok=True)
    sizes, skipped = {}, {}
    for path in track(photos, "photos", len(photos)):
        try:
            size, kept = _look(path)
        except (OSError, ValueError, SyntaxError) as error:  # Pillow's, for damaged files
            skipped[path.name] = str(error)
            continue
        name = "_".join(path.name.split())  # COLMAP's lists of pairs are parted by spaces
        name = name if path.suffix.lower() in _KEPT_SUFFIXES else f"{name}.png"
        while name in sizes:
            name = f"_{name}"
        if kept:
            _copy(path, images / name)
        sizes[name] = size if kept else _write_upright(path, images / name)
    return sizes, skipped


def _look(path: Path) -> tuple[tuple[int, int], bool]:
    """The size of a photo, and whether it can stay as it is. Decodes it, to find damage here."""
    with optional_import("PIL.Image", "pillow").open(path) as image:
        size = image.size
        image.draft(None, (size[0] // 8, size[1] // 8))  # JPEG: all the bytes, few of the pixels
        image.load()
        upright = image.getexif().get(_ORIENTATION, 1) == 1
        plain = image.mode in _KEPT_MODES and path.suffix.lower() in _KEPT_SUFFIXES
        return size, upright and plain


def _copy(path: Path, target: Path) -> None:
    with atomic_write(target) as aside:
        try:
            os.link(path, aside)
        except OSError:  # another disk, or one without links
            shutil.copyfile(path, aside)


def _write_upright(path: Path, target: Path) -> tuple[int, int]:
    pillow, turn = optional_import("PIL.Image", "pillow"), optional_import("PIL.ImageOps", "pillow")
    with pillow.open(path) as image:
        upright = turn.exif_transpose(image)
        if upright.mode not in _KEPT_MODES:
            upright = upright.convert("RGB")
        with atomic_write(target) as aside:
            upright.save(aside, quality=95, subsampling=0, exif=upright.getexif().tobytes())
    return upright.size


def digest(paths: list[Path]) -> dict[str, str]:
    """What is in the files, in a few letters each: the same again, or something else."""
    found = {}
    for path in paths:
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "blake2b").hexdigest()[:16]
    return found
