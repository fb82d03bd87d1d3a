import functools
import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from nerf_jax import hashgrid
from nerf_jax.hashgrid import Level, make_levels
from tests import oracles

PUBLISHED = make_levels(16, 2**19, 16, 2048)
LEVELS = make_levels(5, 1000, 4, 40)
"""Two dense and three hashed, in tables whose size is no power of two."""
SMALL = make_levels(2, 100, 3, 7)
"""One dense and one hashed, for differences with respect to every entry."""

CORNERS = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
FACES = np.array([np.roll([side, 0.31, 0.83], axis) for side in (0.0, 1.0) for axis in range(3)])
OUTSIDE = np.array([[-0.3, 0.21, 0.72], [1.2, -4.0, 0.53], [0.97, 1e6, 3.0]])
INSIDE = np.random.default_rng(0).uniform(size=(12, 3))


@pytest.fixture
def doubles():
    """Double precision, where differences are to be exact."""
    with jax.enable_x64(True):
        yield


def random_tables(levels: tuple[Level, ...], num_features: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.normal(size=(level.num_entries, num_features)) for level in levels]


@functools.partial(jax.jit, static_argnums=1)
def encode_all(tables: list, levels: tuple[Level, ...], x: np.ndarray):
    return jax.vmap(lambda x: hashgrid.encode(tables, levels, x))(x)


# ---------------------------------------------------------------------------- slow references


def entry(level: Level, vertex: tuple[int, int, int]) -> int:
    """The table's row of a vertex (Instant-NGP, Eq. 4), in whole numbers of any size."""
    x, y, z = vertex
    if level.resolution**3 <= level.num_entries:
        return x + level.resolution * (y + level.resolution * z)
    return (x ^ y * 2_654_435_761 ^ z * 805_459_861) % 2**32 % level.num_entries


def corners(level: Level, x: np.ndarray):
    """The rows and the weights of the eight corners around a point."""
    place = [min(max(float(c), 0.0), 1.0) * level.scale + 0.5 for c in x]
    for ups in itertools.product((0, 1), repeat=3):
        vertex = [
            min(math.floor(p) + up, level.resolution - 1) for p, up in zip(place, ups, strict=True)
        ]
        yield (
            entry(level, vertex),
            math.prod(p % 1 if up else 1 - p % 1 for p, up in zip(place, ups, strict=True)),
        )


def slow_encode(tables: list[np.ndarray], levels: tuple[Level, ...], x: np.ndarray) -> np.ndarray:
    features = []
    for table, level in zip(tables, levels, strict=True):
        features.append(sum(weight * table[row] for row, weight in corners(level, x)))
    return np.concatenate(features)


def plain_encode(tables: list, levels: tuple[Level, ...], x):
    """In JAX, with the derivatives that JAX finds by itself."""
    position, features = jnp.clip(x, 0.0, 1.0), []
    for table, level in zip(tables, levels, strict=True):
        pairs, part = hashgrid._cell(level, position)
        x_y_z = [(1 - share, share) for share in part]
        weights = [math.prod(c[i >> a & 1] for a, c in enumerate(x_y_z)) for i in range(8)]
        features.append(jnp.stack(weights) @ table[jnp.stack(hashgrid._entries(level, pairs))])
    return jnp.concatenate(features)


# ------------------------------------------------------------------------------------- levels


def test_the_published_setting_has_the_published_number_of_parameters():
    assert 2 * sum(level.num_entries for level in PUBLISHED) == 12_196_240


def test_resolutions_grow_geometrically_from_the_coarsest_to_the_finest():
    assert (PUBLISHED[0].resolution, PUBLISHED[-1].resolution) == (16, 2048)
    cells = np.array([level.scale + 1 for level in PUBLISHED])
    np.testing.assert_allclose(cells[1:] / cells[:-1], 128 ** (1 / 15))


@pytest.mark.parametrize("levels", [PUBLISHED, LEVELS, SMALL])
def test_levels_that_fit_are_dense_and_the_others_fill_their_tables(levels: tuple[Level, ...]):
    limit = levels[-1].num_entries
    assert {level.dense for level in levels} == {True, False}
    for level in levels:
        vertices = level.resolution**3
        assert level.dense == (vertices <= limit)
        if level.dense:  # rounded up to a multiple of eight, as published
            assert 0 <= level.num_entries - vertices < 8
        else:
            assert level.num_entries == limit


def test_one_level_has_the_coarsest_resolution():
    assert [level.resolution for level in make_levels(1, 10, 7, 90)] == [7]


