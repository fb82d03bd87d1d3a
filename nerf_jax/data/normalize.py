"""Placing a capture: from the frame of its files to a world that suits every method.

Structure from motion leaves a capture anywhere, turned and scaled at will. Here its cameras come to
stand upright, z up, about the origin, within the cube of [-1, 1]. The placing is made from the
cameras alone, so that the same cameras in another frame give the same world: whatever similarity
the files' frame went through cancels.
"""

import numpy as np
from jaxtyping import Float

from nerf_jax.cameras import focus_point
from nerf_jax.types import Cameras

# The least mean of unit vectors that is a direction and not what is left of a sum that cancels.
_LEAST_MEAN = 0.1


def placement(
    world_from_camera: Float[np.ndarray, "N 3 4"], up: Float[np.ndarray, "3"] | None = None
) -> Float[np.ndarray, "4 4"]:
    """The similarity ``world_from_original`` that places cameras.

    Args:
        world_from_camera: at least one, in the original frame.
        up: where up is in the original frame, of any length; None for the mean of the cameras' up.

    Returns:
        float64. Cameras that are all at one place have no scale to set, and keep theirs.

    Raises:
        ValueError: ``up`` has no direction.
    """
    poses = np.asarray(world_from_camera, np.float64)
    rotation = _upright(poses, up)
    center = _center(poses)
    reach = np.abs((poses[:, :, 3] - center) @ rotation.T).max()
    # Cameras at one place differ by the rounding of their mean, which must not be blown up.
    is_one_place = reach <= max(1e-9 * np.abs(poses[:, :, 3]).max(), 1e-30)
    scale = 1.0 if is_one_place else 1 / reach
    similarity = np.eye(4)
    similarity[:3, :3] = scale * rotation
    similarity[:3, 3] = -scale * rotation @ center
    return similarity


def move(similarity: Float[np.ndarray, "4 4"], cameras: Cameras) -> Cameras:
    """Cameras after a similarity of the world: poses, ``near`` and ``far``, in float64."""
    scale = np.cbrt(np.linalg.det(similarity[:3, :3]))
    poses = similarity[:3, :3] @ np.asarray(cameras.world_from_camera, np.float64)
    poses[:, :, :3] /= scale
    poses[:, :, 3] += similarity[:3, 3]
    near, far = (scale * np.asarray(bound, np.float64) for bound in (cameras.near, cameras.far))
    return cameras._replace(world_from_camera=poses, near=near, far=far)


def move_points(
    similarity: Float[np.ndarray, "4 4"], points: Float[np.ndarray, "P 3"]
) -> Float[np.ndarray, "P 3"]:
    """Points after a similarity of the world."""
    return points @ similarity[:3, :3].T + similarity[:3, 3]


def _upright(
    poses: Float[np.ndarray, "N 3 4"], up: Float[np.ndarray, "3"] | None
) -> Float[np.ndarray, "3 3"]:
    """The rotation that takes up to z, and the right of the photos as near to x as that allows."""
    z = _up(poses) if up is None else np.asarray(up, np.float64)
    if not 0 < np.linalg.norm(z) < np.inf:
        raise ValueError(f"up must be a direction: finite and not zero, but is {z.tolist()}")
    z = z / np.linalg.norm(z)
    # All around a scene the rights cancel; then the first camera decides. Held sideways, its right
    # is along z; but then its view is level, as a camera has one axis along z at most.
    rights = np.stack([poses[:, :, 0].mean(axis=0), poses[0, :, 0], np.cross(z, poses[0, :, 2])])
    level = rights - (rights @ z)[:, None] * z
    x = next(vector for vector in level if np.linalg.norm(vector) > _LEAST_MEAN)
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def _up(poses: Float[np.ndarray, "N 3 4"]) -> Float[np.ndarray, "3"]:
    ups = poses[:, :, 1]
    mean = ups.mean(axis=0)
    if np.linalg.norm(mean) > _LEAST_MEAN:
        return mean
    # As many heads down as up: the line that they have in common, in the first one's direction.
    line = np.linalg.eigh(ups.T @ ups)[1][:, -1]
    return line if line @ ups[0] >= 0 else -line


def _center(poses: Float[np.ndarray, "N 3 4"]) -> Float[np.ndarray, "3"]:
    """What goes to the origin: what the cameras look at if they are around it, else their mean.

    The focus is the better origin: the subject gets the middle of the world, wherever about it
    the photographer walked. But along nearly parallel axes a small error of a pose sends it far
    away, and any lines have one. So it counts if it is no further from the cameras' middle than
    they are apart; if the axes do meet, at less than half the cameras' own distances; and if it is
    in front of them, but for a stray tenth.
    """
    axes, origins = -poses[:, :, 2], poses[:, :, 3]
    mean, focus = origins.mean(axis=0), focus_point(poses)
    reach = np.linalg.norm(origins - mean, axis=1)
    depth = np.sum(axes * (focus - origins), axis=1)
    miss = np.linalg.norm(origins + depth[:, None] * axes - focus, axis=1)
    is_near = np.linalg.norm(focus - mean) <= 2 * reach.max()
    meet = np.mean(miss**2) <= np.mean(reach**2) / 4
    return focus if is_near and meet and np.mean(depth > 0) >= 0.9 else mean
