"""The occupancy grid: the cells of a scene's space that are not empty.

Instant-NGP (Müller et al., 2022, Appendix E.2). A grid of cells holds a running maximum of the
field's density; rays are marched through it, and the field is read in occupied cells only. The
distance to the nearest one is read first, so that empty space is skipped a block of steps at a
time. Where space is contracted (:mod:`nerf_jax.contraction`), cells grow with the distance as
Instant-NGP's nested grids do, and steps with them.

Notation: ``G`` cells along an axis, ``K`` candidates: the steps of a ray, in ``B`` blocks of them.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped, UInt8

from nerf_jax.cameras import project
from nerf_jax.contraction import RaySteps, Space, contains
from nerf_jax.numerics import safe_divide, safe_norm
from nerf_jax.packing import Packed, pack, pack_ragged, sample_indices
from nerf_jax.types import Cameras, Rays

BLOCK = 8
"""Candidates that are tested together first."""

_FARTHEST = 5
"""The bound of distances, in cells: half of a block of steps as long as cells reaches 4 cells."""


class Occupancy(NamedTuple):
    """The grid, and the space that it divides."""

    space: Space
    density: Float[Array, "G G G"]
    """A running maximum, per world unit where the space's scale is 1; -1: never read."""
    visible: Bool[Array, "G G G"]
    """Cells that some camera sees. The others stay empty, as nothing can be learned there."""
    occupied: Bool[Array, "G G G"]
    distance: UInt8[Array, "G G G"]
    """Chebyshev's, in cells, to the nearest occupied cell; 5 stands for all larger ones."""


def init_grid(space: Space, resolution: int) -> Occupancy:
    """A grid of which no cell was read yet, so that all are occupied."""
    return Occupancy(
        space,
        jnp.full((resolution,) * 3, -1.0),
        jnp.ones((resolution,) * 3, bool),
        jnp.ones((resolution,) * 3, bool),
        jnp.zeros((resolution,) * 3, jnp.uint8),
    )


def mask_invisible(grid: Occupancy, visible: Bool[Array, "G G G"]) -> Occupancy:
    """The grid, with its invisible cells empty."""
    occupied = grid.occupied & visible
    return grid._replace(visible=visible, occupied=occupied, distance=chebyshev_distance(occupied))


