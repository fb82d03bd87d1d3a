"""A surface out of a value at every place: marching cubes, some layers of the grid at a time.

Values are negative inside, positive outside, within [-1, 1], and NaN where nothing is known: there
the surface has a hole.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from nerf_jax.data.files import optional_import

Value = Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, " n"]]
"""The values at n places of the world."""

_NODES_AT_ONCE = 2**21
_LEAST = 1e-3
"""Of a value, either way: a surface just through a node would have faces without an area."""


class Grid(NamedTuple):
    """Nodes, at the corners of cubes."""

    low: Float[np.ndarray, "3"]
    """The first one, world units."""
    voxel: float
    """The side of a cube, world units."""
    shape: tuple[int, int, int]
    """Nodes along each axis."""


class Mesh(NamedTuple):
    """Triangles, their corners counter-clockwise as seen from outside."""

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]


def grid_over(low: Float[np.ndarray, "3"], high: Float[np.ndarray, "3"], resolution: int) -> Grid:
    """A grid that covers a box, with so many cubes along its longest side."""
    sides = high - low
    voxel = float(sides.max()) / resolution
    cubes = np.ceil(sides / voxel - 1e-6).astype(int)
    x, y, z = (int(count) + 1 for count in cubes)
    return Grid(low - (cubes * voxel - sides) / 2, voxel, (x, y, z))


def closed(value: Value, grid: Grid) -> tuple[Value, Grid]:
    """The same without holes: all that is unknown is inside, and all beyond the grid outside."""
    low = grid.low - grid.voxel / 2
    high = low + grid.voxel * np.array(grid.shape)

    def whole(places: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        within = ((places > low) & (places < high)).all(axis=1)
        found = value(places)
        return np.where(within, np.where(np.isnan(found), -1.0, found), 1.0)

    x, y, z = grid.shape
    return whole, Grid(grid.low - grid.voxel, grid.voxel, (x + 2, y + 2, z + 2))


def march(value: Value, grid: Grid, tell: Callable[[int, int], None]) -> Mesh:
    """The surface where a value is zero (Lorensen and Cline, 1987).

    Args:
        value: what is inside and what is not.
        grid: where it is read.
        tell: called with the layers done, and all of them.

    Returns:
        Vertices in world units; none where there is no surface.
    """
    layers, y, z = grid.shape
    step = max(1, _NODES_AT_ONCE // (y * z))
    last = _read(value, grid, 0, 1)
    parts = []
    for first in range(0, layers - 1, step):
        end = min(first + step, layers - 1)
        # Two slabs share the layer between them, read once: they meet in the same vertices.
        volume = np.concatenate([last, _read(value, grid, first + 1, end + 1)])
        last = volume[-1:]
        slab = _march_slab(volume)
        parts.append(slab._replace(vertices=slab.vertices + np.array([first, 0, 0])))
        tell(end, layers - 1)
    mesh = _join(parts, np.arange(0, layers - 1, step))
    return mesh._replace(vertices=grid.low + grid.voxel * mesh.vertices)


def _read(value: Value, grid: Grid, first: int, end: int) -> Float[np.ndarray, "X Y Z"]:
    """The values of some layers."""
    shape = (end - first, *grid.shape[1:])
    index = np.indices(shape).reshape(3, -1).T + np.array([first, 0, 0])
    found = value((grid.low + grid.voxel * index).astype(np.float32))
    found = np.where(np.abs(found) < _LEAST, np.copysign(_LEAST, found), found)
    return found.reshape(shape).astype(np.float32)


def _march_slab(volume: Float[np.ndarray, "X Y Z"]) -> Mesh:
    """The surface in those cubes whose corners are all known; in units of cubes."""
    nothing = Mesh(np.zeros((0, 3)), np.zeros((0, 3), int))
    known = ~np.isnan(volume)
    cubes = np.zeros_like(known)  # a cube's place in a mask is that of its last corner
    cubes[1:, 1:, 1:] = np.lib.stride_tricks.sliding_window_view(known, (2, 2, 2)).all((3, 4, 5))
    volume = np.where(known, volume, 1.0)
    if not (cubes.any() and volume.min() < 0 < volume.max()):
        return nothing
    measure = optional_import("skimage.measure", "nerf_jax[export]")
    try:
        # By the classic tables: with Lewiner's, four triangles may share an edge.
        vertices, faces, _, _ = measure.marching_cubes(volume, 0.0, mask=cubes, method="lorensen")
    except RuntimeError:  # values of both signs, but no cube that has both
        return nothing
    return Mesh(vertices.astype(float), faces.astype(int))


def _join(slabs: list[Mesh], planes: Int[np.ndarray, " p"]) -> Mesh:
    """The surfaces of slabs as one.

    In the plane between two slabs both have the same vertices, equal to the last bit: their cubes
    there differ in their first coordinate only, which is a whole number.
    """
    starts = np.cumsum([0, *(len(slab.vertices) for slab in slabs)])[:-1]
    vertices = np.concatenate([slab.vertices for slab in slabs])
    faces = np.concatenate([slab.faces + start for slab, start in zip(slabs, starts, strict=True)])
    shared = np.flatnonzero(np.isin(vertices[:, 0], planes))
    _, first, same = np.unique(vertices[shared], axis=0, return_index=True, return_inverse=True)
    number = np.arange(len(vertices))
    number[shared] = shared[first][same.reshape(-1)]
    return without_loose(Mesh(vertices, number[faces]))


def without_loose(mesh: Mesh) -> Mesh:
    """The mesh without the vertices that no face has."""
    used, faces = np.unique(mesh.faces, return_inverse=True)
    return Mesh(mesh.vertices[used], faces.reshape(mesh.faces.shape))
