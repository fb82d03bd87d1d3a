"""Rendering of many rays without gradients: all of them advance together, front to back.

As Instant-NGP renders (Müller et al., 2022, Section 5.4 and Appendix E): in each iteration, the
rays with light left take their next blocks of candidates; the field is read at those in occupied
cells, and composited; rays that end make room for others: buffers are full of what light reaches.

Notation: ``R`` rays, ``N`` blocks of an iteration; those of all rays, in one list, near to far.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from nerf_jax.compositing import MIN_WEIGHT, expected_depth
from nerf_jax.cones import disc
from nerf_jax.contraction import RaySteps
from nerf_jax.numerics import optical_depth
from nerf_jax.occupancy import BLOCK, Occupancy, occupied_blocks, occupied_in_block
from nerf_jax.packing import cumsum_by_ray, first_set, pack, pack_ragged
from nerf_jax.render_sparse import Budget
from nerf_jax.types import Field, Params, Rays, Rendering, View

_MOST_BLOCKS = 8
"""Of a ray in an iteration: more would often be behind a surface."""

_ROUNDING = 3e-7
"""Of sums of weights, which are at most 1."""

_columns = functools.partial(jnp.stack, axis=1)


class _Scene(NamedTuple):
    grid: Occupancy
    rows: Float[Array, "R d"]
    """Rays and their steps, each pair as a row of numbers: one read of memory."""
    from_row: Callable[[Float[Array, " d"]], tuple[Rays, RaySteps]]
    blocks: Int[Array, " L"]
    """The list of the blocks near occupied cells: their indices along the ray."""

    def rays(self, index: Int[Array, " n"]) -> tuple[Rays, RaySteps]:
        return jax.vmap(self.from_row)(self.rows.at[index].get(mode="promise_in_bounds"))


class Wavefront(NamedTuple):
    """The state of R rays."""

    next: Int[Array, " R"]
    """The position of the next block in the list."""
    ends: Int[Array, " R"]
    """Where the ray's blocks end in the list."""
    stop: Float[Array, " R"]
    """The sum of weights at which the ray ends."""
    sums: Float[Array, "R 5"]
    """Of the weights, and of weights times distance and colour."""
    half: Float[Array, " R"]
    """The sum of weights at the median depth."""
    median: Float[Array, "R 4"]
    """The sample that reaches it: the sum before, its weight, distance and length."""

    @property
    def active(self) -> Bool[Array, " R"]:
        """Rays with light left and blocks left."""
        return (self.next < self.ends) & (self.sums[:, 0] < self.stop)


def render_wavefront(
    field: Field, params: Params, grid: Occupancy, budget: Budget, rays: Rays
) -> Rendering:
    """Render any number of rays: equals :func:`nerf_jax.render_sparse.render_sparse` without
    jitter, to rounding, except that candidates below ``min_alpha`` absorb no light.

    Args:
        field, params: the scene.
        grid, budget: the occupied cells, and the sizes and thresholds.
        rays: R of them.
    """
    count = budget.num_candidates
    steps = jax.vmap(grid.space.ray_steps, (None, 0, None))(0.5, rays, count)
    near = jax.vmap(occupied_blocks, (None, 0, 0, None))(grid, rays, steps, count)
    listed = pack(near, near.size)
    rows = jax.vmap(lambda *ray: ravel_pytree(ray)[0])(rays, steps)
    _, from_row = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], (rays, steps)))
    scene = _Scene(grid, rows, from_row, listed.index % near.shape[1])
    starts = listed.ends - jnp.sum(near, axis=1, dtype=jnp.int32)
    starts = _skip_empty(scene, budget, starts, listed.ends)

    advance = functools.partial(_advance, field, params, scene, budget)

    def march(state: Wavefront, _: None) -> tuple[Wavefront, Wavefront]:
        state = jax.lax.while_loop(lambda state: jnp.any(state.active), advance, state)
        return _before_median(state, starts), state

    zero = near[:, 0] * 0.0  # derived from the rays, so that all vary over the devices
    stop = zero + (1 - budget.min_transmittance)
    sums, median = _columns([zero] * 5), _columns([zero, zero, zero + rays.far, zero])
    first = Wavefront(starts, listed.ends, stop, sums, stop / 2, median)
    _, found = jax.lax.scan(march, first, length=2)  # one loop, so that it is compiled once
    opacity, moment, *rgb = found.sums[0].T
    depth = expected_depth(moment, opacity, rays.far)
    before, w, t, length = found.median[1].T
    inside = (found.half[1] - before) / jnp.maximum(w, 1e-14)  # no weight at a median is below that
    median = t + length * (jnp.clip(inside, 0.0, 1.0) - 0.5)
    median = jnp.where(opacity > MIN_WEIGHT, median, rays.far)
    return Rendering(_columns(rgb), opacity, depth, median)


def _before_median(state: Wavefront, starts: Int[Array, " R"]) -> Wavefront:
    """The state for a second march, up to the median of each ray.

    How much is half of the weight is known at the end only. For opaque rays it is almost the half
    that the first march looked for, mostly within the same sample, so that they need no second one.
    """
    half = state.sums[:, 0] / 2
    before, w, *_ = state.median.T
    ends = jnp.where((before <= half) & (half <= before + w), starts, state.ends)
    return Wavefront(starts, ends, half, state.sums * 0.0, half, state.median)


