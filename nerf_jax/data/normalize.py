"""The normalization of a capture: from the frame of its files to a world that suits every method.

Structure from motion leaves the position, rotation and scale of a capture arbitrary. In the world,
its cameras are upright, z up, around the origin, within the cube [-1, 1]; or its subject is in that
cube, if sparse points show where it is. The similarity depends on cameras and points alone, so that
a similarity of the files' frame does not change the result.
"""

import numpy as np
from jaxtyping import Float

from nerf_jax.cameras import focus_point
from nerf_jax.types import Cameras

_SUBJECT = 90
"""Percentile of the observed points within the cube."""

# The mean of unit vectors that cancel is shorter than this, and its direction is meaningless.
_MIN_MEAN = 0.1


def placement(
    world_from_camera: Float[np.ndarray, "N 3 4"],
    up: Float[np.ndarray, "3"] | None = None,
    observed: Float[np.ndarray, "P 3"] | None = None,
) -> Float[np.ndarray, "4 4"]:
    """The similarity ``world_from_original`` that normalizes cameras.

    Args:
        world_from_camera: at least one, in the original frame.
        up: the up direction in the original frame, of any length; None for the cameras' mean up.
        observed: the points that the photos observe, each as often as it is; None: not known.
            They are the subject, unless the cameras surround it and are nearer.

    Returns:
        float64. The scale is 1 if all cameras are at one position.

    Raises:
        ValueError: ``up`` has no direction.
    """
    poses = np.asarray(world_from_camera, np.float64)
    rotation = _upright(poses, up)
    focus = _focus(poses)
    center = _middle(poses, observed, rotation) if focus is None else focus
    reach = np.abs((poses[:, :, 3] - center) @ rotation.T).max()
    if observed is not None:
        subject = np.percentile(np.abs((observed - center) @ rotation.T).max(axis=1), _SUBJECT)
        reach = subject if focus is None else min(reach, subject)
    # Cameras at one position differ from their mean by rounding, which must not be scaled up.
    is_one_position = reach <= max(1e-9 * np.abs(poses[:, :, 3]).max(), 1e-30)
    scale = 1.0 if is_one_position else 1 / reach
    similarity = np.eye(4)
    similarity[:3, :3] = scale * rotation
    similarity[:3, 3] = -scale * rotation @ center
    return similarity


def move(similarity: Float[np.ndarray, "4 4"], cameras: Cameras) -> Cameras:
    """Apply a similarity to cameras: poses, ``near`` and ``far``, in float64."""
    scale = np.cbrt(np.linalg.det(similarity[:3, :3]))
    poses = similarity[:3, :3] @ np.asarray(cameras.world_from_camera, np.float64)
    poses[:, :, :3] /= scale
    poses[:, :, 3] += similarity[:3, 3]
    near, far = (scale * np.asarray(bound, np.float64) for bound in (cameras.near, cameras.far))
    return cameras._replace(world_from_camera=poses, near=near, far=far)


def move_points(
    similarity: Float[np.ndarray, "4 4"], points: Float[np.ndarray, "P 3"]
) -> Float[np.ndarray, "P 3"]:
    """Apply a similarity to points."""
    return points @ similarity[:3, :3].T + similarity[:3, 3]


def _upright(
    poses: Float[np.ndarray, "N 3 4"], up: Float[np.ndarray, "3"] | None
) -> Float[np.ndarray, "3 3"]:
    """The rotation of up to z that brings the photos' right as near to x as possible."""
    z = _up(poses) if up is None else np.asarray(up, np.float64)
    if not 0 < np.linalg.norm(z) < np.inf:
        raise ValueError(f"up must be a direction: finite and not zero, but is {z.tolist()}")
    z = z / np.linalg.norm(z)
    # The right axes of cameras all around a scene cancel; then the first camera decides: its right
    # axis, or if that is along z (a sideways photo), its optical axis, which is level then.
    rights = np.stack([poses[:, :, 0].mean(axis=0), poses[0, :, 0], np.cross(z, poses[0, :, 2])])
    level = rights - (rights @ z)[:, None] * z
    x = next(vector for vector in level if np.linalg.norm(vector) > _MIN_MEAN)
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def _up(poses: Float[np.ndarray, "N 3 4"]) -> Float[np.ndarray, "3"]:
    ups = poses[:, :, 1]
    mean = ups.mean(axis=0)
    if np.linalg.norm(mean) > _MIN_MEAN:
        return mean
    # Ups that cancel, since half of the photos are upside down, have a common line: the first
    # camera determines its direction.
    line = np.linalg.eigh(ups.T @ ups)[1][:, -1]
    return line if line @ ups[0] >= 0 else -line


def _middle(
    poses: Float[np.ndarray, "N 3 4"],
    observed: Float[np.ndarray, "P 3"] | None,
    rotation: Float[np.ndarray, "3 3"],
) -> Float[np.ndarray, "3"]:
    """The median of the points, along the world's axes; without points the cameras' mean."""
    if observed is None:
        return poses[:, :, 3].mean(axis=0)
    return np.median(observed @ rotation.T, axis=0) @ rotation


def _focus(poses: Float[np.ndarray, "N 3 4"]) -> Float[np.ndarray, "3"] | None:
    """The focus point, if the cameras surround it: the subject is there.

    Any lines have one, and for nearly parallel axes a small error of a pose moves it far away. It
    is used if it is no further from the mean position than the cameras are apart; if the axes pass
    it at less than half the cameras' distances from their mean; and if it is in front of 90 % of
    them.
    """
    axes, origins = -poses[:, :, 2], poses[:, :, 3]
    mean, focus = origins.mean(axis=0), focus_point(poses)
    reach = np.linalg.norm(origins - mean, axis=1)
    depth = np.sum(axes * (focus - origins), axis=1)
    miss = np.linalg.norm(origins + depth[:, None] * axes - focus, axis=1)
    is_near = np.linalg.norm(focus - mean) <= 2 * reach.max()
    meet = np.mean(miss**2) <= np.mean(reach**2) / 4
    return focus if is_near and meet and np.mean(depth > 0) >= 0.9 else None
