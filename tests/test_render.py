import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax.cameras import cast_rays, look_at
from nerf_jax.compositing import over
from nerf_jax.devices import ray_mesh
from nerf_jax.render import image_renderer, render_rays
from nerf_jax.sampling import stratified
from nerf_jax.types import Cameras, Field, Rays, RayTable, Rendering
from tests import closed_forms, oracles
from tests.closed_forms import FAR, NEAR

RGB = np.array([0.9, 0.2, 0.5], np.float32)


@functools.partial(jax.jit, static_argnums=0)
def render_ray(field: Field, params, *ray_and_edges, **given):
    """One ray of :func:`render_rays`."""
    rays_and_edges, given = jax.tree.map(lambda leaf: leaf[None], (ray_and_edges, given))
    return jax.tree.map(lambda leaf: leaf[0], render_rays(field, params, *rays_and_edges, **given))


@functools.partial(jax.jit, static_argnums=(0, 2))
def march(field: Field, rays: Rays, num_samples: int) -> Rendering:
    edges = jax.vmap(lambda ray: stratified(None, ray.near, ray.far, num_samples))(rays)
    return render_rays(field, (), rays, edges)[0]


def march_one(field: Field, ray: Rays, num_samples: int) -> Rendering:
    seen = march(field, jax.tree.map(lambda leaf: leaf[None], ray), num_samples)
    return jax.tree.map(lambda leaf: leaf[0], seen)


# -------------------------------------------------------------------------------- one ray


def test_slabs_that_end_on_edges_are_rendered_exactly():
    """Two layers, read along x: the second is seen through the first."""
    field = closed_forms.layers((-1.0, 0.0, 1.0), (0.8, 2.5), np.float32([[1, 0, 0], [0, 1, 0.5]]))
    seen = march_one(field, closed_forms.ray((-4, 0, 0), (1, 0, 0)), 8)
    first, second = -math.expm1(-0.8), math.exp(-0.8) * -math.expm1(-2.5)
    np.testing.assert_allclose(seen.opacity, first + second, rtol=1e-5)
    np.testing.assert_allclose(seen.rgb, [first, second, 0.5 * second], rtol=1e-5)


@pytest.mark.parametrize("direction", [(1, 0, 0), (1, 0.5, 0), (1, -0.3, 0.8)])
def test_a_slab_is_thicker_for_oblique_rays(direction):
    """The midpoints find a slab's two faces to within half an interval each."""
    sigma, num_samples = 0.9, 512
    field = closed_forms.layers((-1.0, 1.0), (sigma,), RGB[None])
    ray = closed_forms.ray((-3, 0, 0), direction, near=1.0, far=9.0)
    slant = float(ray.direction[0])
    exact = closed_forms.uniform(2 / slant, 2 / slant, sigma, RGB)
    seen, interval = march_one(field, ray, num_samples), 8 / num_samples
    np.testing.assert_allclose(seen.opacity, exact.opacity, atol=sigma * interval)
    np.testing.assert_allclose(seen.rgb, exact.rgb, atol=sigma * interval)
    np.testing.assert_allclose(seen.depth, exact.depth, atol=interval)
    np.testing.assert_allclose(seen.median_depth, exact.median_depth, atol=interval)


def test_a_ball_converges_with_the_length_of_the_intervals():
    """The chord is off by an interval at most, so the opacity by as much times the density.

    The errors are of first order, as wherever a surface falls within an interval.
    """
    sigma, field = 2.0, closed_forms.ball(2.0, RGB)
    heights = np.linspace(0, 0.98, 21)
    rays = [closed_forms.ray((-4, 0.1, height), (1, 0, 0)) for height in heights]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rays)
    exact = [closed_forms.through_ball(ray.origin, ray.direction, sigma, RGB) for ray in rays]
    rgb, opacity, depth, median = (np.array(part) for part in zip(*exact, strict=True))
    mean_errors = []
    for num_samples in (32, 128, 512):
        interval = (FAR - NEAR) / num_samples
        seen = march(field, batch, num_samples)
        errors = np.abs(seen.opacity - opacity)
        assert errors.max() <= sigma * interval
        assert np.abs(seen.rgb - rgb).max() <= sigma * interval
        assert np.abs(seen.depth - depth).max() <= interval
        assert np.abs(seen.median_depth - median).max() <= interval
        mean_errors.append(errors.mean())
    assert mean_errors[0] > 2.5 * mean_errors[1] > 2.5**2 * mean_errors[2]


def test_a_ray_that_misses_is_empty_and_ends_at_far():
    seen = march_one(closed_forms.ball(2.0, RGB), closed_forms.ray((-4, 0, 1.1), (1, 0, 0)), 64)
    assert seen.opacity == 0
    np.testing.assert_array_equal(seen.rgb, np.zeros(3))
    np.testing.assert_allclose(seen.depth, FAR, rtol=1e-6)
    assert seen.median_depth == FAR


