import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nerf_jax import cameras as cameras_module
from nerf_jax.cameras import cast_image_rays, focus_point, look_at, reframe, resize
from nerf_jax.types import Cameras, Lens, RayTable
from tests import oracles

cast_rays = jax.jit(cameras_module.cast_rays)
project = jax.jit(cameras_module.project)
UP = np.array([0.0, 0.0, 1.0])


def some_cameras(count: int = 3, seed: int = 0) -> Cameras:
    """Around the origin, each with a lens of its own that is neither square nor centred."""
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(count, 3)) * 3
    targets = rng.normal(size=(count, 3)) * 0.3
    return Cameras(
        np.stack([look_at(*pair, UP) for pair in zip(places, targets, strict=True)]),
        focal=rng.uniform(10, 30, (count, 2)).astype(np.float32),
        principal=rng.uniform(3, 6, (count, 2)).astype(np.float32),
        near=rng.uniform(0.1, 1, count).astype(np.float32),
        far=rng.uniform(5, 9, count).astype(np.float32),
    )


# ------------------------------------------------------------------------------- cast_rays


def test_cast_rays_equals_the_loop():
    cameras = some_cameras()
    columns, rows = np.meshgrid(np.arange(5), np.arange(4))
    pixels = jnp.asarray(np.stack([columns.ravel(), rows.ravel()], axis=1))
    for image in range(3):
        rays = jax.vmap(cast_rays, (None, None, 0))(cameras, jnp.int32(image), pixels)
        lens = cameras.focal[image], cameras.principal[image]
        for i, (column, row) in enumerate(np.asarray(pixels)):
            origin, direction = oracles.cast_ray(
                cameras.world_from_camera[image], *lens, column, row
            )
            np.testing.assert_allclose(rays.origin[i], origin, rtol=1e-6)
            np.testing.assert_allclose(rays.direction[i], direction, atol=1e-6)
        np.testing.assert_array_equal(rays.near, np.full(20, cameras.near[image]))
        np.testing.assert_array_equal(rays.far, np.full(20, cameras.far[image]))
        np.testing.assert_array_equal(rays.appearance, np.full(20, image))


def test_an_integer_pixel_means_its_centre():
    cameras = some_cameras()
    by_number = cast_rays(cameras, jnp.int32(1), jnp.array([3, 2]))
    by_place = cast_rays(cameras, jnp.int32(1), jnp.array([3.5, 2.5]))
    jax.tree.map(np.testing.assert_array_equal, by_number, by_place)


def test_the_centre_of_the_image_looks_along_minus_z():
    cameras = some_cameras()
    for image in range(3):
        ray = cast_rays(cameras, jnp.int32(image), jnp.asarray(cameras.principal[image]))
        axis = -cameras.world_from_camera[image, :, 2]
        np.testing.assert_allclose(ray.direction, axis, atol=1e-6)


def test_columns_run_to_the_right_and_rows_downwards():
    cameras = some_cameras(1)
    right, up = cameras.world_from_camera[0, :, 0], cameras.world_from_camera[0, :, 1]
    middle = jnp.asarray(cameras.principal[0])
    beside = cast_rays(cameras, jnp.int32(0), middle + jnp.array([2.0, 0.0])).direction
    below = cast_rays(cameras, jnp.int32(0), middle + jnp.array([0.0, 2.0])).direction
    assert beside @ right > 0
    assert below @ up < 0
    np.testing.assert_allclose((beside @ up, below @ right), (0, 0), atol=1e-6)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    image=st.integers(0, 2),
    place=st.tuples(*[st.floats(0, 9, width=32)] * 2),
    distance=st.floats(0.5, 8, width=32),
)
def test_a_point_on_a_ray_projects_to_its_pixel(image, place, distance):
    cameras = some_cameras()
    ray = cast_rays(cameras, jnp.int32(image), jnp.array(place))
    np.testing.assert_allclose(np.linalg.norm(ray.direction), 1, rtol=1e-6)
    point = np.asarray(ray.origin, float) + distance * np.asarray(ray.direction, float)
    pose = cameras.world_from_camera[image].astype(float)
    x, y, z = pose[:, :3].T @ (point - pose[:, 3])
    projected = cameras.focal[image] * [x / -z, y / z] + cameras.principal[image]
    np.testing.assert_allclose(projected, place, atol=1e-4)


