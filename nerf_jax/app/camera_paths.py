"""Ways for a camera to fly, made from where the photos were taken.

Each takes the training cameras, NumPy or JAX arrays, N of them, in a world whose z is up, and
returns ``num_frames`` pinholes with the mean of their intrinsics.
"""

import numpy as np
from jaxtyping import Float

from nerf_jax.app.splines import pose_between
from nerf_jax.cameras import focus_point, look_at
from nerf_jax.types import Cameras, HostArray

UP = np.array([0.0, 0.0, 1.0])


def orbit_path(
    cameras: Cameras, num_frames: int, elevation_degrees: float | None = None
) -> Cameras:
    """A turn around what the given cameras look at, at their mean distance.

    Args:
        cameras: the training cameras.
        num_frames: cameras of the path; the last stands one step before the first.
        elevation_degrees: above the plane through the focus; the cameras' mean if None.

    Returns:
        ``num_frames`` cameras, starting above the positive x axis.
    """
    poses = np.asarray(cameras.world_from_camera)
    focus = focus_point(poses)
    offsets = poses[:, :, 3] - focus
    distance = np.linalg.norm(offsets, axis=1).mean()
    if elevation_degrees is None:
        # At most 60 degrees: the mean over a whole hemisphere must not look straight down.
        sine = np.clip(offsets[:, 2].sum() / np.linalg.norm(offsets, axis=1).sum(), -0.87, 0.87)
        elevation = np.arcsin(sine)
    else:
        elevation = np.radians(elevation_degrees)
    turns = np.arange(num_frames) * 2 * np.pi / num_frames
    directions = np.stack(
        [
            np.cos(elevation) * np.cos(turns),
            np.cos(elevation) * np.sin(turns),
            np.full(num_frames, np.sin(elevation)),
        ],
        axis=1,
    )
    return _looking(cameras, focus + distance * directions, focus, UP)


def ellipse_path(cameras: Cameras, num_frames: int, *, share: float = 0.9) -> Cameras:
    """A level ellipse through the capture, around what its cameras look at, at a steady speed.

    mip-NeRF 360's path: its axes are those along which the cameras spread.

    Args:
        cameras: the training cameras.
        num_frames: cameras of the path; the last stands one step before the first.
        share: of the cameras that are no further out along either axis than the path goes.
    """
    poses = np.asarray(cameras.world_from_camera, float)
    focus, places = focus_point(poses), poses[:, :, 3]
    offsets = (places - focus)[:, :2]
    x, y = np.linalg.eigh(offsets.T @ offsets)[1][:, -1]
    axes = np.array([[x, y], [-y, x]])  # the longest, and across
    reach = np.quantile(np.abs(offsets @ axes.T), share, axis=0)
    fine = np.linspace(0, 2 * np.pi, 1001)
    around = np.stack([np.cos(fine), np.sin(fine)], axis=1) * reach @ axes
    gone = np.append(0, np.linalg.norm(np.diff(around, axis=0), axis=1).cumsum())
    steps = np.arange(num_frames) * gone[-1] / num_frames
    level = [focus[axis] + np.interp(steps, gone, around[:, axis]) for axis in (0, 1)]
    path = np.stack([*level, np.full(num_frames, places[:, 2].mean())], axis=1)
    return _looking(cameras, path, focus, UP)


