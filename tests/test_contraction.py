import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nerf_jax import contraction
from nerf_jax.contraction import (
    Angular,
    Box,
    Contracted,
    Even,
    Frustum,
    Proportional,
    RaySteps,
    Space,
    fit_frustum,
    required_steps,
)
from nerf_jax.lenses import to_image_plane
from nerf_jax.types import Cameras, Lens
from tests import closed_forms

NEAR, FAR = 0.1, 60.0
BOX = Box(jnp.array([-1.0, -0.5, -1.5]), jnp.array([1.0, 1.5, 0.5]))
CONTRACTED = Contracted(
    jnp.array([0.5, 0.0, -0.2]), jnp.float32(1.5), jnp.float32(NEAR), jnp.float32(FAR)
)
TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
FRUSTUM = Frustum(
    jnp.asarray(np.c_[TURN, [0.1, -0.2, 0.3]], jnp.float32),
    jnp.array([0.8, 0.6]),
    jnp.float32(NEAR),
    jnp.float32(FAR),
)
CANDIDATES = 64
every_space = pytest.mark.parametrize(
    "space", [BOX, CONTRACTED, FRUSTUM], ids=lambda space: type(space).__name__
)


# ------------------------------------------------------------------------------------ places


@every_space
def test_positions_survive_the_round_trip_through_the_unit_cube(space: Space):
    unit = np.random.default_rng(0).uniform(0.02, 0.98, (500, 3)).astype(np.float32)
    world = jax.jit(jax.vmap(space.from_unit))(unit)
    np.testing.assert_allclose(jax.jit(jax.vmap(space.to_unit))(world), unit, atol=2e-5)


@every_space
def test_positions_and_gradients_are_finite_everywhere(space: Space):
    """On the axes, at the centre, at the camera, behind it, and far away."""
    places = [[0, 0, 0], [0.5, 0, -0.2], [0.2, -0.1, -0.3], [0, 0, 50], [1e6, -1e6, 1e6]]
    for function in (space.to_unit, space.scale):
        value, gradient = jax.jit(function), jax.jit(jax.jacrev(function))
        for place in np.float32(places):
            assert np.isfinite(value(place)).all()
            assert np.isfinite(gradient(place)).all()
    from_unit = jax.jit(space.from_unit)
    for corner in np.float32([[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5]]):
        assert np.isfinite(from_unit(corner)).all()


def test_all_positions_are_contracted_into_the_cube():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 3)) * 10.0 ** rng.uniform(-2, 4, (300, 1))
    unit = jax.vmap(CONTRACTED.to_unit)(jnp.asarray(x, jnp.float32))
    assert ((unit >= 0) & (unit <= 1)).all()
    # In a loop, as the paper writes it, by the largest coordinate.
    for place, found in zip(x, unit, strict=True):
        y = (place - np.array([0.5, 0.0, -0.2])) / 1.5
        norm = np.abs(y).max()
        contracted = y if norm <= 1 else (2 - 1 / norm) * y / norm
        np.testing.assert_allclose(found, (contracted + 2) / 4, atol=1e-5)


def test_a_space_contains_what_its_unit_cube_does():
    places = np.random.default_rng(2).uniform(-3, 3, (500, 3)).astype(np.float32)
    in_box = np.asarray(jax.vmap(contraction.contains, (None, 0))(BOX, places))
    expected = ((places >= np.asarray(BOX.low)) & (places <= np.asarray(BOX.high))).all(axis=1)
    np.testing.assert_array_equal(in_box, expected)
    far_too = np.concatenate([places, 1e6 * places])
    assert jax.vmap(contraction.contains, (None, 0))(CONTRACTED, far_too).all()
    unit = np.asarray(jax.vmap(FRUSTUM.to_unit)(places))
    in_frustum = np.asarray(jax.vmap(contraction.contains, (None, 0))(FRUSTUM, places))
    np.testing.assert_array_equal(in_frustum, ((unit >= 0) & (unit <= 1)).all(axis=1))
    behind = np.asarray(TURN.T @ (np.array([0, 0, 1.0]) - [0.1, -0.2, 0.3]), np.float32)
    assert not contraction.contains(FRUSTUM, jnp.asarray(behind))