def test_the_gradient_reaches_pose_and_lens():
    cameras = some_cameras(1)
    along = np.array([0.4, -1.0, 0.7])

    def slow(pose, focal, principal):
        origin, direction = oracles.cast_ray(pose, focal, principal, 4, 1)
        return along @ direction + along @ origin

    @jax.jit
    @jax.grad
    def mine(cameras):
        ray = cast_rays(cameras, jnp.int32(0), jnp.array([4, 1]))
        return jnp.asarray(along, jnp.float32) @ (ray.direction + ray.origin)

    gradient = mine(cameras)
    expected = oracles.gradient(
        slow, cameras.world_from_camera[0], cameras.focal[0], cameras.principal[0]
    )
    for leaf, differences in zip(gradient[:3], expected, strict=True):
        np.testing.assert_allclose(leaf[0], differences, rtol=1e-3, atol=1e-5)


# ------------------------------------------------------------------- lenses and projection


def bent_cameras() -> Cameras:
    """A phone's lens, a wide barrel, and a fisheye, together."""
    lens = Lens(
        radial=np.array([[0.06, -0.08, 0, 0], [-0.2, 0.05, 0, 0], [-0.04, 0.003, -0.001, 0]]),
        tangential=np.array([[1e-3, 2e-4], [0, 0], [0.5, 0.5]]),  # a fisheye's are unused
        fisheye=np.array([False, False, True]),
    )
    lens = jax.tree.map(lambda leaf: leaf.astype(np.float32) if leaf.ndim > 1 else leaf, lens)
    return some_cameras()._replace(lens=lens)


def test_a_lens_without_distortion_is_a_pinhole():
    cameras = some_cameras()
    straight = Lens(
        np.zeros((3, 4), np.float32), np.zeros((3, 2), np.float32), np.zeros(3, np.bool_)
    )
    place = jnp.array([7.5, 1.25])
    pinhole = cast_rays(cameras, jnp.int32(1), place)
    bent = cast_rays(cameras._replace(lens=straight), jnp.int32(1), place)
    for one, other in zip(pinhole, bent, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("image", range(3))
def test_a_lens_distorts_rays(image):
    cameras = bent_cameras()
    place = np.array([8.0, 1.5], np.float32)
    ray = cast_rays(cameras, jnp.int32(image), place)
    lens = jax.tree.map(lambda leaf: leaf[image], cameras.lens)
    plane = (place - cameras.principal[image]) / cameras.focal[image]
    x, y = oracles.undistort(lens, *plane)
    theta = np.hypot(x, y)
    length = np.tan(theta) / theta if lens.fisheye else 1
    in_camera = np.array([x * length, -y * length, -1])
    expected = cameras.world_from_camera[image, :, :3] @ in_camera
    np.testing.assert_allclose(ray.direction, expected / np.linalg.norm(expected), atol=1e-6)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    image=st.integers(0, 2),
    bent=st.booleans(),
    place=st.tuples(*[st.floats(0, 9, width=32)] * 2),
    distance=st.floats(0.5, 8, width=32),
)
def test_a_point_on_a_ray_of_any_camera_projects_to_its_pixel(image, bent, place, distance):
    cameras = bent_cameras() if bent else some_cameras()
    ray = cast_rays(cameras, jnp.int32(image), jnp.array(place))
    pixel, depth = project(cameras, jnp.int32(image), ray.origin + distance * ray.direction)
    np.testing.assert_allclose(pixel, place, atol=1e-3)
    cosine = -cameras.world_from_camera[image, :, 2] @ ray.direction
    np.testing.assert_allclose(depth, distance * cosine, rtol=1e-4)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    image=st.integers(0, 2),
    bent=st.booleans(),
    offset=st.tuples(*[st.floats(-0.5, 0.5, width=32)] * 2, st.floats(1, 5, width=32)),
)
def test_a_ray_through_the_pixel_of_a_point_meets_the_point(image, bent, offset):
    cameras = bent_cameras() if bent else some_cameras()
    x, y, depth = offset
    pose = cameras.world_from_camera[image]
    point = pose[:, :3] @ np.array([x * depth, y * depth, -depth]) + pose[:, 3]
    pixel, found = project(cameras, jnp.int32(image), point.astype(np.float32))
    np.testing.assert_allclose(found, depth, rtol=1e-4)
    ray = cast_rays(cameras, jnp.int32(image), pixel)
    ahead = (point - pose[:, 3]) / np.linalg.norm(point - pose[:, 3])
    np.testing.assert_allclose(ray.direction, ahead, atol=1e-5)


