import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import compositing, occupancy
from nerf_jax.contraction import Box
from nerf_jax.numerics import bounded_exp
from nerf_jax.render import render_rays
from nerf_jax.render_sparse import Budget, render_sparse
from nerf_jax.types import Field, Params, Point, Rays, View
from tests import closed_forms

RADIUS, CELLS, CANDIDATES = 1.2, 32, 64
BOX = Box(jnp.full(3, -RADIUS), jnp.full(3, RADIUS))
EXACT = Budget(CANDIDATES, 8192, min_transmittance=0.0, min_alpha=0.0)
RGB = np.array([0.2, 0.5, 0.9])


def clouds() -> Field:
    """A smooth density with air in it, less so to wide footprints, and a colour of place and
    direction; all trainable."""

    def density(params: Params, point: Point):
        faded = jnp.exp(-(params["pitch"] ** 2) @ point.variance / 2)
        wave = faded * jnp.sin(params["pitch"] @ point.position)
        return bounded_exp(params["gain"] * jnp.sum(wave) - 1.0), wave

    def color(params: Params, features: jax.Array, view: View):
        return jax.nn.sigmoid(features * params["gain"] + view.direction + view.appearance)

    pitch = jnp.array([[5.0, 1.0, 0.0], [0.0, 4.0, 1.0], [1.0, 0.0, 6.0]])
    return Field(lambda key: {"pitch": pitch, "gain": jnp.float32(2.0)}, density, color)


def some_rays(count: int, seed: int = 0) -> Rays:
    rng = np.random.default_rng(seed)
    origins = rng.normal(size=(count, 3))
    origins *= 3.5 / np.linalg.norm(origins, axis=1, keepdims=True)
    targets = rng.uniform(-1.4, 1.4, (count, 3))
    rays = [
        closed_forms.ray(o, t - o, radius=0.02 * (i % 3), appearance=i % 2)
        for i, (o, t) in enumerate(zip(origins, targets, strict=True))
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rays)


def looked_at(field: Field, params: Params, threshold: float) -> occupancy.Occupancy:
    """The grid after many looks at every cell."""
    grid = occupancy.init_grid(BOX, CELLS)

    def density(x):
        return jax.vmap(field.density, (None, 0))(params, Point(x, jnp.zeros_like(x)))[0]

    def look(turn, grid):
        key = jax.random.fold_in(jax.random.key(0), turn)
        return occupancy.update(grid, density, key, jnp.arange(CELLS**3), threshold, 1.0)

    return jax.lax.fori_loop(0, 16, look, grid)


def offsets(keys, rays: Rays):
    """Of the steps of each ray: of its key's random numbers, the first."""
    middle = jnp.full_like(rays.near, 0.5)
    return (
        middle if keys is None else jax.vmap(lambda key: jax.random.uniform(key, (3,)))(keys)[:, 0]
    )


@functools.partial(jax.jit, static_argnums=0)
def dense(field: Field, params: Params, rays: Rays, keys, grid=None):
    """The same candidates by :func:`render_rays`, none left out but those of unoccupied cells."""
    steps = jax.vmap(BOX.ray_steps, (0, 0, None))(offsets(keys, rays), rays, CANDIDATES)
    edges = jax.vmap(lambda m: m.start + jnp.arange(CANDIDATES + 1) * m.step)(steps)
    t = jax.vmap(lambda m: m.t(jnp.arange(CANDIDATES)))(steps)
    length = BOX.step(CANDIDATES)
    delta = jnp.where(t < steps.stop[:, None], length, 0.0)
    if grid is not None:
        place = rays.origin[:, None] + t[..., None] * rays.direction[:, None]
        cell = (jax.vmap(jax.vmap(BOX.to_unit))(place) * CELLS).astype(jnp.int32)
        x, y, z = jnp.moveaxis(cell.clip(0, CELLS - 1), -1, 0)
        delta = jnp.where(grid.occupied[x, y, z], delta, 0.0)
    return render_rays(field, params, rays, edges, t=t, delta=delta)[0]


@functools.cache
def sparse(budget: Budget, field: Field):
    return jax.jit(functools.partial(render_sparse, field, budget=budget))


CLOUDS = clouds()


