"""Camera paths: the shape, the speed and the target of each."""

import contextlib

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_jax.app.camera_paths import (
    ellipse_path,
    middle_camera,
    orbit_path,
    spiral_path,
    spline_path,
    tour_path,
)
from nerf_jax.cameras import look_at
from nerf_jax.types import Cameras
from tests.test_cameras import UP, some_cameras

FOCUS = np.array([1.0, -0.5, 0.25])


def ring(elevation_degrees: float, distances=(3.0, 4.0, 5.0)) -> Cameras:
    """Cameras that look at ``FOCUS`` from one elevation and several distances."""
    elevation, azimuth = np.radians(elevation_degrees), np.arange(len(distances)) * 2.1
    directions = np.stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation) + 0 * azimuth,
        ],
        axis=1,
    )
    positions = FOCUS + np.array(distances)[:, None] * directions
    poses = np.stack([look_at(position, FOCUS, UP) for position in positions])
    return some_cameras(len(distances))._replace(world_from_camera=poses)


def polar(path: Cameras) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance from the focus, elevation and azimuth in degrees."""
    offsets = path.world_from_camera[:, :, 3] - FOCUS
    distance = np.linalg.norm(offsets, axis=1)
    elevation = np.degrees(np.arcsin(offsets[:, 2] / distance))
    return distance, elevation, np.degrees(np.arctan2(offsets[:, 1], offsets[:, 0]))


@pytest.mark.parametrize(("asked", "expected"), [(None, 20), (-35.0, -35)])
def test_an_orbit_is_a_circle_around_the_focus(asked, expected):
    path = orbit_path(ring(20), 8, asked)
    distance, elevation, azimuth = polar(path)
    np.testing.assert_allclose(distance, 4, rtol=1e-5)
    np.testing.assert_allclose(elevation, expected, atol=1e-3)
    np.testing.assert_allclose(azimuth[0], 0, atol=1e-3)
    np.testing.assert_allclose(np.diff(azimuth, append=azimuth[0]) % 360, 45, atol=1e-3)
    for pose in path.world_from_camera:
        np.testing.assert_allclose(pose, look_at(pose[:, 3], FOCUS, UP), atol=1e-5)


@pytest.mark.parametrize(("mean", "expected"), [(85, 60.5), (-85, -60.5)])
def test_the_elevation_of_an_orbit_is_limited(mean, expected):
    _, elevation, _ = polar(orbit_path(ring(mean), 3))
    np.testing.assert_allclose(elevation, expected, atol=0.1)


def test_an_orbit_has_the_mean_lens():
    cameras = ring(20)
    path = orbit_path(cameras, 5)
    for name in ("focal", "principal", "near", "far"):
        mean = np.mean(getattr(cameras, name), axis=0)
        for frame in getattr(path, name):
            np.testing.assert_allclose(frame, mean, rtol=1e-6)
        assert len(getattr(path, name)) == 5


# -------------------------------------------------------------------------------- the tour


def arc(count: int) -> Cameras:
    """Cameras along an arc, looking at ``FOCUS``."""
    turns = np.linspace(0.3, 2.0, count)
    positions = FOCUS + 4 * np.stack([np.cos(turns), np.sin(turns), 0.1 + 0 * turns], axis=1)
    poses = np.stack([look_at(position, FOCUS, UP) for position in positions])
    lens = jax.tree.map(lambda leaf: np.repeat(leaf[:1], count, axis=0), some_cameras(1))
    return lens._replace(world_from_camera=poses)


def test_a_tour_passes_the_cameras_in_their_order():
    cameras = arc(12)
    path = tour_path(cameras, 58)
    rotation = path.world_from_camera[:, :, :3].astype(float)
    gram = np.einsum("fij,fik->fjk", rotation, rotation)
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(3), gram.shape), atol=1e-5)
    assert (np.linalg.det(rotation) > 0).all()
    positions, given = path.world_from_camera[:, :, 3], cameras.world_from_camera[:, :, 3]
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    assert gaps.max() < 3 * np.median(gaps)  # smooth
    nearest = np.argmin(np.linalg.norm(positions[:, None] - given, axis=2), axis=1)
    assert (np.diff(nearest) >= 0).all()
    assert nearest[-1] - nearest[0] >= 8
    for name in ("focal", "principal", "near", "far"):
        assert len(getattr(path, name)) == 58


# ----------------------------------------------------------------------------- the ellipse


def assert_looks_at(path: Cameras, point: np.ndarray, up: np.ndarray = UP) -> None:
    for pose in path.world_from_camera:
        np.testing.assert_allclose(pose, look_at(pose[:, 3], point, up), atol=1e-5)


def test_an_ellipse_follows_the_cameras_at_constant_speed():
    """The cameras are on a rotated horizontal ellipse with semi-axes 5 and 2."""
    angles, rotated = np.linspace(0, 2 * np.pi, 40, endpoint=False), np.radians(30)
    flat = np.stack([5 * np.cos(angles), 2 * np.sin(angles)], axis=1)
    rotation = np.array([[np.cos(rotated), -np.sin(rotated)], [np.sin(rotated), np.cos(rotated)]])
    positions = FOCUS + np.concatenate([flat @ rotation.T, np.full((40, 1), 1.5)], axis=1)
    poses = np.stack([look_at(position, FOCUS, UP) for position in positions])
    cameras = some_cameras(40)._replace(world_from_camera=poses)
    path = ellipse_path(cameras, 50, share=1.0)
    found = path.world_from_camera[:, :, 3] - FOCUS
    np.testing.assert_allclose(found[:, 2], 1.5, atol=1e-5)
    along, across = (found[:, :2] @ rotation / [5, 2]).T
    np.testing.assert_allclose(along**2 + across**2, 1, atol=1e-3)
    steps = np.linalg.norm(np.diff(found, axis=0, append=found[:1]), axis=1)
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.01)  # the last to the first as well
    assert_looks_at(path, FOCUS)


def test_an_ellipse_is_robust_to_outliers():
    """One camera of thirty that is far away does not extend the ellipse."""
    cameras = ring(20, distances=(4.0,) * 29 + (40.0,))
    path = ellipse_path(cameras, 12)
    assert np.linalg.norm(path.world_from_camera[:, :, 3] - FOCUS, axis=1).max() < 6


# ------------------------------------------------------------------------------ the spiral


def from_one_side() -> Cameras:
    """Five rows of five cameras that look along y, their middle at (1, 2, 3)."""
    across, up = np.meshgrid(np.linspace(-0.4, 0.4, 5), np.linspace(-0.2, 0.2, 5))
    positions = np.stack([1 + across.ravel(), np.full(25, 2.0), 3 + up.ravel()], axis=1)
    ahead = np.array([0, 1, 0])
    poses = np.stack([look_at(position, position + ahead, UP) for position in positions])
    return some_cameras(25)._replace(world_from_camera=poses)


def test_the_central_camera():
    assert middle_camera(from_one_side().world_from_camera) == 12


def test_a_spiral_is_that_of_llff():
    """The formula of LLFF for cameras whose axes are those of the world."""
    path = spiral_path(from_one_side(), 40, distance=5.0, share=1.0)
    focus = np.array([1.0, 7.0, 3.0])
    for index, pose in enumerate(path.world_from_camera):
        theta = 4 * np.pi * index / 40
        right, up, back = 0.4 * np.cos(theta), -0.2 * np.sin(theta), 0 * np.sin(theta / 2)
        np.testing.assert_allclose(pose[:, 3], [1 + right, 2 - back, 3 + up], atol=1e-5)
    assert_looks_at(path, focus)


def test_a_spiral_is_closed_and_stays_before_its_focus():
    cameras = ring(20, distances=(3.0, 4.0, 5.0, 4.5))
    path = spiral_path(cameras, 64, distance=4.0)
    middle = cameras.world_from_camera[middle_camera(cameras.world_from_camera)]
    focus = middle[:, 3] - 4.0 * middle[:, 2]
    assert_looks_at(path, focus, middle[:, 1])
    positions = path.world_from_camera[:, :, 3]
    assert np.linalg.norm(positions - middle[:, 3], axis=1).max() < 0.2 * 4 * 3**0.5
    steps = np.linalg.norm(np.diff(positions, axis=0, append=positions[:1]), axis=1)
    assert steps.max() < 2.5 * np.median(steps)


# ------------------------------------------------------------------------------ the spline


def test_a_spline_passes_through_the_cameras():
    cameras = some_cameras(6)
    path = spline_path(cameras, 5 * 7 + 1)
    np.testing.assert_allclose(path.world_from_camera[::7], cameras.world_from_camera, atol=2e-6)
    rotations = path.world_from_camera[:, :, :3].astype(float)
    np.testing.assert_allclose(Rotation.from_matrix(rotations).as_matrix(), rotations, atol=1e-6)


def test_a_spline_of_orbit_poses_is_the_orbit():
    """Four cameras of an orbit, 90 degrees apart: the distance and the focus stay constant."""
    turns = np.arange(4) * np.pi / 2
    directions = np.stack([np.cos(turns), np.sin(turns), 0.4 + 0 * turns], axis=1)
    poses = np.stack([look_at(FOCUS + 3 * each, FOCUS, UP) for each in directions])
    path = spline_path(some_cameras(4)._replace(world_from_camera=poses), 31)
    distance, elevation, azimuth = polar(path)
    np.testing.assert_allclose(distance, 3 * np.hypot(1, 0.4), rtol=1e-5)
    np.testing.assert_allclose(elevation, np.degrees(np.arctan(0.4)), atol=1e-3)
    np.testing.assert_allclose(np.diff(azimuth) % 360, 9, atol=1e-3)
    assert_looks_at(path, FOCUS)


# ------------------------------------------------------------------- cameras that allow no path


def turning(count: int) -> Cameras:
    """Cameras at one position, or a single one."""
    turns = np.arange(count) * 0.7
    targets = FOCUS + np.stack([np.cos(turns), np.sin(turns), 0 * turns], axis=1)
    poses = np.stack([look_at(FOCUS, target, UP) for target in targets])
    return some_cameras(count)._replace(world_from_camera=poses)


def identical(count: int) -> Cameras:
    one = turning(1).world_from_camera
    return some_cameras(count)._replace(world_from_camera=np.repeat(one, count, axis=0))


MAKE = {
    "orbit": orbit_path,
    "ellipse": ellipse_path,
    "spiral": lambda cameras, count: spiral_path(cameras, count, 2.0),
    "tour": tour_path,
    "spline": spline_path,
}


@pytest.mark.parametrize(
    ("cameras", "possible"),
    [
        (ring(20), list(MAKE)),
        (turning(9), ["tour", "spline"]),
        (turning(1), []),
        (identical(5), []),
        (ring(20)._replace(world_from_camera=np.full((3, 3, 4), np.nan)), []),
    ],
)
def test_a_path_has_finite_and_distinct_cameras_or_none(cameras, possible):
    found = []
    for name, make in MAKE.items():
        with contextlib.suppress(ValueError):
            path = make(cameras, 8)
            assert np.isfinite(path.world_from_camera).all()
            assert np.ptp(path.world_from_camera, axis=0).max() > 0.01
            found.append(name)
    assert found == possible
