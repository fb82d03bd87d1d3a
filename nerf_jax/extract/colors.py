"""The colours of a mesh: what is seen of each vertex by looking straight at it."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nerf_jax.extract.chunks import in_chunks
from nerf_jax.extract.surface import Mesh
from nerf_jax.types import Rays, Rendering

_FAINTEST = 0.1
"""Opacity: where a ray meets less than this, nobody has seen what is there, and it is left grey."""

_RAYS_AT_ONCE = 2**14


def seen_from_normals(
    render: Callable[[Rays], Rendering],
    background: Float[np.ndarray, "3"],
    mesh: Mesh,
    normals: Float[np.ndarray, "V 3"],
    voxel: float,
    tell: Callable[[int, int], None],
) -> Float[np.ndarray, "V 3"]:
    """Colours of vertices, by short rays that come in against their normals.

    A mesh has one colour a place where the scene has one a direction; this direction is the one
    from which a place is seen best.

    Args:
        render: a model's, of R rays.
        background: what is behind its renderings, and is taken out again.
        mesh: its vertices in world units.
        normals: unit vectors, of the vertices.
        voxel: rays start two of these before the surface, and end four behind it.
        tell: called with the vertices done, and all of them.
    """

    def look(rows: tuple[np.ndarray, np.ndarray]) -> Rendering:
        vertex, normal = map(jnp.asarray, rows)
        like = jnp.zeros_like(vertex[:, 0])
        return render(
            Rays(
                origin=vertex + 2 * voxel * normal,
                direction=-normal,
                near=like,
                far=like + 6 * voxel,
                radius=like + 0.25,  # half a voxel at the surface
                appearance=jnp.full_like(like, -1, jnp.int32),
            )
        )

    rows = mesh.vertices.astype(np.float32), normals.astype(np.float32)
    seen = in_chunks(look, rows, _RAYS_AT_ONCE, tell)
    rgb = own_color(seen.rgb, seen.opacity, background)
    return np.where(seen.opacity[:, None] > _FAINTEST, rgb, 0.5)


def own_color(
    rgb: Float[np.ndarray, "*n 3"], opacity: Float[np.ndarray, "*n"], behind: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "*n 3"]:
    """The colour of what is seen, without what shows through it, in [0, 1]: the inverse of
    :func:`nerf_jax.compositing.over`.
    """
    opacity = opacity[..., None]
    # What is as good as transparent has no colour to be found.
    return np.clip((rgb - (1.0 - opacity) * behind) / np.maximum(opacity, 1e-3), 0.0, 1.0)
