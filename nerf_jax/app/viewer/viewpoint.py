"""Viewpoints: poses of the viewer's pinhole camera, and camera paths through key frames."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from nerf_jax.app.splines import pose_between
from nerf_jax.types import Cameras


class Viewpoint(NamedTuple):
    """The pose and the field of view of a pinhole camera, for images of any size."""

    world_from_camera: Float[np.ndarray, "3 4"]
    """Camera axes: x right, y up, looking along -z."""
    fov_radians: float
    """Vertical."""
    aspect: float
    """Width over height of the image."""

    @property
    def origin(self) -> Float[np.ndarray, "3"]:
        return self.world_from_camera[:, 3]

    @property
    def forward(self) -> Float[np.ndarray, "3"]:
        return -self.world_from_camera[:, 2]

    def image_size(self, longer_side: int) -> tuple[int, int]:
        """Height and width of an image with ``longer_side`` pixels along its longer side."""
        height, width = min(1.0, 1 / self.aspect), min(1.0, self.aspect)
        return max(1, round(longer_side * height)), max(1, round(longer_side * width))

    def camera(self, size_hw: tuple[int, int], bounds: tuple[float, float]) -> Cameras:
        """The camera of an image of about this aspect, as NumPy arrays of leading axis 1.

        Args:
            size_hw: of the image.
            bounds: near and far, world units along the rays.
        """
        height, width = size_hw
        tangent = np.tan(self.fov_radians / 2)
        focal = width / 2 / (tangent * self.aspect), height / 2 / tangent
        return Cameras(
            world_from_camera=np.asarray(self.world_from_camera, np.float32)[None],
            focal=np.array([focal], np.float32),
            principal=np.array([[width / 2, height / 2]], np.float32),
            near=np.array(bounds[:1], np.float32),
            far=np.array(bounds[1:], np.float32),
        )


def viewpoints_along(keys: Sequence[Viewpoint], num_frames: int) -> list[Viewpoint]:
    """Interpolate one or more key frames, with the same number of frames between any two.

    Poses follow a spline of rigid motions; fields of view are interpolated linearly.
    """
    poses = np.stack([np.r_[key.world_from_camera, [[0.0, 0.0, 0.0, 1.0]]] for key in keys])
    times = np.linspace(0, len(keys) - 1, num_frames)
    fovs = np.interp(times, np.arange(len(keys)), [key.fov_radians for key in keys])
    return [
        Viewpoint(pose_between(poses, time)[:3], float(fov), keys[0].aspect)
        for time, fov in zip(times, fovs, strict=True)
    ]


def cameras_along(
    path: Sequence[Viewpoint], size_hw: tuple[int, int], bounds: tuple[float, float]
) -> Cameras:
    """The cameras of a video, one for each viewpoint."""
    views = [viewpoint._replace(aspect=size_hw[1] / size_hw[0]) for viewpoint in path]
    cameras = [viewpoint.camera(size_hw, bounds) for viewpoint in views]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *cameras)
