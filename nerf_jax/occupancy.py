"""The occupancy grid: which parts of a scene's space are worth looking at.

Instant-NGP (Müller et al., 2022, Appendix E.2). A grid of cells remembers how dense the field
lately was; rays are marched through it, and the field is only asked where a cell is occupied. A
coarser copy is asked first, so that empty space is crossed a block of steps at once. Where space
is contracted (:mod:`nerf_jax.contraction`), cells grow with the distance as Instant-NGP's nested
grids do, and steps with them.

Notation: ``G`` cells along an axis, ``K`` candidates: the steps of a ray, in ``B`` blocks of them.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from nerf_jax.cameras import project
from nerf_jax.contraction import March, Space, contains
from nerf_jax.numerics import safe_divide
from nerf_jax.packing import Packed, pack, pack_ragged, sample_indices
from nerf_jax.types import Cameras, Rays

BLOCK = 8
"""Candidates that are looked at together first."""

COARSE = 4
"""Cells of the grid along the side of a cell of its coarse copy."""


class Occupancy(NamedTuple):
    """The grid, and the space it divides."""

    space: Space
    density: Float[Array, "G G G"]
    """The most seen of late, per world unit where the space's scale is 1."""
    visible: Bool[Array, "G G G"]
    """Cells that some camera sees. The others stay empty: nothing could be learned there."""
    occupied: Bool[Array, "G G G"]
    near_occupied: Bool[Array, "g g g"]
    """``g = G / COARSE``: whether a coarse cell, or one next to it, holds an occupied cell."""


def unknown(space: Space, resolution: int) -> Occupancy:
    """Nothing has been looked at yet, so anything may be anywhere."""
    coarse = resolution // COARSE
    return Occupancy(
        space,
        jnp.full((resolution,) * 3, -1.0),
        jnp.ones((resolution,) * 3, bool),
        jnp.ones((resolution,) * 3, bool),
        jnp.ones((coarse,) * 3, bool),
    )


def seen_only(grid: Occupancy, visible: Bool[Array, "G G G"]) -> Occupancy:
    """The grid, emptied where no camera sees."""
    occupied = grid.occupied & visible
    return grid._replace(visible=visible, occupied=occupied, near_occupied=_near(occupied))


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
    return jnp.where(
        number < swept, in_order, sample_indices(key, grid.occupied.reshape(-1), count)
    )


def update(
    grid: Occupancy,
    density: Callable[[Float[Array, "n 3"]], Float[Array, " n"]],
    key: Array,
    cells: Int[Array, " n"],
    threshold: Float[Array, ""] | float,
    decay: float = 0.95,
) -> Occupancy:
    """The grid after a look at some cells, each at a random place within.

    Args:
        grid: from before.
        density: of points in the world, per world unit where the space's scale is 1.
        key: for the places.
        cells: numbers of those looked at.
        threshold: cells denser than this are occupied, or denser than the mean if that is less;
            so are those that were never looked at.
        decay: a cell's density is ``max(decay * old, new)``.
    """
    size = grid.density.shape[0]
    corner = jnp.stack(jnp.unravel_index(cells, grid.density.shape), axis=1)
    place = (corner + jax.random.uniform(key, corner.shape)) / size
    new = density(jax.vmap(grid.space.world)(place))
    old = grid.density.reshape(-1)
    faded = old.at[cells].set(decay * old[cells], mode="promise_in_bounds")
    values = faded.at[cells].max(new, mode="promise_in_bounds").reshape(grid.density.shape)
    known = (values >= 0) & grid.visible
    mean = safe_divide(jnp.sum(jnp.where(known, values, 0.0)), jnp.sum(known, dtype=jnp.float32))
    occupied = grid.visible & ((values < 0) | (values > jnp.minimum(mean, threshold)))
    return grid._replace(density=values, occupied=occupied, near_occupied=_near(occupied))


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


class Candidates(NamedTuple):
    """Candidates of R rays in M slots."""

    packed: Packed
    number: Int[Array, " M"]
    """Which of its ray's candidates."""
    t: Float[Array, " M"]
    """Its distance along the ray."""
    length: Float[Array, " M"]
    """Of its step."""


