"""Rendering only where light reaches: occupied cells, and of those only what is visible.

Each stage lists fewer samples of the rays, in buffers of static size: blocks of candidates near
occupied cells; candidates in occupied cells, of which the density alone is read, without
gradients; samples, whose density and colour are read and composited. Rays whose samples do not fit
are dropped whole, and reported.

Notation: ``R`` rays, ``K`` candidates of a ray, ``M`` slots of a buffer.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from nerf_jax import compositing
from nerf_jax.cones import disc
from nerf_jax.numerics import normalize, optical_depth
from nerf_jax.occupancy import BLOCK, Candidates, Occupancy, find_candidates, occupied_blocks
from nerf_jax.packing import Packed, cumsum_by_ray, pack_ragged
from nerf_jax.types import Field, Params, Rays, Rendering, View


class Budget(NamedTuple):
    """The sizes of the buffers, and the thresholds of what is skipped. Static."""

    num_candidates: int
    """K: steps of a ray through the space."""
    max_samples: int
    """Slots for samples, and for the densities that are read at once."""
    min_transmittance: float
    """Candidates that less light reaches are skipped."""
    min_alpha: float
    """Candidates that absorb a smaller share of the light are skipped."""
    roulette_weight: float = 0.0
    """Of candidates with a smaller weight, only some are taken in training: :func:`_roulette`."""
    direction_noise: float = 0.0
    """Standard deviation on colours' directions in training, radians; it smooths (Bishop, 1995)."""
    candidates_per_sample: int = 6
    """Candidates in occupied cells for each sample."""
    loops: bool = True
    """Whether densities are read in a loop that ends where no light is left, or all at once."""

    @property
    def max_candidates(self) -> int:
        """Slots for candidates in occupied cells."""
        return self.candidates_per_sample * self.max_samples

    @property
    def max_blocks(self) -> int:
        """Slots for blocks of candidates, of which mostly a few are in occupied cells."""
        return self.max_candidates // 2


class Samples(NamedTuple):
    """The samples of R rays in M slots."""

    packed: Packed
    w: Float[Array, " M"]
    """Weights."""
    t: Float[Array, " M"]
    """Distances, world units."""
    step: Int[Array, " M"]
    """The index of the step along the ray."""


class SparseRendering(NamedTuple):
    """The rendering of R rays, and its statistics."""

    rendering: Rendering
    kept: Bool[Array, " R"]
    """The rays that fit: always the first ones."""
    counts: dict[str, Array]
    """The numbers of candidates and of samples, and the stride of the candidates."""
    samples: Samples


def render_sparse(
    field: Field,
    params: Params,
    grid: Occupancy,
    budget: Budget,
    keys: Array | None,
    rays: Rays,
    progress: Float[Array, ""] | None = None,
) -> SparseRendering:
    """Render rays where the grid is occupied: equals :func:`nerf_jax.render.render_rays` to
    rounding, where nothing is skipped.

    The gradient is that of the samples: nothing is learned where light does not reach.

    Args:
        field, params: the scene.
        grid, budget: the occupied cells, and the sizes and thresholds.
        keys: one a ray, to jitter the candidates; None: they are the midpoints of all steps.
        rays: R of them.
        progress: of training, from 0 to 1; None: as at its start. See :func:`_choose_stride`.

    Raises:
        ValueError: there are more rays than slots for samples.
    """
    if rays.near.size > budget.max_samples:  # a ray must have room for one density at a time
        raise ValueError(
            f"{rays.near.size} rays at once cannot share {budget.max_samples} samples: raise "
            "--model.max_samples, or lower --train.rays_per_step"
        )
    count, u, offset = budget.num_candidates, None, jnp.full_like(rays.near, 0.5)
    if keys is not None:  # for the steps, the stride and the roulette, as each draw takes its time
        u = jax.vmap(lambda key: jax.random.uniform(key, (3,)), out_axes=1)(keys)
        offset = u[0]
    steps = jax.vmap(grid.space.ray_steps, (0, 0, None))(offset, rays, count)
    blocks = jax.vmap(occupied_blocks, (None, 0, 0, None))(grid, rays, steps, count)
    stride, first_step = _choose_stride(u, blocks, budget, progress)
    candidates = find_candidates(
        grid, rays, steps, blocks, budget.max_blocks, budget.max_candidates, stride, first_step
    )

    def density(ray: Int[Array, " M"], t: Float[Array, " M"]) -> tuple[Array, Array]:
        points = jax.vmap(disc)(jax.tree.map(lambda leaf: leaf[ray], rays), t)
        return jax.vmap(field.density, (None, 0))(params, points)

    def density_alone(slot: Int[Array, " M"]) -> Float[Array, " M"]:
        return jax.lax.stop_gradient(density(candidates.packed.ray[slot], candidates.t[slot])[0])

    if budget.loops:
        found = _read_densities(density_alone, candidates, budget)
    else:
        found = density_alone(jnp.arange(budget.max_candidates))
    visible, length = _visible(found, candidates, budget, u)
    packed = _pack_again(candidates.packed, visible, budget.max_samples)
    t, length = candidates.t[packed.index], length[packed.index]
    sigma, features = density(packed.ray, t)
    view = View(rays.direction, rays.appearance)
    if keys is not None and budget.direction_noise:
        noise = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 1), (3,)))(keys)
        view = view._replace(direction=normalize(view.direction + budget.direction_noise * noise))
    view = jax.tree.map(lambda leaf: leaf[packed.ray], view)
    rgb = jax.vmap(field.color, (None, 0, 0))(params, features, view)
    w = compositing.weights_packed(sigma, length, packed, count)
    rendering = compositing.composite_packed(w, rgb, t, length, rays.far, packed, count)
    counts = {"candidates": candidates.packed.ends[-1], "samples": packed.ends[-1]}
    counts["stride"] = jnp.asarray(stride)
    samples = Samples(packed, w, t, candidates.step[packed.index])
    return SparseRendering(rendering, packed.kept, counts, samples)