@pytest.mark.parametrize("image", range(3))
def test_projection_is_finite_everywhere(image):
    cameras = bent_cameras()
    pose = cameras.world_from_camera[image]
    jacobian = jax.jacrev(project, argnums=2)
    for offset in [(0, 0, 0), (0, 0, 2), (1, 0, 0), (0.3, -0.2, 5), (0, 0, -3), (50, 0, -1)]:
        point = jnp.asarray(pose[:, :3] @ np.array(offset, np.float32) + pose[:, 3])
        pixel, depth = project(cameras, jnp.int32(image), point)
        np.testing.assert_allclose(depth, -offset[2], atol=1e-5)
        for leaf in jax.tree.leaves((pixel, jacobian(cameras, jnp.int32(image), point))):
            assert np.isfinite(leaf).all()


@pytest.mark.slow
@pytest.mark.parametrize("image", range(3))
def test_the_gradient_reaches_the_lens(image):
    """Against differences of the ray itself, in steps that float32 can tell apart."""
    cameras = jax.tree.map(jnp.asarray, bent_cameras())
    along = jnp.array([0.4, -1.0, 0.7])

    @jax.jit
    def seen(radial, tangential, focal, pose):
        bent = cameras._replace(
            world_from_camera=pose,
            focal=focal,
            lens=cameras.lens._replace(radial=radial, tangential=tangential),
        )
        return along @ cast_rays(bent, jnp.int32(image), jnp.array([8.0, 1.5])).direction

    arguments = (cameras.lens.radial, cameras.lens.tangential, cameras.focal)
    arguments = (*arguments, cameras.world_from_camera)
    gradient = jax.grad(seen, argnums=(0, 1, 2, 3))(*arguments)
    expected = oracles.gradient(
        lambda *numbers: float(seen(*(np.asarray(n, np.float32) for n in numbers))),
        *arguments,
        step=2e-3,
    )
    for leaf, differences in zip(gradient, expected, strict=True):
        np.testing.assert_allclose(leaf, differences, rtol=2e-2, atol=3e-4)


def test_a_ray_table_is_looked_up_by_image_row_and_column():
    rng = np.random.default_rng(0)
    table = RayTable(
        origin=rng.normal(size=(2, 4, 5, 3)).astype(np.float32),
        direction=rng.normal(size=(2, 4, 5, 3)).astype(np.float32),
        near=np.array([1, 2], np.float32),
        far=np.array([7, 8], np.float32),
    )
    table = jax.tree.map(jnp.asarray, table)
    column, row, image = 4, 2, 1
    ray = cast_rays(table, jnp.int32(image), jnp.array([column, row]))
    np.testing.assert_array_equal(ray.origin, table.origin[image, row, column])
    np.testing.assert_array_equal(ray.direction, table.direction[image, row, column])
    assert (ray.near, ray.far, ray.appearance) == (2, 8, 1)


# -------------------------------------------------------------------------- a pixel's cone


@pytest.mark.parametrize("place", [(4.0, 5.0), (0.0, 0.0), (9.0, 1.0)])
def test_the_cone_of_a_pixel_has_the_variance_of_the_pixel(place):
    """However far off the axis: the plane is met at a distance that grows as the angle does."""
    cameras = some_cameras()
    cameras = cameras._replace(focal=np.full_like(cameras.focal, 20))
    ray = cast_rays(cameras, jnp.int32(0), jnp.array(place))
    to_plane = -1 / (cameras.world_from_camera[0, :, 2] @ ray.direction)
    disc = ray.radius * to_plane
    # A disc varies by a quarter of its radius squared, a pixel by a twelfth of its width squared.
    np.testing.assert_allclose(disc**2 / 4, (1 / 20) ** 2 / 12, rtol=1e-5)


