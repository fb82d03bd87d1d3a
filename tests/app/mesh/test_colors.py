"""Where vertices are best looked at from, by a slow loop over cameras."""

import numpy as np
from scipy.spatial.transform import Rotation

from nerf_jax.app.mesh.colors import viewing_directions
from nerf_jax.app.mesh.marching_cubes import Mesh
from nerf_jax.app.mesh.views import render_views
from tests.app.mesh import ball

TOLERANCE = 0.05


def seen_directions(views, place: np.ndarray) -> list[np.ndarray]:
    """To each camera that sees a place, found with pixels and rotation matrices of NumPy."""
    found = []
    for pose, focal, principal, depth in zip(
        views.cameras.world_from_camera,
        views.cameras.focal,
        views.cameras.principal,
        views.depth,
        strict=True,
    ):
        x, y, z = pose[:, :3].T @ (place - pose[:, 3])
        column, row = focal * [x, -y] / -z + principal
        if z < 0 and 0 <= column < depth.shape[1] and 0 <= row < depth.shape[0]:
            away = np.linalg.norm(place - pose[:, 3])
            if abs(depth[int(row), int(column)] - away) < TOLERANCE:
                found.append((pose[:, 3] - place) / away)
    return found


def test_vertices_are_looked_at_from_where_the_cameras_are(tmp_path):
    views = render_views(ball.scene(tmp_path), 1.0, 5, lambda *_: None)
    normals = Rotation.random(40, np.random.default_rng(0)).apply([0.0, 0.0, 1.0])
    places = ball.CENTER + ball.RADIUS * normals
    toward = viewing_directions(Mesh(places, np.zeros((0, 3), int)), normals, views, TOLERANCE)
    unseen = 0
    for place, normal, found in zip(places, normals, toward, strict=True):
        directions = seen_directions(views, place)
        total = sum((max(d @ normal, 0) * d for d in directions), np.zeros(3))
        unseen += not directions
        expected = total / np.linalg.norm(total) if directions else normal
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert 0 < unseen < 20, "five cameras do not see everything"


def test_what_faces_away_from_who_sees_it_is_looked_at_along_its_normal(tmp_path):
    views = render_views(ball.scene(tmp_path), 1.0, 1, lambda *_: None)
    ahead = -np.asarray(views.cameras.world_from_camera)[0, :, 2]
    place, normal = ball.CENTER - ball.RADIUS * ahead, ahead
    mesh = Mesh(place[None], np.zeros((0, 3), int))
    np.testing.assert_allclose(viewing_directions(mesh, normal[None], views, TOLERANCE)[0], normal)
