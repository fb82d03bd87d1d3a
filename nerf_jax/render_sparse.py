"""Rendering only where it matters: in occupied cells, and there only what light reaches.

Three times fewer and fewer places of each ray are listed, in buffers of static size: blocks of
candidates near something; candidates in occupied cells, of which the density alone is read,
without gradients; and samples, whose density and colour are read in full and composited. Rays
whose places do not fit are left out whole and said so.

Notation: ``R`` rays, ``K`` candidates of a ray.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from nerf_jax import compositing
from nerf_jax.cones import disc
from nerf_jax.numerics import optical_depth
from nerf_jax.occupancy import Candidates, Occupancy, find_candidates, near_blocks
from nerf_jax.packing import Packed, pack, pack_ragged
from nerf_jax.types import Field, Params, Rays, Rendering, View


class Budget(NamedTuple):
    """How much there is room for, and what is left out. Static."""

    num_candidates: int
    """K: steps across the space."""
    max_samples: int
    """Slots for what is read in full, and for the densities that are read at once."""
    min_transmittance: float
    """Less light than this is as good as none: what is behind is not looked at."""
    min_alpha: float
    """What stops less of the light than this is air."""

    candidates_per_sample: int = 6
    """Those in occupied cells, for each that light will reach and that stops some of it."""

    @property
    def max_candidates(self) -> int:
        """Slots for candidates in occupied cells."""
        return self.candidates_per_sample * self.max_samples

    @property
    def max_blocks(self) -> int:
        """Slots for blocks of candidates: mostly a few of a block's are in occupied cells."""
        return self.max_candidates // 2


class Samples(NamedTuple):
    """Where the rays were read in full."""

    packed: Packed
    w: Float[Array, " M"]
    """Weights."""
    number: Int[Array, " M"]
    """Of the step along the ray."""


class Seen(NamedTuple):
    """What R rays see, and what it took."""

    rendering: Rendering
    kept: Bool[Array, " R"]
    """The rays that there was room for: always the first so many."""
    work: dict[str, Array]
    """How many places were looked at, of each kind."""
    samples: Samples


def render_sparse(
    field: Field,
    params: Params,
    grid: Occupancy,
    budget: Budget,
    keys: Array | None,
    rays: Rays,
) -> Seen:
    """What rays see, read where the grid is occupied; :func:`nerf_jax.render.render_rays` to
    rounding, where nothing is left out.

    The gradient is that of the samples: where light does not reach, nothing is learned.

    Args:
        field, params: the scene.
        grid: where something is.
        budget: how much to look at.
        keys: one a ray, to jitter the candidates; None puts them in the middle of their steps.
        rays: R of them.

    Raises:
        ValueError: there are more rays than room for samples.
    """
    if rays.near.size > budget.max_samples:  # a ray must have room for one density at a time
        raise ValueError(
            f"{rays.near.size} rays at once cannot share {budget.max_samples} samples: raise "
            "--model.max_samples, or lower --train.rays_per_step"
        )
    marches = jax.vmap(grid.space.march, (None if keys is None else 0, 0, None))(
        keys, rays, budget.num_candidates
    )
    near = jax.vmap(near_blocks, (None, 0, 0, None))(grid, rays, marches, budget.num_candidates)
    found = find_candidates(grid, rays, marches, near, budget.max_blocks, budget.max_candidates)

    def density(ray: Int[Array, " M"], t: Float[Array, " M"]) -> tuple[Array, Array]:
        points = jax.vmap(disc)(jax.tree.map(lambda leaf: leaf[ray], rays), t)
        return jax.vmap(field.density, (None, 0))(params, points)

    def density_alone(slot: Int[Array, " M"]) -> Float[Array, " M"]:
        sigma, _ = density(found.packed.ray[slot], found.t[slot])
        return jax.lax.stop_gradient(sigma)

    samples = _lit(density_alone, found, budget)
    t, length = found.t[samples.index], found.length[samples.index]
    sigma, features = density(samples.ray, t)
    view = jax.tree.map(lambda leaf: leaf[samples.ray], View(rays.direction, rays.appearance))
    rgb = jax.vmap(field.color, (None, 0, 0))(params, features, view)
    w = compositing.weights_packed(sigma, length, samples, budget.num_candidates)
    rendering = compositing.composite_packed(
        w, rgb, t, length, rays.far, samples, budget.num_candidates
    )
    work = {"candidates": found.packed.ends[-1], "samples": samples.ends[-1]}
    return Seen(rendering, samples.kept, work, Samples(samples, w, found.number[samples.index]))


