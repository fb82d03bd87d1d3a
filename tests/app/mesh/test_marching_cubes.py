"""Marching cubes: exact where values are straight, whole however the grid is cut, open to NaN."""

import numpy as np
import pytest
import trimesh

from nerf_jax.app.mesh import marching_cubes
from nerf_jax.app.mesh.marching_cubes import (
    Grid,
    Mesh,
    ScalarField,
    close_holes,
    grid_over,
    isosurface,
)


def quiet(done: int, total: int) -> None:
    pass


def on_nodes(volume: np.ndarray, grid: Grid) -> ScalarField:
    """The values of a volume at the grid's nodes; beyond it nothing is known."""

    def value(places: np.ndarray) -> np.ndarray:
        index = np.round((places - grid.low) / grid.voxel).astype(int)
        within = ((index >= 0) & (index < volume.shape)).all(axis=1)
        return np.where(within, volume[tuple(index.clip(0, np.array(volume.shape) - 1).T)], np.nan)

    return value


def noise(seed: int, size: int = 16) -> tuple[np.ndarray, Grid]:
    """The worst of volumes: values of both signs everywhere, and a tenth of them unknown."""
    rng = np.random.default_rng(seed)
    volume = rng.normal(size=(size,) * 3)
    volume = np.where(rng.random(volume.shape) < 0.5, np.sign(volume), volume.clip(-1, 1))
    volume[rng.random(volume.shape) < 0.1] = np.nan
    return volume, Grid(np.array([-0.3, 0.2, 0.7]), 0.037, (size,) * 3)


def edges(mesh: Mesh) -> np.ndarray:
    """How many faces each edge has."""
    pairs = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    return np.unique(pairs, axis=0, return_counts=True)[1]


def test_a_grid_covers_its_box_around_the_middle():
    grid = grid_over(np.array([-1.0, 0.0, 2.0]), np.array([1.0, 0.5, 2.1]), 16)
    assert grid.voxel == 0.125
    assert grid.shape == (17, 5, 2)
    high = grid.low + grid.voxel * (np.array(grid.shape) - 1)
    np.testing.assert_allclose(grid.low, [-1, 0, 1.9875])
    np.testing.assert_allclose(high, [1, 0.5, 2.1125])


def test_a_plane_is_where_it_is():
    """Marching cubes interpolates: what is straight between nodes is exact."""
    normal = np.array([0.6, -0.48, 0.64])
    grid = grid_over(-np.ones(3), np.ones(3), 10)
    mesh = isosurface(lambda x: (x @ normal - 0.123).clip(-1, 1).astype(float), grid, quiet)
    np.testing.assert_allclose(mesh.vertices @ normal, 0.123, atol=2e-5)
    body = trimesh.Trimesh(*mesh, process=False)
    np.testing.assert_allclose(body.face_normals @ normal, 1, atol=1e-3)  # outwards


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("nodes", [2**21, 18 * 18 * 3, 1])
def test_what_is_closed_is_watertight_however_the_grid_is_cut(monkeypatch, seed, nodes):
    volume, grid = noise(seed)
    whole = isosurface(*close_holes(on_nodes(volume, grid), grid), quiet)
    monkeypatch.setattr(marching_cubes, "_NODES_AT_ONCE", nodes)
    mesh = isosurface(*close_holes(on_nodes(volume, grid), grid), quiet)
    assert (edges(mesh) == 2).all()
    assert len(mesh.vertices) == len(whole.vertices)
    assert len(mesh.faces) == len(whole.faces)
    volumes = [trimesh.Trimesh(*each, process=False).volume for each in (mesh, whole)]
    assert volumes[0] > 0
    assert np.isclose(*volumes, rtol=1e-6)


def test_all_unknown_is_inside_and_all_beyond_the_grid_outside():
    grid = Grid(np.zeros(3), 1.0, (4, 4, 4))
    mesh = isosurface(*close_holes(lambda x: np.full(len(x), np.nan), grid), quiet)
    np.testing.assert_allclose(mesh.vertices.min(axis=0), -0.5)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), 3.5)


def test_only_cubes_that_are_known_have_a_surface(monkeypatch):
    """As marching each cube by itself and leaving out those with an unknown corner."""
    volume, grid = noise(5, size=8)
    mesh = isosurface(on_nodes(volume, grid), grid, quiet)
    assert edges(mesh).max() == 2
    alone, area = grid._replace(shape=(2, 2, 2)), 0.0
    for corner in np.ndindex(7, 7, 7):
        cube = volume[tuple(slice(c, c + 2) for c in corner)]
        if not np.isnan(cube).any():
            one = isosurface(on_nodes(cube, alone), alone, quiet)
            area += trimesh.Trimesh(*one, process=False).area
    assert np.isclose(trimesh.Trimesh(*mesh, process=False).area, area, rtol=1e-5)


def test_values_of_exactly_zero_make_no_faces_without_an_area():
    grid = Grid(np.zeros(3), 1.0, (6, 6, 6))
    mesh = isosurface(lambda x: (x[:, 0] - 2.0).clip(-1, 1).astype(float), grid, quiet)
    assert np.isclose(trimesh.Trimesh(*mesh, process=False).area, 25)
    assert trimesh.Trimesh(*mesh, process=False).area_faces.min() > 0.1
    np.testing.assert_allclose(mesh.vertices[:, 0], 2, atol=2e-3)


def test_nothing_has_no_surface_and_progress_is_told():
    told = []
    grid = Grid(np.zeros(3), 1.0, (5, 4, 4))
    mesh = isosurface(lambda x: np.ones(len(x)), grid, lambda *done: told.append(done))
    assert mesh.vertices.shape == (0, 3)
    assert mesh.faces.shape == (0, 3)
    assert told[-1] == (4, 4)
