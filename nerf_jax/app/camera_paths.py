"""Camera paths made from the training cameras.

Each function takes ``cameras``, N training cameras as NumPy or JAX arrays in a world whose z is up.
It returns ``num_frames`` pinhole cameras, one per frame, with the mean of the given intrinsics. A
closed path ends one step before its first camera. A ``ValueError`` says if the cameras are too few,
or too near to each other, for a path.
"""

import jax
import numpy as np
from jaxtyping import Float

from nerf_jax.app.splines import pose_between
from nerf_jax.cameras import focus_point, look_at
from nerf_jax.types import Cameras, HostArray

UP = np.array([0.0, 0.0, 1.0])

_ROUNDING = 1e-5
"""Relative to positions, which are float32."""


def orbit_path(
    cameras: Cameras, num_frames: int, elevation_degrees: float | None = None
) -> Cameras:
    """A circle around the focus point of the cameras, at their mean distance from it.

    The first camera is above the positive x axis.

    Args:
        elevation_degrees: above the horizon; if None, the mean elevation of the cameras.
    """
    poses = _poses(cameras)
    focus = focus_point(poses)
    offsets = poses[:, :, 3] - focus
    distance = np.linalg.norm(offsets, axis=1).mean()
    _require_distance(distance, focus)
    if elevation_degrees is None:
        # At most 60 degrees: the mean over a whole hemisphere must not look straight down.
        sine = np.clip(offsets[:, 2].sum() / np.linalg.norm(offsets, axis=1).sum(), -0.87, 0.87)
        elevation = np.arcsin(sine)
    else:
        elevation = np.radians(elevation_degrees)
    azimuth = np.arange(num_frames) * 2 * np.pi / num_frames
    x, y = np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)
    directions = np.stack([x, y, np.full(num_frames, np.sin(elevation))], axis=1)
    return _looking_at(focus, cameras, focus + distance * directions, UP)


def ellipse_path(cameras: Cameras, num_frames: int, *, share: float = 0.9) -> Cameras:
    """A horizontal ellipse through the capture, around its focus point, at constant speed.

    The path of mip-NeRF 360: its axes are the principal axes of the camera positions.

    Args:
        share: the quantile of the cameras' distances along each axis that is the semi-axis.
    """
    poses = _poses(cameras)
    focus, positions = focus_point(poses), poses[:, :, 3]
    offsets = (positions - focus)[:, :2]
    x, y = np.linalg.eigh(offsets.T @ offsets)[1][:, -1]
    axes = np.array([[x, y], [-y, x]])  # major and minor
    semi_axes = np.quantile(np.abs(offsets @ axes.T), share, axis=0)
    angles = np.linspace(0, 2 * np.pi, 1001)
    ellipse = np.stack([np.cos(angles), np.sin(angles)], axis=1) * semi_axes @ axes
    lengths = np.append(0, np.linalg.norm(np.diff(ellipse, axis=0), axis=1).cumsum())
    _require_distance(semi_axes.max(), focus)
    steps = np.arange(num_frames) * lengths[-1] / num_frames
    horizontal = [focus[axis] + np.interp(steps, lengths, ellipse[:, axis]) for axis in (0, 1)]
    path = np.stack([*horizontal, np.full(num_frames, positions[:, 2].mean())], axis=1)
    return _looking_at(focus, cameras, path, UP)


def spiral_path(
    cameras: Cameras, num_frames: int, distance: float, *, share: float = 0.9
) -> Cameras:
    """A spiral in front of the scene that looks at one point, for forward-facing captures.

    The path of LLFF and NeRF, with two turns sideways for each forwards and backwards, but around
    the central camera: the mean of all cameras is meaningless for captures from all around.

    Args:
        distance: of the point along the axis of the central camera, in world units.
        share: the quantile of the cameras' offsets along each axis that is the radius, which is at
            most a fifth of ``distance``.
    """
    poses = _poses(cameras)
    middle = middle_camera(poses)
    rotation, center = poses[middle, :, :3], poses[middle, :, 3]
    spread = np.quantile(np.abs((poses[:, :, 3] - center) @ rotation), share, axis=0)
    radii = np.minimum(spread, 0.2 * distance)
    theta = np.arange(num_frames) * 4 * np.pi / num_frames
    waves = np.stack([np.cos(theta), -np.sin(theta), -np.sin(theta / 2)], axis=1)
    focus = center - distance * rotation[:, 2]
    return _looking_at(focus, cameras, center + (radii * waves) @ rotation.T, rotation[:, 1])