def _lit(
    density: Callable[[Int[Array, " M"]], Float[Array, " M"]],
    found: Candidates,
    budget: Budget,
) -> Packed:
    """The candidates that light reaches and that stop some of it.

    Densities are read from near to far, a stretch of every ray at once that is still light; the
    fewer those are, the longer the stretch. So the buffer is always full of what is needed,
    whatever is behind a surface is hardly touched, and how often the loop turns is all that
    depends on the scene.
    """
    candidates, length = found.packed, found.length
    starts = jnp.concatenate([jnp.zeros(1, jnp.int32), candidates.ends[:-1]])
    counts = candidates.ends - starts
    room = budget.max_samples
    opaque = -np.log(budget.min_transmittance) if budget.min_transmittance else np.inf

    def read(state: tuple) -> tuple:
        read_so_far, going, tau, sigma = state
        stretch = room // jnp.sum(going)
        ahead = candidates.rank - read_so_far
        ask = candidates.valid & going[candidates.ray] & (ahead >= 0) & (ahead < stretch)
        asked = pack_ragged(ask, candidates.ends, candidates.kept, room)
        new = density(asked.index)
        sigma = sigma.at[jnp.where(asked.valid, asked.index, sigma.size)].set(new, mode="drop")
        stopped = optical_depth(new, length[asked.index])
        tau = tau.at[asked.ray].add(jnp.where(asked.valid, stopped, 0.0))
        read_so_far = read_so_far + stretch
        return read_so_far, (tau < opaque) & (read_so_far < counts), tau, sigma

    zero = counts * 0.0  # made of what it is for, so that both are known to vary over the devices
    state = counts[0] * 0, counts > 0, zero, candidates.index * 0.0
    *_, sigma = jax.lax.while_loop(lambda state: jnp.any(state[1]), read, state)
    light = compositing.transmittance_packed(sigma, length, candidates, budget.num_candidates)
    alpha = -jnp.expm1(-optical_depth(sigma, length))
    lit = candidates.valid & (light > budget.min_transmittance) & (alpha > budget.min_alpha)
    return pack_ragged(lit, candidates.ends, candidates.kept, room)


def render_all(
    see: Callable[[Rays], Seen], rays: Rays, promising: Bool[Array, " R"], window: int
) -> Rendering:
    """What any number of rays see, in as many turns of one compiled loop as it takes.

    Rays that promise nothing cost nothing; those that found no room come first in the next turn.

    Args:
        see: of ``window`` rays; it must keep at least the first.
        rays: R of them.
        promising: whether a ray may hit anything.
        window: rays of a turn.
    """
    num_rays = promising.size
    order = pack(promising[:, None], num_rays)
    total = order.ends[-1]

    def turn(state: tuple[Array, Rendering]) -> tuple[Array, Rendering]:
        done, rendering = state
        slot = done + jnp.arange(window)
        number = order.index[jnp.minimum(slot, num_rays - 1)]
        some = jax.tree.map(lambda leaf: leaf[number], rays)
        some = some._replace(far=jnp.where(slot < total, some.far, -jnp.inf))
        seen = see(some)
        place = jnp.where(seen.kept & (slot < total), number, num_rays)
        rendering = jax.tree.map(
            lambda whole, part: whole.at[place].set(part, mode="drop"), rendering, seen.rendering
        )
        return done + jnp.sum(seen.kept, dtype=done.dtype), rendering

    zero = promising * 0.0  # made of it, so that both are known to vary over the devices
    far = rays.far + zero
    nothing = Rendering(jnp.stack([zero] * 3, axis=1), zero, far, far)
    return jax.lax.while_loop(lambda state: state[0] < total, turn, (total * 0, nothing))[1]
