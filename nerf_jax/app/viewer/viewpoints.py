"""Viewpoints: of the viewer's camera, of the training photos, and along a path of key frames."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from nerf_jax.app.images import to_uint8
from nerf_jax.app.splines import pose_between
from nerf_jax.cameras import focus_point
from nerf_jax.compositing import pixel_over, to_float
from nerf_jax.data.files import optional_import
from nerf_jax.data.memory import read_rows
from nerf_jax.types import Cameras

_MIN_NEAR = 0.02  # the least near bound of a ray, as a fraction of the photos' near bound


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

        ``bounds`` are near and far, world units along the rays.
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
    aspect = size_hw[1] / size_hw[0]
    cameras = [viewpoint._replace(aspect=aspect).camera(size_hw, bounds) for viewpoint in path]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *cameras)


@dataclass(frozen=True)
class Photos:
    """N photos."""

    names: tuple[str, ...]
    cameras: Cameras
    """NumPy arrays of N."""
    size_hw: tuple[int, int]
    pixels: Shaped[np.ndarray, "N H W C"] | None = None
    """Of a :class:`nerf_jax.types.Dataset`; None before they are read."""

    def viewpoint(self, index: int) -> Viewpoint:
        """The viewpoint of a photo, without lens distortion."""
        height, width = self.size_hw
        focal_x, focal_y = self.cameras.focal[index]
        aspect = float(width / focal_x * focal_y / height)
        return Viewpoint(self.poses[index], float(2 * np.arctan(height / 2 / focal_y)), aspect)

    @functools.cached_property
    def focus(self) -> Float[np.ndarray, "3"]:
        """The point nearest to all optical axes."""
        return focus_point(self.poses)

    @functools.cached_property
    def focus_distance(self) -> float:
        """The mean distance between a camera and the focus."""
        return max(float(np.linalg.norm(self.origins - self.focus, axis=1).mean()), 1e-6)

    @functools.cached_property
    def frustum_size(self) -> float:
        """Half the median distance between neighbours, within limits by the focus distance."""
        distances = np.linalg.norm(self.origins[:, None] - self.origins, axis=-1)
        np.fill_diagonal(distances, np.inf)
        nearest = distances.min(axis=1)
        median = np.median(nearest) if np.isfinite(nearest).all() else np.inf
        return float(np.clip(median / 2, 1e-3 * self.focus_distance, 0.08 * self.focus_distance))

    @functools.cached_property
    def poses(self) -> Float[np.ndarray, "N 3 4"]:
        return np.asarray(self.cameras.world_from_camera, float)

    @property
    def origins(self) -> Float[np.ndarray, "N 3"]:
        return self.poses[:, :, 3]

    def nearest(self, viewpoint: Viewpoint) -> int:
        """The index of the most similar photo: a radian counts as much as the focus distance."""
        offset = np.linalg.norm(self.origins - viewpoint.origin, axis=1) / self.focus_distance
        angle = np.arccos(np.clip(-self.poses[:, :, 2] @ viewpoint.forward, -1, 1))
        return int(np.argmin(offset + angle))

    def initial_viewpoint(self) -> Viewpoint:
        """The viewpoint of the most central photo among the third nearest to median elevation."""
        offsets = self.origins - self.focus
        elevation = np.arctan2(offsets[:, 2], np.linalg.norm(offsets[:, :2], axis=1))
        typical = np.argsort(np.abs(elevation - np.median(elevation)))
        typical = typical[: -(-len(typical) // 3)]
        from_mean = np.linalg.norm((offsets - offsets.mean(axis=0))[typical], axis=1)
        return self.viewpoint(int(typical[np.argmin(from_mean)]))

    def orbit_center(self, viewpoint: Viewpoint) -> Float[np.ndarray, "3"]:
        """The point on the optical axis nearest to the focus, which the camera orbits."""
        distance = float((self.focus - viewpoint.origin) @ viewpoint.forward)
        if distance <= 0.05 * self.focus_distance:
            distance = self.focus_distance
        return viewpoint.origin + viewpoint.forward * distance

    def bounds(self, origin: Float[np.ndarray, "3"]) -> tuple[float, float]:
        """Near and far bounds for rays from a point.

        The photos' own bounds suit their distance to the focus: a closer camera needs a smaller
        near bound, a more distant one a larger far bound.
        """
        near, far = float(np.min(self.cameras.near)), float(np.max(self.cameras.far))
        change = float(np.linalg.norm(origin - self.focus)) - self.focus_distance
        return max(min(near, near + change), _MIN_NEAR * near), max(far, far + change)

    def thumbnail(self, index: int, longer_side: int) -> UInt8[np.ndarray, "h w 3"] | None:
        """A photo on white, resized to ``longer_side`` pixels; None before the photos are read."""
        if self.pixels is None:
            return None
        photo = pixel_over(jnp.asarray(to_float(read_rows(self.pixels, index))), jnp.ones(3))
        pillow = optional_import("PIL.Image", "pillow")
        scale = longer_side / max(self.size_hw)
        height, width = (max(1, round(side * scale)) for side in self.size_hw)
        image = pillow.fromarray(to_uint8(np.asarray(photo)))
        return np.asarray(image.resize((width, height), pillow.Resampling.LANCZOS))
