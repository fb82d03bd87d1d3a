"""Pieces and decimation, on spheres of trimesh's."""

import numpy as np
import trimesh

from nerf_jax.app.mesh.components import largest_components, simplify
from nerf_jax.app.mesh.marching_cubes import Mesh


def spheres(*radii: float) -> Mesh:
    bodies = [trimesh.creation.icosphere(subdivisions=3, radius=radius) for radius in radii]
    for number, body in enumerate(bodies):
        body.apply_translation([3.0 * number, 0, 0])
    whole = trimesh.util.concatenate(bodies)
    return Mesh(np.asarray(whole.vertices), np.asarray(whole.faces))


def test_the_largest_pieces_are_kept_and_nothing_of_the_others():
    mesh = spheres(0.5, 1.0, 0.8)
    one = largest_components(mesh, 1)
    np.testing.assert_allclose(np.linalg.norm(one.vertices - [3, 0, 0], axis=1), 1.0)
    assert len(one.faces) == len(mesh.faces) // 3
    two = trimesh.Trimesh(*largest_components(mesh, 2), process=False)
    assert np.isclose(two.area, 4 * np.pi * (1 + 0.64), rtol=0.02)
    assert len(largest_components(mesh, 5).faces) == len(mesh.faces)


def test_fewer_triangles_are_the_same_ball():
    mesh = spheres(1.0)
    few = simplify(mesh, 300)
    assert 250 <= len(few.faces) <= 300
    body = trimesh.Trimesh(*few, process=False)
    assert body.is_watertight
    assert body.volume > 0
    np.testing.assert_allclose(np.linalg.norm(few.vertices, axis=1), 1, atol=0.03)
    assert simplify(mesh, 10**6) is mesh
