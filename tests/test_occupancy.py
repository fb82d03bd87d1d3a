import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nerf_jax import occupancy
from nerf_jax.occupancy import BLOCK, Box, Occupancy
from tests import scenes

BOX = Box(jnp.array([-1.0, -0.5, -1.5]), jnp.array([1.0, 1.5, 0.5]))
CELLS, CANDIDATES = 16, 64


def grid_of(occupied: np.ndarray) -> Occupancy:
    """A grid that knows exactly the given cells to be occupied."""
    values = jnp.asarray(occupied, jnp.float32)
    empty = occupancy.unknown(occupied.shape[0])._replace(density=values)
    cells = jnp.arange(values.size)
    return occupancy.update(
        empty, BOX, lambda x: jnp.zeros(len(x)), jax.random.key(0), cells, 1e-3, decay=1.0
    )


def some_rays(seed: int, count: int):
    """Rays from around the box to places in and about it, and some from within."""
    rng = np.random.default_rng(seed)
    origins = rng.normal(size=(count, 3)) * rng.choice([0.3, 3.0], (count, 1))
    targets = rng.uniform(-1.5, 1.5, (count, 3))
    rays = [scenes.ray(o, t - o, 0.0, 8.0) for o, t in zip(origins, targets, strict=True)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rays)


def slab_loop(origin, direction, near, far):
    """The part of a ray in the box, a plane at a time."""
    for axis in range(3):
        low, high = float(BOX.low[axis]), float(BOX.high[axis])
        if direction[axis] == 0:
            if not low <= origin[axis] <= high:
                return 1.0, 0.0
            continue
        crossings = sorted((plane - origin[axis]) / direction[axis] for plane in (low, high))
        near, far = max(near, crossings[0]), min(far, crossings[1])
    return near, far


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(*[st.sampled_from([-3.0, -1.0, -0.4, 0.0, 0.3, 2.5])] * 3),
    st.tuples(*[st.sampled_from([-1.0, -0.3, 0.0, 0.5, 1.0])] * 3).filter(any),
)
def test_a_ray_is_in_the_box_where_it_is_between_all_planes(origin, direction):
    ray = scenes.ray(origin, direction, 0.5, 5.0)
    expected = slab_loop(origin, np.asarray(ray.direction, float), 0.5, 5.0)
    found = occupancy.intersect(ray, BOX)
    if expected[0] < expected[1]:
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    else:
        assert found[0] >= found[1] - 1e-5


def test_a_direction_of_length_zero_sees_all_or_nothing():
    inside, outside = (
        scenes.ray(origin, [1, 0, 0], 0.5, 5.0)._replace(direction=jnp.zeros(3))
        for origin in ([0, 0, 0], [0, 3, 0])
    )
    assert occupancy.intersect(inside, BOX) == (0.5, 5.0)
    start, stop = occupancy.intersect(outside, BOX)
    assert start > stop


def test_candidates_are_even_steps_that_reach_through_the_diagonal():
    ray = scenes.ray([-2, -1.5, -2.5], [1, 1, 1], 0.0, 20.0)
    march = occupancy.march(None, ray, BOX, CANDIDATES)
    t = march.t(jnp.arange(CANDIDATES))
    length = float(jnp.linalg.norm(BOX.high - BOX.low))
    np.testing.assert_allclose(np.diff(t), length / CANDIDATES, rtol=1e-4)
    np.testing.assert_allclose(t[0], np.sqrt(3) + length / CANDIDATES / 2, rtol=1e-5)
    np.testing.assert_allclose(t[-1], np.sqrt(3) + length * (1 - 0.5 / CANDIDATES), rtol=1e-5)