def test_the_cone_of_a_non_square_pixel_has_the_mean_of_its_sides():
    cameras = some_cameras()
    ray = cast_rays(cameras, jnp.int32(2), jnp.asarray(cameras.principal[2]))
    width = np.mean(1 / cameras.focal[2])
    np.testing.assert_allclose(ray.radius, width * 2 / 12**0.5, rtol=1e-6)


WIDE = {
    "pinhole": ((0, 0, 0, 0), False),
    "barrel": ((-0.2, 0.05, 0, 0), False),
    "pincushion": ((0.2, 0.05, 0, 0), False),
    "fisheye": ((-0.04, 0.003, 0, 0), True),
}


def wide_camera(kind: str) -> Cameras:
    """80 x 60 pixels that see up to 40 degrees from the axis at least."""
    radial, fisheye = WIDE[kind]
    lens = Lens(np.float32([radial]), np.zeros((1, 2), np.float32), np.array([fisheye]))
    focal = np.full((1, 2), 30.0 if fisheye else 60.0, np.float32)
    return some_cameras(1)._replace(focal=focal, principal=np.float32([[40, 30]]), lens=lens)


@pytest.mark.parametrize("pixel", [(0, 0), (79, 30), (40, 30), (11, 52)])
@pytest.mark.parametrize("kind", WIDE)
def test_a_cone_is_as_wide_as_the_lens_shows_the_pixel(kind: str, pixel: tuple[int, int]):
    """Against the directions of neighbouring image points, undistorted in float64."""
    cameras = wide_camera(kind)
    lens = jax.tree.map(lambda leaf: leaf[0], cameras.lens)

    def direction(x: float, y: float) -> np.ndarray:
        point = (np.array([x, y]) - cameras.principal[0]) / cameras.focal[0]
        x, y = oracles.undistort(lens, *point)
        if not lens.fisheye:
            return np.array([x, -y, -1])
        theta = np.hypot(x, y)
        return np.array([*(np.array([x, -y]) * np.sinc(theta / np.pi)), -np.cos(theta)])

    x, y = np.array(pixel) + 0.5
    sides = [direction(x + 0.01, y) - direction(x - 0.01, y)]
    sides += [direction(x, y + 0.01) - direction(x, y - 0.01)]
    width = np.linalg.norm(sides, axis=1).mean() / 0.02 / np.linalg.norm(direction(x, y))
    found = cast_rays(cameras, jnp.int32(0), jnp.array(pixel)).radius
    np.testing.assert_allclose(found, width * 2 / 12**0.5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", WIDE)
def test_the_cones_of_a_ray_table_are_those_of_its_cameras(kind: str):
    cameras = wide_camera(kind)
    rays = cast_image_rays(cameras, 0, (60, 80))
    table = RayTable(rays.origin[None], rays.direction[None], cameras.near, cameras.far)
    found = cast_image_rays(jax.tree.map(jnp.asarray, table), 0, (60, 80))
    np.testing.assert_allclose(found.radius, rays.radius, rtol=0.01)


@pytest.mark.parametrize("shape", [(1, 1, 2**24), (4, 800, 800)])
def test_casting_rays_of_a_table_copies_no_image(shape):
    """1024 rays need a few kilobytes each, however large the table is."""
    wide = jax.ShapeDtypeStruct((*shape, 3), jnp.float32)
    ends = jax.ShapeDtypeStruct(shape[:1], jnp.float32)
    image = jax.ShapeDtypeStruct((1024,), jnp.int32)
    pixel = jax.ShapeDtypeStruct((1024, 2), jnp.int32)
    cast = jax.jit(jax.vmap(cameras_module.cast_rays, (None, 0, 0)))
    compiled = cast.lower(RayTable(wide, wide, ends, ends), image, pixel).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2**22


def test_the_cones_of_a_single_row_are_of_neighbours_in_the_same_image():
    """Two rows of an image, one after the other; and a pixel alone, which has no width."""
    angles = np.concatenate([np.linspace(-0.1, 0.1, 21), np.linspace(-0.1, 0.1, 21)])
    direction = np.stack([np.sin(angles), 0 * angles, -np.cos(angles)], axis=1)[None, None]
    ends = np.ones(1, np.float32), np.ones(1, np.float32)
    table = RayTable(jnp.zeros((1, 1, 42, 3)), jnp.asarray(direction, jnp.float32), *ends)
    radius = cast_image_rays(table, 0, (1, 42)).radius
    np.testing.assert_allclose(radius, np.full((1, 42), 0.01 * 2 / 12**0.5), rtol=1e-3)
    single = jax.tree.map(lambda leaf: leaf[:, :, :1] if leaf.ndim == 4 else leaf, table)
    assert cast_rays(single, jnp.int32(0), jnp.array([0, 0])).radius == 0


# --------------------------------------------------------------------------------- look_at


@pytest.mark.parametrize("seed", range(5))
def test_look_at_is_a_right_handed_frame_with_the_target_at_the_centre(seed: int):
    origin, target, up = np.random.default_rng(seed).normal(size=(3, 3))
    pose = look_at(origin, target, up).astype(float)
    rotation = pose[:, :3]
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(rotation), 1, rtol=1e-6)
    np.testing.assert_allclose(pose[:, 3], origin, rtol=1e-6)
    ahead = (target - origin) / np.linalg.norm(target - origin)
    np.testing.assert_allclose(-rotation[:, 2], ahead, atol=1e-6)
    assert rotation[:, 1] @ up > 0  # up in the world is up in the image
    np.testing.assert_allclose(rotation[:, 0] @ up, 0, atol=1e-6)  # and the horizon is level


