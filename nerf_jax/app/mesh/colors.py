"""The colours of a mesh: what is seen of each vertex, as straight on as the cameras saw it."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nerf_jax.app.mesh.chunks import in_chunks
from nerf_jax.app.mesh.marching_cubes import Mesh
from nerf_jax.app.mesh.views import Views, own_color, sight
from nerf_jax.types import Cameras, Rays, Rendering

_FAINTEST = 0.1
"""Opacity: where a ray meets less than this, nobody has seen what is there, and it is left grey."""

_RAYS_AT_ONCE = 2**14


def best_seen_from(
    mesh: Mesh, normals: Float[np.ndarray, "V 3"], views: Views, tolerance: float
) -> Float[np.ndarray, "V 3"]:
    """Directions from which to look at vertices: to the cameras that see them, those most straight
    on counting most; along the normal where none does.

    Against the normal a place is seen best, if it was ever seen so. Of a capture from one side
    most places were not, and what a field says of directions without photos is anything: on the
    fox the colours of the normals are 0.063 from what the cameras see on average, these 0.023.

    Args:
        mesh: its vertices in world units.
        normals: unit vectors, of the vertices.
        views: what the cameras see.
        tolerance: world units between a vertex and what a view shows there, if it is the same.
    """
    given = jax.tree.map(jnp.asarray, (views.cameras, views.depth, np.float32(tolerance)))
    read = functools.partial(jax.jit(jax.vmap(_toward_cameras, (None, None, None, 0, 0))), *given)
    rows = mesh.vertices.astype(np.float32), normals.astype(np.float32)
    toward = in_chunks(lambda chunk: read(*chunk), rows)
    length = np.linalg.norm(toward, axis=1, keepdims=True)
    return np.where(length > 0, toward / np.where(length > 0, length, 1.0), normals)


def _toward_cameras(
    cameras: Cameras,
    depth: Float[Array, "N H W"],
    tolerance: Float[Array, ""],
    position: Float[Array, "3"],
    normal: Float[Array, "3"],
) -> Float[Array, "3"]:
    """The sum of the directions to the cameras that see a place from before it, by cosine."""

    def add(total: Array, view: tuple[Cameras, Array]) -> tuple[Array, None]:
        distance, seen, inside = sight(*view, position)
        toward = (view[0].world_from_camera[:, 3] - position) / distance
        is_seen = inside & (jnp.abs(seen - distance) < tolerance)
        return total + jnp.where(is_seen, jnp.maximum(toward @ normal, 0.0), 0.0) * toward, None

    return jax.lax.scan(add, jnp.zeros(3), (cameras, depth))[0]


def seen_from(
    toward: Float[np.ndarray, "V 3"],
    render: Callable[[Rays], Rendering],
    background: Float[np.ndarray, "3"],
    mesh: Mesh,
    voxel: float,
    tell: Callable[[int, int], None],
) -> Float[np.ndarray, "V 3"]:
    """Colours of vertices, by short rays that come in from outside.

    A mesh has one colour a place where the scene has one a direction: which, is to be chosen.

    Args:
        toward: unit vectors from the vertices to where they are looked at from.
        render: a model's, of R rays.
        background: what is behind its renderings, and is taken out again.
        mesh: its vertices in world units.
        voxel: rays start two of these before the surface, and end four behind it.
        tell: called with the vertices done, and all of them.
    """

    def look(rows: tuple[np.ndarray, np.ndarray]) -> Rendering:
        vertex, toward = map(jnp.asarray, rows)
        like = jnp.zeros_like(vertex[:, 0])
        return render(
            Rays(
                origin=vertex + 2 * voxel * toward,
                direction=-toward,
                near=like,
                far=like + 6 * voxel,
                radius=like + 0.25,  # half a voxel at the surface
                appearance=jnp.full_like(like, -1, jnp.int32),
            )
        )

    rows = mesh.vertices.astype(np.float32), toward.astype(np.float32)
    seen = in_chunks(look, rows, _RAYS_AT_ONCE, tell)
    rgb = own_color(seen.rgb, seen.opacity, background)
    return np.where(seen.opacity[:, None] > _FAINTEST, rgb, 0.5)
