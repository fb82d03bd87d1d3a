"""The renderer of rays and of images, which reads the field at every sample.

It takes a field as functions and imports no network.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

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
from nerf_jax.types import Aux, Cameras, Field, Params, Point, Rays, RayTable, Rendering, View

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
    """Monte Carlo estimate of the rendering of rays (NeRF, Eq. 3).

    The field is mapped over all ``R * S`` samples along a single axis: mapped over rays and then
    samples, every layer's gradient would transpose its activations, four times slower on a CPU.

    Args:
        field, params: the scene.
        rays: R of them.
        edges: E of each ray, from a sampler: those of S = E - 1 intervals.
        t: the sample position of each interval; the midpoints unless given.
        delta: the intervals' lengths; those between the edges unless given.
        points: the field's inputs, R x S; the discs at ``t`` unless given.

    Returns:
        R renderings without a background, and the weights of their intervals.
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
    """The weights of R rays' intervals, by the density at their midpoints."""
    t = jax.vmap(midpoints)(edges)
    sigma, _ = jax.vmap(field.density, (None, 0))(params, _flatten(_discs(rays, t)))
    return jax.vmap(compositing.weights)(sigma.reshape(t.shape), jnp.diff(edges))


_discs = jax.vmap(jax.vmap(disc, (None, 0)))
"""R x S points, of R rays and S distances along each."""


def _flatten(tree: T) -> T:
    """The first two axes of every leaf as one."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)


@functools.lru_cache(maxsize=8)
def rays_renderer(render: Callable[[Params, Aux, Rays], Rendering], mesh: Mesh) -> Any:
    """A model's ``render`` of R rays on all devices: one program for images and for scores."""
    specs = (REPLICATED, REPLICATED, SPLIT)
    return jax.jit(jax.shard_map(render, mesh=mesh, in_specs=specs, out_specs=SPLIT))


ImageRenderer = Callable[[Params, Aux, Cameras | RayTable, int, tuple[int, int]], Rendering]


def image_renderer(
    render: Callable[[Params, Aux, Rays], Rendering], rays_per_chunk: int, mesh: Mesh | None = None
) -> ImageRenderer:
    """A function that renders images in chunks of rays, on several devices.

    One compilation serves every chunk, camera and image size: the last chunk is padded. The rays'
    ``appearance`` is -1, as a view belongs to no photo.

    Args:
        render: a model's ``render``, of R rays.
        rays_per_chunk: rays at once; bounds the memory.
        mesh: the devices; all of this process unless given.

    Returns:
        ``(params, aux, cameras, image, (height, width)) -> Rendering`` of NumPy arrays [H, W, ...].
    """
    mesh = ray_mesh(jax.local_devices()) if mesh is None else mesh
    share = split_evenly(rays_per_chunk, mesh, "eval.rays_per_chunk")

    def cast_share(cameras: Cameras | RayTable, start: Array, hw: Array) -> Rays:
        first = start + jax.lax.axis_index(RAYS) * share
        index = jnp.minimum(first + jnp.arange(share), hw[0] * hw[1] - 1)
        pixels = jnp.stack([index % hw[1], index // hw[1]], axis=1)
        rays = jax.vmap(cast_rays, (None, None, 0))(cameras, jnp.int32(0), pixels)
        return rays._replace(appearance=jnp.full_like(rays.appearance, -1))

    render_chunk = rays_renderer(render, mesh)
    cast = jax.jit(jax.shard_map(cast_share, mesh=mesh, in_specs=REPLICATED, out_specs=SPLIT))

    def render_image(
        params: Params, aux: Aux, cameras: Cameras | RayTable, image: int, size_hw: tuple[int, int]
    ) -> Rendering:
        # One camera alone, so that their number does not recompile the program.
        camera = jax.tree.map(lambda leaf: leaf[image : image + 1], cameras)
        num_pixels, hw = size_hw[0] * size_hw[1], np.asarray(size_hw, np.int32)
        starts = range(0, num_pixels, rays_per_chunk)
        chunks = [render_chunk(params, aux, cast(camera, np.int32(s), hw)) for s in starts]

        def assemble(*parts: Array) -> np.ndarray:
            whole = np.concatenate([np.asarray(part) for part in parts])
            return whole[:num_pixels].reshape(*size_hw, *whole.shape[1:])

        return jax.tree.map(assemble, *chunks)

    return render_image
