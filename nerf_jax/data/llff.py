"""LLFF captures: ``poses_bounds.npy``, the folder ``images``, and copies of it at other sizes.

The file is N x 17, one row per photo in the order of the photos' names: a 3 x 5 matrix and two
bounds. The matrix is ``world_from_camera`` with its axes in the order down, right, back, and then
height, width and focal length, in pixels of the full photos. The bounds are the smallest and the
largest depth, along the optical axis, of the photo's points. ``images_8`` holds the photos at an
eighth of their size (Mildenhall et al. 2019, https://github.com/Fyusion/LLFF).
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from nerf_jax.config import DataConfig
from nerf_jax.data.array_files import read_arrays, require_rows
from nerf_jax.data.capture import Capture, to_scene
from nerf_jax.data.intrinsics import MAX_FLOAT32
from nerf_jax.data.photo_files import image_folders, photos_in, preferred_factors, skipped_files
from nerf_jax.data.scene import Scene
from nerf_jax.types import Cameras

FILE = "poses_bounds.npy"

_ROTATION_TOLERANCE = 1e-2
_MAX_PIXELS = 1e6  # of a side or a focal length: more is implausible


def find(root: Path) -> Path | None:
    """The file of the cameras, if ``root`` is an LLFF capture or that file; otherwise None."""
    path = root if root.name == FILE else root / FILE
    return path if path.is_file() else None


def is_complete(root: Path) -> bool:
    """Whether the capture has a camera for each photo; without names, fewer are of no use."""
    path = find(root)
    folders = image_folders(path.parent) if path else {}
    if path is None or not folders:
        return False
    try:
        return len(_read(path)) == len(photos_in(folders[min(folders)]))
    except ValueError:
        return False


def load(root: Path, config: DataConfig) -> Scene:
    """The capture in the folder ``root``; its photos are read on request.

    If the capture has a copy of its photos at ``config.downscale``, it is read. Otherwise the
    smallest copy that a whole factor reduces to that size is read and shrunk.

    Raises:
        ValueError: there is no such capture, or its files are malformed. Reading a split raises it
            for unusable photos.
    """
    path = find(root)
    if path is None:
        raise ValueError(f"{root}: holds no LLFF capture; expected a folder with {FILE} and images")
    root = path.parent
    folders = image_folders(root)
    if not folders:
        raise ValueError(
            f"{root}: has {FILE} but no photos; expected image files in a folder images, or "
            f"images_{config.downscale} for photos at 1/{config.downscale}"
        )
    factor = preferred_factors(folders, config.downscale)[0]
    photos = sorted(photos_in(folders[factor]))  # by characters, as LLFF's own programs do
    rows = _read(path)
    if len(rows) != len(photos):
        raise ValueError(
            f"{path}: has {len(rows)} cameras, but {folders[factor]} has {len(photos)} photos; "
            "there must be one camera for each photo, in the order of their names; remove those "
            "without, or with --data.format colmap read the model that LLFF's file was made from"
            f"{''.join(f'; {line}' for line in skipped_files(folders[factor]))}"
        )
    capture = Capture(
        name=root.resolve().name,
        source=str(root),
        photos=tuple(photos),
        cameras=_cameras(rows),
        size_hw=rows[:, [4, 9]].round().astype(int),
        root=root,
        factor=factor,
    )
    return to_scene(capture, config)


def _read(path: Path) -> Float[np.ndarray, "N 17"]:
    """The rows of the file, checked to be cameras."""
    rows = read_arrays(path, "rows").get("rows", np.array(None))
    if rows.ndim != 2 or rows.shape[0] < 1 or rows.shape[1] != 17 or rows.dtype.kind not in "fiu":
        raise ValueError(
            f"{path}: must be N rows of 17 numbers (a 3x5 matrix and 2 bounds), but has shape "
            f"{rows.shape} and type {rows.dtype}; make it again with LLFF's imgs2poses.py"
        )
    rows = rows.astype(np.float64)
    # In float32's range, so that squares are finite in float64; false for nan.
    finite = np.all(np.abs(rows) <= MAX_FLOAT32, axis=1)
    require_rows(path, finite, rows, "must be finite numbers")
    matrix, bounds = rows[:, :15].reshape(-1, 3, 5), rows[:, 15:]
    rotation, sizes = matrix[:, :, :3], matrix[:, :, 4]
    gram = rotation.transpose(0, 2, 1) @ rotation
    proper = np.all(np.abs(gram - np.eye(3)) <= _ROTATION_TOLERANCE, axis=(1, 2))
    proper[proper] = np.linalg.det(rotation[proper]) > 0
    expected = "must have a rotation in the first three columns of its matrix"
    require_rows(path, proper, rotation, expected)
    expected = f"must have height, width and focal length between 1 and {_MAX_PIXELS:g} pixels"
    require_rows(path, np.all((sizes >= 1) & (sizes <= _MAX_PIXELS), axis=1), sizes, expected)
    ordered = np.all(np.diff(bounds, prepend=0.0, axis=1) > 0, axis=1)
    require_rows(path, ordered, bounds, "must have two bounds, 0 < near < far")
    return rows


def _cameras(rows: Float[np.ndarray, "N 17"]) -> Cameras:
    matrix = rows[:, :15].reshape(-1, 3, 5)
    down, right, back, origin, (height, width, focal) = (
        *(matrix[:, :, column] for column in range(4)),
        matrix[:, :, 4].T,
    )
    # One pair for all photos, as in the reference implementation: points that one photo misses,
    # another may show. The bounds exclude the outermost points, hence the factor 0.9. They are
    # depths; the distance along a ray to the corner is larger.
    corner = np.sqrt(1 + (height**2 + width**2) / (2 * focal) ** 2)
    return Cameras(
        world_from_camera=np.stack([right, -down, back, origin], axis=2),
        focal=np.stack([focal, focal], axis=1),
        principal=np.stack([width, height], axis=1) / 2,
        near=np.full(len(rows), 0.9 * rows[:, 15].min()),
        far=rows[:, 16].max() * corner,
    )