def test_a_key_moves_all_candidates_of_a_ray_together_and_evenly():
    ray = scenes.ray([-2, 0, 0], [1, 0, 0])
    keys = jax.random.split(jax.random.key(3), 2000)
    offsets = jax.vmap(occupancy.march, (0, None, None, None))(keys, ray, BOX, CANDIDATES).offset
    assert ((offsets >= 0) & (offsets < 1)).all()
    np.testing.assert_allclose(
        np.quantile(offsets, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.04
    )


def candidates_loop(occupied: np.ndarray, rays, marches) -> list[tuple[int, int]]:
    """Every candidate of every ray, looked up by itself."""
    low, high = np.asarray(BOX.low), np.asarray(BOX.high)
    found = []
    distances = jax.vmap(lambda march: march.t(jnp.arange(CANDIDATES)))(marches)
    for ray, t in enumerate(np.asarray(distances)):
        place = np.asarray(rays.origin)[ray] + t[:, None] * np.asarray(rays.direction)[ray]
        cell = ((place - low) / (high - low) * CELLS).astype(int).clip(0, CELLS - 1)
        hit = occupied[tuple(cell.T)] & (t < float(marches.stop[ray]))
        found += [(ray, int(number)) for number in np.flatnonzero(hit)]
    return found


@pytest.mark.parametrize("share", [0.0, 0.002, 0.05, 0.6, 1.0])
def test_crossing_empty_space_in_blocks_misses_no_candidate(share: float):
    occupied = np.random.default_rng(7).random((CELLS,) * 3) < share
    rays = some_rays(1, 60)
    keys = jax.random.split(jax.random.key(1), 60)
    marches = jax.vmap(occupancy.march, (0, 0, None, None))(keys, rays, BOX, CANDIDATES)
    grid = grid_of(occupied)
    np.testing.assert_array_equal(grid.occupied, occupied)
    near = jax.vmap(occupancy.near_blocks, (None, None, 0, 0, None))(
        grid, BOX, rays, marches, CANDIDATES
    )
    assert near.shape == (60, CANDIDATES // BLOCK)
    found = occupancy.find_candidates(grid, BOX, rays, marches, near, near.size, 60 * CANDIDATES)
    filled = found.packed.valid
    pairs = jnp.stack([found.packed.ray, found.number], axis=1)[filled]
    listed = [(ray, number) for ray, number in pairs.tolist()]
    expected = candidates_loop(occupied, rays, marches)
    # A candidate on the border of two cells may be rounded into either.
    assert len(set(listed) ^ set(expected)) <= 0.002 * len(expected)
    assert len(listed) == len(set(listed))
    if share < 0.01:
        assert near.mean() < 0.5


def test_a_new_grid_is_occupied_until_looked_at():
    grid = occupancy.unknown(8)
    assert grid.occupied.all()
    assert grid.near_occupied.all()
    cells = jnp.arange(100)
    grid = occupancy.update(
        grid, BOX, lambda x: jnp.zeros(len(x)), jax.random.key(0), cells, threshold=1.0
    )
    np.testing.assert_array_equal(grid.occupied.reshape(-1), np.arange(8**3) >= 100)


def test_cells_are_read_within_and_remember_the_densest_of_late():
    first = jnp.array([0, 1, 8, 64, 511])
    corners = np.stack(np.unravel_index(np.asarray(first), (8, 8, 8)), axis=1)
    seen = []

    def density(x):
        seen.append(x)
        return jnp.arange(1.0, 6.0)

    key = jax.random.key(0)
    grid = occupancy.update(occupancy.unknown(8), BOX, density, key, first, 2.5)
    place = jax.vmap(BOX.unit)(seen[0]) * 8
    assert ((corners <= place) & (place <= corners + 1)).all()
    np.testing.assert_allclose(grid.density.reshape(-1)[first], np.arange(1.0, 6.0))

    grid = occupancy.update(grid, BOX, lambda x: jnp.zeros(5), key, first, 2.5, decay=0.5)
    np.testing.assert_allclose(grid.density.reshape(-1)[first], np.arange(1.0, 6.0) / 2)
    # The mean of the five is 1.5, and less than the threshold.
    np.testing.assert_array_equal(
        grid.occupied.reshape(-1)[first], [False, False, False, True, True]
    )


def test_a_cell_looked_at_twice_at_once_keeps_the_denser():
    cells = jnp.array([3, 3, 3])
    grid = occupancy.update(
        occupancy.unknown(4),
        BOX,
        lambda x: jnp.array([1.0, 7.0, 2.0]),
        jax.random.key(0),
        cells,
        1.0,
    )
    assert grid.density.reshape(-1)[3] == 7.0


def test_an_empty_scene_empties_the_grid():
    grid = grid_of(np.zeros((CELLS,) * 3, bool))
    assert not grid.occupied.any()
    assert not grid.near_occupied.any()


def test_looking_in_turn_forgets_no_cell():
    grid = occupancy.unknown(4)
    seen = [
        occupancy.choose_cells(jax.random.key(0), grid, jnp.int32(turn), 24, jnp.int32(24))
        for turn in range(3)
    ]
    assert set(np.concatenate(seen).tolist()) == set(range(64))


def test_the_rest_are_drawn_among_the_occupied():
    occupied = np.zeros((4, 4, 4), bool)
    occupied[1, 2, 3] = occupied[3, 0, 0] = True
    grid = occupancy.unknown(4)._replace(occupied=jnp.asarray(occupied))
    cells = occupancy.choose_cells(jax.random.key(0), grid, jnp.int32(0), 64, jnp.int32(16))
    assert len(set(cells[:16].tolist())) == 16
    assert set(cells[16:].tolist()) == {16 + 8 + 3, 48}
    none = grid._replace(occupied=jnp.zeros((4, 4, 4), bool))
    cells = occupancy.choose_cells(jax.random.key(0), none, jnp.int32(0), 64, jnp.int32(16))
    assert ((cells >= 0) & (cells < 64)).all()
