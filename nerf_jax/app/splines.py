"""A smooth way through given poses: splines of rigid motions.

The shortest rigid motion between two poses is a screw. Between two cameras that look at one thing
from one distance it is the turn about that thing, where a straight line would go through it.

Notation: a twist (``omega`` in radians, ``v`` in world units) is a screw in the axes of the pose
that it moves; ``exp`` makes the motion of it, ``log`` the twist of a motion that turns by half a
turn at most. Poses and motions are 4x4 here. NumPy, in float64: paths are made on the host.
"""

import numpy as np
from jaxtyping import Float


def pose_between(poses: Float[np.ndarray, "N 4 4"], place: float) -> Float[np.ndarray, "4 4"]:
    """A pose of the spline through all poses, which has no jump in velocity.

    Kim, Kim and Shin (1995), "A General Construction Scheme for Unit Quaternion Curves with Simple
    High Order Derivatives", Section 4: a Bezier curve in cumulative form, here of rigid motions.
    The spline moves with its poses: turn all of them, and it is turned.

    Args:
        poses: at least one.
        place: in [0, N - 1]; the poses themselves at whole numbers.
    """
    i = min(int(place), len(poses) - 2)
    if i < 0:
        return poses[0]
    u = place - i
    first, last = _velocity(poses, i) / 3, _velocity(poses, i + 1) / 3
    whole = between(poses[i], poses[i + 1])
    middle = log(exp(-first) @ whole @ exp(-last))
    steps = exp((1 - (1 - u) ** 3) * first), exp(u**2 * (3 - 2 * u) * middle), exp(u**3 * last)
    return poses[i] @ steps[0] @ steps[1] @ steps[2]


def _velocity(poses: Float[np.ndarray, "N 4 4"], i: int) -> Float[np.ndarray, "6"]:
    """The mean of the twists from the pose before and to the pose behind, those there are."""
    behind = [log(between(poses[j], poses[j + 1])) for j in (i - 1, i) if 0 <= j < len(poses) - 1]
    return np.mean(behind, axis=0)


def between(
    pose: Float[np.ndarray, "4 4"], other: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "4 4"]:
    """The motion from one pose to another, in the axes of the first."""
    motion = np.eye(4)
    motion[:3, :3] = pose[:3, :3].T @ other[:3, :3]
    motion[:3, 3] = pose[:3, :3].T @ (other[:3, 3] - pose[:3, 3])
    return motion


def exp(twist: Float[np.ndarray, "6"]) -> Float[np.ndarray, "4 4"]:
    """The motion of a twist, followed for a unit of time."""
    omega, angle = _cross(twist[:3]), np.linalg.norm(twist[:3])
    sine, versine = np.sinc(angle / np.pi), 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    motion = np.eye(4)
    motion[:3, :3] += sine * omega + versine * omega @ omega
    motion[:3, 3] = _slide(twist[:3]) @ twist[3:]
    return motion


def log(motion: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "6"]:
    """The twist whose motion it is; of the two for half a turn, one."""
    rotation = motion[:3, :3]
    trace = np.trace(rotation)
    skew = np.array([rotation[2, 1], rotation[0, 2], rotation[1, 0]])
    skew -= [rotation[1, 2], rotation[2, 0], rotation[0, 1]]  # the axis, by twice the sine
    angle = np.arctan2(np.linalg.norm(skew), trace - 1)
    if angle < np.pi / 2:
        omega = skew / (2 * np.sinc(angle / np.pi))
    else:  # where the sine vanishes, the symmetric part knows the axis, but for its sign
        columns = rotation + rotation.T + (1 - trace) * np.eye(3)
        axis = columns[:, np.argmax(np.diag(columns))]
        omega = np.copysign(angle / np.linalg.norm(axis), axis @ skew) * axis
    return np.concatenate([omega, np.linalg.solve(_slide(omega), motion[:3, 3])])


def _slide(omega: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """From the velocity of a screw to how far it has come: the mean of the turns on its way."""
    angle, cross = np.linalg.norm(omega), _cross(omega)
    versine = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    # Below, the difference would cancel; what the series leaves out is of the fourth order.
    small = angle < 1e-3
    rest = 1 / 6 - angle**2 / 120 if small else (1 - np.sinc(angle / np.pi)) / angle**2
    return np.eye(3) + versine * cross + rest * cross @ cross


def _cross(omega: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The matrix of the cross product with it."""
    x, y, z = omega
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