def test_a_frustum_holds_what_a_strong_lens_shows():
    """The directions that the lens itself maps to the image, found without inverting it."""
    tangents = np.linspace(-4, 4, 201)
    places = np.stack([*np.meshgrid(tangents, tangents), -np.ones((201, 201))], axis=-1)
    through = jax.jit(jax.vmap(to_image_plane, (None, 0)))
    for radial, wider in ((-0.08, True), (0.2, False)):
        lens = Lens(
            np.float32([[radial, 0, 0, 0]]), np.zeros((1, 2), np.float32), np.array([False])
        )
        one = jax.tree.map(lambda leaf: leaf[0], lens)
        points = through(one, places.reshape(-1, 3).astype(np.float32))
        # Beyond the edge, where r (1 + k r^2) turns back, the lens shows nothing.
        inside = 1 + 3 * radial * (places[..., :2] ** 2).sum(-1).ravel() > 0.05
        seen = inside & (np.abs(points) <= [1.0, 0.75]).all(axis=1)
        half = np.abs(places.reshape(-1, 3)[seen, :2]).max(axis=0)
        cameras = Cameras(
            np.eye(3, 4)[None], np.full((1, 2), 20.0), np.array([[20.0, 15.0]]), *np.ones((2, 1)),
            lens,
        )  # fmt: skip
        frustum = fit_frustum(cameras, (30, 40), NEAR, FAR, margin=0)
        width = np.asarray(frustum.tangent)
        assert (half <= width + 1e-5).all()
        assert (width < half + 0.05).all()
        assert (width > [1, 0.75]).all() == wider


def test_a_frustum_is_normalised_device_coordinates():
    """Against the projection of NeRF, Appendix C: straight lines stay straight, depth is 1 / z."""
    pixel = np.array([0.3, -0.4])
    for depth in (NEAR, 0.5, 7.0, FAR):
        camera = np.array([*(pixel * [0.8, 0.6] * depth), -depth])
        world = TURN.T @ (camera - [0.1, -0.2, 0.3])
        unit = FRUSTUM.to_unit(jnp.asarray(world, jnp.float32))
        np.testing.assert_allclose(unit[:2], (pixel + 1) / 2, atol=1e-5)
        np.testing.assert_allclose(
            unit[2], (1 / NEAR - 1 / depth) / (1 / NEAR - 1 / FAR), atol=1e-5
        )


@pytest.mark.slow
@every_space
def test_the_scale_is_how_far_apart_neighbouring_cells_are_at_least(space: Space):
    """Within a small factor: that of the cells of the unit cube across the line of sight."""
    unit = np.random.default_rng(2).uniform(0.05, 0.9, (200, 3)).astype(np.float32)
    world = jax.jit(jax.vmap(space.from_unit))(unit)
    stretch = jnp.linalg.norm(jax.vmap(jax.jacfwd(space.from_unit))(unit), axis=1)  # of each axis
    cells = jnp.min(stretch, axis=1) / jax.vmap(space.scale)(world)
    assert cells.max() / cells.min() < 4


# ------------------------------------------------------------------------------------ steps


def steps() -> list[RaySteps]:
    low, zero, one = jnp.float32(0.2), jnp.float32(0.0), jnp.float32(0.03)
    ahead = Angular(jnp.float32(2.0), jnp.float32(1.5))
    return [
        RaySteps(low, jnp.float32(3.0), zero, one, Even()),
        RaySteps(low, jnp.float32(30.0), zero, one, Proportional(jnp.float32(1.0))),
        RaySteps(low, jnp.float32(10.0), zero, one / 3, ahead),
        RaySteps(low, jnp.float32(0.6), zero, one, Angular(jnp.float32(-1.0), jnp.float32(0.5))),
    ]


