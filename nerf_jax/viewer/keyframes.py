"""The way of a camera through views that were marked: smooth, and as it was at each of them."""

import itertools
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float

from nerf_jax.types import Cameras
from nerf_jax.viewer.picture import View, camera_of


def views_along(keys: Sequence[View], num_frames: int) -> list[View]:
    """Views from the first key to the last, in steps that are even between any two of them.

    Centres, orientations (as quaternions) and fields of view follow Catmull and Rom's spline.

    Args:
        keys: at least one.
        num_frames: how many.
    """
    values = [
        np.concatenate([key.origin, [key.fov_radians], _quaternion(key.world_from_camera[:, :3])])
        for key in keys
    ]
    for last, value in itertools.pairwise(values):
        value[4:] *= 1.0 if last[4:] @ value[4:] >= 0 else -1.0  # the shorter way around
    place = np.linspace(0, len(keys) - 1, num_frames)
    return [
        View(
            np.concatenate([_rotation(value[4:]), value[:3, None]], axis=1),
            float(np.clip(value[3], *_FOV)),
            keys[0].aspect,
        )
        for value in _spline(np.stack(values), place)
    ]


_FOV = 0.02, 3.1
"""Radians: splines overshoot, and no lens sees half of all directions."""


def cameras_along(
    keys: Sequence[View], num_frames: int, size_hw: tuple[int, int], bounds: tuple[float, float]
) -> Cameras:
    """The cameras of a film along the keys, for pictures of one size."""
    views = [
        view._replace(aspect=size_hw[1] / size_hw[0]) for view in views_along(keys, num_frames)
    ]
    cameras = [camera_of(view, size_hw, bounds) for view in views]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *cameras)


def _spline(
    values: Float[np.ndarray, "K D"], place: Float[np.ndarray, " F"]
) -> Float[np.ndarray, "F D"]:
    """Through the values at 0, 1, ..., K-1, each slope that of its neighbours' chord."""
    slope = np.gradient(values, axis=0) if len(values) > 1 else np.zeros_like(values)
    start = np.minimum(place.astype(int), max(len(values) - 2, 0))
    end = np.minimum(start + 1, len(values) - 1)
    t = (place - start)[:, None]
    return (
        (1 + 2 * t) * (1 - t) ** 2 * values[start]
        + t * (1 - t) ** 2 * slope[start]
        + t**2 * (3 - 2 * t) * values[end]
        + t**2 * (t - 1) * slope[end]
    )


def _quaternion(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """w, x, y, z: the eigenvector of the largest eigenvalue (Bar-Itzhack, 2000), which no rotation
    makes singular.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    matrix = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ]
    )
    return np.linalg.eigh(matrix)[1][:, -1]


def _rotation(quaternion: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3 3"]:
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