@pytest.mark.parametrize(
    "arguments", [(0, 8, 4, 8), (-1, 8, 4, 8), (2, 0, 4, 8), (2, 8, 1, 8), (2, 8, 9, 8)]
)
def test_invalid_levels_are_refused(arguments: tuple[int, ...]):
    with pytest.raises(ValueError, match="min_resolution"):
        make_levels(*arguments)


def test_tables_start_small_and_differ():
    tables = hashgrid.init_tables(jax.random.key(0), LEVELS, 3)
    assert [table.shape for table in tables] == [(level.num_entries, 3) for level in LEVELS]
    for table in tables:
        assert 0.9e-4 < np.abs(table).max() <= 1e-4
    assert not np.array_equal(tables[3], tables[4])


# ------------------------------------------------------------------------------------ entries


def rows(level: Level, vertices: np.ndarray) -> np.ndarray:
    """Of cells without extent at the given vertices: all corners are the same."""
    pairs = [(axis, axis) for axis in jnp.asarray(vertices.T, jnp.uint32)]
    found = np.asarray(jax.jit(jax.vmap(functools.partial(hashgrid._entries, level)))(pairs))
    np.testing.assert_array_equal(found, np.repeat(found[:1], 8, axis=0))
    return found[0]


@pytest.mark.slow
@pytest.mark.parametrize("side", [5, 8, 11, 16])
def test_in_a_dense_level_every_vertex_has_a_row_of_its_own_within_the_table(side: int):
    for max_entries in (side**3, side**3 + 1, 10**6):
        (level,) = make_levels(1, max_entries, side, side)
        assert level.dense
        found = rows(level, np.array(list(np.ndindex(side, side, side))))
        np.testing.assert_array_equal(np.sort(found), np.arange(side**3))
        assert side**3 <= level.num_entries


@pytest.mark.parametrize("max_entries", [1, 3, 100, 511, 512, 1000])
def test_in_a_hashed_level_every_row_is_used_and_within_the_table(max_entries: int):
    vertices = np.random.default_rng(2).integers(0, 2048, (20_000, 3))
    found = rows(Level(2047.0, 2048, max_entries), vertices)
    np.testing.assert_array_equal(np.unique(found), np.arange(max_entries))
    slow = [entry(Level(2047.0, 2048, max_entries), vertex) for vertex in vertices[:200].tolist()]
    np.testing.assert_array_equal(found[:200], slow)


# ----------------------------------------------------------------------------------- features


@pytest.mark.slow
@pytest.mark.parametrize("levels", [LEVELS, SMALL, make_levels(4, 2**10, 16, 2048)])
def test_features_equal_the_loop(levels: tuple[Level, ...], doubles: None):
    tables = random_tables(levels)
    x = np.concatenate([INSIDE, CORNERS, FACES, OUTSIDE])
    slow = [slow_encode(tables, levels, point) for point in x]
    np.testing.assert_allclose(encode_all(tables, levels, x), slow, rtol=0, atol=1e-10)


def test_features_equal_the_loop_in_single_precision():
    """As training has it; what is lost is the place's rounding, times the cells of an axis."""
    tables, x = jax.tree.map(np.float32, (random_tables(LEVELS), INSIDE))
    features = encode_all(tables, LEVELS, x)
    assert features.dtype == np.float32
    slow = [slow_encode(tables, LEVELS, point) for point in x]
    np.testing.assert_allclose(features, slow, rtol=0, atol=1e-4)


def test_outside_the_cube_the_nearest_position_inside_is_read():
    tables = random_tables(LEVELS)
    np.testing.assert_array_equal(
        encode_all(tables, LEVELS, OUTSIDE), encode_all(tables, LEVELS, np.clip(OUTSIDE, 0, 1))
    )


