import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax.cameras import cast_rays, look_at
from nerf_jax.scenes import raytrace
from nerf_jax.scenes.raytrace import BOX, LYING, UPRIGHT, Lights, Solids
from nerf_jax.types import Cameras

LOW, HIGH = np.array([-0.5, -0.5, -0.2]), np.array([0.5, 0.5, 0.7])
LIGHTS = Lights(
    sun=np.tile(np.float32([[0.48, 0.0, 0.8772685]]), (4, 1)),
    sky=np.tile(np.float32([[0.0, 0.0, 1.0]]), (4, 1)),
)


def solids(*parts: tuple) -> Solids:
    """Parts (shape, low, high) of one grey."""
    shape, low, high = zip(*parts, strict=True)
    return Solids(
        shape=np.array(shape, np.int32),
        low=np.array(low, np.float32),
        high=np.array(high, np.float32),
        color=np.full((len(parts), 3), 0.4, np.float32),
        large=np.ones(len(parts), bool),
    )


def loop_box(origin, direction) -> list[float]:
    """Distances at which a line crosses the faces, one face at a time."""
    crossings = []
    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        for level in (LOW[axis], HIGH[axis]):
            if direction[axis] != 0:
                t = (level - origin[axis]) / direction[axis]
                place = origin + t * direction
                if all(LOW[k] <= place[k] <= HIGH[k] for k in others):
                    crossings.append(t)
    return crossings


def loop_cylinder(origin, direction) -> list[float]:
    """The same for the mantle, by the quadratic equation, and for the two caps."""
    crossings = []
    a = direction[0] ** 2 + direction[1] ** 2
    b = 2 * (origin[0] * direction[0] + origin[1] * direction[1])
    c = origin[0] ** 2 + origin[1] ** 2 - 0.25
    if a > 0 and b * b > 4 * a * c:
        for root in (-1, 1):
            t = (-b + root * np.sqrt(b * b - 4 * a * c)) / (2 * a)
            if LOW[2] <= origin[2] + t * direction[2] <= HIGH[2]:
                crossings.append(t)
    for level in (LOW[2], HIGH[2]):
        if direction[2] != 0:
            t = (level - origin[2]) / direction[2]
            if np.sum((origin + t * direction)[:2] ** 2) <= 0.25:
                crossings.append(t)
    return crossings


def lines() -> tuple[np.ndarray, np.ndarray]:
    """From all around and from inside, and along every axis, through the body and past it."""
    random = np.random.default_rng(0)
    targets = random.uniform(-0.7, 0.7, (300, 3))
    origins = np.concatenate(
        [random.normal(size=(200, 3)) * 3, random.uniform(LOW, HIGH, (100, 3))]
    )
    directions = targets - origins
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    for shift in ([0.1, 0.2, 0.3], [0.1, 0.2, 3.0], [0.9, 0.2, 0.1], [0.1, -0.9, 0.1]):
        origins = np.concatenate([origins, shift - 2 * axes, np.tile(shift, (6, 1))])
        directions = np.concatenate([directions, axes, axes])
    return origins, directions


def rows(vectors: np.ndarray) -> tuple:
    return tuple(jnp.asarray(vectors[..., k], jnp.float32) for k in range(3))


def check_crossings(enter, leave, origins, directions, loop) -> None:
    hits = 0
    for near, far, origin, direction in zip(enter, leave, origins, directions, strict=True):
        expected = loop(origin, direction)
        if expected:
            np.testing.assert_allclose([near, far], [min(expected), max(expected)], atol=2e-5)
            hits += 1
        else:
            assert near >= far
    assert 50 < hits < len(origins) - 50


@pytest.mark.parametrize(
    ("intersect", "loop"),
    [(raytrace.intersect_box, loop_box), (raytrace.intersect_cylinder, loop_cylinder)],
)
def test_intersections_are_those_of_a_slow_loop(intersect, loop):
    origins, directions = lines()
    line = jax.vmap(raytrace._line, out_axes=0)(jnp.float32(origins), jnp.float32(directions))
    enter, leave = intersect(*line)(rows(LOW), rows(HIGH))
    check_crossings(np.asarray(enter), np.asarray(leave), origins, directions, loop)


def test_lying_cylinder_is_the_upright_one_turned():
    origins, directions = lines()
    turned = [jnp.float32(vectors[:, [0, 2, 1]]) for vectors in (origins, directions)]
    line = jax.vmap(raytrace._line)(*turned)
    enter, leave = raytrace.intersect_lying(*line)(rows(LOW[[0, 2, 1]]), rows(HIGH[[0, 2, 1]]))
    check_crossings(np.asarray(enter), np.asarray(leave), origins, directions, loop_cylinder)


def test_first_hit_is_the_nearest_part_in_front():
    scene = solids(
        (BOX, (-1, -1, -1), (1, 1, 0)),
        (UPRIGHT, (-0.2, -0.2, 0), (0.2, 0.2, 0.5)),
        (LYING, (-0.2, -0.2, 2), (0.2, 0.2, 2.4)),
    )
    down, up = jnp.float32([0, 0, -1]), jnp.float32([0, 0, 1])
    cases = [  # origin, direction, depth, part
        ([0.0, 0.0, 3.0], down, 0.6, 2),
        ([0.0, 0.0, 1.5], down, 1.0, 1),
        ([0.0, 0.0, 1.5], up, 0.5, 2),
        ([0.5, 0.5, 3.0], down, 3.0, 0),
        ([0.5, 0.5, 3.0], up, np.inf, -1),
        ([3.0, 0.0, 3.0], down, np.inf, -1),
        ([0.5, 0.5, -0.5], up, 0.0, 0),  # inside
    ]
    first_hit = jax.jit(lambda origin, direction: raytrace.first_hit(scene, origin, direction))
    for origin, direction, depth, part in cases:
        found = first_hit(jnp.float32(origin), direction)
        assert found[0] == pytest.approx(depth, abs=1e-6)
        assert found[1] == part


