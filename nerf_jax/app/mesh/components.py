"""Reduces a mesh to its largest components, or to fewer triangles."""

import numpy as np

from nerf_jax.app.mesh.marching_cubes import Mesh, remove_unused_vertices
from nerf_jax.data.files import optional_import


def largest_components(mesh: Mesh, count: int) -> Mesh:
    """Keep the ``count`` connected components with the largest area."""
    graph = optional_import("trimesh.graph", "nerf_jax[export]")
    edges = mesh.faces[:, [0, 1, 1, 2]].reshape(-1, 2)
    component = graph.connected_component_labels(edges)[mesh.faces[:, 0]]
    a, b, c = mesh.vertices[mesh.faces].swapaxes(0, 1)
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    order = np.argsort(np.bincount(component, areas))[::-1]
    kept = np.isin(component, order[:count])
    return remove_unused_vertices(mesh._replace(faces=mesh.faces[kept]))


def simplify(mesh: Mesh, max_faces: int) -> Mesh:
    """Reduce a mesh to at most ``max_faces`` triangles (Garland and Heckbert, 1997)."""
    if len(mesh.faces) <= max_faces:
        return mesh
    decimation = optional_import("fast_simplification", "nerf_jax[export]")
    vertices, faces = decimation.simplify(mesh.vertices, mesh.faces, target_count=max_faces)
    return Mesh(np.asarray(vertices, float), np.asarray(faces, int))