@pytest.mark.parametrize("level", make_levels(3, 4096, 8, 16))
def test_a_linear_function_is_read_exactly(level: Level, doubles: None):
    """Vertex ``v`` lies at ``(v - 0.5) / scale``: the first is outside the cube, and the last is
    half a cell inside where the scale is whole. What lies beyond the last reads as at the last."""
    slope = np.array([[3.0, -1.0, 0.5], [0.2, 7.0, -2.0]])
    vertices = np.array(list(np.ndindex(*[level.resolution] * 3)))[:, ::-1]  # x runs fastest
    table = np.zeros((level.num_entries, 2))
    table[: len(vertices)] = (vertices - 0.5) / level.scale @ slope.T + 1
    x = np.concatenate([np.random.default_rng(3).uniform(size=(200, 3)), CORNERS, FACES])
    last = (level.resolution - 1.5) / level.scale
    assert (last < 1) == np.float32(level.scale).is_integer()
    expected = np.minimum(x, last) @ slope.T + 1
    np.testing.assert_allclose(encode_all([table], (level,), x), expected, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("axis", range(3))
def test_features_are_continuous_across_the_borders_of_cells(
    level: Level, axis: int, doubles: None
):
    borders = (np.arange(1, math.floor(level.scale) + 1) - 0.5) / level.scale
    x = np.random.default_rng(4).uniform(size=(len(borders), 3))
    x[:, axis] = borders
    step = 1e-9 * np.eye(3)[axis]
    table = random_tables((level,))
    below, above = (encode_all(table, (level,), x + sign * step) for sign in (-1, 1))
    assert not np.array_equal(below, above)
    np.testing.assert_allclose(below, above, rtol=0, atol=1e-8 * level.scale)


# ---------------------------------------------------------------------------------- footprints


weights = jax.jit(hashgrid.level_weights, static_argnums=0)


def test_levels_fade_by_the_fraction_of_a_gaussian_within_a_cell():
    for sigma in (1e-4, 0.003, 0.02, 0.1, 0.5, 20.0):
        halves = [scipy.stats.norm.cdf(0.5 / level.scale, scale=sigma) - 0.5 for level in PUBLISHED]
        found = weights(PUBLISHED, jnp.float32(sigma**2))
        np.testing.assert_allclose(found, 2 * np.array(halves), rtol=1e-5)
        assert (np.diff(found) <= 0).all()


def test_weights_are_one_for_a_point_and_near_zero_for_the_cube():
    for variance in (0.0, 1e-12, 1e-38):
        np.testing.assert_array_equal(weights(PUBLISHED, jnp.float32(variance)), np.ones(16))
    assert 0 < weights(PUBLISHED, jnp.float32(1e6)).max() < 1e-4


@pytest.mark.parametrize("spread", [0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 4.0])
def test_levels_fade_as_the_mean_of_unrelated_entries_does(spread: float):
    """The mean of a level over discs turned anyhow, by Monte Carlo: how much less it varies.

    Two means over places drawn twice: their product, unlike a square, has the right mean however
    few places there are.
    """
    rng, side = np.random.default_rng(7), 64
    table = rng.normal(size=(side, side, side))
    middle = rng.uniform(0, side, (6000, 1, 3))
    axis = rng.normal(size=middle.shape)
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)

    def read(places: np.ndarray) -> np.ndarray:
        coordinates = np.moveaxis(places, -1, 0)
        return scipy.ndimage.map_coordinates(table, coordinates, order=1, mode="grid-wrap")

    def mean() -> np.ndarray:
        offset = spread * rng.normal(size=(6000, 40, 3))
        offset -= np.sum(offset * axis, axis=-1, keepdims=True) * axis
        return read(middle + offset).mean(axis=1)

    kept = np.sqrt(np.mean(mean() * mean()) / np.mean(read(middle) ** 2))
    (found,) = weights((Level(10.0, 11, 1),), jnp.float32((spread / 10) ** 2))
    assert -0.02 < found - kept < 0.13
    if spread >= 1:
        np.testing.assert_allclose(found, kept, rtol=0.06)


def test_the_gradients_of_weights_are_finite_at_a_point_and_equal_differences(doubles: None):
    def total(variance):
        return jnp.sum(hashgrid.level_weights(LEVELS, jnp.asarray(variance)))

    slope = jax.jit(jax.grad(total))
    for variance in (0.0, 1e-300, 1e-12):
        assert slope(variance) == 0
    for variance in (1e-4, 0.01, 1.0):
        step = 1e-6 * variance
        difference = (total(variance + step) - total(variance - step)) / (2 * step)
        np.testing.assert_allclose(slope(variance), difference, rtol=1e-6)


# ---------------------------------------------------------------------------------- gradients


ALONG = np.random.default_rng(5).normal(size=2 * 5)


def score(tables: list, levels: tuple[Level, ...], x, encode=hashgrid.encode):
    return encode(tables, levels, x) @ jnp.asarray(ALONG[: 2 * len(levels)], x.dtype)


gradients_of_one = jax.jit(jax.grad(score, (0, 2)), static_argnums=1)


