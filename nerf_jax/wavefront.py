"""Rendering of many rays without gradients: all of them advance together, front to back.

As Instant-NGP renders (Müller et al., 2022, Appendix E.3): in each iteration, the rays that still
have light left take their next few blocks of candidates; the field is read at those in occupied
cells, and composited onto the ray's sums; rays without light or candidates make room for others.
So the buffers stay full, of positions that light reaches, however the rays differ.

Notation: ``R`` rays, ``B`` blocks of a ray, ``N`` blocks and ``M`` candidates of an iteration.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, UInt32

from nerf_jax.compositing import MIN_WEIGHT
from nerf_jax.cones import disc
from nerf_jax.contraction import RaySteps
from nerf_jax.numerics import optical_depth
from nerf_jax.occupancy import BLOCK, Occupancy, occupied_blocks, occupied_in_block
from nerf_jax.packing import cumsum_by_ray, first_set, pack, pack_words
from nerf_jax.render_sparse import Budget
from nerf_jax.types import Field, Params, Rays, Rendering, View

_MOST_BLOCKS = 8
"""Of a ray in an iteration: more would often be behind a surface."""


class Wavefront(NamedTuple):
    """The state of R rays."""

    next: Int[Array, " R"]
    """The next block, as its position in the list."""
    ends: Int[Array, " R"]
    """Where the ray's blocks end in the list."""
    stop: Float[Array, " R"]
    """The sum of weights at which the ray ends."""
    sums: Float[Array, "R 5"]
    """Of weights; of weights times distances and colours."""
    half: Float[Array, " R"]
    """The sum of weights at the median depth."""
    median: Float[Array, "R 4"]
    """The sample at that sum: the sum before it, its weight, distance and length."""


class _Ahead(NamedTuple):
    """The next blocks of some rays: as many of each, in N slots."""

    rays: Int[Array, " N"]
    """The rays, of which the first ``num_rays`` are valid."""
    num_rays: Int[Array, ""]
    num_each: Int[Array, ""]
    position: Int[Array, " N"]
    """Of the blocks in the list."""
    first: Int[Array, " N"]
    """The blocks' first candidates, as steps along the ray."""
    words: UInt32[Array, " N"]
    """The candidates in occupied cells, as bits."""


class _Scene(NamedTuple):
    """What does not change while rays advance."""

    grid: Occupancy
    rays: Float[Array, "R d"]
    """Each ray and its steps as a row of numbers: one read instead of one for each field."""
    unravel: Callable[[Float[Array, " d"]], tuple[Rays, RaySteps]]
    blocks: Int[Array, " RB"]
    """The blocks near occupied cells, ray after ray, near to far: their indices along the ray."""

    def read(self, index: Int[Array, " n"]) -> tuple[Rays, RaySteps]:
        """Some of the rays, and their steps."""
        return jax.vmap(self.unravel)(self.rays.at[index].get(mode="promise_in_bounds"))


def render_wavefront(
    field: Field, params: Params, grid: Occupancy, budget: Budget, rays: Rays
) -> Rendering:
    """Render any number of rays: :func:`nerf_jax.render_sparse.render_sparse` of candidates without
    jitter, to rounding.

    Args:
        field, params: the scene.
        grid: the occupied cells.
        budget: sizes and thresholds.
        rays: R of them.
    """
    count = budget.num_candidates
    steps = jax.vmap(grid.space.ray_steps, (None, 0, None))(None, rays, count)
    near = jax.vmap(occupied_blocks, (None, 0, 0, None))(grid, rays, steps, count)
    packed = pack(near, near.size)
    starts = jnp.concatenate([jnp.zeros(1, jnp.int32), packed.ends[:-1]])
    rows = jax.vmap(lambda *both: ravel_pytree(both)[0])(rays, steps)
    unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], (rays, steps)))[1]
    scene = _Scene(grid, rows, unravel, packed.index % near.shape[1])

    def render(field: Field, state: Wavefront) -> Wavefront:
        advance = functools.partial(_advance, field, params, scene, budget)
        return jax.lax.while_loop(lambda state: jnp.any(_active(state)), advance, state)

    # Derived from the blocks, so that all vary over the devices.
    zero = near[:, 0] * 0.0
    # Half of the weight of rays whose light ends: most of those need not seek their median again.
    stop = zero + (1 - budget.min_transmittance)
    columns = functools.partial(jnp.stack, axis=1)
    starts = _skip_empty(scene, budget, starts, packed.ends)
    state = Wavefront(starts, packed.ends, stop, columns([zero] * 5), stop / 2, columns([zero] * 4))
    state = render(field, state)
    opacity, moment, *rgb = state.sums.T
    depth = (moment + MIN_WEIGHT * rays.far) / (opacity + MIN_WEIGHT)
    colorless = field._replace(color=lambda params, features, view: jnp.zeros(3))
    state = render(colorless, _seek_median(state, starts))
    before, w, t, length = state.median.T
    inside = jnp.clip((state.half - before) / jnp.maximum(w, 1e-14), 0.0, 1.0)
    median = jnp.where(opacity > MIN_WEIGHT, t + length * (inside - 0.5), rays.far)
    return Rendering(columns(rgb), opacity, depth, median)


def _active(state: Wavefront) -> Bool[Array, " R"]:
    return (state.next < state.ends) & (state.sums[:, 0] < state.stop)