def choose_cells(
    key: Array,
    grid: Occupancy,
    iteration: Int[Array, ""],
    count: int,
    num_in_order: Int[Array, ""],
    *,
    search: str = "scan",
) -> Int[Array, " n"]:
    """The cells to update next: some in order, so that each gets its turn, and the others at random
    among the occupied cells.

    Args:
        key: for the random ones.
        grid: the grid before the update.
        iteration: the number of updates before.
        count: n.
        num_in_order: the number of cells that are taken in order.
        search: of :func:`~nerf_jax.packing.sample_indices`.
    """
    index, total = jnp.arange(count), grid.density.size
    # Every k-th cell: an update is spread over the box, as a slab of it would depend on the field
    # at one moment. k is odd, so that it does not divide the sides.
    stride = -(-total // jnp.maximum(num_in_order, 1)) | 1
    in_order = (iteration % stride + stride * index) % total
    is_in_order = index < num_in_order
    at_random = sample_indices(key, grid.occupied.reshape(-1), count, search=search)
    return jnp.where(is_in_order, in_order, at_random)


def update(
    grid: Occupancy,
    density: Callable[[Float[Array, "n 3"]], Float[Array, " n"]],
    key: Array,
    cells: Int[Array, " n"],
    threshold: Float[Array, ""] | float,
    decay: float = 0.95,
) -> Occupancy:
    """The grid after reading the density of some cells, each at a random position within.

    Args:
        grid: the grid before the update.
        density: of points in the world, per world unit where the space's scale is 1.
        key: for the positions.
        cells: the indices of the cells.
        threshold: cells denser than this are occupied, or denser than the mean if that is less;
            so are those that were never read.
        decay: a cell's density is ``max(decay * old, new)``.
    """
    size = grid.density.shape[0]
    corner = jnp.stack(jnp.unravel_index(cells, grid.density.shape), axis=1)
    position = (corner + jax.random.uniform(key, corner.shape)) / size
    new = density(jax.vmap(grid.space.from_unit)(position))
    old = grid.density.reshape(-1)
    faded = old.at[cells].set(decay * old[cells], mode="promise_in_bounds")
    values = faded.at[cells].max(new, mode="promise_in_bounds").reshape(grid.density.shape)
    known = (values >= 0) & grid.visible
    mean = safe_divide(jnp.sum(jnp.where(known, values, 0.0)), jnp.sum(known, dtype=jnp.float32))
    occupied = grid.visible & ((values < 0) | (values > jnp.minimum(mean, threshold)))
    return grid._replace(density=values, occupied=occupied, distance=chebyshev_distance(occupied))


def chebyshev_distance(occupied: Bool[Array, "G G G"]) -> UInt8[Array, "G G G"]:
    """The distances of :class:`Occupancy`, by growing the occupied cells one cell at a time."""
    distance, near = jnp.zeros(occupied.shape, jnp.uint8), occupied
    for _ in range(_FARTHEST):
        distance += ~near
        for axis in range(3):  # a cell and its two neighbours, along each axis in turn
            padded = jnp.pad(near, [(1, 1) if a == axis else (0, 0) for a in range(3)])
            size = near.shape[axis]
            before = jax.lax.slice_in_dim(padded, 0, size, axis=axis)
            near = near | before | jax.lax.slice_in_dim(padded, 2, size + 2, axis=axis)
    return distance


class Candidates(NamedTuple):
    """Candidates of R rays in M slots."""

    packed: Packed
    step: Int[Array, " M"]
    """The index of the step along the ray."""
    t: Float[Array, " M"]
    """Distances along the rays, world units."""
    length: Float[Array, " M"]
    """Of the steps, world units."""


def occupied_blocks(
    grid: Occupancy, ray: Rays, steps: RaySteps, num_candidates: int
) -> Bool[Array, " B"]:
    """Whether each block of a ray's candidates may have some in occupied cells.

    None is missed: a block reaches from its middle as far as to its ends, or an eighth farther
    where it is bent, and the cells that it passes are at most a cell farther than that.
    """
    size = len(grid.occupied)
    halves = jnp.minimum(jnp.arange(0, num_candidates + 1, BLOCK // 2), num_candidates - 1)
    t = steps.t(halves)
    position = jax.vmap(lambda t: grid.space.to_unit(ray.origin + t * ray.direction) * size)(t)
    start, middle, end = position[:-1:2], position[1::2], position[2::2]
    farther = jnp.maximum(jnp.abs(start - middle), jnp.abs(end - middle))
    reach = functools.reduce(jnp.maximum, jnp.unstack(farther, axis=1))
    distance = jax.vmap(_read, (None, 0))(grid.distance, middle)
    return (distance <= reach * 9 / 8 + 1) & (t[:-1:2] < steps.stop)


def occupied_in_block(
    grid: Occupancy, ray: Rays, steps: RaySteps, first: Int[Array, ""]
) -> Bool[Array, " BLOCK"]:
    """Whether each candidate of a ray's block, from its first on, is in an occupied cell."""
    t = steps.t(first + jnp.arange(BLOCK))
    return lookup(grid.occupied, grid.space, ray, t) & (t < steps.stop)


def find_candidates(
    grid: Occupancy,
    rays: Rays,
    steps: RaySteps,
    blocks: Bool[Array, "R B"],
    max_blocks: int,
    max_candidates: int,
    stride: Int[Array, ""] | int = 1,
    first_step: Int[Array, " R"] | int = 0,
) -> Candidates:
    """The candidates of rays in occupied cells.

    Args:
        grid: the occupied cells.
        rays: R of them.
        steps: of each ray.
        blocks: from :func:`occupied_blocks`.
        max_blocks: slots for blocks.
        max_candidates: M, slots for candidates.
        stride: from one candidate of a ray to the next, in steps; a candidate is as long as those.
        first_step: the index of each ray's first candidate, less than the stride.
    """
    listed = pack(blocks, max_blocks)
    first = listed.index % blocks.shape[1] * BLOCK

    def occupied(ray: Int[Array, ""], first: Int[Array, ""]) -> Bool[Array, " BLOCK"]:
        own, own_steps = jax.tree.map(lambda leaf: leaf[ray], (rays, steps))
        return occupied_in_block(grid, own, own_steps, first)

    mask = jax.vmap(occupied)(listed.ray, first) & listed.valid[:, None]
    start = jnp.broadcast_to(first_step, rays.near.shape)[listed.ray]
    mask &= (first[:, None] + jnp.arange(BLOCK)[None]) % stride == start[:, None]
    mask, ends = mask.reshape(-1), listed.ends * BLOCK
    packed = pack_ragged(mask, lambda i: listed.ray[i // BLOCK], ends, listed.kept, max_candidates)
    step = first[packed.index // BLOCK] + packed.index % BLOCK
    packed_steps = jax.tree.map(lambda leaf: leaf[packed.ray], steps)
    t = packed_steps.t(step)
    return Candidates(packed, step, t, packed_steps.length(t) * stride)


def occupied_at(grid: Occupancy, position: Float[Array, "3"]) -> Bool[Array, ""]:
    """Whether a world position is in an occupied cell; outside of the space there are none."""
    in_cells = grid.space.to_unit(position) * len(grid.occupied)
    return _read(grid.occupied, in_cells) & contains(grid.space, position)


def lookup(
    cells: Bool[Array, "n n n"], space: Space, ray: Rays, t: Float[Array, " s"]
) -> Bool[Array, " s"]:
    """The cells at distances along a ray; outside of the space, the nearest cells."""
    unit = jax.vmap(lambda t: space.to_unit(ray.origin + t * ray.direction))(t)
    return jax.vmap(_read, (None, 0))(cells, unit * len(cells))


def _read(cells: Shaped[Array, "n n n"], position: Float[Array, "3"]) -> Shaped[Array, ""]:
    """The cell around a position, which is in units of cells; outside of the grid, the nearest."""
    x, y, z = jnp.clip(position.astype(jnp.int32), 0, len(cells) - 1)
    index = (x * len(cells) + y) * len(cells) + z
    return cells.reshape(-1).at[index].get(mode="promise_in_bounds")


_MARGIN = 0.05
"""Of an image's size: a cell whose centre is this little outside of it is partly inside."""


@functools.partial(jax.jit, static_argnames="size_hw")
def visible_cells(
    grid: Occupancy, cameras: Cameras, size_hw: tuple[int, int]
) -> Bool[Array, "G G G"]:
    """The cells whose centre some camera sees, farther away than its ``near``.

    Args:
        grid: the cells and their space.
        cameras: N of them.
        size_hw: of their images.
    """
    resolution = len(grid.density)
    height, width = size_hw
    margin = _MARGIN * max(size_hw)

    def seen(camera: Cameras, position: Float[Array, "3"]) -> Bool[Array, ""]:
        (x, y), depth = project(camera, 0, position)
        inside = (x > -margin) & (x < width + margin) & (y > -margin) & (y < height + margin)
        distance = safe_norm(position - camera.world_from_camera[0, :, 3])
        # Only a fisheye sees beside and behind itself; other lenses have no position there.
        ahead = depth > 1e-3 * distance
        facing = ahead if camera.lens is None else ahead | camera.lens.fisheye[0]
        return inside & facing & (distance > camera.near[0])

    def row(index: Int[Array, ""]) -> Bool[Array, " n"]:
        """A row of cells along the last axis: all rows at once would fill the memory."""
        corner = jnp.stack(jnp.unravel_index(index, (resolution, resolution)))
        last = jnp.arange(resolution)
        cell = jnp.concatenate([jnp.broadcast_to(corner, (resolution, 2)), last[:, None]], axis=1)
        position = jax.vmap(grid.space.from_unit)((cell + 0.5) / resolution)
        one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:, None], cameras)
        by_camera = jax.vmap(jax.vmap(seen, (None, 0)), (0, None))(one, position)
        return jnp.any(by_camera, axis=0)

    rows = jax.lax.map(row, jnp.arange(resolution**2))
    return rows.reshape(resolution, resolution, resolution)