def near_blocks(grid: Occupancy, ray: Rays, march: March, num_candidates: int) -> Bool[Array, " B"]:
    """Which blocks of a ray's candidates may be in occupied cells.

    None is missed as long as a step is no longer than a cell: then no candidate of a block is
    farther from the block's middle than a coarse cell is wide.
    """
    first = jnp.arange(0, num_candidates, BLOCK)
    middle = march.t(first + (BLOCK - 1) / 2)
    return look_up(grid.near_occupied, grid.space, ray, middle) & (march.t(first) < march.stop)


def find_candidates(
    grid: Occupancy,
    rays: Rays,
    marches: March,
    near: Bool[Array, "R B"],
    max_blocks: int,
    max_candidates: int,
) -> Candidates:
    """The candidates of rays in occupied cells.

    Args:
        grid: where to look.
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
        return look_up(grid.occupied, grid.space, own, t) & (t < march.stop)

    mask = jax.vmap(occupied)(blocks.ray, first) & blocks.valid[:, None]
    packed = pack_ragged(mask.reshape(-1), blocks.ends * BLOCK, blocks.kept, max_candidates)
    number = first[packed.index // BLOCK] + packed.index % BLOCK
    march = jax.tree.map(lambda leaf: leaf[packed.ray], marches)
    t = march.t(number)
    return Candidates(packed, number, t, march.length(t))


def occupied_at(grid: Occupancy, position: Float[Array, "3"]) -> Bool[Array, ""]:
    """Whether a place of the world is in an occupied cell; beyond the space there are none."""
    size = len(grid.occupied)
    cell = jnp.clip(grid.space.unit(position) * size, 0, size - 1).astype(jnp.int32)
    return grid.occupied[tuple(cell)] & contains(grid.space, position)


def look_up(
    cells: Bool[Array, "n n n"], space: Space, ray: Rays, t: Float[Array, " s"]
) -> Bool[Array, " s"]:
    """The cells at distances along a ray; beyond the space, the nearest within."""

    def number(t: Float[Array, ""]) -> Int[Array, ""]:
        place = space.unit(ray.origin + t * ray.direction) * len(cells)
        x, y, z = jnp.clip(place.astype(jnp.int32), 0, len(cells) - 1)
        return (x * len(cells) + y) * len(cells) + z

    return cells.reshape(-1).at[jax.vmap(number)(t)].get(mode="promise_in_bounds")


_MARGIN = 0.05
"""Of an image's size: a cell whose centre is this little outside of it is partly inside."""


@functools.partial(jax.jit, static_argnames="size_hw")
def visible_cells(
    grid: Occupancy, cameras: Cameras, size_hw: tuple[int, int]
) -> Bool[Array, "G G G"]:
    """The cells whose middle some camera sees, no nearer than its ``near``.

    Args:
        grid: its space says where the cells are.
        cameras: N of them.
        size_hw: of their images.
    """
    resolution = len(grid.density)
    height, width = size_hw
    margin = _MARGIN * max(size_hw)

    def seen(camera: Cameras, position: Float[Array, "3"]) -> Bool[Array, ""]:
        (x, y), depth = project(camera, 0, position)
        inside = (x > -margin) & (x < width + margin) & (y > -margin) & (y < height + margin)
        return inside & (depth > camera.near[0])

    def row(number: Int[Array, ""]) -> Bool[Array, " n"]:
        """A row of cells along the last axis: all of them at once would fill the memory."""
        corner = jnp.stack(jnp.unravel_index(number, (resolution, resolution)))
        last = jnp.arange(resolution)
        place = jnp.concatenate([jnp.broadcast_to(corner, (resolution, 2)), last[:, None]], axis=1)
        position = jax.vmap(grid.space.world)((place + 0.5) / resolution)
        one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:, None], cameras)
        by_camera = jax.vmap(jax.vmap(seen, (None, 0)), (0, None))(one, position)
        return jnp.any(by_camera, axis=0)

    rows = jax.lax.map(row, jnp.arange(resolution**2))
    return rows.reshape(resolution, resolution, resolution)