@pytest.mark.parametrize("x", [INSIDE[0], INSIDE[1], FACES[0], FACES[3], *OUTSIDE])
def test_the_gradients_equal_finite_differences(x: np.ndarray, doubles: None):
    # On a face, where the place stops to move, half of the way inwards.
    tables = random_tables(SMALL)

    def slow(*arguments):
        *tables, x = arguments
        return slow_encode(tables, SMALL, x) @ ALONG[: 2 * len(SMALL)]

    mine = gradients_of_one(jax.tree.map(jnp.asarray, tables), SMALL, jnp.asarray(x))
    differences = oracles.gradient(slow, *tables, x)
    for gradient, difference in zip([*mine[0], mine[1]], differences, strict=True):
        np.testing.assert_allclose(gradient, difference, rtol=0, atol=1e-6)


DERIVATIVES = {
    "of both": lambda f: jax.value_and_grad(f, (0, 1)),
    "of the tables": lambda f: jax.grad(f, 0),
    "of the place": lambda f: jax.grad(f, 1),
    "forward": lambda f: jax.jacfwd(f, 1),
    "of a normal": lambda f: jax.grad(lambda *to: jnp.sum(jax.grad(f, 1)(*to) ** 2), (0, 1)),
}
TRANSFORMS = {
    "jit": jax.jit,
    "vmap": lambda f: jax.vmap(f, in_axes=(None, 0)),
    "jit of vmap": lambda f: jax.jit(jax.vmap(f, in_axes=(None, 0))),
    "jit of vmap over both": lambda f: jax.jit(jax.vmap(f)),
}
PAIRS = [("of both", transform) for transform in TRANSFORMS] + [
    (derivative, "jit of vmap") for derivative in list(DERIVATIVES)[1:]
]


@pytest.mark.slow
@pytest.mark.parametrize(("derivative", "transform"), PAIRS)
def test_the_derivatives_equal_those_of_jax(derivative: str, transform: str, doubles: None):
    levels = SMALL[1:]
    tables, x = jax.tree.map(jnp.asarray, (random_tables(levels), INSIDE[:2]))
    if transform == "jit of vmap over both":
        tables = [jnp.stack([table, table[::-1]]) for table in tables]
    if transform == "jit":
        x = x[0]

    def derive(encode):
        def squared(tables, x):
            return score(tables, levels, x, encode) ** 2

        return TRANSFORMS[transform](DERIVATIVES[derivative](squared))(tables, x)

    mine, plain = derive(hashgrid.encode), derive(plain_encode)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), mine, plain)


def gradients_of_many(tables: list, x):
    """Of a loss over many points, as training takes them."""

    def loss(tables, x):
        return jnp.sum(jax.vmap(lambda x: score(tables, LEVELS, x))(x))

    return jax.grad(loss, (0, 1))(tables, x)


def test_the_gradient_of_many_points_is_the_sum_of_theirs(doubles: None):
    tables = random_tables(LEVELS)
    x = np.concatenate([np.random.default_rng(6).uniform(size=(100, 3)), INSIDE, INSIDE])
    mine, _ = jax.jit(gradients_of_many)(jax.tree.map(jnp.asarray, tables), jnp.asarray(x))
    for gradient, level, along in zip(mine, LEVELS, ALONG.reshape(-1, 2), strict=True):
        summed = np.zeros_like(gradient)
        for point in x:
            for row, weight in corners(level, point):
                np.add.at(summed, row, weight * along)
        np.testing.assert_allclose(gradient, summed, rtol=0, atol=1e-10)


def test_the_gradient_takes_one_scatter_a_level_and_no_table_a_point():
    tables = [jnp.zeros((level.num_entries, 2)) for level in LEVELS]
    program = str(jax.make_jaxpr(gradients_of_many)(tables, jnp.zeros((7, 3))))
    assert len(re.findall(r"= scatter[\w-]*\[", program)) == len(LEVELS)
    shapes = {tuple(map(int, shape.split(","))) for shape in re.findall(r"\[([\d,]+)\]", program)}
    assert (7, 8) in shapes  # so the shapes are read aright
    entries = {level.num_entries for level in LEVELS}
    assert not [shape for shape in shapes if 7 in shape and entries & set(shape)]


@pytest.mark.parametrize("levels", [LEVELS, SMALL], ids=["large", "small"])
def test_corners_at_once_equal_those_in_turn(levels: tuple[Level, ...], doubles: None):
    tables = [jnp.asarray(table) for table in random_tables(levels)]
    x = np.concatenate([INSIDE, FACES, OUTSIDE])

    def total(corners: hashgrid.Corners):
        def function(tables, x):
            features = jax.vmap(lambda x: hashgrid.encode(tables, levels, x, corners))(x)
            return jnp.sum(jnp.sin(features)), features

        return jax.jit(jax.grad(function, (0, 1), has_aux=True))(tables, x)

    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-12),
        *map(total, ("at_once", "in_turn")),
    )
