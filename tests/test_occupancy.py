import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import occupancy
from nerf_jax.contraction import Box, Contracted, Frustum, Space
from nerf_jax.occupancy import BLOCK, Occupancy
from nerf_jax.types import Cameras, Lens
from tests import closed_forms

BOX = Box(jnp.array([-1.0, -0.5, -1.5]), jnp.array([1.0, 1.5, 0.5]))
SPACES = (
    BOX,
    Contracted(jnp.zeros(3), jnp.float32(1.0), jnp.float32(0.1), jnp.float32(8.0)),
    Frustum(jnp.eye(3, 4), jnp.array([1.0, 0.8]), jnp.float32(0.1), jnp.float32(8.0)),
)
CELLS, CANDIDATES = 16, 64


@jax.jit
def grid_of(occupied: np.ndarray, space: Space = BOX) -> Occupancy:
    """A grid that knows exactly the given cells to be occupied."""
    values = jnp.asarray(occupied, jnp.float32)
    empty = occupancy.init_grid(space, occupied.shape[0])._replace(density=values)
    cells = jnp.arange(values.size)
    return occupancy.update(
        empty, lambda x: jnp.zeros(len(x)), jax.random.key(0), cells, 1e-3, decay=1.0
    )


def some_rays(seed: int, count: int):
    """Rays from around the box to places in and about it, and some from within."""
    rng = np.random.default_rng(seed)
    origins = rng.normal(size=(count, 3)) * rng.choice([0.3, 3.0], (count, 1))
    targets = rng.uniform(-1.5, 1.5, (count, 3))
    rays = [closed_forms.ray(o, t - o, 0.0, 8.0) for o, t in zip(origins, targets, strict=True)]
    return closed_forms.stack(rays)


@jax.jit
def distances_of(steps):
    return jax.vmap(lambda march: march.t(jnp.arange(CANDIDATES)))(steps)


@jax.jit
def to_unit(space: Space, places):
    return jax.vmap(space.to_unit)(places)


@jax.jit
def from_unit(space: Space, unit):
    return jax.vmap(space.from_unit)(unit)


occupied_at = jax.jit(jax.vmap(occupancy.occupied_at, (None, 0)))
choose_cells = jax.jit(occupancy.choose_cells, static_argnums=3)


def update(grid: Occupancy, density, cells, threshold: float) -> Occupancy:
    """Compiled: primitive by primitive it takes seconds."""
    key = jax.random.key(0)
    return jax.jit(lambda grid: occupancy.update(grid, density, key, cells, threshold))(grid)


def candidates_loop(occupied: np.ndarray, space: Space, rays, steps) -> list[tuple[int, int]]:
    """Every candidate of every ray, looked up by itself."""
    found = []
    for ray, t in enumerate(np.asarray(distances_of(steps))):
        place = np.asarray(rays.origin)[ray] + t[:, None] * np.asarray(rays.direction)[ray]
        unit = np.asarray(to_unit(space, np.float32(place)))
        cell = (unit * CELLS).astype(int).clip(0, CELLS - 1)
        hit = occupied[tuple(cell.T)] & (t < float(steps.stop[ray]))
        found += [(ray, int(number)) for number in np.flatnonzero(hit)]
    return found


@jax.jit
def find_candidates(grid: Occupancy, keys, rays):
    """The steps of all rays, the blocks near occupied cells, and the candidates in them."""
    steps = jax.vmap(grid.space.ray_steps, (0, 0, None))(
        jax.vmap(jax.random.uniform)(keys), rays, CANDIDATES
    )
    near = jax.vmap(occupancy.occupied_blocks, (None, 0, 0, None))(grid, rays, steps, CANDIDATES)
    room = len(keys) * CANDIDATES
    return steps, near, occupancy.find_candidates(grid, rays, steps, near, near.size, room)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.002, 0.05, 0.6, 1.0])