def test_the_returned_weights_sum_to_the_opacity():
    ray = closed_forms.ray((-4, 0, 0), (1, 0, 0))
    edges = stratified(None, ray.near, ray.far, 8)
    seen, w = render_ray(closed_forms.ball(2.0, RGB), (), ray, edges)
    assert w.shape == (8,)
    np.testing.assert_allclose(w.sum(), seen.opacity, rtol=1e-6)
    np.testing.assert_array_equal(w > 0, (edges[:-1] >= 3) & (edges[1:] <= 5))


def test_the_colour_receives_the_view_and_the_params():
    field, ray = (
        closed_forms.painted_by_view(),
        closed_forms.ray((0, 0, 0), (2, -1, 2), appearance=3),
    )
    edges = stratified(None, ray.near, ray.far, 4)
    for sign in (1.0, -1.0):
        seen, _ = render_ray(field, {"sign": jnp.float32(sign)}, ray, edges)
        expected = 0.5 + sign / 2 * np.array([2, -1, 2]) / 3 + 3
        np.testing.assert_allclose(seen.rgb, expected, rtol=1e-5)


def test_a_method_may_choose_sample_positions_and_interval_lengths():
    field = closed_forms.layers((-1.0, 1.0), (0.5,), RGB[None])
    ray, edges = closed_forms.ray((-4, 0, 0), (1, 0, 0)), jnp.array([2.0, 4.0, 6.0])
    at_near_ends = render_ray(field, (), ray, edges, t=edges[:-1])[1]
    np.testing.assert_allclose(at_near_ends, [0, -math.expm1(-0.5 * 2)], rtol=1e-5)
    longer = render_ray(field, (), ray, edges, t=edges[:-1], delta=jnp.array([1.0, 1e10]))[1]
    np.testing.assert_allclose(longer, [0, 1], rtol=1e-5)


def test_the_gradient_is_that_of_the_exact_answer():
    """A slab whose density is learned: ``d opacity / d sigma = L exp(-sigma L)``."""

    def density(sigma, point):
        return jnp.where(jnp.abs(point.position[0]) < 1, sigma, 0.0), jnp.asarray(RGB)

    field = Field(lambda key: (), density, lambda params, features, view: features)
    ray = closed_forms.ray((-4, 0, 0), (1, 0, 0))

    @jax.jit
    @jax.jacobian
    def slope(sigma):
        return render_ray(field, sigma, ray, stratified(None, NEAR, FAR, 8))[0].rgb

    for sigma in (0.0, 0.7):
        expected = 2 * math.exp(-2 * sigma) * RGB
        np.testing.assert_allclose(slope(jnp.float32(sigma)), expected, rtol=1e-5)


def test_rays_of_a_batch_do_not_mix():
    """Each is read at its own places over its own lengths, and seen from its own side."""
    field, params = closed_forms.painted_by_view(), {"sign": jnp.float32(1.0)}
    directions = [(1, 0, 0), (0, -1, 0), (1, 2, 2)]
    rays = [closed_forms.ray((0, 0, i), way, appearance=i) for i, way in enumerate(directions)]
    rng = np.random.default_rng(0)
    edges = jnp.asarray(np.sort(rng.uniform(2, 6, (3, 5))), jnp.float32)
    given = {
        "t": jnp.asarray(rng.uniform(2, 6, (3, 4)), jnp.float32),
        "delta": jnp.asarray(rng.exponential(2e-5, (3, 4)), jnp.float32),
    }
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rays)
    together = jax.jit(render_rays, static_argnums=0)(field, params, batch, edges, **given)
    for i, ray in enumerate(rays):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], given)
        alone = render_ray(field, params, ray, edges[i], **own)
        jax.tree.map(
            lambda whole, part, i=i: np.testing.assert_allclose(whole[i], part, rtol=1e-5),
            together,
            alone,
        )


# --------------------------------------------------------------------------------- images

HEIGHT, WIDTH = 7, 5


def some_cameras() -> Cameras:
    places = np.array([[4.0, 0, 0.5], [-1, 3.9, 0.2]])
    up = np.array([0.0, 0, 1])
    return Cameras(
        world_from_camera=np.stack([look_at(place, np.zeros(3), up) for place in places]),
        focal=np.float32([[9, 8], [8, 8]]),
        principal=np.float32([[2.5, 3.5], [2.0, 4.0]]),
        near=np.float32([NEAR, NEAR]),
        far=np.float32([FAR, FAR + 1]),
    )


def exact_ray(cameras: Cameras, image: int, row: int, column: int):
    lens = cameras.focal[image], cameras.principal[image]
    return oracles.cast_ray(cameras.world_from_camera[image], *lens, column, row)