def slope(spacing: Even | Proportional | Angular, t: float) -> float:
    match spacing:
        case Even():
            return 1.0
        case Proportional(unit):
            return t / float(unit)
        case Angular(closest, apart):
            return (float(apart) ** 2 + (t - float(closest)) ** 2) / float(apart)


@pytest.mark.slow
@pytest.mark.parametrize("case", range(4))
def test_a_march_is_a_walk_step_by_step(case: int):
    march = steps()[case]
    count = int(march.num_steps())
    t = np.asarray(march.t(jnp.arange(count + 2)), float)
    np.testing.assert_allclose(t[0], march.start, rtol=1e-6)
    assert t[count] <= march.stop * (1 + 1e-5)
    assert t[count + 1] > march.stop
    # Many small steps, each as long as the law says where it is.
    here, walked = float(march.start), [float(march.start)]
    for _ in range(count):
        for _ in range(200):
            here += float(march.step) * slope(march.spacing, here) / 200
        walked.append(here)
    np.testing.assert_allclose(t[: count + 1], walked, rtol=2e-3)
    between = jnp.asarray((t[:-1] + t[1:]) / 2, jnp.float32)
    np.testing.assert_allclose(march.length(between), np.diff(t), rtol=2e-2)


@every_space
def test_the_required_steps_reach_from_end_to_end(space: Space):
    ray = closed_forms.ray([-2, -1.5, -2.5], [1, 1, 1], NEAR, FAR)
    march = space.ray_steps(0.5, ray, CANDIDATES)
    if isinstance(space, Contracted):  # as many as for a ray from infinity to infinity
        assert CANDIDATES / 2 < march.num_steps() < CANDIDATES
    else:
        np.testing.assert_allclose(march.num_steps(), CANDIDATES, rtol=1e-4)
    nothing = space.ray_steps(0.5, ray._replace(far=-jnp.inf), CANDIDATES)
    assert nothing.num_steps() == 0
    assert jnp.isfinite(nothing.t(jnp.arange(CANDIDATES))).all()


@every_space
def test_steps_are_no_longer_than_cells(space: Space):
    """With the steps that configs are held to."""
    cells, rng = 16, np.random.default_rng(3)
    steps = required_steps(space, cells) if isinstance(space, Contracted) else 7 * cells

    @jax.jit
    def units(ray):
        march = space.ray_steps(0.5, ray, steps)
        position = jax.vmap(lambda t: ray.origin + t * ray.direction)(march.t(jnp.arange(steps)))
        return jax.vmap(space.to_unit)(position), march.num_steps()

    shape, (low, high) = ((150, 3), (0.1, 0.9)) if steps > 7 * cells else ((50, 3), (0.3, 0.6))
    origins = jax.vmap(space.from_unit)(rng.uniform(low, high, shape).astype(np.float32))
    for origin, way in zip(origins, rng.normal(size=shape), strict=True):
        if isinstance(space, Frustum):
            origin, way = -np.array([0.1, -0.2, 0.3]) @ TURN, [0.3 * way[0], 0.3 * way[1], -1.0]
        unit, count = units(closed_forms.ray(origin, way, NEAR, FAR))
        moved = np.abs(np.diff(unit, axis=0)).max(axis=1)[: int(count) - 1]
        assert moved.max() * cells < 1.2


# ------------------------------------------------------------------------------------ boxes


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
def test_the_ray_box_intersection_is_between_all_planes(origin, direction):
    ray = closed_forms.ray(origin, direction, 0.5, 5.0)
    expected = slab_loop(origin, np.asarray(ray.direction, float), 0.5, 5.0)
    found = contraction.intersect(ray, BOX)
    if expected[0] < expected[1]:
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    else:
        assert found[0] >= found[1] - 1e-5


def test_a_zero_direction_intersects_the_box_everywhere_or_nowhere():
    inside, outside = (
        closed_forms.ray(origin, [1, 0, 0], 0.5, 5.0)._replace(direction=jnp.zeros(3))
        for origin in ([0, 0, 0], [0, 3, 0])
    )
    assert contraction.intersect(inside, BOX) == (0.5, 5.0)
    start, stop = contraction.intersect(outside, BOX)
    assert start > stop