@functools.cache
def cloud_grid() -> occupancy.Occupancy:
    return looked_at(CLOUDS, CLOUDS.init(None), threshold=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("jittered", [False, True])
def test_sparse_equals_dense_if_nothing_is_dropped(jittered: bool):
    rays, params = some_rays(50), CLOUDS.init(None)
    keys = jax.random.split(jax.random.key(1), 50) if jittered else None
    grid = cloud_grid()
    assert 0.2 < grid.occupied.mean() < 0.9
    seen = sparse(EXACT, CLOUDS)(params, grid, keys=keys, rays=rays)
    expected = dense(CLOUDS, params, rays, keys, grid)
    assert seen.kept.all()
    for name in ("rgb", "opacity"):
        np.testing.assert_allclose(
            getattr(seen.rendering, name), getattr(expected, name), atol=2e-6, err_msg=name
        )
    hit = expected.opacity > 1e-3
    np.testing.assert_allclose(
        seen.rendering.median_depth[hit],
        # Dense edges start each step anew, and packed samples are in the middle of theirs.
        expected.median_depth[hit] + (0.0 if keys is None else _shift(keys, rays)[hit]),
        atol=2e-3,
    )
    assert (np.asarray(seen.rendering.depth)[~hit] == 6.0).all() or hit.all()


def _shift(keys, rays):
    march = jax.vmap(BOX.ray_steps, (0, 0, None))(offsets(keys, rays), rays, CANDIDATES)
    return (march.offset - 0.5) * march.step


@pytest.mark.slow
def test_so_do_their_gradients():
    rays, params = some_rays(40, seed=2), CLOUDS.init(None)
    grid = cloud_grid()

    def loss(render):
        def total(params):
            seen = render(params)
            return jnp.sum(seen.rgb**2) + jnp.sum(jnp.sin(seen.opacity))

        return jax.jit(jax.grad(total))(params)

    found = loss(lambda p: render_sparse(CLOUDS, p, grid, EXACT, None, rays).rendering)
    expected = loss(lambda p: dense(CLOUDS, p, rays, None, grid))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-4), found, expected
    )


@pytest.mark.slow
def test_reading_all_densities_at_once_changes_nothing():
    rays, params, grid = some_rays(40, seed=3), CLOUDS.init(None), cloud_grid()
    keys = jax.random.split(jax.random.key(2), 40)
    budget = Budget(CANDIDATES, 1024, min_transmittance=0.01, min_alpha=0.01)
    found, expected = (
        sparse(one, CLOUDS)(params, grid, keys=keys, rays=rays)
        for one in (budget._replace(loops=False), budget)
    )
    assert expected.counts["samples"] < expected.counts["candidates"]
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
        (found.rendering, found.kept, found.counts),
        (expected.rendering, expected.kept, expected.counts),
    )


@pytest.mark.slow
def test_dropped_samples_hardly_matter():
    rays, params = some_rays(200, seed=3), CLOUDS.init(None)
    grid = cloud_grid()
    budget = EXACT._replace(min_transmittance=1e-3, min_alpha=1e-3, max_samples=16384)
    exact = sparse(EXACT._replace(max_samples=16384), CLOUDS)(params, grid, keys=None, rays=rays)
    seen = sparse(budget, CLOUDS)(params, grid, keys=None, rays=rays)
    assert seen.counts["samples"] < 0.85 * exact.counts["samples"]
    np.testing.assert_allclose(seen.rendering.rgb, exact.rendering.rgb, atol=2e-2)