@pytest.mark.parametrize(
    ("shape", "point", "normal", "edge"),
    [
        (BOX, (0.5, 0.2, 0.0), (1, 0, 0), 0.2),
        (BOX, (0.1, -0.5, 0.6), (0, -1, 0), 0.1),
        (BOX, (0.1, 0.45, -0.2), (0, 0, -1), 0.05),
        (UPRIGHT, (0.3, 0.4, 0.1), (0.6, 0.8, 0), np.inf),
        (UPRIGHT, (0.1, 0.2, 0.7), (0, 0, 1), np.inf),
        (LYING, (0.1, -0.5, 0.3), (0, -1, 0), np.inf),
        (LYING, (0.0, 0.2, 0.7), (0, 0, 1), np.inf),
    ],
)
def test_surface_faces_outwards(shape, point, normal, edge):
    part = Solids(*(jnp.asarray(leaf[0]) for leaf in solids((shape, LOW, HIGH))))
    found = raytrace._surface(jnp.float32(point), part)
    np.testing.assert_allclose(found[0], normal, atol=1e-6)
    assert found[1] == pytest.approx(edge, abs=1e-6)


@pytest.fixture(scope="module")
def look():
    """Colour at places of a floor, half of it under a roof, from an eye at an angle."""
    scene = solids((BOX, (-2, -2, -1), (2, 2, 0)), (BOX, (-2, -2, 1), (-0.5, 2, 1.1)))

    @jax.jit
    def look(eye, target):
        direction = (target - eye) / jnp.linalg.norm(target - eye)
        return raytrace.trace(scene, LIGHTS, eye, direction)

    return lambda eye, target: look(jnp.float32(eye), jnp.float32(target))


def test_trace_darkens_what_the_sun_and_the_sky_do_not_reach(look):
    eye = [1.0, -1.0, 0.5]
    # The sun is over +x and the roof ends at x = -0.5, so that its shadow ends at about -1.05.
    lit, without_sky, dark = (look(eye, [x, 0.0, 0.0]).rgb for x in (1.0, -0.8, -1.5))
    assert np.all(lit > without_sky + 0.03)
    assert np.all(without_sky > dark + 0.1)
    assert np.all(dark > 0.05)  # and yet not black


def test_trace_depends_on_the_view_by_its_gloss(look):
    in_highlight, beside = (look([x, 0.0, 1.7545], [1.0, 0.0, 0.0]) for x in (0.04, 1.96))
    np.testing.assert_allclose(in_highlight.depth, 2, atol=1e-3)
    np.testing.assert_allclose(beside.depth, 2, atol=1e-3)
    assert np.all(in_highlight.rgb > beside.rgb + 0.05)


def test_trace_of_nothing_is_black_and_infinitely_far(look):
    seen = look([0.0, 0.0, 3.0], [0.0, 0.0, 9.0])
    assert not seen.hit
    assert np.isinf(seen.depth)
    np.testing.assert_array_equal(seen.rgb, 0)


def camera(size: int) -> Cameras:
    pose = look_at(np.array([2.0, -3.0, 2.0]), np.zeros(3), np.array([0.0, 0.0, 1.0]))
    return Cameras(
        world_from_camera=pose[None],
        focal=np.full((1, 2), 2.0 * size, np.float32),
        principal=np.full((1, 2), size / 2, np.float32),
        near=np.float32([2]),
        far=np.float32([6]),
    )


def test_pictures_hold_each_pixel_in_its_place():
    size, scene = 30, solids((BOX, (-0.3, -0.3, 0), (0.3, 0.3, 0.9)))  # over four tiles
    cameras = camera(size)

    def depth_pixel(camera, pixel):
        return raytrace.depth_pixel(scene, camera, pixel)

    empty, bounds = np.array(np.inf, np.float32), (scene.low, scene.high)
    depth = raytrace.render_images(depth_pixel, empty, bounds, cameras, size)

    @jax.jit
    def slowly(column, row):
        ray = cast_rays(cameras, jnp.int32(0), jnp.stack([column, row]))
        return raytrace.first_hit(scene, ray.origin, ray.direction)[0]

    expected = [[slowly(column, row) for column in range(size)] for row in range(size)]
    np.testing.assert_allclose(depth[0], expected, atol=1e-5)
    assert 100 < np.isfinite(depth).sum() < size**2 / 2
    assert np.isinf(depth).any(axis=2).all()


def test_color_pixel_averages_only_what_it_hits():
    # Edges along x = 0 and z = 0, seen straight on: a quarter, a half or all of a pixel is full.
    scene = solids((BOX, (0, 0, 0), (9, 1, 9)))
    straight = camera(8)._replace(
        world_from_camera=look_at(
            np.array([0.0, -3.0, 0.0]), np.zeros(3), np.array([0.0, 0.0, 1.0])
        )[None]
    )
    one = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), straight)
    color_pixel = jax.jit(lambda pixel: raytrace.color_pixel(scene, LIGHTS, one, pixel))
    corner, side, full, nothing = (
        color_pixel(jnp.float32(pixel)) for pixel in ([3.5, 3.5], [3.5, 1.0], [6, 1], [1, 6])
    )
    assert [float(pixel[3]) for pixel in (corner, side, full, nothing)] == [0.25, 0.5, 1, 0]
    assert np.all(side[:3] > 0.5 * full[:3])
    np.testing.assert_array_equal(nothing, 0)
