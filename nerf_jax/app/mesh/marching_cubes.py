"""The zero level set of a scalar field as a mesh, by marching cubes over slabs of a grid.

A field is negative inside, positive outside, within [-1, 1], and NaN where it is unknown: there
the surface has a hole.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from nerf_jax.data.files import optional_import

ScalarField = Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, " n"]]
"""The values at n positions in world units."""

_NODES_AT_ONCE = 2**21
_MIN_VALUE = 1e-3
"""Values are kept this far from zero: a surface through a node would have faces of zero area."""


class Grid(NamedTuple):
    """The nodes at the corners of cubes."""

    low: Float[np.ndarray, "3"]
    """Position of the first node, in world units."""
    voxel: float
    """Side of a cube, in world units."""
    shape: tuple[int, int, int]
    """Number of nodes along each axis."""


class Mesh(NamedTuple):
    """Triangles with counter-clockwise corners as seen from outside."""

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]


def grid_over(low: Float[np.ndarray, "3"], high: Float[np.ndarray, "3"], resolution: int) -> Grid:
    """A grid that covers a box, with ``resolution`` cubes along the longest side."""
    sides = high - low
    voxel = float(sides.max()) / resolution
    cubes = np.ceil(sides / voxel - 1e-6).astype(int)
    x, y, z = (int(count) + 1 for count in cubes)
    return Grid(low - (cubes * voxel - sides) / 2, voxel, (x, y, z))


def close_holes(field: ScalarField, grid: Grid) -> tuple[ScalarField, Grid]:
    """A field without holes: unknown positions are inside, positions beyond the grid outside."""
    low = grid.low - grid.voxel / 2
    high = low + grid.voxel * np.array(grid.shape)

    def closed(positions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        within = ((positions > low) & (positions < high)).all(axis=1)
        values = field(positions)
        return np.where(within, np.where(np.isnan(values), -1.0, values), 1.0)

    x, y, z = grid.shape
    return closed, Grid(grid.low - grid.voxel, grid.voxel, (x + 2, y + 2, z + 2))


def isosurface(field: ScalarField, grid: Grid, on_progress: Callable[[int, int], None]) -> Mesh:
    """The surface where a field is zero (Lorensen and Cline, 1987), in world units; may be empty.

    The grid is processed in slabs, which bounds the memory.
    """
    layers, y, z = grid.shape
    step = max(1, _NODES_AT_ONCE // (y * z))
    last = _evaluate(field, grid, 0, 1)
    slabs = []
    for first in range(0, layers - 1, step):
        end = min(first + step, layers - 1)
        # Neighbouring slabs share one layer, evaluated once: they meet in equal vertices.
        volume = np.concatenate([last, _evaluate(field, grid, first + 1, end + 1)])
        last = volume[-1:]
        slab = _slab_surface(volume)
        slabs.append(slab._replace(vertices=slab.vertices + np.array([first, 0, 0])))
        on_progress(end, layers - 1)
    mesh = _join(slabs, np.arange(0, layers - 1, step))
    return mesh._replace(vertices=grid.low + grid.voxel * mesh.vertices)


def _evaluate(field: ScalarField, grid: Grid, first: int, end: int) -> Float[np.ndarray, "X Y Z"]:
    """The values in the layers from ``first`` up to ``end``."""
    shape = (end - first, *grid.shape[1:])
    index = np.indices(shape).reshape(3, -1).T + np.array([first, 0, 0])
    values = field((grid.low + grid.voxel * index).astype(np.float32))
    values = np.where(np.abs(values) < _MIN_VALUE, np.copysign(_MIN_VALUE, values), values)
    return values.reshape(shape).astype(np.float32)


def _slab_surface(volume: Float[np.ndarray, "X Y Z"]) -> Mesh:
    """The surface in the cubes whose eight corners are all known; in units of cubes."""
    empty = Mesh(np.zeros((0, 3)), np.zeros((0, 3), int))
    known = ~np.isnan(volume)
    cubes = np.zeros_like(known)  # scikit-image masks a cube at its last corner
    cubes[1:, 1:, 1:] = np.lib.stride_tricks.sliding_window_view(known, (2, 2, 2)).all((3, 4, 5))
    volume = np.where(known, volume, 1.0)
    if not (cubes.any() and volume.min() < 0 < volume.max()):
        return empty
    measure = optional_import("skimage.measure", "nerf_jax[export]")
    try:
        # The classic tables: with Lewiner's, four triangles may share an edge.
        vertices, faces, _, _ = measure.marching_cubes(volume, 0.0, mask=cubes, method="lorensen")
    except RuntimeError:  # values of both signs, but no cube with both
        return empty
    return Mesh(vertices.astype(float), faces.astype(int))


def _join(slabs: list[Mesh], planes: Int[np.ndarray, " p"]) -> Mesh:
    """Join the surfaces of slabs at the planes (first coordinates) between them.

    In such a plane both slabs have bitwise equal vertices: their coordinates within a slab differ
    by an integer only.
    """
    starts = np.cumsum([0, *(len(slab.vertices) for slab in slabs)])[:-1]
    vertices = np.concatenate([slab.vertices for slab in slabs])
    faces = np.concatenate([slab.faces + start for slab, start in zip(slabs, starts, strict=True)])
    shared = np.flatnonzero(np.isin(vertices[:, 0], planes))
    _, first, same = np.unique(vertices[shared], axis=0, return_index=True, return_inverse=True)
    index = np.arange(len(vertices))
    index[shared] = shared[first][same.reshape(-1)]
    return remove_unused_vertices(Mesh(vertices, index[faces]))


def remove_unused_vertices(mesh: Mesh) -> Mesh:
    """Remove the vertices that no face uses."""
    used, faces = np.unique(mesh.faces, return_inverse=True)
    return Mesh(mesh.vertices[used], faces.reshape(mesh.faces.shape))
