"""Collects the photos of a scene, upright and readable, in one folder."""

import hashlib
import os
import shutil
from pathlib import Path

from nerf_jax.app.progress import say_notes, track
from nerf_jax.data import images as image_files
from nerf_jax.data.files import atomic_write, optional_import
from nerf_jax.data.photo_files import photos_in, skipped_files

_KEPT_SUFFIXES = (".jpg", ".jpeg", ".png")
_MAX_NAME = 200  # bytes, of the 255 that file systems allow

_EXIF, _FOCAL_LENGTH, _FOCAL_LENGTH_35MM = 0x8769, 0x920A, 0xA405

Sizes = dict[str, tuple[int, int]]
"""``{name: (width, height)}`` of photos."""


def find(folder: Path) -> list[Path]:
    """The photos in a folder, in natural order; what is skipped is printed.

    Raises:
        ValueError: there are fewer than three.
    """
    photos, skipped = photos_in(folder), skipped_files(folder)
    if len(photos) < 3:
        hint = "".join(f"; {line}" for line in skipped)
        raise ValueError(
            f"{folder}: {len(photos) or 'no'} photos (looked for "
            f"*{', *'.join(image_files.SUFFIXES)}), but at least 3 are needed, better 20 to "
            f"200{hint}"
        )
    say_notes(skipped)
    return photos


def gather(photos: list[Path], images: Path) -> tuple[Sizes, dict[str, str]]:
    """Put photos into the folder ``images``: links or copies if they can be used as they are.

    Others are converted, with the pixels that training reads. Photos with an EXIF orientation are
    rotated, so that no later step depends on it; their other EXIF data, such as the focal length,
    are kept.

    Returns:
        The sizes of the photos there, and ``{name: reason}`` of those that could not be read.
    """
    images.mkdir(parents=True, exist_ok=True)
    sizes, skipped = {}, {}
    for path in track(photos, "photos", len(photos)):
        try:
            header = image_files.verify(path)
        except (OSError, ValueError) as error:
            skipped[path.name] = str(error).removeprefix(f"{path}: ")
            continue
        usable = header.is_plain and path.suffix.lower() in _KEPT_SUFFIXES
        name = _name(path, header)
        while name in sizes:
            name = f"_{name}"
        height, width = header.upright_hw
        sizes[name] = width, height
        with atomic_write(images / name) as aside:
            if not usable:
                _write_upright(path, aside)
                continue
            try:
                os.link(path, aside)
            except OSError:  # another disk, or one without hard links
                shutil.copyfile(path, aside)
    return sizes, skipped


def _name(path: Path, header: image_files.Header) -> str:
    """The name of a photo in the output: without spaces, which separate names in COLMAP's lists."""
    name = "_".join(path.name.split())
    suffix = path.suffix.lower()
    if suffix not in _KEPT_SUFFIXES or (header.channels == 4 and suffix != ".png"):
        name += ".jpg" if suffix in image_files.HEIF_SUFFIXES and header.channels == 3 else ".png"
    if len(os.fsencode(name)) <= _MAX_NAME:
        return name
    digest = hashlib.blake2b(os.fsencode(name), digest_size=4).hexdigest()
    return f"{name[: _MAX_NAME // 5]}_{digest}{Path(name).suffix}"


def _write_upright(path: Path, target: Path) -> None:
    upright = optional_import("PIL.Image", "pillow").fromarray(image_files.read_image(path))
    exif = image_files.upright_exif(path).tobytes()
    upright.save(target, quality=95, subsampling=0, exif=exif)


def focal_length(path: Path) -> str:
    """The focal length in a photo's EXIF data, as written there, to compare photos by."""
    exif = image_files.upright_exif(path).get_ifd(_EXIF)
    return str(exif.get(_FOCAL_LENGTH_35MM) or exif.get(_FOCAL_LENGTH))


def digests(paths: list[Path]) -> dict[str, str]:
    """A short hash of each file's content, by name."""
    found = {}
    for path in paths:
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "blake2b").hexdigest()[:16]
    return found
