"""The pieces of a mesh: the largest kept, and all made of fewer triangles."""

import numpy as np
from jaxtyping import Float

from nerf_jax.app.mesh.marching_cubes import Mesh, without_loose
from nerf_jax.data.files import optional_import


def largest(mesh: Mesh, count: int) -> Mesh:
    """The connected pieces with the largest area, so many of them."""
    graph = optional_import("trimesh.graph", "nerf_jax[export]")
    edges = mesh.faces[:, [0, 1, 1, 2]].reshape(-1, 2)
    piece = graph.connected_component_labels(edges)[mesh.faces[:, 0]]
    order = np.argsort(np.bincount(piece, _areas(mesh)))[::-1]
    return without_loose(mesh._replace(faces=mesh.faces[np.isin(piece, order[:count])]))


def simplified(mesh: Mesh, num_faces: int) -> Mesh:
    """The mesh with at most so many triangles, those merged first that change it least (Garland
    and Heckbert, 1997).
    """
    if len(mesh.faces) <= num_faces:
        return mesh
    decimation = optional_import("fast_simplification", "nerf_jax[export]")
    vertices, faces = decimation.simplify(mesh.vertices, mesh.faces, target_count=num_faces)
    return Mesh(np.asarray(vertices, float), np.asarray(faces, int))


def _areas(mesh: Mesh) -> Float[np.ndarray, " F"]:
    a, b, c = mesh.vertices[mesh.faces].swapaxes(0, 1)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