def show_ray(params, aux, rays: Rays) -> Rendering:
    """A picture of the rays themselves, that tells every pixel from every other."""
    return Rendering(
        params * rays.direction, rays.origin[:, 0], rays.far + aux, rays.appearance.astype(float)
    )


def show(renderer, cameras=None, image: int = 1, size_hw=(HEIGHT, WIDTH)) -> Rendering:
    cameras = some_cameras() if cameras is None else cameras
    return renderer(jnp.float32(2.0), jnp.float32(0.25), cameras, image, size_hw)


@pytest.mark.slow
@pytest.mark.parametrize("rays_per_chunk", [2, 16, 36, 64])
def test_every_pixel_of_an_image_is_its_own_ray(rays_per_chunk: int):
    """Chunks that do not fit the image, and one larger than it, leave no trace."""
    cameras = some_cameras()
    seen = show(image_renderer(show_ray, rays_per_chunk), cameras)
    assert all(isinstance(part, np.ndarray) for part in seen)
    assert seen.rgb.shape == (HEIGHT, WIDTH, 3)
    for row, column in np.ndindex(HEIGHT, WIDTH):
        origin, direction = exact_ray(cameras, 1, row, column)
        np.testing.assert_allclose(seen.rgb[row, column], 2 * direction, atol=1e-6)
        np.testing.assert_allclose(seen.opacity[row, column], origin[0], rtol=1e-6)
    np.testing.assert_array_equal(seen.depth, np.full((HEIGHT, WIDTH), FAR + 1.25))
    # A view is of no photo.
    np.testing.assert_array_equal(seen.median_depth, np.full((HEIGHT, WIDTH), -1.0))


def test_one_compilation_serves_every_image_and_every_size():
    traced = []

    def render(params, aux, rays):
        traced.append(rays.near.shape)
        return show_ray(params, aux, rays)

    renderer = image_renderer(render, 16)
    show(renderer)
    once = len(traced)
    assert set(traced) == {(8,)}  # each of the two devices, its share
    for image, size_hw in [(0, (7, 5)), (1, (5, 7)), (0, (1, 1)), (1, (9, 11))]:
        assert show(renderer, image=image, size_hw=size_hw).opacity.shape == size_hw
    assert len(traced) == once


def test_two_devices_render_what_one_does():
    """To the last bit or two: which operations XLA fuses depends on the processor, and on the
    number of rays of a device."""
    assert len(jax.devices()) == 2
    one = show(image_renderer(show_ray, 16, ray_mesh(jax.devices()[:1])))
    two = show(image_renderer(show_ray, 16))
    same = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7)
    jax.tree.map(same, one, two)


def test_a_chunk_that_does_not_divide_by_the_devices_is_refused():
    with pytest.raises(ValueError, match=r"eval.rays_per_chunk is 15, .* 2 devices .* 14 would do"):
        image_renderer(show_ray, 15)
    image_renderer(show_ray, 15, ray_mesh(jax.devices()[:1]))


@pytest.mark.slow
def test_a_table_of_rays_is_rendered_like_the_cameras_it_came_from():
    cameras = some_cameras()
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    cast = jax.vmap(jax.vmap(cast_rays, (None, None, 0)), (None, 0, None))
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)
    rays = cast(cameras, np.arange(2), pixels)
    shape = 2, HEIGHT, WIDTH, 3
    table = RayTable(
        rays.origin.reshape(shape), rays.direction.reshape(shape), cameras.near, cameras.far
    )
    renderer = image_renderer(show_ray, 16)
    for looked_up, cast_anew in zip(show(renderer, table), show(renderer, cameras), strict=True):
        np.testing.assert_allclose(looked_up, cast_anew, atol=1e-6)


def test_an_image_of_a_ball_is_exact_to_the_length_of_an_interval():
    sigma, num_samples, cameras = 3.0, 256, some_cameras()
    interval = (FAR - NEAR) / num_samples
    field = closed_forms.ball(sigma, RGB)

    def render(params, aux, rays):
        seen = march(field, rays, num_samples)
        return seen._replace(rgb=over(seen.rgb, seen.opacity, jnp.ones(3)))

    seen = image_renderer(render, 16)((), (), cameras, 0, (HEIGHT, WIDTH))
    hits = 0
    for place in np.ndindex(HEIGHT, WIDTH):
        exact = closed_forms.through_ball(*exact_ray(cameras, 0, *place), sigma, RGB)
        white = exact.rgb + 1 - exact.opacity
        hits += exact.opacity > 0
        np.testing.assert_allclose(seen.opacity[place], exact.opacity, atol=sigma * interval)
        np.testing.assert_allclose(seen.rgb[place], white, atol=sigma * interval)
        np.testing.assert_allclose(seen.depth[place], exact.depth, atol=interval)
        np.testing.assert_allclose(seen.median_depth[place], exact.median_depth, atol=interval)
    assert 5 < hits < HEIGHT * WIDTH - 5