@pytest.mark.slow
def test_rays_beyond_the_capacity_are_dropped_whole():
    rays, params = some_rays(60), CLOUDS.init(None)
    grid = cloud_grid()
    whole = sparse(EXACT, CLOUDS)(params, grid, keys=None, rays=rays)
    budget = EXACT._replace(max_samples=256)
    seen = sparse(budget, CLOUDS)(params, grid, keys=None, rays=rays)
    count = int(seen.kept.sum())
    assert 0 < count < 60
    assert seen.kept[:count].all()
    np.testing.assert_allclose(
        seen.rendering.rgb[:count], whole.rendering.rgb[:count], rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
def test_longer_steps_make_room_for_more_rays():
    """While all is occupied; the mean optical depth stays the same."""
    rays, params = some_rays(20), CLOUDS.init(None)
    grid = occupancy.init_grid(BOX, CELLS)
    keys = jax.random.split(jax.random.key(0), (400, 20))
    small = EXACT._replace(max_samples=80, candidates_per_sample=1)
    thin, every = (
        jax.vmap(
            lambda keys, budget=budget: sparse(budget, CLOUDS)(params, grid, keys=keys, rays=rays)
        )(keys)
        for budget in (small, EXACT._replace(max_samples=1024))
    )
    blocks = every.counts["candidates"].mean() / occupancy.BLOCK  # or a few more
    assert 1 < blocks / small.max_blocks < 4
    assert (thin.counts["stride"] == 2).all()
    assert (every.counts["stride"] == 1).all()
    fitted = sparse(small, CLOUDS)(params, grid, keys=None, rays=rays).kept.sum()
    assert thin.kept.sum(axis=1).min() > 1.5 * fitted
    always = np.asarray(thin.kept.all(axis=0) & (every.rendering.opacity.max(axis=0) < 0.99))
    assert always.sum() > 3
    found, expected = (
        -jnp.log1p(-each.rendering.opacity[:, always]).mean(axis=0) for each in (thin, every)
    )
    np.testing.assert_allclose(found, expected, rtol=0.1, atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("max_samples", "early", "late"), [(160, 1, 1), (80, 2, 1), (40, 2, 2)])
def test_late_in_training_steps_are_longer_only_where_few_rays_fit(max_samples, early, late):
    """There is room for all of the 60 blocks of the 20 rays, for two thirds, and for a third."""
    rays, params = some_rays(20), CLOUDS.init(None)
    grid = occupancy.init_grid(BOX, CELLS)
    keys = jax.random.split(jax.random.key(0), 20)
    budget = EXACT._replace(max_samples=max_samples, candidates_per_sample=1)
    found = [
        sparse(budget, CLOUDS)(params, grid, keys=keys, rays=rays, progress=progress)
        for progress in (None, 0.0, 0.5, 0.51, 1.0)
    ]
    strides = [int(each.counts["stride"]) for each in found]
    assert strides == [early, early, early, late, late]


@pytest.mark.slow
def test_two_runs_are_bitwise_equal():
    rays, params = some_rays(60), CLOUDS.init(None)
    grid = cloud_grid()
    twice = [sparse(EXACT, CLOUDS)(params, grid, keys=None, rays=rays).rendering for _ in range(2)]
    jax.tree.map(np.testing.assert_array_equal, *twice)


@pytest.mark.slow
def test_a_uniform_ball_follows_beer_and_lambert():
    field, rays = closed_forms.ball(2.0, RGB), some_rays(100, seed=4)
    # A little larger, by the diagonal of a cell: none is missed that the ball only just reaches.
    grid = looked_at(closed_forms.ball(2.0, RGB, radius=1.14), (), threshold=1e-3)
    budget = Budget(1024, 2**17, 0.0, 0.0)
    seen = sparse(budget, field)((), grid, keys=None, rays=rays)
    assert seen.kept.all()
    for i in range(100):
        exact = closed_forms.through_ball(rays.origin[i], rays.direction[i], 2.0, RGB)
        np.testing.assert_allclose(seen.rendering.rgb[i], exact.rgb, atol=6e-3)
        np.testing.assert_allclose(seen.rendering.opacity[i], exact.opacity, atol=6e-3)
        if exact.opacity > 0.05:
            np.testing.assert_allclose(seen.rendering.depth[i], exact.depth, atol=6e-3)
            np.testing.assert_allclose(
                seen.rendering.median_depth[i], exact.median_depth, atol=6e-3
            )


@pytest.mark.slow
def test_rays_that_miss_and_empty_grids_give_zeros_and_no_gradient():
    params = CLOUDS.init(None)
    aside = some_rays(30)._replace(direction=jnp.tile(jnp.array([0.0, 0.0, 1.0]), (30, 1)))
    aside = aside._replace(origin=aside.origin + 9.0)
    still = some_rays(30)._replace(direction=jnp.zeros((30, 3)))
    full = occupancy.init_grid(BOX, CELLS)
    no_cells = jnp.zeros((CELLS,) * 3, bool)
    empty = full._replace(occupied=no_cells, distance=full.distance + 5)

    def opacity(params, grid, rays):
        seen = render_sparse(CLOUDS, params, grid, EXACT, None, rays)
        return jnp.sum(seen.rendering.opacity), seen

    gradient_of = jax.jit(jax.value_and_grad(opacity, has_aux=True))
    for grid, rays in ((empty, some_rays(30)), (full, aside), (full, still)):
        (total, seen), gradient = gradient_of(params, grid, rays)
        assert total == 0.0
        assert seen.kept.all()
        np.testing.assert_array_equal(seen.rendering.depth, rays.far)
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_the_median_depth_equals_that_of_plain_compositing():
    """Against the plain compositing, ray by ray."""
    rays, params = some_rays(20, seed=6), CLOUDS.init(None)
    grid = occupancy.init_grid(BOX, CELLS)
    seen = sparse(EXACT, CLOUDS)(params, grid, keys=None, rays=rays).rendering
    expected = dense(CLOUDS, params, rays, None)
    hit = expected.opacity > 1e-3
    np.testing.assert_allclose(seen.median_depth[hit], expected.median_depth[hit], atol=1e-3)
    np.testing.assert_allclose(seen.depth[hit], expected.depth[hit], atol=1e-4)
    np.testing.assert_array_equal(seen.median_depth[~hit], rays.far[~hit])
    assert seen.opacity.max() > compositing.MIN_WEIGHT


def test_more_rays_than_room_for_samples_are_refused():
    """Not each could read even one density at a time."""
    grid, budget = occupancy.init_grid(BOX, CELLS), EXACT._replace(max_samples=64)
    with pytest.raises(ValueError, match=r"90 rays .* 64 samples.*max_samples.*rays_per_step"):
        render_sparse(CLOUDS, CLOUDS.init(None), grid, budget, None, some_rays(90))


@pytest.mark.slow
def test_roulette_takes_a_share_whose_optical_depth_is_that_of_all():
    """Thin fog, so that hardly anything is hidden: the mean over the keys is exact for one ray."""
    field, weight = closed_forms.ball(0.2, RGB), 0.05
    grid = occupancy.init_grid(BOX, CELLS)
    ray = closed_forms.ray(np.array([0.0, 0.1, 3.0]), np.array([0.0, 0.0, -1.0]))
    count = 2000
    rays = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), ray)
    keys = jax.random.split(jax.random.key(3), count)
    budget = Budget(CANDIDATES, 2**17, 0.0, 0.0)
    some = budget._replace(roulette_weight=weight)
    whole = sparse(budget, field)({}, grid, keys=keys, rays=rays)
    seen = sparse(some, field)({}, grid, keys=keys, rays=rays)
    assert seen.kept.all()
    assert 0.02 < seen.counts["samples"] / whole.counts["samples"] < 0.5
    depth = -np.log1p(-np.asarray(seen.rendering.opacity, float))
    expected = -np.log1p(-np.asarray(whole.rendering.opacity, float))
    error = 4 * depth.std() / np.sqrt(count)
    np.testing.assert_allclose(depth.mean(), expected.mean(), atol=error)
    assert error < 0.02 * expected.mean()
    # Systematic: every ray takes as many as the sum of its shares, up to one.
    taken = np.diff(np.asarray(seen.samples.packed.ends), prepend=0)
    assert taken.max() - taken.min() <= 2


