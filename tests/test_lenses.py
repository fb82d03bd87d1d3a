"""Lenses against OpenCV's formulas, COLMAP's cameras, finite differences, and their own inverse."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nerf_jax import lenses
from nerf_jax.types import Lens
from tests import oracles

to_image_plane, from_image_plane, distort, undistort, has_ray = map(
    jax.jit,
    (
        lenses.to_image_plane,
        lenses.from_image_plane,
        lenses.distort,
        lenses.undistort,
        lenses.has_ray,
    ),
)
have_rays = jax.jit(jax.vmap(lenses.has_ray, (None, 0)))
image_slopes = jax.jit(jax.jacrev(lenses.to_image_plane, argnums=1))


@jax.jit
def jacobians(radial, tangential, fisheye, place):
    """Of the direction of a place, by each but the lens's kind."""

    def direction(radial, tangential, place):
        return lenses.from_image_plane(Lens(radial, tangential, fisheye), place)

    return jax.jacrev(direction, argnums=(0, 1, 2))(radial, tangential, place)


def lens(*radial: float, p: tuple[float, float] = (0, 0), fisheye: bool = False) -> Lens:
    return Lens(
        radial=np.array([*radial, *[0] * (4 - len(radial))], np.float32),
        tangential=np.array(p, np.float32),
        fisheye=np.array(fisheye),
    )


BARREL = lens(-0.28, 0.07, p=(2e-4, 1e-5))
PINCUSHION = lens(0.2, 0.05, 0.01, p=(-1e-3, 2e-3))
PHONE = lens(0.0578421, -0.0805099, p=(-0.000980296, 0.00015575))
FISHEYE = lens(-0.045, 0.003, -0.001, 2e-4, fisheye=True)
LENSES = {"barrel": BARREL, "pincushion": PINCUSHION, "phone": PHONE, "fisheye": FISHEYE}
every_lens = pytest.mark.parametrize("name", LENSES)
inside = st.tuples(*[st.floats(-0.625, 0.625, width=32)] * 2)
"""Places that each of the lenses shows."""


# --------------------------------------------------------------------------------- forwards


@every_lens
def test_the_polynomial_is_opencvs(name):
    rng = np.random.default_rng(0)
    for ideal in rng.uniform(-0.8, 0.8, (20, 2)).astype(np.float32):
        expected = oracles.distort(LENSES[name], *ideal)
        np.testing.assert_allclose(distort(LENSES[name], ideal), expected, atol=1e-6)


def test_known_places():
    ahead, aside = np.array([0.0, 0, -2]), np.array([1.0, 0, -1])
    up_left = np.array([-1.0, 1, -2])
    for each in (None, *LENSES.values()):
        np.testing.assert_array_equal(to_image_plane(each, ahead), [0, 0])
    np.testing.assert_allclose(to_image_plane(None, aside), [1, 0], rtol=1e-6)
    np.testing.assert_allclose(to_image_plane(None, up_left), [-0.5, -0.5], rtol=1e-6)  # y is down
    np.testing.assert_allclose(to_image_plane(lens(0.25), aside), [1.25, 0], rtol=1e-6)
    np.testing.assert_allclose(to_image_plane(lens(p=(0.1, 0.2)), aside), [1.6, 0.1], rtol=1e-6)
    equidistant = lens(fisheye=True)
    np.testing.assert_allclose(to_image_plane(equidistant, aside), [np.pi / 4, 0], rtol=1e-6)
    behind = np.array([0.0, -1, 1])
    np.testing.assert_allclose(to_image_plane(equidistant, behind), [0, 3 * np.pi / 4], rtol=1e-6)


@every_lens
def test_distortion_does_not_depend_on_the_length_of_a_direction(name):
    direction = jnp.array([0.2, -0.3, -1.0])
    places = [to_image_plane(LENSES[name], scale * direction) for scale in (1e-3, 1, 1e4)]
    np.testing.assert_allclose(places, [places[0]] * 3, rtol=1e-5)


# -------------------------------------------------------------------------------- backwards


@pytest.mark.slow
@every_lens
@settings(max_examples=100, deadline=None, derandomize=True)
@given(ideal=inside)
def test_undistorting_undoes_distorting(name, ideal):
    back = undistort(LENSES[name], distort(LENSES[name], jnp.array(ideal)))
    np.testing.assert_allclose(back, ideal, atol=2e-6)


@every_lens
@settings(max_examples=100, deadline=None, derandomize=True)
@given(place=inside)
def test_projecting_a_direction_gives_its_image_position(name, place):
    again = to_image_plane(LENSES[name], from_image_plane(LENSES[name], jnp.array(place)))
    np.testing.assert_allclose(again, place, atol=2e-6)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(place=st.tuples(*[st.floats(-1.75, 1.75, width=32)] * 2))
