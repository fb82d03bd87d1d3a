"""LLFF captures: ``poses_bounds.npy`` beside ``images`` and copies of them at other sizes.

The file is N x 17, a row for each photo in the order of the photos' names: a 3 x 5 matrix and two
bounds. The matrix is ``world_from_camera`` with its axes in the order down, right, back, and then
height, width and focal length, in pixels of the full photos. The bounds are the depths, along the
optical axis, between which the photo's points lie. ``images_8`` holds the photos at an eighth
(Mildenhall et al. 2019, https://github.com/Fyusion/LLFF).
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from nerf_jax.config import DataConfig
from nerf_jax.data.capture import Capture, to_scene
from nerf_jax.data.images import SUFFIXES
from nerf_jax.data.scene import Scene
from nerf_jax.types import Cameras

FILE = "poses_bounds.npy"

_ROTATION_TOLERANCE = 1e-2
_MAX_PIXELS = 1e6  # a side, or a focal length: more is no image


def find(root: Path) -> Path | None:
    """The file of the cameras, if ``root`` is an LLFF capture or that file; else None."""
    path = root if root.name == FILE else root / FILE
    return path if path.is_file() else None


def load(root: Path, config: DataConfig) -> Scene:
    """The capture in the folder ``root``; its photos are read when a split is asked for.

    They come from the folder of the photos at ``config.downscale``, if there is one, as they are.
    Else the smallest that are a whole multiple of what is asked for are shrunk the rest.

    Raises:
        ValueError: there is no such capture, or anything in its files is not as it should be.
            Reading a split raises it too, for the photos.
    """
    path = find(root)
    if path is None:
        raise ValueError(f"{root}: holds no LLFF capture; expected a folder with {FILE} and images")
    folder, factor = _choose(path.parent, config.downscale)
    photos = _photos(folder)
    rows = _read(path)
    if len(rows) != len(photos):
        raise ValueError(
            f"{path}: has {len(rows)} cameras, but {folder} has {len(photos)} photos; there must "
            "be one camera for each photo, in the order of their names"
        )
    capture = Capture(
        name=path.parent.resolve().name,
        source=str(path.parent),
        photos=tuple(photos),
        cameras=_cameras(rows),
        size_hw=rows[:, [4, 9]].round().astype(int),
    )
    rest = max(1, config.downscale // factor)
    scene = to_scene(capture, replace(config, downscale=rest))
    if factor * rest == config.downscale:
        return scene
    note = f"photos of {folder.name} at 1/{factor * rest}, as there are none for data.downscale="
    return replace(scene, notes=(*scene.notes, f"{note}{config.downscale}"))


def _choose(root: Path, downscale: int) -> tuple[Path, int]:
    """The folder of photos to read, and the factor by which they are already shrunk.

    Of those that a whole factor takes to what is asked for, the smallest: there is less to read.
    If there are none, the largest of all.
    """
    folders = {
        int(match[1] or 1): path
        for path in sorted(root.glob("images*"))
        if (match := re.fullmatch(r"images(?:_(\d{1,4}))?", path.name)) and path.is_dir()
    }
    folders = {factor: path for factor, path in folders.items() if factor and _photos(path)}
    if not folders:
        raise ValueError(
            f"{root}: has {FILE} but no photos; expected {' or '.join(SUFFIXES)} files in a folder "
            f"images, or images_{downscale} for photos at 1/{downscale}"
        )
    fitting = [factor for factor in folders if downscale % factor == 0]
    factor = max(fitting, default=min(folders))
    return folders[factor], factor


def _photos(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def _read(path: Path) -> Float[np.ndarray, "N 17"]:
    """The rows of the file, once they are sure to be cameras."""
    try:
        with path.open("rb") as file:  # np.load itself leaves damaged files open
            rows = np.load(file, allow_pickle=False)
    except Exception as error:  # damaged files raise nearly anything
        raise ValueError(
            f"{path}: cannot be read as a NumPy array ({error}); copy or make the file again"
        ) from error
    shape, kind = np.shape(rows), np.asarray(rows).dtype
    if len(shape) != 2 or shape[0] < 1 or shape[1] != 17 or kind.kind not in "fiu":
        raise ValueError(
            f"{path}: must be N rows of 17 numbers (a 3x5 matrix and 2 bounds), but has shape "
            f"{shape} and type {kind}; make it again with LLFF's imgs2poses.py"
        )
    _check(path, rows := rows.astype(np.float64))
    return rows


def _check(path: Path, rows: Float[np.ndarray, "N 17"]) -> None:
    def require(right: Bool[np.ndarray, " N"], values: np.ndarray, expected: str) -> None:
        if not right.all():
            row = int(np.argmin(right))
            found = np.array2string(values[row], precision=4, separator=", ").replace("\n", "")
            raise ValueError(f"{path}: row {row} (from 0) {expected}, but has {found:.200}")

    # float32's range, whose squares are finite in float64; false for nan.
    finite = np.abs(rows) <= np.finfo(np.float32).max
    require(np.all(finite, axis=1), rows, "must be finite numbers")
    matrix, bounds = rows[:, :15].reshape(-1, 3, 5), rows[:, 15:]
    rotation, pixels = matrix[:, :, :3], matrix[:, :, 4]
    gram = rotation.transpose(0, 2, 1) @ rotation
    proper = np.all(np.abs(gram - np.eye(3)) <= _ROTATION_TOLERANCE, axis=(1, 2))
    proper[proper] = np.linalg.det(rotation[proper]) > 0
    require(proper, rotation, "must have a rotation in the first three columns of its matrix")
    require(
        np.all((pixels >= 1) & (pixels <= _MAX_PIXELS), axis=1),
        pixels,
        f"must have height, width and focal length between 1 and {_MAX_PIXELS:g} pixels",
    )
    ordered = np.all(np.diff(bounds, prepend=0.0, axis=1) > 0, axis=1)
    require(ordered, bounds, "must have two bounds, 0 < near < far")


def _cameras(rows: Float[np.ndarray, "N 17"]) -> Cameras:
    matrix = rows[:, :15].reshape(-1, 3, 5)
    down, right, back, origin, (height, width, focal) = (
        *(matrix[:, :, column] for column in range(4)),
        matrix[:, :, 4].T,
    )
    # One pair for all, as in the reference: what a photo misses at its ends, another may show. The
    # bounds leave out the outermost points, hence a tenth less. And they are depths: along a ray
    # to the corner it is further.
    corner = np.sqrt(1 + (height**2 + width**2) / (2 * focal) ** 2)
    return Cameras(
        world_from_camera=np.stack([right, -down, back, origin], axis=2),
        focal=np.stack([focal, focal], axis=1),
        principal=np.stack([width, height], axis=1) / 2,
        near=np.full(len(rows), 0.9 * rows[:, 15].min()),
        far=rows[:, 16].max() * corner,
    )