@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_crossing_empty_space_in_blocks_misses_no_candidate(share: float, space: Space):
    occupied = np.random.default_rng(7).random((CELLS,) * 3) < share
    rays = some_rays(1, 60)
    if space is not BOX:
        rays = rays._replace(near=jnp.full(60, 0.1), far=jnp.full(60, 8.0))
    keys = jax.random.split(jax.random.key(1), 60)
    grid = grid_of(occupied, space)
    np.testing.assert_array_equal(grid.occupied, occupied)
    steps, near, found = find_candidates(grid, keys, rays)
    assert near.shape == (60, CANDIDATES // BLOCK)
    filled = found.packed.valid
    pairs = jnp.stack([found.packed.ray, found.step], axis=1)[filled]
    listed = [(ray, number) for ray, number in pairs.tolist()]
    expected = candidates_loop(occupied, space, rays, steps)
    # A candidate on the border of two cells may be rounded into either.
    assert len(set(listed) ^ set(expected)) <= 0.002 * len(expected)
    assert len(listed) == len(set(listed))
    if share < 0.01 and space is BOX:
        assert near.mean() < 0.5


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 1.0])
def test_distances_to_occupied_cells_are_those_of_all_pairs(share: float):
    occupied = np.random.default_rng(5).random((CELLS,) * 3) < share
    cells = np.stack(np.indices(occupied.shape), axis=-1).reshape(-1, 1, 3)
    apart = np.abs(cells - np.argwhere(occupied)).max(axis=-1)
    expected = apart.min(axis=1, initial=5).reshape(occupied.shape)
    np.testing.assert_array_equal(jax.jit(occupancy.chebyshev_distance)(occupied), expected)


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_no_candidate_is_farther_from_the_middle_of_its_block_than_looked_for(space: Space):
    """Of many rays through a grid with one occupied cell each, around a candidate."""
    count = 400
    rays = some_rays(4, count)
    if space is not BOX:
        rays = rays._replace(near=jnp.full(count, 0.1), far=jnp.full(count, 8.0))
    rng = np.random.default_rng(6)
    keys = jax.random.split(jax.random.key(6), count)

    def is_found(key, ray, turn):
        steps = space.ray_steps(jax.random.uniform(key), ray, CANDIDATES)
        t = steps.t(jnp.arange(CANDIDATES))
        unit = jax.vmap(lambda t: space.to_unit(ray.origin + t * ray.direction))(t)
        inside = (t < steps.stop) & jnp.all((unit > 0) & (unit < 1), axis=1)
        chosen = jnp.argsort(~inside, stable=True)[(turn * jnp.sum(inside)).astype(jnp.int32)]
        cell = (unit[chosen] * CELLS).astype(jnp.int32)
        occupied = jnp.zeros((CELLS,) * 3, bool).at[tuple(cell)].set(True)
        grid = occupancy.init_grid(space, CELLS)
        grid = grid._replace(distance=occupancy.chebyshev_distance(occupied))
        blocks = occupancy.occupied_blocks(grid, ray, steps, CANDIDATES)
        return blocks[chosen // BLOCK], jnp.any(inside)

    turns = jnp.asarray(rng.random(count), jnp.float32)
    found, crosses = jax.jit(jax.vmap(is_found))(keys, rays, turns)
    assert crosses.mean() > 0.3
    assert found[crosses].all()


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_a_position_is_occupied_as_its_cell_is_and_outside_the_space_never(space: Space):
    rng = np.random.default_rng(3)
    cells = rng.random((CELLS,) * 3) < 0.4
    grid = grid_of(cells, space)
    unit = rng.uniform(0, 1, (300, 3)).astype(np.float32)
    places = from_unit(space, unit)
    near_middle = np.abs(unit * CELLS % 1 - 0.5).max(axis=1) < 0.4  # rounding moves none of these
    found = np.asarray(occupied_at(grid, places))
    expected = cells[tuple(np.floor(unit * CELLS).astype(int).T)]
    np.testing.assert_array_equal(found[near_middle], expected[near_middle])
    if not isinstance(space, Contracted):
        everything = grid_of(np.ones((CELLS,) * 3), space)
        assert not occupied_at(everything, jnp.array([[9.0, 9.0, 0.2]])).any()


@pytest.mark.slow
def test_cells_invisible_to_all_cameras_stay_empty():
    visible = jnp.asarray(np.random.default_rng(3).random((8, 8, 8)) < 0.5)
    grid = occupancy.mask_invisible(occupancy.init_grid(BOX, 8), visible)
    np.testing.assert_array_equal(grid.occupied, visible)
    cells = jnp.arange(8**3)
    full = jnp.full(8**3, 9.0)
    grid = update(grid, lambda x: full, cells, threshold=1.0)
    np.testing.assert_array_equal(grid.occupied, visible)


@pytest.mark.slow
def test_a_new_grid_is_occupied_until_updated():
    grid = occupancy.init_grid(BOX, 8)
    assert grid.occupied.all()
    assert not grid.distance.any()
    cells = jnp.arange(100)
    grid = update(grid, lambda x: jnp.zeros(len(x)), cells, threshold=1.0)
    np.testing.assert_array_equal(grid.occupied.reshape(-1), np.arange(8**3) >= 100)


@pytest.mark.slow
def test_cells_are_sampled_inside_and_keep_a_decaying_maximum():
    first = jnp.array([0, 1, 8, 64, 511])
    corners = np.stack(np.unravel_index(np.asarray(first), (8, 8, 8)), axis=1)
    seen = []

    def density(x):
        seen.append(x)
        return jnp.arange(1.0, 6.0)

    key = jax.random.key(0)
    grid = occupancy.update(occupancy.init_grid(BOX, 8), density, key, first, 2.5)
    place = jax.vmap(BOX.to_unit)(seen[0]) * 8
    assert ((corners <= place) & (place <= corners + 1)).all()
    np.testing.assert_allclose(grid.density.reshape(-1)[first], np.arange(1.0, 6.0))

    grid = occupancy.update(grid, lambda x: jnp.zeros(5), key, first, 2.5, decay=0.5)
    np.testing.assert_allclose(grid.density.reshape(-1)[first], np.arange(1.0, 6.0) / 2)
    # The mean of the five is 1.5, and less than the threshold.
    np.testing.assert_array_equal(
        grid.occupied.reshape(-1)[first], [False, False, False, True, True]
    )


@pytest.mark.slow
def test_a_cell_updated_twice_at_once_keeps_the_larger_density():
    cells = jnp.array([3, 3, 3])
    density = jnp.array([1.0, 7.0, 2.0])
    grid = update(occupancy.init_grid(BOX, 4), lambda x: density, cells, threshold=1.0)
    assert grid.density.reshape(-1)[3] == 7.0


def test_an_empty_scene_empties_the_grid():
    grid = grid_of(np.zeros((CELLS,) * 3, bool))
    assert not grid.occupied.any()
    assert (grid.distance == 5).all()


@pytest.mark.slow
def test_the_sweep_reaches_every_cell():
    grid = occupancy.init_grid(BOX, 4)
    seen = [
        choose_cells(jax.random.key(0), grid, jnp.int32(turn), 24, jnp.int32(24))
        for turn in range(3)
    ]
    assert set(np.concatenate(seen).tolist()) == set(range(64))


@pytest.mark.slow
def test_the_other_cells_are_sampled_from_the_occupied():
    occupied = np.zeros((4, 4, 4), bool)
    occupied[1, 2, 3] = occupied[3, 0, 0] = True
    grid = occupancy.init_grid(BOX, 4)._replace(occupied=jnp.asarray(occupied))
    cells = choose_cells(jax.random.key(0), grid, jnp.int32(0), 64, jnp.int32(16))
    assert len(set(cells[:16].tolist())) == 16
    assert set(cells[16:].tolist()) == {16 + 8 + 3, 48}
    none = grid._replace(occupied=jnp.zeros((4, 4, 4), bool))
    cells = choose_cells(jax.random.key(0), none, jnp.int32(0), 64, jnp.int32(16))
    assert ((cells >= 0) & (cells < 64)).all()


@pytest.mark.parametrize("fisheye", [False, True])
def test_visible_cells_are_in_the_field_of_view_and_farther_away_than_near(fisheye: bool):
    """In float64: an equidistant fisheye of 200 degrees, and a pinhole of 90."""
    size, near, center = 40, 0.6, np.array([0.1, 0.5, -0.4])
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    focal = size / 2 / (np.radians(100) if fisheye else 1.0)
    cameras = Cameras(
        np.c_[rotation, center].astype(np.float32)[None],
        np.full((1, 2), focal, np.float32),
        np.full((1, 2), size / 2, np.float32),
        np.float32([near]),
        np.float32([9.0]),
        Lens(np.zeros((1, 4), np.float32), np.zeros((1, 2), np.float32), np.array([fisheye])),
    )
    grid = occupancy.init_grid(BOX, CELLS)
    found = np.asarray(occupancy.visible_cells(grid, cameras, (size, size))).reshape(-1)

    unit = (np.indices((CELLS,) * 3).reshape(3, -1).T + 0.5) / CELLS
    offset = np.asarray(BOX.low) + unit * np.asarray(BOX.high - BOX.low) - center
    distance = np.linalg.norm(offset, axis=1)
    *xy, ahead = (offset @ rotation * [1, 1, -1]).T
    angle = np.arccos(ahead / distance)
    scale = angle / np.sin(angle) / distance if fisheye else 1 / ahead
    reach = np.abs(focal * scale * xy).max(axis=0) - 1.1 * size / 2  # the margin is 5 % a side
    expected = (reach < 0) & (distance > near) & (fisheye | (ahead > 0))
    clear = (np.abs(reach) > 1e-3) & (np.abs(distance - near) > 1e-4)
    np.testing.assert_array_equal(found[clear], expected[clear])
    assert (expected & (angle > np.radians(80))).any() == fisheye