@pytest.mark.slow
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_gradient_of_the_intersection_is_finite_for_nearly_parallel_rays(sign: float):
    """1 / d^2 exceeds float32 for components below 1e-19."""
    rays = closed_forms.ray([-3.0, 0.2, -0.5], [1.0, 0.0, 0.0], 0.0, 1e6)

    def ends(direction, origin):
        return jnp.stack(
            contraction.intersect(rays._replace(origin=origin, direction=direction), BOX)
        )

    small = np.float32([0, *np.geomspace(1e-44, 1e-3, 84)])
    for z in (0.3 * sign, 0.0):
        directions = np.stack([np.ones(85), sign * small, np.full(85, z)], axis=1)
        directions = directions.astype(np.float32)
        expected = [slab_loop(rays.origin, each, 0.0, 1e6) for each in directions.astype(float)]
        each = jax.jit(jax.vmap(ends, (0, None)))
        np.testing.assert_allclose(each(directions, rays.origin), expected, rtol=1e-5)
        for jacobian in jax.vmap(jax.jacrev(ends, (0, 1)), (0, None))(directions, rays.origin):
            assert np.isfinite(jacobian).all()


def test_candidates_are_uniform_steps_that_cover_the_diagonal():
    ray = closed_forms.ray([-2, -1.5, -2.5], [1, 1, 1], 0.0, 20.0)
    march = BOX.ray_steps(0.5, ray, CANDIDATES)
    t = march.t(jnp.arange(CANDIDATES))
    length = float(jnp.linalg.norm(BOX.high - BOX.low))
    np.testing.assert_allclose(np.diff(t), length / CANDIDATES, rtol=1e-4)
    np.testing.assert_allclose(t[0], np.sqrt(3) + length / CANDIDATES / 2, rtol=1e-5)
    np.testing.assert_allclose(t[-1], np.sqrt(3) + length * (1 - 0.5 / CANDIDATES), rtol=1e-5)


def test_all_candidates_of_a_ray_are_jittered_by_one_offset():
    ray = closed_forms.ray([-2, 0, 0], [1, 0, 0])
    keys = jax.random.split(jax.random.key(3), 2000)
    random = jax.vmap(jax.random.uniform)(keys)
    offsets = jax.vmap(BOX.ray_steps, (0, None, None))(random, ray, CANDIDATES).offset
    assert ((offsets >= 0) & (offsets < 1)).all()
    np.testing.assert_allclose(
        np.quantile(offsets, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.04
    )


def test_steps_far_off_the_centre_are_those_of_float64():
    """A ray that passes 1.5 half sides from the centre, 1e5 of them away from its origin."""
    direction = np.array([0.6, 0.0, -0.8])
    across = np.array([0.8, 0.0, 0.6])
    origin = np.asarray(CONTRACTED.center, float) + 2.25 * across - 1e5 * direction
    ray = closed_forms.ray(origin, direction, NEAR, 2e5)
    steps = CONTRACTED.ray_steps(0.5, ray, CANDIDATES)
    offset = np.asarray(ray.origin, float) - np.asarray(CONTRACTED.center, float)
    unit = np.asarray(ray.direction, float)
    apart = np.linalg.norm([*(offset - (offset @ unit) * unit), CONTRACTED.radius])
    np.testing.assert_allclose(steps.spacing.apart, apart, rtol=1e-2)


def test_the_ends_of_space_are_as_far_as_in_float64():
    """A million half sides, or near ends, away."""
    far = jnp.float32(1e6)
    contracted = Contracted(jnp.zeros(3), jnp.float32(1), jnp.float32(0.1), far)
    np.testing.assert_allclose(contracted.from_unit(jnp.array([1.0, 0.5, 0.5]))[0], 2e6, rtol=1e-5)
    frustum = Frustum(jnp.eye(3, 4), jnp.ones(2), jnp.float32(0.1), far)
    np.testing.assert_allclose(frustum.from_unit(jnp.array([0.5, 0.5, 1.0]))[2], -1e6, rtol=1e-5)
