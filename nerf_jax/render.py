"""The renderer: a field, seen along a ray, along many, as an image.

Takes a field as functions and never imports a network.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from nerf_jax import compositing
from nerf_jax.cameras import cast_rays
from nerf_jax.cones import disc
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

T = TypeVar("T")


def render_rays(
    field: Field,
    params: Params,
    rays: Rays,
    edges: Float[Array, "R E"],
    *,
    t: Float[Array, "R E-1"] | None = None,
    delta: Float[Array, "R E-1"] | None = None,
    points: Point | None = None,
) -> tuple[Rendering, Float[Array, "R E-1"]]:
    """Monte Carlo estimate of what rays see (NeRF, Eq. 3).

    The one place where points of many rays meet: the field is mapped over all ``R * S`` of them
    along a single axis. Mapped over rays and then samples, every layer's gradient would first
    transpose its activations: four times slower on a CPU.

    Args:
        field, params: the scene.
        rays: R of them.
        edges: E of each ray, from a sampler: those of S = E - 1 intervals.
        t: where in each interval the field is read; the midpoints unless given.
        delta: the intervals' lengths, where a method has its own idea of them.
        points: what the field reads of each interval, R x S, where that is more than the place
            at ``t``.

    Returns:
        R renderings, before any background, and the weights of their intervals.
    """
    t = jax.vmap(midpoints)(edges) if t is None else t
    delta = jnp.diff(edges) if delta is None else delta
    points = _discs(rays, t) if points is None else points
    view = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf[:, None], (*t.shape, *leaf.shape[1:])),
        View(rays.direction, rays.appearance),
    )
    sigma, features = jax.vmap(field.density, (None, 0))(params, _flatten(points))
    rgb = jax.vmap(field.color, (None, 0, 0))(params, features, _flatten(view))
    w = jax.vmap(compositing.weights)(sigma.reshape(t.shape), delta)
    return jax.vmap(compositing.composite)(w, rgb.reshape(*t.shape, 3), edges), w


def ray_weights(
    field: Field, params: Params, rays: Rays, edges: Float[Array, "R E"]
) -> Float[Array, "R E-1"]:
    """The weights of R rays' intervals, by the density alone in their middles."""
    t = jax.vmap(midpoints)(edges)
    sigma, _ = jax.vmap(field.density, (None, 0))(params, _flatten(_discs(rays, t)))
    return jax.vmap(compositing.weights)(sigma.reshape(t.shape), jnp.diff(edges))


_discs = jax.vmap(jax.vmap(disc, (None, 0)))
"""R x S places, of R rays and the distances along them."""


def _flatten(tree: T) -> T:
    """The first two axes of every leaf as one."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)


ImageRenderer = Callable[[Params, Aux, Cameras | RayTable, int, tuple[int, int]], Rendering]


def image_renderer(
    render: Callable[[Params, Aux, Rays], Rendering],
    rays_per_chunk: int,
    mesh: Mesh | None = None,
) -> ImageRenderer:
    """A function that renders whole images, a chunk of rays at a time, on all devices.

    One compilation serves every chunk, camera and image size: the last chunk is padded. A view
    is of no photo: its rays' ``appearance`` is -1.

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
        params: Params, aux: Aux, cameras: Cameras | RayTable, start: Array, hw: Array
    ) -> Rendering:
        first = start + jax.lax.axis_index(RAYS) * share
        number = jnp.minimum(first + jnp.arange(share), hw[0] * hw[1] - 1)
        pixels = jnp.stack([number % hw[1], number // hw[1]], axis=1)
        rays = jax.vmap(cast_rays, (None, None, 0))(cameras, jnp.int32(0), pixels)
        return render(params, aux, rays._replace(appearance=jnp.full_like(rays.appearance, -1)))

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
        # One camera alone: how many there are is no reason to compile anew.
        camera = jax.tree.map(lambda leaf: leaf[image : image + 1], cameras)

        def chunks() -> Iterator[Rendering]:
            for start in range(0, size_hw[0] * size_hw[1], rays_per_chunk):
                yield render_chunk(
                    params,
                    aux,
                    camera,
                    np.int32(start),
                    np.asarray(size_hw, np.int32),
                )

        def assemble(*parts: Array) -> np.ndarray:
            whole = np.concatenate([np.asarray(part) for part in parts])
            return whole[: size_hw[0] * size_hw[1]].reshape(*size_hw, *whole.shape[1:])

        return jax.tree.map(assemble, *chunks())

    return render_image