@pytest.mark.slow
def test_roulette_takes_all_that_weighs_enough_and_has_finite_gradients():
    rays, params, grid = some_rays(40, seed=2), CLOUDS.init(None), cloud_grid()
    keys = jax.random.split(jax.random.key(1), 40)

    def loss(params, budget):
        return jnp.sum(render_sparse(CLOUDS, params, grid, budget, keys, rays).rendering.rgb ** 2)

    gradient_of = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    value, gradient = gradient_of(params, EXACT)
    same, its = gradient_of(params, EXACT._replace(roulette_weight=1e-30))
    np.testing.assert_allclose(same, value, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), its, gradient)
    near, its = gradient_of(params, EXACT._replace(roulette_weight=0.02))
    np.testing.assert_allclose(near, value, rtol=0.1)
    assert all(np.isfinite(leaf).all() and (leaf != 0).any() for leaf in jax.tree.leaves(its))


def test_colours_depend_on_directions_near_by_in_training_alone():
    field, noise, count = closed_forms.painted_by_view(), 0.1, 4000
    grid = occupancy.init_grid(BOX, CELLS)
    ray = closed_forms.ray(np.array([0.0, 0.1, 3.0]), np.array([0.0, 0.0, -1.0]))
    rays = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), ray)
    keys, params = jax.random.split(jax.random.key(3), count), field.init(None)
    budget = Budget(CANDIDATES, 2**14, 1e-3, 0.0, candidates_per_sample=64)
    noisy = sparse(budget._replace(direction_noise=noise), field)
    still = sparse(budget, field)(params, grid, keys=keys, rays=rays)
    seen = noisy(params, grid, keys=keys, rays=rays)
    assert seen.kept.all()
    np.testing.assert_array_equal(seen.rendering.depth, still.rendering.depth)
    direction = 2 * np.asarray(seen.rendering.rgb) - 1
    np.testing.assert_allclose(np.linalg.norm(direction, axis=1), 1, atol=1e-2)
    np.testing.assert_allclose(direction.mean(axis=0)[:2], 0, atol=4 * noise / np.sqrt(count))
    np.testing.assert_allclose(direction.std(axis=0)[:2], noise, rtol=0.05)
    rendered = noisy(params, grid, keys=None, rays=rays).rendering.rgb
    np.testing.assert_allclose(2 * rendered[0] - 1, [0, 0, -1], atol=1e-2)
