import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from nerf_jax import occupancy
from nerf_jax.contraction import Contracted
from nerf_jax.devices import RAYS, ray_mesh
from nerf_jax.render_sparse import Budget
from nerf_jax.types import Rays, Rendering
from nerf_jax.wavefront import render_wavefront
from tests import closed_forms
from tests.test_render_sparse import (
    CELLS,
    CLOUDS,
    EXACT,
    RGB,
    cloud_grid,
    dense,
    some_rays,
    sparse,
)

SMALL = EXACT._replace(max_samples=128)
close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-5)


@functools.cache
def compiled(budget: Budget, field=CLOUDS):
    return jax.jit(functools.partial(render_wavefront, field, budget=budget))


def wavefront(budget: Budget, rays: Rays, grid=None) -> Rendering:
    grid = cloud_grid() if grid is None else grid
    return compiled(budget)(CLOUDS.init(None), grid, rays=rays)


def whole(rays: Rays, grid=None, **thresholds: float) -> Rendering:
    """By the renderer of training, with room for all."""
    budget = EXACT._replace(max_samples=16384, **thresholds)
    grid = cloud_grid() if grid is None else grid
    found = sparse(budget, CLOUDS)(CLOUDS.init(None), grid, keys=None, rays=rays)
    assert found.kept.all()
    return found.rendering


@pytest.mark.slow
@pytest.mark.parametrize(("count", "max_samples"), [(90, 64), (90, 128), (90, 8192), (1, 8192)])
def test_it_equals_the_renderer_of_training_in_buffers_of_any_size(count: int, max_samples: int):
    """Many more rays than slots, and many fewer."""
    rays = some_rays(count, seed=5)
    found = wavefront(EXACT._replace(max_samples=max_samples), rays)
    jax.tree.map(close, found, whole(rays))


@pytest.mark.slow
def test_it_equals_dense_rendering():
    rays = some_rays(50)
    found, expected = wavefront(SMALL, rays), dense(CLOUDS, CLOUDS.init(None), rays, None)
    everywhere = wavefront(SMALL, rays, occupancy.init_grid(cloud_grid().space, CELLS))
    for name in ("rgb", "opacity"):
        close(getattr(everywhere, name), getattr(expected, name), err_msg=name)
    hit = expected.opacity > 1e-2
    close(everywhere.depth[hit], expected.depth[hit])
    np.testing.assert_allclose(everywhere.median_depth[hit], expected.median_depth[hit], atol=1e-3)
    assert np.abs(found.opacity - everywhere.opacity).max() < 0.1


@pytest.mark.slow
def test_skipped_candidates_hardly_matter():
    rays, thresholds = some_rays(200, seed=3), {"min_transmittance": 1e-2, "min_alpha": 1e-3}
    found, exact = wavefront(SMALL._replace(**thresholds), rays), wavefront(SMALL, rays)
    np.testing.assert_allclose(found.rgb, exact.rgb, atol=2e-2)
    expected = whole(rays, **thresholds)
    np.testing.assert_allclose(found.rgb, expected.rgb, atol=1e-3)
    np.testing.assert_allclose(found.opacity, expected.opacity, atol=1e-2)
    assert np.mean(np.abs(found.median_depth - expected.median_depth)) < 1e-3


@pytest.mark.slow
def test_rays_that_miss_and_empty_grids_give_zeros():
    full = occupancy.init_grid(cloud_grid().space, CELLS)
    no_cells = jnp.zeros((CELLS,) * 3, bool)
    empty = full._replace(occupied=no_cells, distance=full.distance + 5)
    falsely_near = full._replace(occupied=no_cells)
    rays = some_rays(30)
    aside = rays._replace(origin=rays.origin + 9.0, direction=jnp.tile(jnp.eye(3)[2], (30, 1)))
    still = rays._replace(direction=jnp.zeros((30, 3)))
    for grid, some in ((empty, rays), (falsely_near, rays), (full, aside), (full, still)):
        found = wavefront(SMALL, some, grid)
        assert (found.rgb == 0).all()
        assert (found.opacity == 0).all()
        np.testing.assert_array_equal(found.depth, some.far)
        np.testing.assert_array_equal(found.median_depth, some.far)


@pytest.mark.slow
def test_inactive_rays_do_not_change_the_others():
    rays = some_rays(60)
    inactive = np.arange(60) % 3 == 0
    found = wavefront(SMALL, rays._replace(far=jnp.where(inactive, -jnp.inf, rays.far)))
    expected = wavefront(SMALL, rays)
    for name in Rendering._fields:
        close(getattr(found, name)[~inactive], getattr(expected, name)[~inactive])
    assert (found.opacity[inactive] == 0).all()


@pytest.mark.slow
def test_two_devices_agree_with_one():
    rays, mesh = some_rays(60), ray_mesh(jax.devices()[:2])
    split, params = PartitionSpec(RAYS), CLOUDS.init(None)
    render = jax.shard_map(
        lambda params, grid, rays: render_wavefront(CLOUDS, params, grid, SMALL, rays),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(), split),
        out_specs=split,
    )
    jax.tree.map(close, jax.jit(render)(params, cloud_grid(), rays), wavefront(SMALL, rays))


@pytest.mark.slow
@pytest.mark.parametrize("density", [0.05, 2.0, 500.0])
def test_a_uniform_ball_follows_beer_and_lambert_in_contracted_space(density: float):
    """Thin fog, thick fog and a surface, in a grid that is occupied everywhere."""
    rays = some_rays(100, seed=4)
    space = Contracted(jnp.zeros(3), jnp.float32(1.0), jnp.float32(0.5), jnp.float32(6.0))
    rays = rays._replace(near=jnp.full(100, 0.5), far=jnp.full(100, 6.0))
    field, budget = closed_forms.ball(density, RGB), Budget(2048, 2048, 1e-4, 0.0)
    grid = occupancy.init_grid(space, CELLS)
    found = jax.jit(functools.partial(render_wavefront, field, budget=budget))((), grid, rays=rays)
    for i in range(100):
        exact = closed_forms.through_ball(rays.origin[i], rays.direction[i], density, RGB)
        if 0.02 < exact.opacity < 0.98 and density > 100:
            continue  # grazes the surface: a step decides
        np.testing.assert_allclose(found.opacity[i], exact.opacity, atol=8e-3)
        np.testing.assert_allclose(found.rgb[i], exact.rgb, atol=8e-3)
        if exact.opacity > 0.05:
            np.testing.assert_allclose(found.depth[i], exact.depth, atol=8e-3)
            np.testing.assert_allclose(found.median_depth[i], exact.median_depth, atol=8e-3)


@pytest.mark.slow
def test_two_runs_are_bitwise_equal():
    rays = some_rays(60)
    jax.tree.map(np.testing.assert_array_equal, *(wavefront(SMALL, rays) for _ in range(2)))
