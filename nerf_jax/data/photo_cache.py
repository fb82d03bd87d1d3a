"""Decoded photos in memory-mapped files, for photos that do not fit in memory."""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from nerf_jax.data.files import atomic_write, cache_folder, remove_unfinished
from nerf_jax.data.memory import describe_bytes

Decode = Callable[[int], tuple[UInt8[np.ndarray, "H W C"], Bool[np.ndarray, "H W"]]]
"""``index -> (pixels, mask)`` of one photo."""
ForEach = Callable[[Callable[[int], None], range], None]
"""Runs a task for each index, in any order, possibly in several threads."""

_VERSION = "1"  # of the files' content; another version makes them again


def identity(paths: Iterable[Path | None], *more: object) -> str:
    """A key of the content of files, by their paths, sizes and times, and of other values."""
    digest = hashlib.sha256(repr((_VERSION, *more)).encode())
    for path in paths:
        status = path.stat() if path else None
        known = status and (str(path and path.absolute()), status.st_size, status.st_mtime_ns)
        digest.update(repr(known).encode())
    return digest.hexdigest()[:24]


def cached_photos(
    key: str, shape: Sequence[int], decode: Decode, for_each: ForEach
) -> tuple[UInt8[np.ndarray, "N H W C"], Bool[np.ndarray, "N H W"] | None]:
    """The pixels and masks of photos, mapped from files that are made at the first time.

    Args:
        key: from :func:`identity`.
        shape: N, H, W, C.
        decode: reads a photo.
        for_each: runs the reading.

    Returns:
        The pixels, and the masks; None if they exclude nothing.

    Raises:
        OSError: the disk has too little space, or a file cannot be written.
    """
    path = cache_folder() / "photos" / f"{key}.pixels"
    mask_path, size = path.with_suffix(".mask"), int(np.prod(shape))
    if not path.is_file() or path.stat().st_size != size or not mask_path.is_file():
        _make(path, mask_path, shape, decode, for_each)
    pixels = np.memmap(path, np.uint8, "r", shape=tuple(shape))
    if not mask_path.stat().st_size:
        return pixels, None
    return pixels, np.memmap(mask_path, bool, "r", shape=tuple(shape[:3]))


def _make(
    path: Path, mask_path: Path, shape: Sequence[int], decode: Decode, for_each: ForEach
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path.parent, idle_seconds=3600)
    needed, free = int(np.prod(shape)), shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(
            f"{path.parent}: the photos' pixels take {describe_bytes(needed)} there, but "
            f"{describe_bytes(free)} are free; free some space, name another folder by the "
            "variable XDG_CACHE_HOME, or read smaller photos by --data.downscale"
        )
    is_whole = np.ones(shape[0], bool)
    with atomic_write(path) as pixels, atomic_write(mask_path) as mask:
        pixels.touch()
        mask.touch()

        def write(index: int) -> None:
            image, valid = decode(index)
            _write_row(pixels, index, image)
            if not valid.all():
                is_whole[index] = False
                _write_row(mask, index, valid)

        for_each(write, range(shape[0]))
        if not is_whole.all():
            for index in np.flatnonzero(is_whole):
                _write_row(mask, int(index), np.ones(shape[1:3], bool))


def _write_row(path: Path, index: int, row: np.ndarray) -> None:
    # Not through a map of the file, by which a full disk would end the process.
    with path.open("r+b") as file:
        file.seek(index * row.nbytes)
        file.write(np.ascontiguousarray(row).data)