def spiral_path(
    cameras: Cameras,
    num_frames: int,
    distance: float,
    *,
    turns: int = 2,
    share: float = 0.9,
    widest: float = 0.2,
) -> Cameras:
    """A spiral before the scene, its eye fixed on one point, for photos taken from one side.

    The path of LLFF and NeRF. Theirs is around the mean of all cameras, which a capture from all
    around lacks: here it is around the one in their middle.

    Args:
        cameras: the training cameras.
        num_frames: cameras of the path; the last stands one step before the first.
        distance: of the point from the camera in the middle, along its axis, in world units.
        turns: to the left and right for each forwards and backwards; two, as in the paper.
        share: of the cameras that are no further out along any axis than the path goes.
        widest: how far out the path goes at most, over ``distance``.
    """
    poses = np.asarray(cameras.world_from_camera, float)
    middle = middle_camera(poses)
    rotation, center = poses[middle, :, :3], poses[middle, :, 3]
    spread = np.quantile(np.abs((poses[:, :, 3] - center) @ rotation), share, axis=0)
    radii = np.minimum(spread, widest * distance)
    theta = np.arange(num_frames) * turns * 2 * np.pi / num_frames
    waves = np.stack([np.cos(theta), -np.sin(theta), -np.sin(theta / turns)], axis=1)
    focus = center - distance * rotation[:, 2]
    return _looking(cameras, center + (radii * waves) @ rotation.T, focus, rotation[:, 1])


def middle_camera(world_from_camera: Float[np.ndarray, "N 3 4"]) -> int:
    """The number of the camera that is nearest to the middle of all."""
    places = world_from_camera[:, :, 3]
    return int(np.argmin(np.linalg.norm(places - places.mean(axis=0), axis=1)))


def tour_path(cameras: Cameras, num_frames: int, *, breadth: float = 1.5) -> Cameras:
    """A smooth flight past the given cameras in their order, where an orbit would leave the scene.

    Each frame is seen by a mean of the cameras next to its place in the row, so that the flight
    never goes where no photo was taken.

    Args:
        cameras: the training cameras.
        num_frames: cameras of the path.
        breadth: standard deviation of the mean, in cameras.
    """
    poses = np.asarray(cameras.world_from_camera, float)
    place = np.linspace(0, len(poses) - 1, num_frames)[:, None]
    share = np.exp(-0.5 * ((np.arange(len(poses)) - place) / breadth) ** 2)
    mean = np.einsum("fn,nij->fij", share / share.sum(axis=1, keepdims=True), poses)
    left, _, right = np.linalg.svd(mean[:, :, :3])
    # The rotation nearest to the mean of rotations: where those cancel, a mirror image may be.
    left[:, :, 2] *= np.linalg.det(left @ right)[:, None]
    return _with_mean_lens(cameras, np.concatenate([left @ right, mean[:, :, 3:]], axis=2))


def spline_path(cameras: Cameras, num_frames: int) -> Cameras:
    """A smooth flight exactly through the given cameras, as long from each to the next.

    Args:
        cameras: the training cameras, or key frames.
        num_frames: cameras of the path, from the first of those given to the last.
    """
    given = np.asarray(cameras.world_from_camera, float)
    row = np.broadcast_to([[[0.0, 0.0, 0.0, 1.0]]], (len(given), 1, 4))
    poses = np.concatenate([given, row], axis=1)
    places = np.linspace(0, len(poses) - 1, num_frames)
    return _with_mean_lens(cameras, np.stack([pose_between(poses, at)[:3] for at in places]))


def _looking(
    cameras: Cameras,
    places: Float[np.ndarray, "F 3"],
    focus: Float[np.ndarray, "3"],
    up: Float[np.ndarray, "3"],
) -> Cameras:
    return _with_mean_lens(cameras, np.stack([look_at(place, focus, up) for place in places]))


def _with_mean_lens(cameras: Cameras, path: Float[np.ndarray, "F 3 4"]) -> Cameras:
    """Pinholes at the poses of a path, with the mean of the cameras' intrinsics."""

    def constant(leaf: HostArray) -> np.ndarray:
        mean = np.asarray(leaf, np.float32).mean(axis=0)
        return np.broadcast_to(mean, (len(path), *mean.shape))

    return Cameras(
        world_from_camera=path.astype(np.float32),
        focal=constant(cameras.focal),
        principal=constant(cameras.principal),
        near=constant(cameras.near),
        far=constant(cameras.far),
    )
