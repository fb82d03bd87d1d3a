"""The occupancy grid: which parts of the scene's box are worth looking at.

Instant-NGP (Müller et al., 2022, Appendix E.2). A grid of cells remembers how dense the field
lately was; rays are marched through it in even steps, and the field is only asked where a cell is
occupied. A coarser copy is asked first, so that empty space is crossed a block of steps at once.

Notation: ``G`` cells along an axis, ``K`` candidates: the even steps of a ray, across the box, in
``B`` blocks of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from nerf_jax.numerics import safe_divide
from nerf_jax.packing import Packed, draw, pack, pack_ragged
from nerf_jax.types import Rays

BLOCK = 8
"""Candidates that are looked at together first."""

COARSE = 4
"""Cells of the grid along the side of a cell of its coarse copy."""


class Box(NamedTuple):
    """What the scene is within, its sides along the axes; world units."""

    low: Float[Array, "3"]
    high: Float[Array, "3"]

    def unit(self, position: Float[Array, "3"]) -> Float[Array, "3"]:
        """A position in the world as one in the unit cube."""
        return (position - self.low) / (self.high - self.low)

    def world(self, unit: Float[Array, "3"]) -> Float[Array, "3"]:
        """And back."""
        return self.low + unit * (self.high - self.low)

    def step(self, num_candidates: int) -> Float[Array, ""]:
        """The length of a candidate's step, when so many reach through the diagonal."""
        return jnp.linalg.norm(self.high - self.low) / num_candidates


class Occupancy(NamedTuple):
    """The grid, over a box that is known from the config."""

    density: Float[Array, "G G G"]
    """The most seen of late, per world unit."""
    occupied: Bool[Array, "G G G"]
    near_occupied: Bool[Array, "g g g"]
    """``g = G / COARSE``: whether a coarse cell, or one next to it, holds an occupied cell."""


def unknown(resolution: int) -> Occupancy:
    """Nothing has been looked at yet, so anything may be anywhere."""
    coarse = resolution // COARSE
    return Occupancy(
        jnp.full((resolution,) * 3, -1.0),
        jnp.ones((resolution,) * 3, bool),
        jnp.ones((coarse,) * 3, bool),
    )