def _seek_median(state: Wavefront, starts: Int[Array, " R"]) -> Wavefront:
    """The state before the rays whose median sample is not known, which end with that sample.

    How much is half is known at the end only, and what was read is not kept.
    """
    half = state.sums[:, 0] / 2
    before, w, *_ = state.median.T
    known = (before <= half) & (half <= before + w)
    return Wavefront(
        starts, jnp.where(known, starts, state.ends), half, state.sums * 0.0, half, state.median
    )


import os
RATIO=float(os.environ.get("RATIO","0.375"))
RATIO2=float(os.environ.get("RATIO2","0.375"))
SHRINK=int(os.environ.get("SHRINK","1"))


def _look_ahead(
    scene: _Scene, active: Array, next_block: Array, ends: Array, num_blocks: int
) -> _Ahead:
    """The next blocks of the first active rays: one of each, or more if there are few rays."""
    num_active = jnp.sum(active, dtype=jnp.int32)
    num_each = jnp.clip(num_blocks // jnp.maximum(num_active, 1), 1, _MOST_BLOCKS)
    slot = jnp.arange(num_blocks)
    row = slot // num_each
    chosen = first_set(active, num_blocks)
    ray = chosen[row]
    position = next_block[ray] + slot % num_each
    exists = (row < num_active) & (position < ends[ray])
    first = scene.blocks[jnp.minimum(position, scene.blocks.size - 1)] * BLOCK
    some_rays, some_steps = scene.read(ray)
    occupied = jax.vmap(occupied_in_block, (None, 0, 0, 0))(
        scene.grid, some_rays, some_steps, first
    )
    bits = (occupied & exists[:, None]).astype(jnp.uint32) << jnp.arange(BLOCK, dtype=jnp.uint32)[None]
    words = jnp.sum(bits, axis=1, dtype=jnp.uint32)
    return _Ahead(chosen, jnp.minimum(num_active, num_blocks), num_each, position, first, words)


def _skip_empty(scene: _Scene, budget: Budget, starts: Array, ends: Array) -> Array:
    """The first block of each ray with candidates in occupied cells, or its last ones."""
    num_blocks = int(budget.max_samples * RATIO2)

    def skip(state: tuple[Array, Array]) -> tuple[Array, Array]:
        next_block, found = state
        active = ~found & (next_block < ends)
        ahead = _look_ahead(scene, active, next_block, ends, num_blocks)
        slot = jnp.arange(num_blocks)
        ray = jnp.where(ahead.words > 0, ahead.rays[slot // ahead.num_each], ends.size)
        found = found.at[ray].set(True, mode="drop")
        move = (slot < ahead.num_rays) & ~found[ahead.rays]
        target = jnp.where(move, ahead.rays, ends.size)
        return next_block.at[target].add(ahead.num_each, mode="drop"), found

    return jax.lax.while_loop(
        lambda state: jnp.any(~state[1] & (state[0] < ends)), skip, (starts, ends < starts)
    )[0]


def _advance(
    field: Field, params: Params, scene: _Scene, budget: Budget, state: Wavefront
) -> Wavefront:
    """The next candidates of the first active rays, read and composited."""
    capacity = budget.max_samples // SHRINK
    num_blocks = int(capacity * RATIO)
    ahead = _look_ahead(scene, _active(state), state.next, state.ends, num_blocks)
    slot = jnp.arange(num_blocks)
    ends = jnp.minimum((slot + 1) * ahead.num_each, num_blocks)
    packed = pack_words(ahead.words, ends, capacity)

    own = ahead.rays[packed.ray]
    rays, steps = scene.read(own)
    place = packed.index // 32
    t = steps.t(ahead.first[place] + packed.index % 32)
    length = steps.length(t)
    sigma, features = jax.vmap(field.density, (None, 0))(params, jax.vmap(disc)(rays, t))
    view = View(rays.direction, rays.appearance)
    rgb = jax.vmap(field.color, (None, 0, 0))(params, features, view)

    longest = _MOST_BLOCKS * BLOCK
    tau = optical_depth(sigma, length)
    alpha = -jnp.expm1(-tau)
    visible = packed.valid & (alpha > budget.min_alpha)
    tau = jnp.where(visible, tau, 0.0)
    light = (1 - state.sums[own, 0]) * jnp.exp(tau - cumsum_by_ray(tau, packed, longest))
    visible = visible & (light > budget.min_transmittance)
    w = jnp.where(visible, light * alpha, 0.0)
    before, after = 1 - light, 1 - light + w
    half = state.half[own]
    at_half = visible & (before < half + 1e-6) & (after > half - 1e-6)

    no_ray = len(state.half)
    target = jnp.where(packed.valid, own, no_ray)
    values = jnp.stack([w, w * t, *(w[:, None] * rgb).T], axis=1)
    done = packed.kept & (slot < ahead.num_rays)
    return state._replace(
        next=state.next.at[jnp.where(done, ahead.rays, no_ray)].add(ahead.num_each, mode="drop"),
        sums=state.sums.at[target].add(values, mode="drop"),
        median=state.median.at[jnp.where(at_half, own, no_ray)].set(
            jnp.stack([before, w, t, length], axis=1), mode="drop"
        ),
    )
