"""The way of a camera through views that were marked: smooth, and as it was at each of them."""

from collections.abc import Sequence

import jax
import numpy as np

from nerf_jax.app.splines import pose_between
from nerf_jax.app.viewer.picture import View, camera_of
from nerf_jax.types import Cameras


def views_along(keys: Sequence[View], num_frames: int) -> list[View]:
    """Views from the first key to the last, in steps that are even between any two of them.

    Poses follow a spline of rigid motions, fields of view lie between their neighbours'.

    Args:
        keys: at least one.
        num_frames: how many.
    """
    poses = np.stack([np.r_[key.world_from_camera, [[0.0, 0.0, 0.0, 1.0]]] for key in keys])
    places = np.linspace(0, len(keys) - 1, num_frames)
    fovs = np.interp(places, np.arange(len(keys)), [key.fov_radians for key in keys])
    return [
        View(pose_between(poses, place)[:3], float(fov), keys[0].aspect)
        for place, fov in zip(places, fovs, strict=True)
    ]


def cameras_along(
    keys: Sequence[View], num_frames: int, size_hw: tuple[int, int], bounds: tuple[float, float]
) -> Cameras:
    """The cameras of a film along the keys, for pictures of one size."""
    views = [
        view._replace(aspect=size_hw[1] / size_hw[0]) for view in views_along(keys, num_frames)
    ]
    cameras = [camera_of(view, size_hw, bounds) for view in views]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *cameras)