def choose_cells(
    key: Array, grid: Occupancy, turn: Int[Array, ""], count: int, swept: Int[Array, ""]
) -> Int[Array, " n"]:
    """The cells to look at next: some in their order, so that none is forgotten, and others at
    random among the occupied.

    Args:
        key: for those at random.
        grid: as it is.
        turn: how many times cells were chosen before.
        count: n.
        swept: how many of them are taken in order.
    """
    number, total = jnp.arange(count), grid.density.size
    # Every so manieth cell: a look is spread over the box, and never at a slab of it, which would
    # be judged by the field of one moment. Odd, so that it goes round the axes in turn.
    stride = -(-total // jnp.maximum(swept, 1)) | 1
    in_order = (turn % stride + stride * number) % total
    return jnp.where(number < swept, in_order, draw(key, grid.occupied.reshape(-1), count))


def update(
    grid: Occupancy,
    box: Box,
    density: Callable[[Float[Array, "n 3"]], Float[Array, " n"]],
    key: Array,
    cells: Int[Array, " n"],
    threshold: Float[Array, ""] | float,
    decay: float = 0.95,
) -> Occupancy:
    """The grid after a look at some cells, each at a random place within.

    Args:
        grid: from before.
        box: its box.
        density: of points in the world, per world unit.
        key: for the places.
        cells: numbers of those looked at.
        threshold: cells denser than this are occupied, or denser than the mean if that is less;
            so are those that were never looked at.
        decay: a cell's density is ``max(decay * old, new)``.
    """
    size = grid.density.shape[0]
    corner = jnp.stack(jnp.unravel_index(cells, grid.density.shape), axis=1)
    place = (corner + jax.random.uniform(key, corner.shape)) / size
    new = density(jax.vmap(box.world)(place))
    old = grid.density.reshape(-1)
    faded = old.at[cells].set(decay * old[cells], mode="promise_in_bounds")
    values = faded.at[cells].max(new, mode="promise_in_bounds").reshape(grid.density.shape)
    known = values >= 0
    mean = safe_divide(jnp.sum(jnp.where(known, values, 0.0)), jnp.sum(known, dtype=jnp.float32))
    occupied = ~known | (values > jnp.minimum(mean, threshold))
    return Occupancy(values, occupied, _near(occupied))


def _near(occupied: Bool[Array, "G G G"]) -> Bool[Array, "g g g"]:
    g = occupied.shape[0] // COARSE
    blocks = occupied.reshape(g, COARSE, g, COARSE, g, COARSE).any(axis=(1, 3, 5))
    for axis in range(3):  # a cell and its two neighbours, along each axis in turn
        padded = jnp.pad(blocks, [(1, 1) if a == axis else (0, 0) for a in range(3)])
        blocks = (
            jax.lax.slice_in_dim(padded, 0, g, axis=axis)
            | blocks
            | jax.lax.slice_in_dim(padded, 2, g + 2, axis=axis)
        )
    return blocks


def intersect(ray: Rays, box: Box) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Where a ray enters and leaves a box, within its near and far: the slab method.

    A ray that misses leaves before it enters. A direction of length zero never moves: it sees all
    or nothing of the box.
    """
    # Parallel to a slab, a ray is between its planes for ever, or never.
    ahead = jnp.where((ray.origin >= box.low) & (ray.origin <= box.high), -jnp.inf, jnp.inf)
    to_low = safe_divide(box.low - ray.origin, ray.direction, ahead)
    to_high = safe_divide(box.high - ray.origin, ray.direction, -ahead)
    moves = ray.direction != 0
    first = jnp.where(moves, jnp.minimum(to_low, to_high), to_low)
    last = jnp.where(moves, jnp.maximum(to_low, to_high), to_high)
    return jnp.maximum(jnp.max(first), ray.near), jnp.minimum(jnp.min(last), ray.far)


class March(NamedTuple):
    """A ray's candidates: ``t = start + (k + offset) * step`` for ``k < count``."""

    start: Float[Array, ""]
    stop: Float[Array, ""]
    offset: Float[Array, ""]
    """Where in its step each candidate is, in [0, 1)."""
    step: Float[Array, ""]
    """World units."""

    def t(self, candidate: Num[Array, "*n"]) -> Float[Array, "*n"]:
        """Distances of candidates, and of places between them."""
        return self.start + (candidate + self.offset) * self.step


def march(key: Array | None, ray: Rays, box: Box, num_candidates: int) -> March:
    """Even steps across the box, so long that K of them reach through its diagonal.

    Args:
        key: for the offset of all the ray's candidates; None puts them in the middle of the steps.
        ray: one.
        box: where the scene is.
        num_candidates: K.
    """
    start, stop = intersect(ray, box)
    # A ray that misses has no steps, and a place all the same: unfilled slots read there, and what
    # is infinite there would be NaN in the gradient, though none of it is asked for.
    hits = start < stop
    start, stop = jnp.where(hits, start, ray.near), jnp.where(hits, stop, ray.near)
    offset = jnp.float32(0.5) if key is None else jax.random.uniform(key)
    return March(start, stop, offset, box.step(num_candidates))


class Candidates(NamedTuple):
    """Candidates of R rays in M slots."""

    packed: Packed
    number: Int[Array, " M"]
    """Which of its ray's candidates."""
    t: Float[Array, " M"]
    """Its distance along the ray."""


def near_blocks(
    grid: Occupancy, box: Box, ray: Rays, march: March, num_candidates: int
) -> Bool[Array, " B"]:
    """Which blocks of a ray's candidates may be in occupied cells.

    None is missed as long as a step is no longer than a cell: then no candidate of a block is
    farther from the block's middle than a coarse cell is wide.
    """
    first = jnp.arange(0, num_candidates, BLOCK)
    middle = march.t(first + (BLOCK - 1) / 2)
    return _look_up(grid.near_occupied, box, ray, middle) & (march.t(first) < march.stop)


def find_candidates(
    grid: Occupancy,
    box: Box,
    rays: Rays,
    marches: March,
    near: Bool[Array, "R B"],
    max_blocks: int,
    max_candidates: int,
) -> Candidates:
    """The candidates of rays in occupied cells.

    Args:
        grid, box: where to look.
        rays: R of them.
        marches: theirs.
        near: the blocks worth looking into, from :func:`near_blocks`.
        max_blocks: slots for those.
        max_candidates: M, slots for candidates.
    """
    blocks = pack(near, max_blocks)
    first = blocks.index % near.shape[1] * BLOCK

    def occupied(ray: Int[Array, ""], first: Int[Array, ""]) -> Bool[Array, " BLOCK"]:
        own, march = jax.tree.map(lambda leaf: leaf[ray], (rays, marches))
        t = march.t(first + jnp.arange(BLOCK))
        return _look_up(grid.occupied, box, own, t) & (t < march.stop)

    mask = jax.vmap(occupied)(blocks.ray, first) & blocks.valid[:, None]
    packed = pack_ragged(mask.reshape(-1), blocks.ends * BLOCK, blocks.kept, max_candidates)
    number = first[packed.index // BLOCK] + packed.index % BLOCK
    march = jax.tree.map(lambda leaf: leaf[packed.ray], marches)
    return Candidates(packed, number, march.t(number))


def _look_up(
    cells: Bool[Array, "n n n"], box: Box, ray: Rays, t: Float[Array, " s"]
) -> Bool[Array, " s"]:
    """The cells at distances along a ray; beyond the box, the nearest within."""
    scale = cells.shape[0] / (box.high - box.low)
    place = [
        (ray.origin[axis] - box.low[axis] + t * ray.direction[axis]) * scale[axis]
        for axis in range(3)
    ]
    x, y, z = (jnp.clip(p.astype(jnp.int32), 0, cells.shape[0] - 1) for p in place)
    number = (x * cells.shape[0] + y) * cells.shape[0] + z
    return cells.reshape(-1).at[number].get(mode="promise_in_bounds")