def middle_camera(world_from_camera: Float[np.ndarray, "N 3 4"]) -> int:
    """The index of the camera that is nearest to the mean position."""
    positions = world_from_camera[:, :, 3]
    return int(np.argmin(np.linalg.norm(positions - positions.mean(axis=0), axis=1)))


def tour_path(cameras: Cameras, num_frames: int) -> Cameras:
    """A smooth path past the cameras in their order, for captures that were not taken all around.

    Each pose is the mean of its neighbours in the order, with Gaussian weights of a standard
    deviation of 1.5 cameras, so the path stays near the captured positions.
    """
    poses = _poses(cameras)
    centers = np.linspace(0, len(poses) - 1, num_frames)[:, None]
    weights = np.exp(-0.5 * ((np.arange(len(poses)) - centers) / 1.5) ** 2)
    mean = np.einsum("fn,nij->fij", weights / weights.sum(axis=1, keepdims=True), poses)
    left, _, right = np.linalg.svd(mean[:, :, :3])
    # The rotation nearest to the mean of rotations: if those cancel, the product may be a mirror.
    left[:, :, 2] *= np.linalg.det(left @ right)[:, None]
    return _with_mean_lens(cameras, np.concatenate([left @ right, mean[:, :, 3:]], axis=2))


def spline_path(cameras: Cameras, num_frames: int) -> Cameras:
    """A smooth path exactly through the cameras, or key frames, with equal time between them."""
    given = _poses(cameras)
    row = np.broadcast_to([[[0.0, 0.0, 0.0, 1.0]]], (len(given), 1, 4))
    poses = np.concatenate([given, row], axis=1)
    times = np.linspace(0, len(poses) - 1, num_frames)
    return _with_mean_lens(cameras, np.stack([pose_between(poses, t)[:3] for t in times]))


def _poses(cameras: Cameras) -> Float[np.ndarray, "N 3 4"]:
    """The poses of cameras, checked to be finite: learned ones may not be."""
    poses = np.asarray(cameras.world_from_camera, float)
    if not np.isfinite(poses).all():
        raise ValueError("the poses of the cameras are not finite")
    return poses


def _looking_at(focus: np.ndarray, cameras: Cameras, path: np.ndarray, up: np.ndarray) -> Cameras:
    return _with_mean_lens(cameras, np.stack([look_at(position, focus, up) for position in path]))


def _require_distance(distance: float, focus: Float[np.ndarray, "3"]) -> None:
    """Check that cameras are farther from their focus point than by rounding."""
    if not distance > _ROUNDING * max(1.0, float(np.linalg.norm(focus))):
        raise ValueError("the cameras are all at the point that they would move around")


def _with_mean_lens(cameras: Cameras, path: Float[np.ndarray, "F 3 4"]) -> Cameras:
    """Pinhole cameras at given poses, with the mean of the cameras' intrinsics and bounds.

    Raises:
        ValueError: the poses are not finite, or all equal.
    """
    if not np.isfinite(path).all():
        raise ValueError("the path is not finite")
    if len(path) > 1 and np.ptp(path, axis=0).max() <= _ROUNDING * max(1.0, np.abs(path[0]).max()):
        raise ValueError("all frames of the path would have the same pose")

    def repeated_mean(leaf: HostArray) -> np.ndarray:
        mean = np.asarray(leaf, np.float32).mean(axis=0)
        return np.broadcast_to(mean, (len(path), *mean.shape))

    pinholes = jax.tree.map(repeated_mean, cameras._replace(lens=None))
    return pinholes._replace(world_from_camera=path.astype(np.float32))
