"""Viewing directions of vertices, against a slow loop over cameras."""

import numpy as np
from scipy.spatial.transform import Rotation

from nerf_jax.app.mesh.colors import viewing_directions
from nerf_jax.app.mesh.marching_cubes import Mesh
from nerf_jax.app.mesh.views import render_views
from tests.app.mesh import ball

TOLERANCE = 0.05


def visible_directions(views, point: np.ndarray) -> list[np.ndarray]:
    """Directions to the cameras that see a point, with pixels and matrices in NumPy."""
    found = []
    for pose, focal, principal, depth in zip(
        views.cameras.world_from_camera,
        views.cameras.focal,
        views.cameras.principal,
        views.depth,
        strict=True,
    ):
        x, y, z = pose[:, :3].T @ (point - pose[:, 3])
        column, row = focal * [x, -y] / -z + principal
        if z < 0 and 0 <= column < depth.shape[1] and 0 <= row < depth.shape[0]:
            distance = np.linalg.norm(point - pose[:, 3])
            if abs(depth[int(row), int(column)] - distance) < TOLERANCE:
                found.append((pose[:, 3] - point) / distance)
    return found


def test_directions_are_the_weighted_means_to_the_cameras(tmp_path):
    views = render_views(ball.scene(tmp_path), 1.0, 5, lambda *_: None)
    normals = Rotation.random(40, np.random.default_rng(0)).apply([0.0, 0.0, 1.0])
    vertices = ball.CENTER + ball.RADIUS * normals
    toward = viewing_directions(Mesh(vertices, np.zeros((0, 3), int)), normals, views, TOLERANCE)
    unseen = 0
    for vertex, normal, found in zip(vertices, normals, toward, strict=True):
        directions = visible_directions(views, vertex)
        total = sum((max(d @ normal, 0) * d for d in directions), np.zeros(3))
        unseen += not directions
        expected = total / np.linalg.norm(total) if directions else normal
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert 0 < unseen < 20, "five cameras do not see everything"


def test_a_vertex_that_faces_away_from_all_cameras_keeps_its_normal(tmp_path):
    views = render_views(ball.scene(tmp_path), 1.0, 1, lambda *_: None)
    forward = -np.asarray(views.cameras.world_from_camera)[0, :, 2]
    vertex, normal = ball.CENTER - ball.RADIUS * forward, forward
    mesh = Mesh(vertex[None], np.zeros((0, 3), int))
    np.testing.assert_allclose(viewing_directions(mesh, normal[None], views, TOLERANCE)[0], normal)