def _choose_stride(
    u: Float[Array, "3 R"] | None,
    blocks: Bool[Array, "R B"],
    budget: Budget,
    progress: Array | None,
) -> tuple[Int[Array, ""] | int, Int[Array, " R"] | int]:
    """The stride from one candidate of a ray to the next, and the first one of each ray, at random.

    While space is not yet known to be empty, the blocks of a few rays would fill the buffers, and
    longer steps make room for more rays: where the blocks are n times too many, steps are sqrt(n)
    times as long, rounded up, or in the second half of training to the nearest. So scenes with
    little empty space too end with every step, as in rendering, though with fewer rays.
    """
    if u is None:
        return 1, 0
    less = 0.0 if progress is None else 0.5 * (progress > 0.5)
    longer = jnp.ceil(jnp.sqrt(jnp.sum(blocks) / budget.max_blocks) - less)
    stride = jnp.clip(longer, 1, BLOCK).astype(jnp.int32)
    return stride, jnp.minimum((u[1] * stride).astype(jnp.int32), stride - 1)


def _pack_again(packed: Packed, mask: Bool[Array, " N"], capacity: int) -> Packed:
    """Some of the slots, in a buffer of their own."""
    return pack_ragged(mask, lambda slot: packed.ray[slot], packed.ends, packed.kept, capacity)


class _Reading(NamedTuple):
    """The state of the density loop."""

    num_read: Int[Array, ""]
    """Candidates of each ray that were read, or were not needed."""
    active: Bool[Array, " R"]
    """Rays with light left and candidates left."""
    optical_depth: Float[Array, " R"]
    """Along each ray, so far."""
    sigma: Float[Array, " M"]
    """Densities of the candidates; zero where not read."""


def _read_densities(
    density: Callable[[Int[Array, " M"]], Float[Array, " M"]], found: Candidates, budget: Budget
) -> Float[Array, " M"]:
    """The densities of the candidates that light reaches; zero for some others.

    They are read from near to far, an interval of every active ray in each iteration; the fewer
    rays are active, the longer the interval. So the buffer is always full of what is needed, hardly
    anything behind a surface is read, and only the number of iterations depends on the scene.
    """
    candidates, length = found.packed, found.length
    starts = jnp.concatenate([jnp.zeros(1, jnp.int32), candidates.ends[:-1]])
    counts = candidates.ends - starts
    capacity = budget.max_samples
    opaque = -np.log(budget.min_transmittance) if budget.min_transmittance else np.inf

    def read(state: _Reading) -> _Reading:
        num_new = capacity // jnp.sum(state.active)
        ahead = candidates.rank - state.num_read
        active = candidates.valid & state.active[candidates.ray]
        wanted = active & (ahead >= 0) & (ahead < num_new)
        packed = _pack_again(candidates, wanted, capacity)
        new = density(packed.index)
        slot = jnp.where(packed.valid, packed.index, state.sigma.size)
        sigma = state.sigma.at[slot].set(new, mode="drop")
        added = optical_depth(new, length[packed.index])
        total = state.optical_depth.at[packed.ray].add(jnp.where(packed.valid, added, 0.0))
        num_read = state.num_read + num_new
        return _Reading(num_read, (total < opaque) & (num_read < counts), total, sigma)

    zero = counts * 0.0  # derived from the counts, so that both vary over the devices
    state = _Reading(counts[0] * 0, counts > 0, zero, candidates.index * 0.0)
    return jax.lax.while_loop(lambda state: jnp.any(state.active), read, state).sigma


def _visible(
    sigma: Float[Array, " M"], found: Candidates, budget: Budget, u: Float[Array, "3 R"] | None
) -> tuple[Bool[Array, " M"], Float[Array, " M"]]:
    """The candidates that light reaches and that absorb some of it, and the lengths of all."""
    packed, length = found.packed, found.length
    light = compositing.transmittance_packed(sigma, length, packed, budget.num_candidates)
    alpha = -jnp.expm1(-optical_depth(sigma, length))
    reached = packed.valid & (light > budget.min_transmittance)
    if u is None or not budget.roulette_weight:
        return reached & (alpha > budget.min_alpha), length
    # A share is at least alpha, so that no sample absorbs light many times over.
    share = jnp.minimum(jnp.maximum(light * alpha / budget.roulette_weight, alpha), 1.0)
    share = jnp.where(reached, share, 0.0)
    taken = _roulette(share, u[2, packed.ray], packed, budget.num_candidates)
    return taken, length / jnp.where(taken, share, 1.0)


def _roulette(
    share: Float[Array, " M"], u: Float[Array, " M"], packed: Packed, longest: int
) -> Bool[Array, " M"]:
    """Russian roulette (Arvo and Kirk, 1990): candidates taken at random, each with a probability.

    Where they are taken, their optical depth is divided by it, so that its mean is unchanged. While
    a scene is full of thin fog, a few of its many candidates then stand for all, and the samples
    serve more rays. Systematic sampling: a ray takes one candidate for each whole number that the
    sum of its shares passes.
    """
    total = cumsum_by_ray(share, packed, longest)
    passed = jnp.floor(total + u) > jnp.floor(total - share + u)
    return (share > 0) & (passed | (share >= 1))
