"""The renderer: a field, seen along a ray, along many, as an image.

Takes a field as functions and never imports a network.
"""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from nerf_jax import compositing
from nerf_jax.cameras import cast_rays
from nerf_jax.devices import RAYS, REPLICATED, SPLIT, ray_mesh, split_evenly
from nerf_jax.sampling import midpoints
from nerf_jax.types import (
    Aux,
    Cameras,
    Field,
    Params,
    Point,
    Rays,
    RayTable,
    Rendering,
    View,
)


def render_ray(
    field: Field,
    params: Params,
    ray: Rays,
    edges: Float[Array, " S+1"],
    *,
    t: Float[Array, " S"] | None = None,
    delta: Float[Array, " S"] | None = None,
) -> tuple[Rendering, Float[Array, " S"]]:
    """Monte Carlo estimate of what one ray sees (NeRF, Eq. 3).

    Args:
        field, params: the scene.
        ray: one ray.
        edges: of the S intervals, from a sampler.
        t: where in each interval the field is read; the midpoints unless given.
        delta: the intervals' lengths, where a method has its own idea of them.

    Returns:
        The rendering, before any background, and the weights of the intervals.
    """
    t = midpoints(edges) if t is None else t
    delta = jnp.diff(edges) if delta is None else delta
    positions = jax.vmap(lambda distance: ray.origin + distance * ray.direction)(t)
    points = Point(positions, jnp.zeros_like(positions))
    view = View(ray.direction, ray.appearance)
    sigma, features = jax.vmap(field.density, (None, 0))(params, points)
    rgb = jax.vmap(field.color, (None, 0, None))(params, features, view)
    w = compositing.weights(sigma, delta)
    return compositing.composite(w, rgb, edges), w


ImageRenderer = Callable[[Params, Aux, Cameras | RayTable, int, tuple[int, int]], Rendering]


def image_renderer(
    render: Callable[[Params, Aux, Rays], Rendering],
    rays_per_chunk: int,
    mesh: Mesh | None = None,
) -> ImageRenderer:
    """A function that renders whole images, a chunk of rays at a time, on all devices.

    One compilation serves every chunk and every image size: the last chunk is padded.

    Args:
        render: a model's ``render``, of R rays.
        rays_per_chunk: rays at once; what bounds the memory.
        mesh: the devices; all of them unless given.

    Returns:
        ``(params, aux, cameras, image, (height, width)) -> Rendering`` of NumPy arrays [H, W, ...].
    """
    mesh = ray_mesh() if mesh is None else mesh
    share = split_evenly(rays_per_chunk, mesh, "eval.rays_per_chunk")

    def render_share(
        params: Params, aux: Aux, cameras: Cameras | RayTable, image: Array, start: Array, hw: Array
    ) -> Rendering:
        first = start + jax.lax.axis_index(RAYS) * share
        number = jnp.minimum(first + jnp.arange(share), hw[0] * hw[1] - 1)
        pixels = jnp.stack([number % hw[1], number // hw[1]], axis=1)
        return render(params, aux, jax.vmap(cast_rays, (None, None, 0))(cameras, image, pixels))

    render_chunk = jax.jit(
        jax.shard_map(
            render_share,
            mesh=mesh,
            in_specs=REPLICATED,
            out_specs=SPLIT,
        )
    )

    def render_image(
        params: Params,
        aux: Aux,
        cameras: Cameras | RayTable,
        image: int,
        size_hw: tuple[int, int],
    ) -> Rendering:
        def chunks() -> Iterator[Rendering]:
            for start in range(0, size_hw[0] * size_hw[1], rays_per_chunk):
                yield render_chunk(
                    params, aux, cameras, np.int32(image), np.int32(start), np.int32(size_hw)
                )

        def assemble(*parts: Array) -> np.ndarray:
            whole = np.concatenate([np.asarray(part) for part in parts])
            return whole[: size_hw[0] * size_hw[1]].reshape(*size_hw, *whole.shape[1:])

        return jax.tree.map(assemble, *chunks())

    return render_image
