"""Splines of rigid motions: smooth camera paths through given poses.

The shortest rigid motion between two poses is a screw. Between two cameras at equal distance from
an object that both look at, it is a rotation about the object; a straight line would cut through.

SciPy's exponential coordinates of a rigid motion are its twist: ``exp`` follows a twist for unit
time, ``log`` returns the twist of a motion, which rotates by at most half a turn.
"""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform, Rotation


def pose_between(poses: Float[np.ndarray, "N 4 4"], t: float) -> Float[np.ndarray, "4 4"]:
    """The pose at one parameter of a C1 spline through all poses.

    Kim, Kim and Shin (1995), "A General Construction Scheme for Unit Quaternion Curves with Simple
    High Order Derivatives", Section 4: a Bezier curve in cumulative form, here of rigid motions.
    The spline is equivariant: a rigid motion of all poses moves the spline with them.

    Args:
        poses: at least one.
        t: the parameter in [0, N - 1]; the spline passes through pose ``i`` at ``t = i``.
    """
    i = min(int(t), len(poses) - 2)
    if i < 0:
        return poses[0]
    u, before = t - i, min(i, 1)
    exp, log = RigidTransform.from_exp_coords, RigidTransform.as_exp_coords
    near = poses[i - before : i + 3]
    near = RigidTransform.from_components(near[:, :3, 3], Rotation.from_matrix(near[:, :3, :3]))
    twists = log(near[:-1].inv() * near[1:])
    # The velocity at a pose is the mean of the twists of its segments, two or at the ends one.
    first, last = twists[: before + 1].mean(axis=0) / 3, twists[before:].mean(axis=0) / 3
    middle = log(exp(-first) * exp(twists[before]) * exp(-last))
    steps = exp((1 - (1 - u) ** 3) * first), exp(u**2 * (3 - 2 * u) * middle), exp(u**3 * last)
    return (near[before] * steps[0] * steps[1] * steps[2]).as_matrix()