def test_a_fisheye_has_directions_behind_its_camera(place):
    direction = from_image_plane(FISHEYE, jnp.array(place))
    np.testing.assert_allclose(to_image_plane(FISHEYE, direction), place, atol=5e-6)


def test_a_fisheye_s_field_of_view_may_exceed_half_a_turn():
    behind = from_image_plane(lens(fisheye=True), jnp.array([2.0, 0.0]))
    np.testing.assert_allclose(behind, [np.sin(2), 0, -np.cos(2)], atol=1e-6)
    assert behind[2] > 0


def test_newton_converges_for_all_of_a_strong_lens():
    """Up to where the polynomial is nearly flat, 1 % from its edge."""
    strong = lens(-0.3)
    edge = 1 / np.sqrt(0.9)
    radii = np.linspace(0, 0.99 * edge, 50, dtype=np.float32)
    ideal = jnp.stack([radii, 0 * radii], axis=1)
    seen = jax.vmap(distort, (None, 0))(strong, ideal)
    np.testing.assert_allclose(jax.vmap(undistort, (None, 0))(strong, seen), ideal, atol=2e-4)


@pytest.mark.parametrize("radius", [0.75, 1.0, 3.0, 100.0, 1e6])
@pytest.mark.parametrize("turn", [0.0, 1.0, 2.5])
def test_beyond_its_edge_a_lens_shows_nearby_directions(radius, turn):
    strong = lens(-0.3, p=(1e-3, 1e-3))
    edge = 1 / np.sqrt(0.9)  # the place there is 0.70
    place = radius * jnp.array([np.cos(turn), np.sin(turn)])
    found = np.asarray(undistort(strong, place))
    assert np.linalg.norm(found) <= 1.02 * edge

    _is_finite(jacobians(*strong, place))


def random_lenses(count: int, fisheye: bool, field: float) -> tuple[Lens, np.ndarray]:
    """Strong lenses whose images grow up to an angle from the axis, in degrees, and that radius."""
    rng, edge, lenses_found = np.random.default_rng(0), np.radians(field), []
    edge = edge if fisheye else np.tan(edge)
    powers, r = np.array([2, 4, 6, 8]), np.linspace(0, edge, 2000)[:, None]
    while len(lenses_found) < count:
        k = np.float32(rng.normal(size=4) * [1.2, 0.6, 0.3, 0.15] / edge**powers)
        slope = 1 + (k * (powers + 1) * r**powers).sum(axis=1)
        if slope.min() > 0.03 and slope.max() < 8:
            lenses_found.append(k)
    lens = np.array(lenses_found), np.zeros((count, 2), np.float32), np.full(count, fisheye)
    return Lens(*lens), edge


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fisheye", "field"), [(False, 60), (False, 80), (False, 85), (True, 90), (True, 175)]
)
def test_no_point_of_a_strong_lens_is_missed(fisheye: bool, field: float):
    """Of random polynomials up to an edge, in float64; it was about 1 % of the lenses."""
    lens, edge = random_lenses(300, fisheye, field)
    rng = np.random.default_rng(1)
    radius, turn = edge * rng.uniform(size=(300, 40)), rng.uniform(0, 2 * np.pi, (300, 40))
    ideal = radius[..., None] * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    factor = 1 + sum(lens.radial[:, [i]].astype(float) * radius ** (2 * i + 2) for i in range(4))
    points = jnp.asarray(ideal * factor[..., None], jnp.float32)
    each = (jax.jit(jax.vmap(jax.vmap(f, (None, 0)))) for f in (lenses.undistort, lenses.has_ray))
    found, shown = (np.asarray(f(lens, points)) for f in each)
    error = np.linalg.norm(found - ideal, axis=-1) / (1 + radius)
    assert error.max() < 1e-3
    assert shown.all()


@pytest.mark.slow
@pytest.mark.parametrize("point", [(0.0, 0.0), (0.3, -0.2), (0.69, 0.0), (0.75, 0.0), (40.0, 2.0)])
def test_a_point_beyond_the_edge_has_no_ray(point):
    """That of k1 = -0.3 is at 0.703 of the image."""
    assert bool(has_ray(lens(-0.3), jnp.array(point))) == (np.hypot(*point) < 0.703)
    assert has_ray(None, jnp.array(point))


@pytest.mark.slow
@pytest.mark.parametrize(
    "impossible", [lens(1e9), lens(-1e9), lens(p=(1e6, 0)), lens(np.nan), lens(np.inf)]
)
def test_a_lens_that_cannot_be_has_no_rays(impossible: Lens):
    x = np.linspace(-0.6, 0.6, 40)
    points = jnp.asarray(np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2), jnp.float32)
    assert have_rays(impossible, points).mean() < 0.01