@pytest.mark.parametrize("target", [(1, 2, 3), (1, 2, 9), (1, 2, -9)])
def test_look_at_refuses_degenerate_targets(target):
    with pytest.raises(ValueError, match="cannot look at"):
        look_at(np.array([1.0, 2, 3]), np.array(target, float), UP)


# ------------------------------------------------------------------------------- the focus


def test_the_focus_is_the_intersection_of_the_axes():
    rng = np.random.default_rng(0)
    target = np.array([0.5, -2.0, 1.0])
    places = target + rng.normal(size=(6, 3)) * 3
    poses = np.stack([look_at(place, target, UP) for place in places])
    np.testing.assert_allclose(focus_point(poses), target, atol=1e-5)


def test_the_focus_of_two_skew_axes_is_halfway_between_them():
    along_x = look_at(np.array([-3.0, 0, 0]), np.zeros(3), UP)
    along_y = look_at(np.array([0.0, 5, 1]), np.array([0.0, 0, 1]), UP)
    np.testing.assert_allclose(focus_point(np.stack([along_x, along_y])), [0, 0, 0.5], atol=1e-6)


def test_the_focus_of_parallel_axes_is_the_mean_camera():
    places = np.array([[0.0, 3, 0], [2, 3, 1], [1, 3, -4]])
    poses = np.stack([look_at(place, place - [0, 1, 0], UP) for place in places])
    np.testing.assert_allclose(focus_point(poses), places.mean(axis=0), atol=1e-5)


# ---------------------------------------------------------------------------------- resize


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_a_resized_image_has_the_same_rays(factor: float):
    cameras = some_cameras()
    place = jnp.array([2.0, 7.0])
    before = cast_rays(cameras, jnp.int32(1), place)
    after = cast_rays(resize(cameras, factor), jnp.int32(1), place * factor)
    same = after._replace(radius=after.radius * factor)  # the smaller pixels, the thinner cones
    for one, other in zip(before, same, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_wider_image_of_the_same_cameras_shows_more_at_its_sides():
    """Beside the middle by as much as there is more of the image, everything is where it was."""
    cameras = some_cameras()
    before = cast_rays(cameras, jnp.int32(1), jnp.array([2.0, 7.0]))
    after = cast_rays(reframe(cameras, (8, 10), (16, 30)), jnp.int32(1), jnp.array([9.0, 14.0]))
    for one, other in zip(before, after._replace(radius=2 * after.radius), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_larger_image_of_the_same_shape_is_a_resized_one():
    one, other = reframe(some_cameras(), (8, 10), (12, 15)), resize(some_cameras(), 1.5)
    jax.tree.map(lambda *leaves: np.testing.assert_allclose(*leaves, rtol=1e-6), one, other)