class _Ahead(NamedTuple):
    """The next blocks of some rays, as many of each."""

    ray: Int[Array, " N"]
    """The rays, of which the first ``num_rays`` are valid."""
    num_rays: Int[Array, ""]
    num_each: Int[Array, ""]
    first: Int[Array, " N"]
    """The first candidates of the blocks: indices of steps along the ray."""
    occupied: Bool[Array, "N BLOCK"]


def _look_ahead(
    scene: _Scene,
    budget: Budget,
    active: Bool[Array, " R"],
    position: Int[Array, " R"],
    ends: Int[Array, " R"],
) -> _Ahead:
    """The next blocks of the first active rays: one of each, or more if there are few rays."""
    # Of the candidates in a block, three are in occupied cells on a typical surface.
    num_blocks = max(1, 3 * budget.max_samples // 8)
    most = min(_MOST_BLOCKS, max(1, budget.max_samples // BLOCK))
    num_active = jnp.sum(active, dtype=jnp.int32)
    num_each = jnp.clip(num_blocks // jnp.maximum(num_active, 1), 1, most)
    slot = jnp.arange(num_blocks)
    chosen = first_set(active, num_blocks)
    ray = chosen[slot // num_each]
    at = position[ray] + slot % num_each
    exists = (slot // num_each < num_active) & (at < ends[ray])
    first = scene.blocks[jnp.minimum(at, scene.blocks.size - 1)] * BLOCK
    occupied = jax.vmap(occupied_in_block, (None, 0, 0, 0))(scene.grid, *scene.rays(ray), first)
    return _Ahead(chosen, num_active, num_each, first, occupied & exists[:, None])


def _skip_empty(
    scene: _Scene, budget: Budget, starts: Int[Array, " R"], ends: Int[Array, " R"]
) -> Int[Array, " R"]:
    """Where the blocks of each ray start that hold candidates in occupied cells, or just before."""

    def skip(state: tuple[Array, Array]) -> tuple[Array, Array]:
        position, found = state
        ahead = _look_ahead(scene, budget, ~found & (position < ends), position, ends)
        slot = jnp.arange(len(ahead.first))
        some = jnp.where(ahead.occupied.any(axis=1), ahead.ray[slot // ahead.num_each], ends.size)
        found = found.at[some].set(True, mode="drop")
        empty = jnp.where((slot < ahead.num_rays) & ~found[ahead.ray], ahead.ray, ends.size)
        return position.at[empty].add(ahead.num_each, mode="drop"), found

    return jax.lax.while_loop(
        lambda state: jnp.any(~state[1] & (state[0] < ends)), skip, (starts, ends < 0)
    )[0]


def _advance(
    field: Field, params: Params, scene: _Scene, budget: Budget, state: Wavefront
) -> Wavefront:
    """The state after the next candidates of the first active rays."""
    ahead = _look_ahead(scene, budget, state.active, state.next, state.ends)
    slot = jnp.arange(len(ahead.first))
    mask, per_ray = ahead.occupied.reshape(-1), ahead.num_each * BLOCK
    ends = jnp.minimum((slot + 1) * per_ray, mask.size)
    packed = pack_ragged(mask, lambda index: index // per_ray, ends, slot >= 0, budget.max_samples)
    own = ahead.ray[packed.ray]
    rays, steps = scene.rays(own)
    t = steps.t(ahead.first[packed.index // BLOCK] + packed.index % BLOCK)
    length = steps.length(t)
    sigma, features = jax.vmap(field.density, (None, 0))(params, jax.vmap(disc)(rays, t))
    view = View(rays.direction, rays.appearance)
    rgb = jax.vmap(field.color, (None, 0, 0))(params, features, view)

    tau = optical_depth(sigma, length)
    alpha = -jnp.expm1(-tau)
    taken = packed.valid & (alpha > budget.min_alpha)
    tau = jnp.where(taken, tau, 0.0)
    inside = jnp.exp(tau - cumsum_by_ray(tau, packed, _MOST_BLOCKS * BLOCK))
    light = (1 - state.sums[own, 0]) * inside
    visible = taken & (light > budget.min_transmittance)
    w = jnp.where(visible, light * alpha, 0.0)

    before, half, none = 1 - light, state.half[own], len(state.half)
    at_half = visible & (before < half + _ROUNDING) & (before + w > half - _ROUNDING)
    kept = jnp.where(packed.kept & (slot < ahead.num_rays), ahead.ray, none)
    return state._replace(
        next=state.next.at[kept].add(ahead.num_each, mode="drop"),
        sums=state.sums.at[jnp.where(visible, own, none)].add(
            _columns([w, w * t, *(w[:, None] * rgb).T]), mode="drop"
        ),
        median=state.median.at[jnp.where(at_half, own, none)].set(
            _columns([before, w, t, length]), mode="drop"
        ),
    )