@pytest.mark.slow
def test_a_fisheye_has_no_ray_beyond_180_degrees_from_its_axis():
    points = jnp.array([[3.1, 0.0], [3.2, 0.0], [0.0, 7.0]])
    np.testing.assert_array_equal(have_rays(lens(fisheye=True), points), [True, False, False])


# ------------------------------------------------------------------------------- gradients


def _is_finite(tree) -> None:
    for leaf in jax.tree.leaves(tree):
        assert np.isfinite(leaf).all()


@pytest.mark.slow
@every_lens
@pytest.mark.parametrize("function", ["distort", "undistort"])
def test_gradients_are_those_of_finite_differences(name, function):
    known, place, along = LENSES[name], np.array([0.4, -0.3]), np.array([0.8, -1.3])
    slow = getattr(oracles, function)

    def by_loop(radial, tangential, place):
        return along @ slow(Lens(radial, tangential, known.fisheye), *place)

    @jax.jit
    @jax.grad
    def mine(arguments):
        radial, tangential, place = arguments
        found = getattr(lenses, function)(Lens(radial, tangential, known.fisheye), place)
        return jnp.asarray(along, jnp.float32) @ found

    arguments = (known.radial, known.tangential, place)
    gradient = mine(tuple(jnp.asarray(argument, jnp.float32) for argument in arguments))
    for one, other in zip(gradient, oracles.gradient(by_loop, *arguments), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [None, *LENSES])
@pytest.mark.parametrize(
    "direction",
    [(0, 0, -1), (0, 0, 1), (0, 0, 0), (1, 0, 0), (0, 0, -1e-12), (3, 1, 2), (1, 1, -1e-4)],
)
def test_finite_in_every_direction(name, direction):
    arguments = LENSES[name] if name else None, jnp.array(direction, float)
    _is_finite((to_image_plane(*arguments), image_slopes(*arguments)))


@every_lens
def test_at_the_centre_the_gradient_is_a_pinholes(name):
    _, _, jacobian = jacobians(*LENSES[name], jnp.zeros(2))
    np.testing.assert_allclose(jacobian, [[1, 0], [0, -1], [0, 0]], atol=1e-6)


# ---------------------------------------------------------------------------------- COLMAP

COLMAP = {
    "SIMPLE_RADIAL": ([700, 320, 240, -0.08], lens(-0.08)),
    "RADIAL": ([700, 320, 240, 0.06, -0.08], lens(0.06, -0.08)),
    "OPENCV": ([700, 710, 320, 240, -0.1, 0.02, 1e-3, -2e-3], lens(-0.1, 0.02, p=(1e-3, -2e-3))),
    "OPENCV_FISHEYE": (
        [400, 410, 320, 240, -0.045, 0.003, -0.001, 2e-4],
        lens(-0.045, 0.003, -0.001, 2e-4, fisheye=True),
    ),
}


@pytest.mark.parametrize("model", COLMAP)
def test_colmap_projects_to_the_same_positions(model):
    pycolmap = pytest.importorskip("pycolmap")
    params, mine = COLMAP[model]
    theirs = pycolmap.Camera(model=model, width=640, height=480, params=params)
    focal = np.array([theirs.focal_length_x, theirs.focal_length_y], np.float32)
    principal = np.array([theirs.principal_point_x, theirs.principal_point_y], np.float32)
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-1, 1, (50, 2)) * [0.45, 0.35], np.full(50, 1)])
    seen = theirs.img_from_cam(points)
    directions = jnp.asarray(points * [1, -1, -1], jnp.float32)
    places = jax.vmap(to_image_plane, (None, 0))(mine, directions)
    np.testing.assert_allclose(np.asarray(places) * focal + principal, seen, atol=1e-3)
    back = jax.vmap(from_image_plane, (None, 0))(mine, jnp.asarray((seen - principal) / focal))
    back = np.asarray(back)[:, :2] / -np.asarray(back)[:, 2:] * [1, -1]
    np.testing.assert_allclose(back, theirs.cam_from_img(seen), atol=1e-5)


def test_the_fox_s_lens(real_data):
    """Each corner and edge of a phone's photo, against COLMAP's answer for its lens."""
    pycolmap = pytest.importorskip("pycolmap")
    about = json.loads((real_data / "fox" / "transforms.json").read_text())
    names = ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2")
    params = [about[name] for name in names]
    size = {"width": int(about["w"]), "height": int(about["h"])}
    theirs = pycolmap.Camera(model="OPENCV", params=params, **size)
    mine = lens(*params[4:6], p=tuple(params[6:]))
    columns, rows = np.meshgrid(np.linspace(0, about["w"], 9), np.linspace(0, about["h"], 16))
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)
    places = jnp.asarray((pixels - params[2:4]) / params[:2], jnp.float32)
    ideal = jax.vmap(undistort, (None, 0))(mine, places)
    np.testing.assert_allclose(ideal, theirs.cam_from_img(pixels), atol=1e-5)
